"""The workers of one run of a queue: who fetches, who keeps leases alive, how they stop."""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, Final

from millstream.clock import Clock
from millstream.durations import duration_us
from millstream.engines.fetching import Fetched
from millstream.engines.protocol import Lease, Outcome, Settlement, StateChange
from millstream.errors import LeaseLostError, RetryLater, StorageError, UsageError
from millstream.log.batches import BadRecord
from millstream.log.dead_letter import DeadLetter, Failure, Origin, dead_letter_append, dead_topic_name
from millstream.log.group import Group
from millstream.log.topic import Topic
from millstream.queue.async_team import AsyncTeam
from millstream.queue.autoscale import Scaling
from millstream.queue.cancelling import Cancelled
from millstream.queue.ended import WORKER_DIED, Ended
from millstream.queue.events import QueueEvent, QueueEventKind, WorkerState
from millstream.queue.failures import FailureLog
from millstream.queue.feed import Feed
from millstream.queue.handler import Handler
from millstream.queue.keeper import Keeper
from millstream.queue.memory import resident_bytes
from millstream.queue.opening import open_leases
from millstream.queue.options import Kind, QueueOptions
from millstream.queue.outcome import HandlerOutcome, OutcomeHook
from millstream.queue.part import Run
from millstream.queue.retry import Retry, decide
from millstream.queue.team import Team, ThreadTeam
from millstream.queue.unsettled import Unsettled
from millstream.queue.worker import Worker
from millstream.records import Position, Record, time_from_us

_log = logging.getLogger("millstream.queue")

SETTLE_DELAY_MAX: Final = 5.0
"""Seconds between tries to record outcomes while the disk is full; the leases are kept alive meanwhile."""


class Crew:
    """Workers that share one consumer group, and one keeper thread that renews their leases.

    A stop is soft: every worker finishes the record it is busy with, gives the unstarted ones back, and ends.
    """

    def __init__(
        self,
        group: Group[Any],
        handler: Handler,
        *,
        workers: int,
        retry: Retry,
        options: QueueOptions,
        lease: timedelta,
        hook: OutcomeHook | None,
        notify: Callable[[QueueEvent], None],
        observed: Callable[[], bool],
        stop: threading.Event,
        until_empty: bool = False,
        prefix: str | None = None,
        overrun: Callable[[], None] | None = None,
        scaling: Scaling | None = None,
    ) -> None:
        self.name = group.name
        self.prefix = prefix or group.name
        self.overrun = overrun
        self.scaling = scaling
        self.recycled = False
        """It stopped at a limit of `Recycle`."""
        self.group = group
        self.topic: Topic[Any] = group.topic
        self.handler = handler
        self.retry = retry
        self.options = options
        self.lease = lease
        self.hook = hook
        self.observed = observed
        self.until_empty = until_empty
        self.clock: Clock = group.topic.log.clock
        self.at_once = handler.batches or handler.is_async
        """A worker has several records in the handler at the same time."""
        self._notify = notify
        self._stop = stop
        self._aborted = threading.Event()
        self._random = random.Random()
        self._dead: Topic[DeadLetter] | None = None
        self._errors: list[BaseException] = []
        self._failures = FailureLog(group.name, group.topic.name, clock=self.clock)
        self.feed = Feed(group, options, lease=lease, stopping=self.stopping, until_empty=until_empty)
        kind = options.kind or (Kind.ASYNC if handler.is_async else Kind.THREADS)
        self.team: Team = AsyncTeam(self, workers) if handler.is_async else ThreadTeam(self, workers)
        if kind == Kind.ASYNC and not handler.is_async:
            raise UsageError(f'queue {self.name!r}: kind="async" needs an `async def` handler')

    def states(self) -> list[WorkerState]:
        return self.team.states()

    def run(self) -> int:
        """Work until stopped (or empty); return how many deliveries were handled.

        Raises:
            MillstreamError: The log could not be used; every worker has ended.
        """
        keeper = Keeper(self)
        self.team.start()
        keeper.start()
        # Order of a stop: workers end first and settle what they did while the keeper still renews their leases.
        self.team.join(self._aborted)
        keeper.stop()
        self.team.close()
        self._failures.close()
        if self._errors:
            raise self._errors[0]
        return self.team.handled

    def stopping(self) -> bool:
        """True when workers should end: told so, or one of them cannot use the log."""
        return self._stop.is_set() or bool(self._errors)

    def abort(self) -> None:
        """Stop hard: what is unfinished is given back, and `run` returns; handlers that go on do so for nothing."""
        self._stop.set()
        self.team.abort()
        self._aborted.set()

    def cancel(self, position: Position, error: BaseException) -> bool:
        """Take a record from its handler, if one has it; that counts as given up on."""
        return self.team.take_over(lambda record: record.position == position, error)

    # --- what workers use -------------------------------------------------------------------------------------------

    def next_run(self, worker: Worker, records_max: int, behind: Unsettled | None) -> Run | None:
        """Return records for a worker, waiting for some; None: it is to end, and to record what is behind it."""
        batching = self.options.batching
        wanted = batching.records if batching is not None and self.handler.batches else records_max
        if self._at_limit():
            self.recycled = True
            self._stop.set()
            return None
        recycle = self.options.recycle
        if recycle is not None and recycle.jobs is not None and self.prefix != self.name:
            wanted = max(1, min(wanted, recycle.jobs - self.team.handled))
        fetched = self.feed.next(worker.name, wanted, ended=lambda: worker.unwanted, behind=behind)
        if fetched is None:
            return None
        if batching is not None and self.handler.batches:
            until_us = self.clock.monotonic_us() + duration_us(batching.wait)
            while (left := wanted - fetched.count) > 0 and batching.wait:
                # Those held while waiting are renewed by the keeper: it has to know them.
                worker.hold(fetched.leases)
                more = self.feed.more(worker.name, left, until_us=until_us)
                if more is None:
                    break
                fetched = fetched.and_more(more)
        return self.open(fetched, worker.name)

    def _at_limit(self) -> bool:
        """True when this process has done its share; `Recycle` is for workers of their own process only."""
        recycle = self.options.recycle
        if recycle is None or self.prefix == self.name:
            return False
        full = recycle.jobs is not None and self.team.handled >= recycle.jobs
        return full or (recycle.bytes is not None and resident_bytes() > recycle.bytes)

    def open(self, fetched: Fetched, worker: str) -> Run:
        return open_leases(self, fetched, worker)

    def settles_with_next(self) -> bool:
        """Whether plain outcomes of a run are recorded by the fetch that comes at once after it."""
        return self.feed.sorter is None and self.hook is None and not self.at_once and not self.observed()

    def guarded(self, work: Callable[[], None]) -> None:
        """Run a thread of the crew; its error stops the others and is raised by `run`."""
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - kept and raised by `run`, in the thread that can decide
            self._errors.append(error)

    # --- outcomes ---------------------------------------------------------------------------------------------------

    def failed(
        self, lease: Lease, start: int, end: int, record: Record[Any], error: BaseException, worker: str
    ) -> Ended:
        """Return what a record's failure means: another try, or the dead letters."""
        try:
            decision = decide(self.retry, attempt=lease.attempt, error=error, draw=self._random.random())
        except UsageError as unusable:
            # RetryLater("soon"): the handler failed in failing; that is a failure like any other.
            error = unusable
            decision = decide(self.retry, attempt=lease.attempt, error=error, draw=self._random.random())
        cancelled = isinstance(error, Cancelled)
        failure = Failure(Cancelled.__name__, str(error), "") if cancelled else Failure.of(error)
        if decision.outcome is Outcome.REJECT:
            return self.dead(Settlement(lease, start, end, Outcome.REJECT), record, failure, worker)
        if not isinstance(error, RetryLater):  # which is no failure, but a plan of the handler
            self._failures.again(record.position, failure, attempt=lease.attempt, delay_us=decision.delay_us)
        due_us = self.clock.now_us() + decision.delay_us
        settlement = Settlement(lease, start, end, Outcome.NACK, due_us)
        outcome = HandlerOutcome(QueueEventKind.RETRY, failure=failure, attempt=lease.attempt, due_us=due_us)
        return Ended(settlement, [record], failure, state=self._kept(record, outcome))

    def dead(self, settlement: Settlement, record: Record[Any] | BadRecord, failure: Failure, worker: str) -> Ended:
        """Return what giving up on a record means."""
        attempt = settlement.lease.attempt
        if failure.error_type == WORKER_DIED:
            attempt -= 1  # this one does not reach the handler
        origin = Origin(group=self.name, worker=worker, attempts=attempt, failed_at=time_from_us(self.clock.now_us()))
        appends = dead_letter_append(self._dead_topic(), record, failure, origin)
        place = (record.record if isinstance(record, BadRecord) else record).position
        if failure.error_type != Cancelled.__name__:
            self._failures.given_up(place, failure, attempts=attempt)
        state: Sequence[StateChange] = ()
        if not isinstance(record, BadRecord):
            state = self._kept(record, HandlerOutcome(QueueEventKind.DEAD, failure=failure, attempt=attempt))
        return Ended(settlement, [record], failure, appends, state)

    def settle(self, ended: Sequence[Ended], worker: str) -> None:
        """Record outcomes; those whose lease was lost are told and left out.

        Raises:
            StorageError: The log cannot be written.
        """
        try:
            self._store(ended)
        except LeaseLostError as error:
            if len(ended) > 1:
                for one in ended:
                    self.settle([one], worker)
                return
            _log.warning("queue %s, worker %s: an outcome came too late: %s", self.name, worker, error)
            for record in ended[0].records:
                self.emit(QueueEventKind.LOST, worker, record, ended[0].settlement.lease.attempt)
            return
        if not self.observed():
            return
        for one in ended:
            for record in one.records:
                self.emit(
                    one.kind,
                    worker,
                    record,
                    one.settlement.lease.attempt,
                    failure=one.failure,
                    due_us=one.settlement.due_us or None,
                )

    def emit(
        self,
        kind: QueueEventKind,
        worker: str,
        record: Record[Any] | BadRecord,
        attempt: int,
        *,
        failure: Failure | None = None,
        due_us: int | None = None,
    ) -> None:
        self._notify(
            QueueEvent(
                kind=kind,
                queue=self.name,
                worker=worker,
                position=(record.record if isinstance(record, BadRecord) else record).position,
                attempt=attempt,
                time_us=self.clock.now_us(),
                error=str(failure) if failure else None,
                due_us=due_us,
            )
        )

    def _store(self, ended: Sequence[Ended]) -> None:
        """Tries again while the log says that trying again helps, as the work is done."""
        delay = 0.1
        while True:
            last = self.stopping()
            try:
                self.group.settle(
                    [one.settlement for one in ended],
                    appends=[append for one in ended for append in one.appends],
                    state=[change for one in ended for change in one.state],
                )
                return
            except StorageError as error:
                if last or not error.retryable:
                    raise
                _log.warning("queue %s: outcomes not recorded, trying again in %.1f s: %s", self.name, delay, error)
            self._stop.wait(delay)
            delay = min(delay * 2, SETTLE_DELAY_MAX)

    def _kept(self, record: Record[Any], outcome: HandlerOutcome) -> Sequence[StateChange]:
        """Return what the hook stores with a failure; its own must not hide it."""
        if self.hook is None:
            return ()
        try:
            return self.hook(record, outcome)
        except Exception:  # noqa: BLE001 - code of others; the failure itself has to be recorded
            _log.exception("queue %s: the outcome of %s was not kept", self.name, record.position)
            return ()

    def _dead_topic(self) -> Topic[DeadLetter]:
        """Return the topic of the dead letters, made with the first of them."""
        if self._dead is None:
            self._dead = self.topic.log.topic(dead_topic_name(self.topic.name), DeadLetter)
        return self._dead
