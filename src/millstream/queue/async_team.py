"""The `async def` handlers of a crew, on one event loop."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from millstream.engines.fetching import Fetched
from millstream.engines.protocol import Lease, Outcome, Settlement, StateChange
from millstream.queue.ended import Ended
from millstream.queue.event_loop import EventLoop
from millstream.queue.events import QueueEventKind, WorkerState, WorkerStatus
from millstream.queue.handler import DELIVERING, Delivery
from millstream.queue.outcome import HandlerOutcome
from millstream.queue.part import Part, Run
from millstream.records import Record

if TYPE_CHECKING:
    from millstream.queue.crew import Crew
    from millstream.queue.team import Chosen

TURN_S: Final = 0.2
"""A stop is noticed within this time."""


class Flight:
    """Records in the handler: one, or the batch of one call."""

    def __init__(self, parts: Sequence[Part], slot: Slot, run: _Counted) -> None:
        self.parts = parts
        self.slot = slot
        self.run = run
        self.records: list[Record[Any]] = [record for part in parts for record in part.ahead]
        self.task: Any = None
        self.over = False
        """Its outcome is decided; by whoever sets this under the team's lock."""
        self.value: Any = None
        self.error: BaseException | None = None
        self.started_us = 0

    def delivery(self) -> Delivery:
        return Delivery(self.records[0], self.parts[0].lease.attempt, self.slot.name)


class Slot:
    """One of the places of records that are handled at the same time."""

    def __init__(self, name: str, since_us: int) -> None:
        self.name = name
        self.flight: Flight | None = None
        self.handled = 0
        self.failed = 0
        self.busy_us = 0
        self.last_us = 0
        self.since_us = since_us


class _Counted:
    """A run, and how many of its flights are not settled."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.left = 0


class AsyncTeam:
    """One thread fetches, the loop's handles, one settles what has ended: as much of it at once as there is."""

    def __init__(self, crew: Crew, workers: int) -> None:
        self._crew = crew
        self._loop = EventLoop(f"{crew.name}-loop")
        self._changed = threading.Condition()
        self._slots: list[Slot] = []
        self._numbers = 0
        self._wanted = workers
        self._ended: deque[Flight] = deque()
        self._fetching = True
        self._gone_handled = 0
        self.gone_busy_us = 0
        self._threads = [
            threading.Thread(target=crew.guarded, args=(work,), name=f"{crew.name}-{name}", daemon=True)
            for name, work in (("fetch", self._fetch), ("settle", self._settle))
        ]

    @property
    def handled(self) -> int:
        return self._gone_handled + sum(slot.handled for slot in self._slots)

    def start(self) -> None:
        self.resize(self._wanted)
        for thread in self._threads:
            thread.start()

    def resize(self, workers: int) -> None:
        with self._changed:
            self._wanted = workers
            for slot in [slot for slot in self._slots if slot.flight is None][: max(0, len(self._slots) - workers)]:
                self._slots.remove(slot)
                self._gone_handled += slot.handled
                self.gone_busy_us += slot.busy_us
            while len(self._slots) < workers:
                self._numbers += 1
                self._slots.append(Slot(f"{self._crew.prefix}-{self._numbers}", self._crew.clock.now_us()))
            self._changed.notify_all()

    def join(self, aborted: threading.Event) -> None:
        while any(thread.is_alive() for thread in self._threads) and not aborted.is_set():
            for thread in self._threads:
                thread.join(TURN_S)

    def close(self) -> None:
        self._loop.close()

    def states(self) -> list[WorkerState]:
        with self._changed:
            stopped = not self._fetching
            return [self._state(slot, stopped) for slot in self._slots]

    def held(self) -> list[Lease]:
        with self._changed:
            flights = [*(slot.flight for slot in self._slots if slot.flight is not None), *self._ended]
            return list({part.lease.lease_id: part.lease for flight in flights for part in flight.parts}.values())

    def release_ahead(self, *, busy_us: int) -> None:
        """Nothing is ahead: everything fetched is begun at once."""

    def running(self) -> list[tuple[Record[Any], int]]:
        now_us = self._crew.clock.monotonic_us()
        with self._changed:
            flights = [slot.flight for slot in self._slots if slot.flight is not None]
            return [
                (record, now_us - flight.started_us)
                for flight in flights
                if not flight.over and flight.started_us
                for record in flight.records[:1]
            ]

    def take_over(self, chosen: Chosen, error: BaseException | None) -> bool:
        with self._changed:
            flights = [slot.flight for slot in self._slots if slot.flight is not None]
            flights = [flight for flight in flights if not flight.over and any(map(chosen, flight.records))]
            for flight in flights:
                self._end(flight, None, _GIVEN_BACK if error is None else error)
        for flight in flights:
            if flight.task is not None:
                self._loop.call(flight.task.cancel)
        return bool(flights)

    def abort(self) -> None:
        self.take_over(lambda record: True, None)
        for thread in self._threads:
            thread.join(TURN_S * 10)

    # --- fetching ---------------------------------------------------------------------------------------------------

    def _fetch(self) -> None:
        crew = self._crew
        try:
            while not crew.stopping():
                free = self._free_slots()
                if not free:
                    continue
                fetched = self._fetched(len(free))
                if fetched is not None:
                    self._begin(crew.open(fetched, crew.prefix), free)
                elif not self._wait_for_some_to_end():
                    return
        finally:
            with self._changed:
                self._fetching = False
                self._changed.notify_all()

    def _fetched(self, free: int) -> Fetched | None:
        crew, batching = self._crew, self._crew.options.batching
        if batching is None or not crew.handler.batches:
            return crew.feed.next(crew.prefix, free)
        fetched = crew.feed.next(crew.prefix, batching.records)
        until_us = crew.clock.monotonic_us() + round(batching.wait.total_seconds() * 1e6)
        while fetched is not None and batching.wait:
            left = batching.records - fetched.count
            more = crew.feed.more(crew.prefix, left, until_us=until_us) if left > 0 else None
            if more is None:
                break
            fetched = fetched.and_more(more)
        return fetched

    def _free_slots(self) -> list[Slot]:
        with self._changed:
            free = [slot for slot in self._slots if slot.flight is None]
            if not free:
                self._changed.wait(TURN_S)
            return free

    def _wait_for_some_to_end(self) -> bool:
        """Return False when nothing is in the air: what is there has been handled."""
        with self._changed:
            busy = [slot for slot in self._slots if slot.flight is not None]
            if busy and not self._crew.stopping():
                self._changed.wait(TURN_S)
            return bool(busy)

    def _begin(self, run: Run, free: list[Slot]) -> None:
        crew = self._crew
        counted = _Counted(run)
        units = self._units(run)
        counted.left = len(units)
        if not units:
            run.close()
        waiting = deque(units)
        # More calls than places: single records of a batch that failed. They follow one another.
        while waiting:
            while not free:
                free = self._free_slots()
            slot = free.pop(0)
            parts = waiting.popleft()
            flight = Flight(parts, slot, counted)
            with self._changed:
                slot.flight = flight
            if crew.observed():
                for part in parts:
                    for record in part.ahead:
                        crew.emit(QueueEventKind.TAKEN, slot.name, record, part.lease.attempt)
            self._loop.call(self._launch, flight)

    def _units(self, run: Run) -> list[list[Part]]:
        """Return what goes into one call each."""
        singles = [single for part in run.parts for single in _singles(part)]
        if not self._crew.handler.batches:
            return [[single] for single in singles]
        first = [single for single in singles if single.lease.attempt == 1]
        return [*([first] if first else []), *([single] for single in singles if single.lease.attempt > 1)]

    # --- on the loop ------------------------------------------------------------------------------------------------

    def _launch(self, flight: Flight) -> None:
        import asyncio

        flight.task = asyncio.get_running_loop().create_task(self._handle(flight))

    async def _handle(self, flight: Flight) -> None:
        crew = self._crew
        DELIVERING.set(flight)
        flight.started_us = crew.clock.monotonic_us() or 1
        value, failure = None, None
        try:
            if crew.handler.batches:
                value = await crew.handler.call_batch(crew.topic, flight.records)
            else:
                value = await crew.handler.call(flight.records[0])
        except BaseException as error:  # noqa: BLE001 - nothing that a handler raises may end the loop
            failure = error
        with self._changed:
            if not flight.over:
                self._end(flight, value, failure)

    def _end(self, flight: Flight, value: Any, error: BaseException | None) -> None:
        """Decide an outcome; the caller holds the lock."""
        flight.over = True
        flight.value, flight.error = value, error
        slot = flight.slot
        took_us = self._crew.clock.monotonic_us() - flight.started_us if flight.started_us else 0
        slot.busy_us += took_us
        slot.last_us = took_us // len(flight.records)
        if error is not _GIVEN_BACK:
            slot.handled += len(flight.records)
            slot.failed += len(flight.records) if error is not None else 0
        self._ended.append(flight)
        self._changed.notify_all()

    # --- settling ---------------------------------------------------------------------------------------------------

    def _settle(self) -> None:
        while True:
            with self._changed:
                while not self._ended:
                    if not self._fetching and not any(slot.flight is not None for slot in self._slots):
                        return
                    self._changed.wait(TURN_S)
                flights = list(self._ended)
            self._crew.settle([ended for flight in flights for ended in self._outcomes(flight)], self._crew.prefix)
            with self._changed:
                for flight in flights:
                    self._ended.remove(flight)
                    self._free(flight)
                self._changed.notify_all()

    def _free(self, flight: Flight) -> None:
        flight.slot.flight = None
        flight.slot.since_us = self._crew.clock.now_us()
        flight.run.left -= 1
        if not flight.run.left:
            flight.run.run.close()
        if len(self._slots) > self._wanted:
            self._slots.remove(flight.slot)
            self._gone_handled += flight.slot.handled
            self.gone_busy_us += flight.slot.busy_us

    def _outcomes(self, flight: Flight) -> list[Ended]:
        return [self._outcome(flight, part, record) for part, record in zip(flight.parts, flight.records, strict=True)]

    def _outcome(self, flight: Flight, part: Part, record: Record[Any]) -> Ended:
        crew, lease, error = self._crew, part.lease, flight.error
        if error is _GIVEN_BACK:
            return Ended(Settlement(lease, part.start, part.end, Outcome.RELEASE), [record])
        changes: Sequence[StateChange] = ()
        if error is None and crew.hook is not None:
            try:
                changes = crew.hook(record, HandlerOutcome(QueueEventKind.DONE, flight.value, attempt=lease.attempt))
            except Exception as raised:  # noqa: BLE001 - as if the handler had raised it
                error = raised
        if error is not None:
            return crew.failed(lease, part.start, part.end, record, error, flight.slot.name)
        return Ended(Settlement(lease, part.start, part.end, Outcome.ACK), [record], state=changes)

    def _state(self, slot: Slot, stopped: bool) -> WorkerState:
        flight = slot.flight
        if flight is None:
            status = WorkerStatus.STOPPED if stopped else WorkerStatus.IDLE
            return WorkerState(
                slot.name, status, slot.since_us, None, 0, slot.handled, slot.failed, slot.busy_us, slot.last_us
            )
        running_us = self._crew.clock.monotonic_us() - flight.started_us if flight.started_us else 0
        return WorkerState(
            name=slot.name,
            state=WorkerStatus.BUSY,
            since_us=self._crew.clock.now_us() - running_us,
            position=flight.records[0].position,
            attempt=flight.parts[0].lease.attempt,
            handled=slot.handled,
            failed=slot.failed,
            busy_us=slot.busy_us,
            last_us=slot.last_us,
        )


_GIVEN_BACK: Final = RuntimeError("given back")
"""Stands for the outcome of what a hard stop takes away."""


def _singles(part: Part) -> list[Part]:
    """Return a part as parts of one record each."""
    records = list(part.ahead)
    if part.down:
        records.reverse()
    singles = []
    for at, record in enumerate(records):
        start = part.start if at == 0 else record.offset
        end = part.end if at == len(records) - 1 else records[at + 1].offset
        singles.append(Part(part.lease, start, end, [record], key=part.key))
    return singles[::-1] if part.down else singles
