"""Windows of event time: how a moment finds its window.

| window | size 5 m, records at 10:01, 10:04, 10:07 |
|---|---|
| `tumbling(minutes=5)` | [10:00, 10:05) holds two, [10:05, 10:10) one |

All are [start, end): a record at 10:05 is in the second one.
"""

from __future__ import annotations

from datetime import timedelta

import msgspec

from millstream.durations import duration_us
from millstream.errors import UsageError


class Tumbling(msgspec.Struct, frozen=True):
    """Windows of one size, side by side, counted from 1970-01-01 UTC."""

    size_us: int

    def start_us(self, time_us: int) -> int:
        """Return the start of the window that holds a moment; exact before 1970 too."""
        return time_us // self.size_us * self.size_us


def tumbling(
    size: timedelta | str | float | None = None,
    *,
    weeks: float = 0,
    days: float = 0,
    hours: float = 0,
    minutes: float = 0,
    seconds: float = 0,
    milliseconds: float = 0,
) -> Tumbling:
    """Return windows of one size: `tumbling("5m")` or `tumbling(minutes=5)`.

    Raises:
        UsageError: No size, or one below a microsecond.
    """
    parts = timedelta(weeks=weeks, days=days, hours=hours, minutes=minutes, seconds=seconds, milliseconds=milliseconds)
    total = parts // timedelta(microseconds=1) + (0 if size is None else duration_us(size))
    if total <= 0:
        raise UsageError('a tumbling window needs a size, such as tumbling(minutes=1) or tumbling("30s")')
    return Tumbling(total)
