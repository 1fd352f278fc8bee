"""The workers of one run of a queue: who fetches, who keeps leases alive, how they stop."""

from __future__ import annotations

import contextlib
import itertools
import logging
import random
import threading
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, Final

from millstream.clock import Clock
from millstream.engines.protocol import Append, Lease, Outcome, Settlement
from millstream.errors import LeaseLostError, StorageError
from millstream.log.group import Group
from millstream.log.topic import Topic
from millstream.queue.dead import DeadLetter, Failure, dead_topic_name
from millstream.queue.events import QueueEvent, QueueEventKind, WorkerState
from millstream.queue.handler import EventLoop, Handler
from millstream.queue.retry import Retry
from millstream.queue.worker import Ended, Item, Worker
from millstream.records import Record

_log = logging.getLogger("millstream.queue")

LOOK_US: Final = 1_000_000
"""An idle crew looks for work this often even if nothing wakes it: a record that was given back between a look and the
wait for news would otherwise stay there."""

LOOK_US_MIN: Final = 10_000
"""And not more often than this, whatever is due: another worker may be about to take it."""

STOP_US: Final = 200_000
"""An idle crew notices within this time that it should stop."""

BUSY_US: Final = 250_000
"""A record that takes longer than this no longer holds up the ones leased with it."""

SETTLE_DELAY_MAX: Final = 5.0
"""Seconds between tries to record outcomes while the disk is full; the leases are kept alive meanwhile."""


class Crew:
    """Worker threads that share one consumer group, and one keeper thread that renews their leases.

    A stop is soft: every worker finishes the record it is busy with, gives the unstarted ones back, and ends.
    """

    def __init__(
        self,
        group: Group[Any],
        handler: Handler,
        *,
        workers: int,
        retry: Retry,
        lease: timedelta,
        observe: Callable[[QueueEvent], None],
        stop: threading.Event,
        until_empty: bool = False,
    ) -> None:
        self.name = group.name
        self.retry = retry
        self.clock: Clock = group.topic.log.clock
        self._group = group
        self._stop = stop
        self._handler = handler
        self._lease = lease
        self._observe = observe
        self._until_empty = until_empty
        self._random = random.Random()
        self._turn = threading.Lock()
        self._ended = threading.Event()
        self._dead: Topic[DeadLetter] | None = None
        self._errors: list[BaseException] = []
        self._loop = EventLoop(f"{self.name}-loop") if handler.is_async else None
        self._workers = [Worker(self, f"{self.name}-{number}") for number in range(1, workers + 1)]

    def states(self) -> list[WorkerState]:
        return [worker.state for worker in self._workers]

    def run(self) -> int:
        """Work until stopped (or empty); return how many deliveries were handled.

        Raises:
            MillstreamError: The log could not be used; every worker has ended.
        """
        threads = [
            threading.Thread(target=self._guarded, args=(worker.work,), name=worker.name, daemon=True)
            for worker in self._workers
        ]
        keeper = threading.Thread(target=self._guarded, args=(self._keep,), name=f"{self.name}-keeper", daemon=True)
        for thread in (*threads, keeper):
            thread.start()
        # Order of a stop: workers end first and settle what they did while the keeper still renews their leases.
        for thread in threads:
            thread.join()
        self._ended.set()
        keeper.join()
        if self._loop is not None:
            self._loop.close()
        if self._errors:
            raise self._errors[0]
        return sum(worker.handled for worker in self._workers)

    def stopping(self) -> bool:
        """True when workers should end: told so, or one of them cannot use the log."""
        return self._stop.is_set() or bool(self._errors)

    # --- what workers use -------------------------------------------------------------------------------------------

    def fetch(self, worker: str, records_max: int) -> list[Lease]:
        """Return leased records, waiting for some; empty: the worker is to end.

        One idle worker at a time looks and waits, the others wait for their turn: a new record wakes one thread.
        """
        with self._turn:
            while not self.stopping():
                seen = self._group.topic.end_offsets()
                leases = self._group.lease(worker=worker, records_max=records_max, duration=self._lease)
                if leases or self._until_empty:
                    return leases
                self._wait(seen)
        return []

    def open(self, lease: Lease) -> list[Item]:
        """Return the records of a lease; settles at once what the log no longer has."""
        records = self._group.records(lease)
        items: list[Item] = []
        start = lease.start
        for record in records:
            item = Item(lease, record, start, lease.end)
            end = lease.end if record is records[-1] else item.position.offset + 1
            items.append(Item(lease, record, start, end))
            start = end
        if not items:
            with contextlib.suppress(LeaseLostError):
                self.settle([Settlement(lease, lease.start, lease.end, Outcome.ACK)], [])
        return items

    def call(self, record: Record[Any]) -> None:
        self._handler.call(record, self._loop)

    def draw(self) -> float:
        return self._random.random()

    def dead_topic(self) -> Topic[DeadLetter]:
        """Return the topic of the dead letters, made with the first of them."""
        if self._dead is None:
            topic = self._group.topic
            self._dead = topic.log.topic(dead_topic_name(topic.name), DeadLetter)
        return self._dead

    def settle(self, settlements: Sequence[Settlement], appends: Sequence[Append]) -> None:
        """Record outcomes; tries again while the log says that trying again helps, as the work is done.

        Raises:
            LeaseLostError: Somebody else has the records now.
            StorageError: The log cannot be written.
        """
        delay = 0.1
        while True:
            last = self.stopping()
            try:
                self._group.settle(settlements, appends=appends)
                return
            except StorageError as error:
                if last or not error.retryable:
                    raise
                _log.warning("queue %s: outcomes not recorded, trying again in %.1f s: %s", self.name, delay, error)
            self._stop.wait(delay)
            delay = min(delay * 2, SETTLE_DELAY_MAX)

    def lost(self, worker: str, ended: Sequence[Ended], error: LeaseLostError) -> None:
        _log.warning("queue %s, worker %s: %d outcomes came too late: %s", self.name, worker, len(ended), error)
        for one in ended:
            self.emit(QueueEventKind.LOST, worker, one.item)

    def emit(
        self,
        kind: QueueEventKind,
        worker: str,
        item: Item,
        *,
        failure: Failure | None = None,
        due_us: int | None = None,
    ) -> None:
        self._observe(
            QueueEvent(
                kind=kind,
                queue=self.name,
                worker=worker,
                position=item.position,
                attempt=item.lease.attempt,
                time_us=self.clock.now_us(),
                error=str(failure) if failure else None,
                due_us=due_us,
            )
        )

    # --- threads ----------------------------------------------------------------------------------------------------

    def _guarded(self, work: Callable[[], None]) -> None:
        """Run a thread of the crew; its error stops the others and is raised by `run`."""
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - kept and raised by `run`, in the thread that can decide
            self._errors.append(error)

    def _keep(self) -> None:
        lease_s = self._lease.total_seconds()
        tick_s = min(BUSY_US / 1_000_000, lease_s / 6)
        ticks_per_renewal = max(1, int(lease_s / 3 / tick_s))
        for tick in itertools.count(1):
            if self._ended.wait(tick_s):
                return
            for worker in self._workers:
                worker.release_ahead(busy_us=BUSY_US)
            if tick % ticks_per_renewal == 0:
                self._renew()

    def _renew(self) -> None:
        leases = [lease for worker in self._workers for lease in worker.held()]
        if leases:
            try:
                self._group.extend(leases, self._lease)
            except StorageError as error:
                _log.warning("queue %s: leases not renewed, trying again: %s", self.name, error)

    def _wait(self, seen: dict[int, int]) -> None:
        """Wait for news, at most until something is due, in slices that notice a stop."""
        due_us = self._group.info().next_due_us
        left_us = LOOK_US if due_us is None else min(LOOK_US, max(due_us - self.clock.now_us(), LOOK_US_MIN))
        while left_us > 0 and not self.stopping():
            slice_us = min(left_us, STOP_US)
            if self._group.topic.wait(seen, timedelta(microseconds=slice_us)):
                return
            left_us -= slice_us
