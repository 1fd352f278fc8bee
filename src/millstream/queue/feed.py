"""Where the workers of a crew get their records from."""

from __future__ import annotations

import functools
import logging
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final

from millstream.clock import Clock
from millstream.engines.fetching import Fetched
from millstream.errors import LeaseLostError, StorageError
from millstream.log.group import Group
from millstream.queue.cancelling import FLAGGED
from millstream.queue.options import Mode, QueueOptions
from millstream.queue.sorter import Sorter
from millstream.queue.unsettled import Unsettled

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
        self._mark: Any = None
        """Of the last fetch: what has come since is news."""
        self._due_us: int | None = None
        """When something is due that the last fetch could not get."""
        self._drained = False
        """The last fetch left nothing of what was there."""
        self._short = True
        """The last look found fewer than were wanted: sort more before the next."""

    def next(
        self,
        worker: str,
        records_max: int,
        *,
        ended: Callable[[], bool] | None = None,
        behind: Unsettled | None = None,
    ) -> Fetched | None:
        """Return leased records, waiting for some; None: the worker is to end.

        Args:
            ended: Asked before each look: this worker is not wanted any more.
            behind: Recorded with the fetch, or before another worker is waited for; not where none was begun.
        """
        if not self._take_turn(ended, behind):
            return None
        try:
            while not self._stopping() and not (ended is not None and ended()):
                try:
                    fetched = self._next(worker, records_max, behind)
                except StorageError as error:
                    # A full disk ends no crew: what its other workers have done is yet to be recorded.
                    if self._until_empty or not error.retryable:
                        raise
                    _log.warning("queue %s: nothing leased, trying again: %s", self._group.name, error)
                    self._sleep(LOOK_US)
                    continue
                if fetched is not None and fetched.leases:
                    return fetched
                if self._until_empty:
                    return None
        finally:
            self._turn.release()
        return None

    def _take_turn(self, ended: Callable[[], bool] | None, behind: Unsettled | None) -> bool:
        """Wait for the turn; False where the worker is not wanted any more."""
        if self._turn.acquire(blocking=False):
            return True
        # Whoever has it may wait for hours.
        if behind is not None:
            behind.settle()
        while not self._turn.acquire(timeout=TURN_S):
            if ended is not None and ended():
                return False
        return True

    def _next(self, worker: str, records_max: int, behind: Unsettled | None) -> Fetched | None:
        """Look once, or wait once where there is nothing to look for."""
        told = behind is None or not behind.settlements
        if self._drained and told and not self._until_empty:
            self._wait()
            self._drained = False
            return None
        fetched = self._take(worker, records_max, behind)
        if fetched.leases:
            # When that was all there is, the next worker need not look before it waits.
            self._drained = self.sorter is None and not self._fair and fetched.count < records_max
        else:
            self._drained = True
        return fetched

    def _sleep(self, us: int) -> None:
        while us > 0 and not self._stopping():
            self._asleep.wait(min(us, STOP_US) / 1e6)
            us -= STOP_US

    def more(self, worker: str, records_max: int, *, until_us: int) -> Fetched | None:
        """Return more leased records for a batch that was begun, waiting until a moment (monotonic) for some."""
        with self._turn:
            while not self._stopping():
                fetched = self._take(worker, records_max, None)
                if fetched.leases:
                    return fetched
                left_us = until_us - self._clock.monotonic_us()
                if self._until_empty or left_us <= 0:
                    return None
                self._group.wait_news(self._mark, timedelta(microseconds=min(left_us, STOP_US)))
        return None

    def _take(self, worker: str, records_max: int, behind: Unsettled | None) -> Fetched:
        if self._fair:
            records_max = min(records_max, FAIR_RECORDS_MAX)
        if self.sorter is not None and (self._fair or self._short):
            self.sorter.fill()
        while True:
            fetched = self._fetch(worker, records_max, behind)
            self._mark, self._due_us = fetched.mark, fetched.next_due_us
            self._short = len(fetched.leases) < records_max
            if fetched.leases or self.sorter is None or not self.sorter.fill():
                return fetched

    def _fetch(self, worker: str, records_max: int, behind: Unsettled | None) -> Fetched:
        settlements = behind.settlements if behind is not None else []
        fetch = functools.partial(
            self._group.fetch,
            worker=worker,
            records_max=records_max,
            duration=self._lease,
            lifo=self._lifo,
            rate=self._rate,
            flag=FLAGGED,
        )
        if behind is None or not settlements:
            return fetch()
        try:
            fetched = fetch(settlements=settlements)
        except (LeaseLostError, StorageError):
            behind.settle()  # which tells what was lost, and tries again where that helps
            return fetch()
        behind.over()
        return fetched

    def _wait(self) -> None:
        """Wait for news, at most until something is due, in slices that notice a stop."""
        left_us = LOOK_US
        if self._due_us is not None:
            left_us = min(LOOK_US, max(self._due_us - self._clock.now_us(), LOOK_US_MIN))
        while left_us > 0 and not self._stopping():
            slice_us = min(left_us, STOP_US)
            if self._group.wait_news(self._mark, timedelta(microseconds=slice_us)):
                return
            left_us -= slice_us
