"""Workers of a queue as processes: started, watched, replaced, stopped."""

from __future__ import annotations

import logging
import multiprocessing
import sys
import threading
import time
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Final

import msgspec

from millstream.app import App
from millstream.errors import StorageError
from millstream.queue.autoscale import Load, Scaler, backlog
from millstream.queue.events import WorkerState, WorkerStatus
from millstream.queue.presence import hear
from millstream.queue.reader import QueueReader
from millstream.records import Position
from millstream.run.place import places_of
from millstream.run.worker_process import EXIT_OVERRUN, Errand, Order, Report, serve

_log = logging.getLogger("millstream.run")

RESTART_S: Final = 0.1
"""Before the first restart after a crash; doubled by each in a row: a record that kills is set aside after a few."""

RESTART_S_MAX: Final = 30.0
HEALTHY_S: Final = 10.0
"""A process that lived this long is restarted with the shortest delay again."""

LOOK_S: Final = 0.2
SCALE_S: Final = 1.0

ABORT_S: Final = 2.0
"""After a hard stop a process has so long to give back what it holds; then it is killed."""

SILENT_S: Final = 10.0
"""With a timeout, a process that says nothing for so long beyond it is stuck in code that holds the interpreter's lock:
it cannot end its handler itself, and is killed."""


class _Slot:
    """The place of one worker process."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.process: BaseProcess | None = None
        self.pipe: Connection | None = None
        self.report = Report()
        self.heard_s = 0.0
        self.begun_s = 0.0
        self.start_s = 0.0
        """Not started again before."""
        self.delay_s = RESTART_S
        self.ending = False
        self.handled = 0
        """By processes of this place that have ended."""
        self.busy_us = 0
        """The time that it took them."""

    def sums(self) -> tuple[int, int]:
        """Return deliveries and the time they took (us), of all processes of this place."""
        return self.handled + self.report.handled, self.busy_us + self.report.busy_us

    def say(self, order: Order) -> None:
        self.ending = True
        if self.pipe is not None:
            try:
                self.pipe.send_bytes(order.encode())
            except OSError:
                pass  # it has just ended


class ProcessCrew:
    """Reads one queue of an App with processes; a `Reader` for the supervisor, and a crew for `QueueReader.workers`."""

    kind = "queue"

    def __init__(self, app: App, reader: QueueReader) -> None:
        self.name = reader.name
        self.crashes = 0
        """Worker processes that ended without saying so."""
        self.recycled = 0
        self._reader = reader
        self._app = app
        self._context = multiprocessing.get_context("spawn")
        self._lock = threading.Lock()
        self._slots: list[_Slot] = []
        self._aborted: float | None = None
        self._numbers = 0
        self._gone = (0, 0)
        """Deliveries and their time (us), of places that are gone."""

    def run(self, stop: threading.Event) -> None:
        """Keep the processes running until `stop` is set; then let them finish what they are at."""
        self._run(stop, until_empty=False)

    def run_now(self, stop: threading.Event) -> int:
        """Have what is there and due handled, then return the number of deliveries."""
        return self._run(stop, until_empty=True)

    def states(self) -> list[WorkerState]:
        with self._lock:
            slots = tuple(self._slots)
        return [state for slot in slots for state in slot.report.states]

    def cancel(self, position: Position, error: BaseException) -> bool:
        """Nothing to do: the process that has the record looks for cancelled ones itself."""
        return False

    def abort(self) -> None:
        """Have the processes give back what they hold, and kill those that do not end."""
        self._aborted = time.monotonic()
        with self._lock:
            for slot in self._slots:
                slot.say(Order.ABORT)

    def _run(self, stop: threading.Event, *, until_empty: bool) -> int:
        places = places_of(self._app)
        self._aborted = None
        self._slots = []
        self._reader.group.info()  # made before the processes look for it
        scaling = self._reader.scaling
        scaler = Scaler(scaling) if scaling.maximum > scaling.minimum and not until_empty else None
        wanted, scaled_s = scaling.minimum, 0.0
        errand = Errand(places, self.name, 0, until_empty, tuple(sys.path), logging.getLogger().getEffectiveLevel())
        self._reader.attach(self)
        begun = 0
        try:
            while True:
                stopping = stop.is_set() or self._aborted is not None
                if not stopping and scaler is not None and time.monotonic() - scaled_s >= SCALE_S:
                    scaled_s = time.monotonic()
                    wanted = self._scale(scaler, wanted)
                if not until_empty or begun < wanted:
                    begun = wanted
                    self._fill(wanted)
                self._tend(errand, stopping)
                left = any(slot.process is not None or (until_empty and not slot.ending) for slot in self._slots)
                if not left and (stopping or until_empty):
                    break
                wait(self._waitables(), LOOK_S)
                self._hear(until_empty)
        finally:
            for slot in self._slots:
                if slot.process is not None:
                    slot.process.kill()
                    slot.process.join()
            self._reader.attach(None)
        return sum(slot.handled for slot in self._slots)

    def _fill(self, wanted: int) -> None:
        """Have so many places; those too many end softly."""
        with self._lock:
            # Those that were told to end between two of their processes.
            for slot in [slot for slot in self._slots if slot.ending and slot.process is None]:
                self._forget(slot)
            staying = [slot for slot in self._slots if not slot.ending]
            for slot in staying[wanted:]:
                slot.say(Order.STOP)
            for _ in range(wanted - len(staying)):
                self._numbers += 1
                self._slots.append(_Slot(self._numbers))

    def _tend(self, errand: Errand, stopping: bool) -> None:
        now_s = time.monotonic()
        for slot in tuple(self._slots):
            if stopping and not slot.ending:
                slot.say(Order.STOP)
            if slot.process is None:
                if not slot.ending and now_s >= slot.start_s:
                    self._start(slot, errand)
                continue
            if self._aborted is not None and now_s - self._aborted > ABORT_S:
                slot.process.kill()
            timeout_us = self._reader.options.timeout_us
            busy = any(state.state is WorkerStatus.BUSY for state in slot.report.states)
            if timeout_us is not None and busy and now_s - slot.heard_s > SILENT_S + timeout_us / 1e6:
                _log.error("queue %s: worker process %s is silent: killed", self.name, slot.process.pid)
                slot.process.kill()

    def _start(self, slot: _Slot, errand: Errand) -> None:
        ours, theirs = self._context.Pipe()
        task = msgspec.msgpack.encode(msgspec.structs.replace(errand, number=slot.number))
        process = self._context.Process(
            target=serve, args=(theirs, task), name=f"millstream-{self.name}-{slot.number}", daemon=True
        )
        process.start()
        # The child has its own: with ours closed, its end shows as the end of the pipe.
        theirs.close()
        slot.process, slot.pipe, slot.report = process, ours, Report()
        slot.begun_s = slot.heard_s = time.monotonic()

    def _waitables(self) -> list[Connection | int]:
        found: list[Connection | int] = []
        for slot in self._slots:
            if slot.process is not None and slot.pipe is not None:
                found += [slot.pipe, slot.process.sentinel]
        return found

    def _hear(self, until_empty: bool) -> None:
        for slot in tuple(self._slots):
            if slot.process is None or slot.pipe is None:
                continue
            ended = not slot.process.is_alive()
            try:
                while slot.pipe.poll():
                    slot.report = msgspec.msgpack.decode(slot.pipe.recv_bytes(), type=Report)
                    slot.heard_s = time.monotonic()
            except (EOFError, OSError):
                slot.process.join()
                ended = True
            if ended:
                self._ended(slot, until_empty)

    def _ended(self, slot: _Slot, until_empty: bool) -> None:
        """Count how a process ended, and say whether another takes its place."""
        process, report = slot.process, slot.report
        assert process is not None
        assert slot.pipe is not None
        process.join()
        slot.pipe.close()
        slot.process, slot.pipe = None, None
        slot.handled, slot.busy_us = slot.sums()
        slot.report = Report()
        now_s = time.monotonic()
        if report.over and report.error is None:
            self.recycled += report.recycled
            slot.ending = slot.ending or not report.recycled
            slot.start_s = now_s
        elif process.exitcode == EXIT_OVERRUN:
            _log.warning("queue %s: worker process %s overran its time and was replaced", self.name, process.pid)
            slot.start_s = now_s
        elif not slot.ending:
            self.crashes += 1
            # One that did something before it died is not one that dies at once again and again.
            if report.handled or now_s - slot.begun_s > HEALTHY_S:
                slot.delay_s = RESTART_S
            _log.error(
                "queue %s: worker process %s died (%s), started again in %.1f s",
                self.name,
                process.pid,
                report.error or _how(process.exitcode),
                slot.delay_s,
            )
            slot.start_s = now_s + slot.delay_s
            slot.delay_s = min(slot.delay_s * 2, RESTART_S_MAX)
        if slot.ending:
            with self._lock:
                if not until_empty and slot in self._slots:
                    self._forget(slot)

    def _forget(self, slot: _Slot) -> None:
        """Take a place away, and keep its sums: those of all places never go back."""
        handled, busy_us = slot.sums()
        self._gone = (self._gone[0] + handled, self._gone[1] + busy_us)
        self._slots.remove(slot)

    def _scale(self, scaler: Scaler, wanted: int) -> int:
        """Return how many processes there should be."""
        log = self._reader.topic.log
        try:
            info, heard = self._reader.info(), hear(log)
        except StorageError as error:
            _log.warning("queue %s: number of processes not looked at, trying again: %s", self.name, error)
            return wanted
        with self._lock:
            sums = [self._gone, *(slot.sums() for slot in self._slots)]
        load = Load(
            at_us=time.monotonic_ns() // 1000,
            workers=wanted,
            accepted=info.ledger.accepted,
            backlog=backlog(info, log.clock.now_us()),
            handled=sum(handled for handled, _ in sums),
            busy_us=sum(busy_us for _, busy_us in sums),
            processes=heard.sharing(info.topic, info.group),
        )
        decision = scaler.decide(load)
        if decision.workers != wanted:
            _log.info("queue %s: %d worker processes: %s", self.name, decision.workers, decision.reason)
        return decision.workers


def _how(code: int | None) -> str:
    return f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
