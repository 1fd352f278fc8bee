"""Where time comes in. Everything that reads the time takes a `Clock`, so that tests own it."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """The two clocks of a machine."""

    def now_us(self) -> int:
        """Return wall-clock time in microseconds since 1970-01-01 UTC; may jump in either direction."""
        ...

    def monotonic_us(self) -> int:
        """Return microseconds since an arbitrary start; never goes back. For durations and timeouts."""
        ...


class SystemClock:
    """The machine's clocks."""

    __slots__ = ()

    def now_us(self) -> int:
        return time.time_ns() // 1000

    def monotonic_us(self) -> int:
        return time.monotonic_ns() // 1000
