"""Where the workers of a crew get their records from."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final

from millstream.clock import Clock
from millstream.engines.protocol import Lease
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

FAIR_RECORDS_MAX: Final = 64
"""Of one lease where a record that comes later may have to go first."""


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
        with self._turn:
            if not self._seen:
                self._seen = self._group.topic.end_offsets()
            while not self._stopping() and not (ended is not None and ended()):
                if self._drained and not self._until_empty:
                    self._wait()
                    self._drained = False
                    continue
                leases = self._take(worker, records_max)
                if leases:
                    self._note(leases, records_max)
                    return leases
                if self._until_empty:
                    return []
                # Nothing, unless something came between the wait and the look: then look again.
                ends = self._group.topic.end_offsets()
                self._drained = ends == self._seen
                self._seen = ends
        return []

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
