"""Windows of event time: which moments are together.

| window | one result for each | start and end |
|---|---|---|
| `tumbling("5m")` | 5 minutes | 10:00 to 10:05, 10:05 to 10:10 |
| `hopping("5m", "1m")` | 5 minutes, every minute | 10:00 to 10:05, 10:01 to 10:06 |
| `sliding("5m")` | record: what is in the 5 minutes up to it | a record at 10:07: after 10:02, up to 10:07 |
| `session("5m")` | visit: until nothing comes for 5 minutes | records at 10:01, 10:04: 10:01 to 10:09 |
| `global_window("1h")`, `global_window(100)` | hour, or 100 records: all up to then | first record to then |

All but sliding ones are [start, end): a record at 10:05 is in the second tumbling window. Windows are counted from
1970-01-01 UTC.
"""

from __future__ import annotations

from datetime import timedelta
from math import gcd
from typing import TypeAlias

import msgspec

from millstream.durations import duration_us
from millstream.errors import UsageError


class Tumbling(msgspec.Struct, frozen=True):
    """Windows of one size, side by side."""

    size_us: int

    def start_us(self, time_us: int) -> int:
        """Return the start of the window that holds a moment; exact before 1970 too."""
        return time_us // self.size_us * self.size_us

    def __str__(self) -> str:
        return f"tumbling({self.size_us})"


class Hopping(msgspec.Struct, frozen=True):
    """Windows of one size, one beginning every `advance_us`."""

    size_us: int
    advance_us: int

    @property
    def pane_us(self) -> int:
        """Size of the pieces that all windows are made of."""
        return gcd(self.size_us, self.advance_us)

    def __str__(self) -> str:
        return f"hopping({self.size_us}, {self.advance_us})"


class Sliding(msgspec.Struct, frozen=True):
    """For each record, the records after `size_us` before it, up to it and those of the same moment."""

    size_us: int

    def __str__(self) -> str:
        return f"sliding({self.size_us})"


class Session(msgspec.Struct, frozen=True):
    """Records of a key that are less than `gap_us` apart. Ends `gap_us` after its last record."""

    gap_us: int
    slack_us: int
    """How far behind the watermark a record still counts, beside the lateness."""

    def __str__(self) -> str:
        return f"session({self.gap_us})"


class GlobalWindow(msgspec.Struct, frozen=True):
    """One window a key, for ever; a result every so many records or so much event time. One of both is set."""

    records: int | None
    period_us: int | None

    def __str__(self) -> str:
        return f"global_window({self.records}, {self.period_us})"


Window: TypeAlias = Tumbling | Hopping | Sliding | Session | GlobalWindow


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


def hopping(size: timedelta | str | float, advance: timedelta | str | float) -> Hopping:
    """Return windows of one size that begin every `advance`: `hopping("1h", "5m")`. A record is in several.

    Raises:
        UsageError: One of both is below a microsecond, or they leave gaps between windows.
    """
    size_us, advance_us = duration_us(size), duration_us(advance)
    if size_us <= 0 or not 0 < advance_us <= size_us:
        raise UsageError(
            f"hopping({size!r}, {advance!r}): the size comes first and the advance is not longer, such as "
            'hopping("1h", "5m")'
        )
    return Hopping(size_us, advance_us)


def sliding(size: timedelta | str | float) -> Sliding:
    """Return a window for each record: what came in the time `size` up to it. `sliding("5m")`.

    Raises:
        UsageError: A size below a microsecond.
    """
    size_us = duration_us(size)
    if size_us <= 0:
        raise UsageError(f'sliding({size!r}): a sliding window needs a size, such as sliding("5m")')
    return Sliding(size_us)


def session(gap: timedelta | str | float, *, slack: timedelta | str | float | None = None) -> Session:
    """Return windows that end when a key has no record for `gap`: `session("30m")`.

    A record out of order may still belong to a session that seems over, or join two. So a session's result comes
    `slack` after its end, and records more than that behind the watermark are late.

    Args:
        slack: How far out of order records are, beside the lateness. The gap, when not given. 0: in order.

    Raises:
        UsageError: A gap below a microsecond.
    """
    gap_us = duration_us(gap)
    if gap_us <= 0:
        raise UsageError(f'session({gap!r}): a session needs a gap, such as session("30m")')
    return Session(gap_us, gap_us if slack is None else duration_us(slack))


def global_window(every: int | timedelta | str) -> GlobalWindow:
    """Return one window a key that never ends, with a result every so often: `global_window("1h")`.

    Args:
        every: A number of records (of the key), or a length of event time.

    Raises:
        UsageError: Less than a record or a microsecond.
    """
    if isinstance(every, int) and not isinstance(every, bool):
        if every > 0:
            return GlobalWindow(every, None)
    elif (period_us := duration_us(every)) > 0:
        return GlobalWindow(None, period_us)
    raise UsageError(
        f"global_window({every!r}): say how often there is a result, such as every 100 records, global_window(100), or "
        'every hour, global_window("1h")'
    )
