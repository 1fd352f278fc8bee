"""A clock that stands still until told otherwise."""

from __future__ import annotations

import threading
from datetime import timedelta

from millstream.durations import duration_us

START_US = 1_700_000_000_000_000
"""2023-11-14 22:13:20 UTC: a time that nobody takes for zero or for now."""


class FakeClock:
    """A `millstream.clock.Clock` for tests; safe to use from many threads.

    Both clocks move only when `advance` is called, so a lease of an hour expires in no time. The wall clock can also
    `jump`, forward or back, as a machine's does when it is set; the monotonic one never does.

    It does not wake anybody: a call that blocks with a timeout (`Engine.wait`) measures that by the machine's clock.
    """

    def __init__(self, start_us: int = START_US) -> None:
        self._lock = threading.Lock()
        self._now_us = start_us
        self._monotonic_us = 0

    def now_us(self) -> int:
        """Return the wall-clock time in microseconds since 1970-01-01 UTC."""
        with self._lock:
            return self._now_us

    def monotonic_us(self) -> int:
        """Return the microseconds of all advances."""
        with self._lock:
            return self._monotonic_us

    def advance(self, duration: timedelta | str | float) -> None:
        """Let time pass: both clocks move on.

        Args:
            duration: Zero or more; a timedelta, a text such as "5m", or seconds.

        Raises:
            UsageError: Not a duration, or a negative one.
        """
        us = duration_us(duration)
        with self._lock:
            self._now_us += us
            self._monotonic_us += us

    def jump(self, difference: timedelta) -> None:
        """Set the wall clock: forward, or back with a negative difference. No time passes."""
        with self._lock:
            self._now_us += difference // timedelta(microseconds=1)
