"""Where the workers of a crew get their records from."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final

from millstream.clock import Clock
from millstream.engines.protocol import Lease
from millstream.errors import StorageError
from millstream.log.group import Group
from millstream.queue.options import Mode, QueueOptions
from millstream.queue.sorter import Sorter

LOOK_US: Final = 1_000_000
"""An idle crew looks for work this often even if nothing wakes it: a record that was given back between a look and the
wait for news would otherwise stay there."""

LOOK_US_MIN: Final = 10_000
"""And not more often than this, whatever is due: another worker may be about to take it."""

STOP_US: Final = 200_000
"""An idle crew notices within this time that it should stop."""

TURN_S: Final = 1.0
"""A worker that is not wanted any more ends within this time, also where there is nothing to do."""

FAIR_RECORDS_MAX: Final = 64
"""Of one lease where a record that comes later may have to go first."""


_log = logging.getLogger("millstream.queue")


class Feed:
    """Leases records of one group for the workers of one process.

    One idle worker at a time looks and waits, the others wait for their turn: a new record wakes one thread.
    """

    def __init__(
        self,
        group: Group[Any],
        options: QueueOptions,
        *,
        lease: timedelta,
        stopping: Callable[[], bool],
        until_empty: bool,
    ) -> None:
        self.sorter = Sorter(group, options) if options.sorted else None
        self._group = group
        self._lease = lease
        self._stopping = stopping
        self._until_empty = until_empty
        self._lifo = options.mode == Mode.LIFO
        limit = options.limit
        self._rate = None if limit is None else limit.rate
        self._fair = self._lifo or bool(options.priority)
        self._clock: Clock = group.topic.log.clock
        self._turn = threading.Lock()
        self._asleep = threading.Event()
        self._seen: dict[int, int] = {}
        """Offsets beyond which a record is news."""
        self._drained = False
        """The last look left nothing up to the offsets seen."""
        self._short = True
        """The last look found fewer than were wanted: sort more before the next."""

    def next(self, worker: str, records_max: int, *, ended: Callable[[], bool] | None = None) -> list[Lease]:
        """Return leased records, waiting for some; empty: the worker is to end.

        Args:
            ended: Asked before each look: this worker is not wanted any more.
        """
        # The one that has the turn may wait for hours: one that is not wanted any more does not wait for it that long.
        while not self._turn.acquire(timeout=TURN_S):
            if ended is not None and ended():
                return []
        try:
            while not self._stopping() and not (ended is not None and ended()):
                try:
                    leases = self._next(worker, records_max)
                except StorageError as error:
                    # A full disk ends no crew: what its other workers have done is yet to be recorded.
                    if self._until_empty or not error.retryable:
                        raise
                    _log.warning("queue %s: nothing leased, trying again: %s", self._group.name, error)
                    self._sleep(LOOK_US)
                    continue
                if leases or self._until_empty:
                    return leases
        finally:
            self._turn.release()
        return []

    def _next(self, worker: str, records_max: int) -> list[Lease]:
        """Look once, or wait once where there is nothing to look for."""
        if not self._seen:
            self._seen = self._group.topic.end_offsets()
        if self._drained and not self._until_empty:
            self._wait()
            self._drained = False
            return []
        leases = self._take(worker, records_max)
        if leases:
            self._note(leases, records_max)
        elif not self._until_empty:
            # Nothing, unless something came between the wait and the look: then look again.
            ends = self._group.topic.end_offsets()
            self._drained = ends == self._seen
            self._seen = ends
        return leases

    def _sleep(self, us: int) -> None:
        while us > 0 and not self._stopping():
            self._asleep.wait(min(us, STOP_US) / 1e6)
            us -= STOP_US

    def _note(self, leases: list[Lease], wanted: int) -> None:
        """Remember what was taken: when that was all there is, the next worker need not look before it waits."""
        for lease in leases:
            self._seen[lease.partition] = max(self._seen.get(lease.partition, 0), lease.end)
        count = sum(lease.end - lease.start for lease in leases)
        self._drained = self.sorter is None and not self._fair and count < wanted

    def more(self, worker: str, records_max: int, *, until_us: int) -> list[Lease]:
        """Return more leased records for a batch that was begun, waiting until a moment (monotonic) for some."""
        with self._turn:
            while not self._stopping():
                seen = self._group.topic.end_offsets()
                leases = self._take(worker, records_max)
                left_us = until_us - self._clock.monotonic_us()
                if leases or self._until_empty or left_us <= 0:
                    return leases
                self._group.topic.wait(seen, timedelta(microseconds=min(left_us, STOP_US)))
        return []

    def _take(self, worker: str, records_max: int) -> list[Lease]:
        if self._fair:
            records_max = min(records_max, FAIR_RECORDS_MAX)
        if self.sorter is None:
            return self._lease_of(worker, records_max)
        if self._fair or self._short:
            self.sorter.fill()
        while True:
            leases = self._lease_of(worker, records_max)
            self._short = len(leases) < records_max
            if leases or not self.sorter.fill():
                return leases

    def _lease_of(self, worker: str, records_max: int) -> list[Lease]:
        return self._group.lease(
            worker=worker, records_max=records_max, duration=self._lease, lifo=self._lifo, rate=self._rate
        )

    def _wait(self) -> None:
        """Wait for news, at most until something is due, in slices that notice a stop."""
        due_us = self._group.info().next_due_us
        left_us = LOOK_US if due_us is None else min(LOOK_US, max(due_us - self._clock.now_us(), LOOK_US_MIN))
        while left_us > 0 and not self._stopping():
            slice_us = min(left_us, STOP_US)
            if self._group.topic.wait(self._seen, timedelta(microseconds=slice_us)):
                return
            left_us -= slice_us
