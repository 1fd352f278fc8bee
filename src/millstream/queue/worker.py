"""One worker thread: takes a run of records, hands them to the handler one by one, records the outcomes."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from millstream.engines.handing import PASSED
from millstream.engines.protocol import Lease, Outcome, Settlement, StateChange
from millstream.queue.ended import Ended
from millstream.queue.events import QueueEventKind, WorkerState, WorkerStatus
from millstream.queue.handler import DELIVERING, Delivery
from millstream.queue.outcome import HandlerOutcome
from millstream.queue.part import Part, Run
from millstream.queue.unsettled import Unsettled
from millstream.records import Record

if TYPE_CHECKING:
    from millstream.queue.crew import Crew

RUN_US: Final = 50_000
"""A worker leases as many records as it handles in this time: long enough that a lease's two transactions cost little,
short enough that a slow record holds few others up. Outcomes are recorded at least this often."""

RUN_RECORDS_MAX: Final = 16_384
"""Of handlers that take almost no time."""

KEEP_US: Final = 1_000
"""With results to be stored, outcomes are recorded after each record that takes longer than this: a result should not
wait for the others of its run."""


class Worker:
    """A thread of a crew, and another one in its place after a handler that overran.

    Whoever takes the record out of `_running` decides its outcome: this thread when the handler is done, or the keeper,
    when it took too long or was cancelled. The thread that lost its record ends, whatever its handler returns.
    """

    def __init__(self, crew: Crew, name: str) -> None:
        self.name = name
        self.lock = threading.Lock()
        """Held by the keeper while it takes what is ahead, and by the worker when it comes to the end of a part."""
        self.thread: threading.Thread | None = None
        self.unwanted = False
        """It ends when it has done what it holds: there are too many workers."""
        self._crew = crew
        self._waiting: tuple[Lease, ...] = ()
        self._behind: Unsettled | None = None
        self._run: Run | None = None
        self._part: Part | None = None
        self._running: deque[Record[Any]] = deque()
        self._finished: list[Part] = []
        self._told: list[Record[Any]] = []
        self._state_changes: list[StateChange] = []
        self._started_us = 0
        self._settled_us = 0
        self._service_us = float(RUN_US)
        self._handled = 0
        self._failed = 0
        self._busy_us = 0
        self._last_us = 0
        self._status = WorkerStatus.IDLE
        self._since_us = crew.clock.now_us()

    @property
    def state(self) -> WorkerState:
        """What it does right now, put together when somebody asks."""
        record, part = next(iter(tuple(self._running)), None), self._part
        busy = record is not None and part is not None
        now_us = self._crew.clock.now_us()
        running_us = max(0, self._crew.clock.monotonic_us() - self._started_us) if busy else 0
        return WorkerState(
            name=self.name,
            state=WorkerStatus.BUSY if busy else self._status,
            since_us=now_us - running_us if busy else self._since_us,
            position=record.position if record is not None and busy else None,
            attempt=part.lease.attempt if part is not None and busy else 0,
            handled=self._handled,
            failed=self._failed,
            busy_us=self._busy_us,
            last_us=self._last_us,
        )

    @property
    def handled(self) -> int:
        return self._handled

    def delivery(self) -> Delivery | None:
        record, part = next(iter(tuple(self._running)), None), self._part
        return Delivery(record, part.lease.attempt, self.name) if record is not None and part is not None else None

    def work(self) -> None:
        """Handle records until the crew stops or, when it only handles what is there, nothing is left."""
        DELIVERING.set(self)
        self._note(WorkerStatus.IDLE)
        lost = False
        try:
            while not self.unwanted and (run := self._next_run()) is not None:
                lost = not self._work_through(run)
                if lost:
                    return
            self._settle_behind()
        finally:
            if not lost:
                self._note(WorkerStatus.STOPPED)

    def _next_run(self) -> Run | None:
        run = self._crew.next_run(self, self._run_size(), self._behind)
        if run is not None:
            self._behind = None
        return run

    def _settle_behind(self) -> None:
        behind, self._behind = self._behind, None
        if behind is not None:
            behind.settle()

    def hold(self, leases: Sequence[Lease]) -> None:
        """Have leases renewed that were fetched and are not opened yet."""
        self._waiting = tuple(leases)

    # --- seen by the keeper -----------------------------------------------------------------------------------------

    def held(self) -> list[Lease]:
        """Return the leases of records that are not settled."""
        with self.lock:
            run, part = self._run, self._part
            parts = [*(run.parts if run is not None else ()), *self._finished, *([part] if part is not None else [])]
            behind = self._behind.leases if self._behind is not None else []
            leases = [*behind, *self._waiting, *(part.lease for part in parts)]
            return list({lease.lease_id: lease for lease in leases}.values())

    def running(self) -> tuple[Record[Any], Part, int] | None:
        """Return the record that the handler is at, its part, and for how long (us)."""
        record, part = next(iter(tuple(self._running)), None), self._part
        if record is None or part is None:
            return None
        return record, part, self._crew.clock.monotonic_us() - self._started_us

    def release_ahead(self) -> None:
        """Give unstarted records back; called by the keeper when the current one takes long."""
        with self.lock:
            ended = self._give_up_ahead(running=True)
        self._settle(ended)

    def take_over(self, record: Record[Any], error: BaseException | None) -> bool:
        """Take the running record away from its handler; False: that has just ended.

        Settles everything that the worker holds; the caller starts another thread.

        Args:
            error: Counts as the handler's; None gives the record back as if it had not been begun.
        """
        try:
            claimed = self._running.pop()
        except IndexError:
            return False
        if claimed is not record:
            # It went on to another one between the caller's look and now: that one is not meant.
            self._running.append(claimed)
            return False
        # The thread that had it keeps the old one, finds it empty, and ends.
        self._running = deque()
        part = self._part
        assert part is not None
        with self.lock:
            ended = self._give_up_ahead(running=True)
        acks = self._acks()
        start, end = part.taken(record)
        if error is None:
            mine = Ended(Settlement(part.lease, start, end, Outcome.RELEASE), [record])
        else:
            self._failed += 1
            mine = self._crew.failed(part.lease, start, end, record, error, self.name)
        self._settle([*acks, mine, *ended])
        self._end_run()
        return True

    # --- one run ----------------------------------------------------------------------------------------------------

    def _run_size(self) -> int:
        return max(1, min(RUN_RECORDS_MAX, int(RUN_US / max(self._service_us, 0.5))))

    def _work_through(self, run: Run) -> bool:
        """Handle a run; False: the keeper took the record away, and with it everything else."""
        clock = self._crew.clock
        with self.lock:
            self._run, self._waiting = run, ()
        handled, busy_us = self._handled, self._busy_us
        self._settled_us = clock.monotonic_us()
        blocked: set[bytes] = set()
        while (part := self._next_part()) is not None:
            if part.key and part.key in blocked:
                # One before it of its key has to be tried again first.
                given, settlement = part.give_up_ahead(running=False)
                if settlement is not None:
                    self._settle([Ended(settlement, given)])
                continue
            outcome = self._work_batch(part) if self._crew.handler.batches else self._work_part(part)
            if outcome is None:
                return False
            if not outcome:
                blocked.add(part.key)
        with self.lock:
            released = self._give_up_ahead(running=False)
        acks = self._acks()
        if acks and not released and self._crew.settles_with_next():
            self._behind = Unsettled(acks, self._leave_run(), self._settle)
        else:
            self._settle([*acks, *released])
            self._end_run()
        count = self._handled - handled
        if count:
            # Half of the weight on the last run: sizes follow a change of work within a few runs.
            self._service_us = (self._service_us + (self._busy_us - busy_us) / count) / 2
        self._note(WorkerStatus.IDLE)
        return True

    def _next_part(self) -> Part | None:
        with self.lock:
            self._part = None
            if self._run is None or self._crew.stopping() or not self._run.parts:
                return None
            self._part = self._run.parts.popleft()
            return self._part

    def _end_run(self) -> None:
        run = self._leave_run()
        if run is not None:
            run.close()

    def _leave_run(self) -> Run | None:
        with self.lock:
            run, self._run, self._part = self._run, None, None
            self._finished.clear()
        return run

    def _work_part(self, part: Part) -> bool | None:
        """Handle the records of a part.

        Returns:
            Whether all went well; None: the keeper took the record away.
        """
        # The loop that every record passes: names are bound once, and nothing is made that nobody asked for.
        crew, running, cell = self._crew, self._running, part.cell
        clock_us, call, stopping, take = crew.clock.monotonic_us, crew.handler.call, crew.stopping, part.ahead.popleft
        observed, hook, well = crew.observed(), crew.hook, True
        flags, place = part.flags, part.place
        ended_us = clock_us()
        at: int | None = None
        while not stopping():
            try:
                record = take()
            except IndexError:
                break
            # As `stage` says.
            cell[0] = at = (record.offset if place is None else place) << 3 | flags
            self._started_us = started_us = ended_us
            running.append(record)
            if observed:
                crew.emit(QueueEventKind.TAKEN, self.name, record, part.lease.attempt)
            changes: Sequence[StateChange] = ()
            failure: BaseException | None = None
            try:
                value = call(record)
                if hook is not None:
                    changes = hook(record, HandlerOutcome(QueueEventKind.DONE, value, attempt=part.lease.attempt))
            except BaseException as error:  # noqa: BLE001 - nothing a handler raises, sys.exit() included, may end its worker
                failure = error
            try:
                running.pop()
            except IndexError:
                return None
            ended_us = clock_us()
            self._last_us = took_us = ended_us - started_us
            self._busy_us += took_us
            self._handled += 1
            if failure is not None:
                well = self._settle_failure(part, record, failure) and well
                ended_us = clock_us()
                continue
            part.passed(record)
            if observed:
                self._told.append(record)
            if hook is not None:
                self._state_changes += changes
            if ended_us - self._settled_us >= RUN_US or (changes and ended_us - started_us >= KEEP_US):
                self._settle(self._acks())
                ended_us = clock_us()
        if at is not None:
            # The worker goes on to another lease: should it die there, the last record of this one is no suspect.
            cell[0] = at | PASSED
        with self.lock:
            if not part.ahead:
                part.finish()
            elif self._run is not None:
                self._run.parts.appendleft(part)
            self._finished.append(part)
        return well

    def _settle_failure(self, part: Part, record: Record[Any], error: BaseException) -> bool:
        """Record a failure at once: behind a tally, what is not settled was a success. True: the key can go on."""
        self._failed += 1
        acks = self._acks()
        failed = self._crew.failed(part.lease, *part.taken(record), record, error, self.name)
        self._settle([*acks, failed])
        return failed.settlement.outcome is Outcome.REJECT

    def _work_batch(self, part: Part) -> bool | None:
        """Handle all records of a part, and of those after it that may go with it, in one call."""
        crew = self._crew
        parts = [part, *self._more_of_batch(part)]
        records = [record for one in parts for record in one.ahead]
        for one in parts:
            one.ahead.clear()
        if not records:
            return True
        running = self._running
        self._started_us = started_us = crew.clock.monotonic_us()
        running.append(records[0])
        if crew.observed():
            for one, record in ((one, record) for one in parts for record in records if _within(one, record)):
                crew.emit(QueueEventKind.TAKEN, self.name, record, one.lease.attempt)
        failure: BaseException | None = None
        try:
            crew.handler.call_batch(crew.topic, records)
        except BaseException as error:  # noqa: BLE001 - as for single records
            failure = error
        try:
            running.pop()
        except IndexError:
            return None
        ended_us = crew.clock.monotonic_us()
        self._last_us = (ended_us - started_us) // len(records)
        self._busy_us += ended_us - started_us
        self._handled += len(records)
        ended: list[Ended] = []
        for one in parts:
            mine = [record for record in records if _within(one, record)]
            if failure is None:
                ended.append(Ended(Settlement(one.lease, one.start, one.end, Outcome.ACK), mine))
            else:
                self._failed += len(mine)
                ended += [
                    crew.failed(one.lease, *_offsets(one, mine, at), record, failure, self.name)
                    for at, record in enumerate(mine)
                ]
        self._settle(ended)
        return failure is None

    def _more_of_batch(self, part: Part) -> list[Part]:
        """Take the other parts of the run that go into one call: all first attempts.

        After a failure each record comes alone, so that one bad record spoils a batch once and no more.
        """
        if part.lease.attempt > 1:
            return []
        more: list[Part] = []
        with self.lock:
            while self._run is not None and self._run.parts and self._run.parts[0].lease.attempt == 1:
                more.append(self._run.parts.popleft())
        return more

    # --- outcomes ---------------------------------------------------------------------------------------------------

    def _acks(self) -> list[Ended]:
        """Return what was handled since the last time."""
        parts = [*self._finished, *([self._part] if self._part is not None else [])]
        ranges = [(part, part.acknowledged()) for part in parts]
        told, self._told = self._told, []
        changes, self._state_changes = self._state_changes, []
        with self.lock:
            self._finished.clear()
        found = [(part, handled) for part, handled in ranges if handled is not None]
        return [
            Ended(
                Settlement(part.lease, *handled, Outcome.ACK),
                [record for record in told if record.partition == part.lease.partition and _in(handled, record)],
                state=changes if at == len(found) - 1 else (),
            )
            for at, (part, handled) in enumerate(found)
        ]

    def _give_up_ahead(self, *, running: bool) -> list[Ended]:
        """Take what was not begun out of the worker's hands; the caller holds the lock."""
        parts = [self._part] if self._part is not None else []
        if self._run is not None:
            parts += self._run.parts
            self._run.parts.clear()
        ended = []
        for part in parts:
            given, settlement = part.give_up_ahead(running=running and part is self._part)
            if settlement is not None:
                ended.append(Ended(settlement, given))
        return ended

    def _settle(self, ended: Sequence[Ended]) -> None:
        if ended:
            self._settled_us = self._crew.clock.monotonic_us()
            self._crew.settle(ended, self.name)

    def _note(self, status: WorkerStatus) -> None:
        self._status = status
        self._since_us = self._crew.clock.now_us()


def _in(handled: tuple[int, int], record: Record[Any]) -> bool:
    return handled[0] <= record.offset < handled[1]


def _within(part: Part, record: Record[Any]) -> bool:
    return record.partition == part.lease.partition and part.start <= record.offset < part.end


def _offsets(part: Part, records: Sequence[Record[Any]], at: int) -> tuple[int, int]:
    """Return the offsets that go with one of a part's records: those from it to the next."""
    ordered = sorted(record.offset for record in records)
    place = ordered.index(records[at].offset)
    start = part.start if place == 0 else ordered[place]
    return start, ordered[place + 1] if place + 1 < len(ordered) else part.end
