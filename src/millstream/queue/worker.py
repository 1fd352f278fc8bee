"""One worker: takes a run of records, hands them to the handler one by one, records the outcomes."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from millstream.engines.protocol import Append, Lease, Outcome, Settlement
from millstream.errors import LeaseLostError, UsageError
from millstream.log.batches import BadRecord
from millstream.queue.dead import Failure, Origin, dead_letter_append
from millstream.queue.events import QueueEventKind, WorkerState, WorkerStatus
from millstream.queue.retry import RetryDecision, decide
from millstream.records import Position, Record, time_from_us

if TYPE_CHECKING:
    from millstream.queue.crew import Crew

RUN_US: Final = 50_000
"""A worker leases as many records as it handles in this time: long enough that a lease's two transactions cost little,
short enough that a crash or a slow record holds few others up. Outcomes are recorded at least this often."""

RUN_RECORDS_MAX: Final = 512
"""Of handlers that take almost no time."""


class Item(msgspec.Struct, frozen=True):
    """A leased record; [start, end) are the offsets its outcome settles (it takes the gap before it along)."""

    lease: Lease
    record: Record[Any] | BadRecord
    start: int
    end: int

    @property
    def position(self) -> Position:
        record = self.record.record if isinstance(self.record, BadRecord) else self.record
        return record.position


class Ended(msgspec.Struct, frozen=True):
    """An item with its outcome, not yet settled."""

    item: Item
    outcome: Outcome
    kind: QueueEventKind
    due_us: int = 0
    failure: Failure | None = None


class Worker:
    """A thread of a crew. `lock` guards what the crew's keeper also touches: the items ahead and those ended."""

    def __init__(self, crew: Crew, name: str) -> None:
        self.name = name
        self.handled = 0
        self.lock = threading.Lock()
        self._crew = crew
        self._ahead: deque[Item] = deque()
        self._ended: list[Ended] = []
        self._current: Item | None = None
        self._started_us = 0
        self._settled_us = 0
        self._service_us = float(RUN_US)
        self._state = WorkerState(name=name, state=WorkerStatus.IDLE, since_us=crew.clock.now_us())

    @property
    def state(self) -> WorkerState:
        return self._state

    def work(self) -> None:
        """Handle records until the crew stops or, when it only handles what is there, nothing is left."""
        try:
            while leases := self._crew.fetch(self.name, self._run_size()):
                self._work_through(leases)
        finally:
            self._note(WorkerStatus.STOPPED)

    def held(self) -> list[Lease]:
        """Return the leases of records that are not settled."""
        with self.lock:
            items = [*self._ahead, *(ended.item for ended in self._ended)]
            if self._current is not None:
                items.append(self._current)
            return list({item.lease.lease_id: item.lease for item in items}.values())

    def release_ahead(self, *, busy_us: int) -> None:
        """Give unstarted records back when the current one takes longer than this; called by the keeper."""
        with self.lock:
            if self._current is None or self._crew.clock.monotonic_us() - self._started_us < busy_us:
                return
            ended = self._take_ended(released=True)
        self._settle(ended)

    # --- one run ----------------------------------------------------------------------------------------------------

    def _run_size(self) -> int:
        return max(1, min(RUN_RECORDS_MAX, int(RUN_US / max(self._service_us, 1.0))))

    def _work_through(self, leases: Sequence[Lease]) -> None:
        items = [item for lease in leases for item in self._crew.open(lease)]
        self._settled_us = self._crew.clock.monotonic_us()
        with self.lock:
            self._ahead.extend(items)
        while (item := self._next()) is not None:
            self._handle(item)
            with self.lock:
                # Outcomes are recorded lease by lease: a redelivered record has a lease of its own, and if the next
                # one kills this process, the engine must already know that the redelivered one was not to blame.
                same_lease = bool(self._ahead) and self._ahead[0].lease.lease_id == item.lease.lease_id
                if same_lease and self._crew.clock.monotonic_us() - self._settled_us < RUN_US:
                    continue
                ended = self._take_ended(released=False)
            self._settle(ended)
        with self.lock:
            ended = self._take_ended(released=True)
        self._settle(ended)
        self._note(WorkerStatus.IDLE)

    def _next(self) -> Item | None:
        with self.lock:
            if self._crew.stopping() or not self._ahead:
                return None
            self._current = self._ahead.popleft()
            self._started_us = self._crew.clock.monotonic_us()
            return self._current

    def _handle(self, item: Item) -> None:
        self.handled += 1
        self._note(WorkerStatus.BUSY, item)
        self._crew.emit(QueueEventKind.TAKEN, self.name, item)
        ended = self._outcome(item)
        took_us = self._crew.clock.monotonic_us() - self._started_us
        # Half of the weight on the last record: sizes follow a change of work within a few records.
        self._service_us = (self._service_us + took_us) / 2
        with self.lock:
            self._current = None
            self._ended.append(ended)

    def _outcome(self, item: Item) -> Ended:
        if isinstance(item.record, BadRecord):
            failure = Failure("millstream.errors.SchemaError", item.record.error, "")
            return Ended(item, Outcome.REJECT, QueueEventKind.DEAD, failure=failure)
        if item.lease.attempt > self._crew.retry.attempts:
            failure = Failure("WorkerDied", f"not finished in {item.lease.attempt - 1} deliveries", "")
            return Ended(item, Outcome.REJECT, QueueEventKind.DEAD, failure=failure)
        try:
            self._crew.call(item.record)
        except BaseException as error:  # noqa: BLE001 - nothing a handler raises, sys.exit() included, may end its worker
            return self._failed(item, error)
        return Ended(item, Outcome.ACK, QueueEventKind.DONE)

    def _failed(self, item: Item, error: BaseException) -> Ended:
        try:
            decision = self._decision(item, error)
        except UsageError as unusable:
            # RetryLater("soon"): the handler failed in failing; that is a failure like any other.
            error, decision = unusable, self._decision(item, unusable)
        failure = Failure.of(error)
        if decision.outcome is Outcome.REJECT:
            return Ended(item, Outcome.REJECT, QueueEventKind.DEAD, failure=failure)
        due_us = self._crew.clock.now_us() + decision.delay_us
        return Ended(item, Outcome.NACK, QueueEventKind.RETRY, due_us=due_us, failure=failure)

    def _decision(self, item: Item, error: BaseException) -> RetryDecision:
        return decide(self._crew.retry, attempt=item.lease.attempt, error=error, draw=self._crew.draw())

    # --- outcomes ---------------------------------------------------------------------------------------------------

    def _take_ended(self, *, released: bool) -> list[Ended]:
        """Take what can be settled out of the worker's hands; the caller holds the lock."""
        ended, self._ended = self._ended, []
        if released:
            ended += [Ended(item, Outcome.RELEASE, QueueEventKind.RELEASED) for item in self._ahead]
            self._ahead.clear()
        return ended

    def _settle(self, ended: Sequence[Ended]) -> None:
        by_lease: dict[int, list[Ended]] = {}
        for one in ended:
            by_lease.setdefault(one.item.lease.lease_id, []).append(one)
        self._settled_us = self._crew.clock.monotonic_us()
        for group in by_lease.values():
            try:
                self._crew.settle(_settlements(group), self._dead_letters(group))
            except LeaseLostError as error:
                self._crew.lost(self.name, group, error)
            else:
                for one in group:
                    self._crew.emit(one.kind, self.name, one.item, failure=one.failure, due_us=one.due_us or None)

    def _dead_letters(self, ended: Sequence[Ended]) -> list[Append]:
        appends: list[Append] = []
        for one in ended:
            if one.outcome is Outcome.REJECT and one.failure is not None:
                origin = Origin(
                    group=self._crew.name,
                    worker=self.name,
                    attempts=one.item.lease.attempt,
                    failed_at=time_from_us(self._crew.clock.now_us()),
                )
                appends += dead_letter_append(self._crew.dead_topic(), one.item.record, one.failure, origin)
        return appends

    def _note(self, state: WorkerStatus, item: Item | None = None) -> None:
        self._state = WorkerState(
            name=self.name,
            state=state,
            since_us=self._crew.clock.now_us(),
            position=item.position if item else None,
            attempt=item.lease.attempt if item else 0,
        )


def _settlements(ended: Sequence[Ended]) -> list[Settlement]:
    """Return outcomes of one lease as runs: neighbours that ended alike become one settlement."""
    runs: list[Settlement] = []
    for one in ended:
        item = one.item
        last = runs[-1] if runs else None
        if last and last.end == item.start and last.outcome is one.outcome and last.due_us == one.due_us:
            runs[-1] = msgspec.structs.replace(last, end=item.end)
        else:
            runs.append(Settlement(item.lease, item.start, item.end, one.outcome, one.due_us))
    return runs
