"""How long something takes, as people write it.

| written | means |
|---|---|
| `timedelta(minutes=5)` | itself |
| `"250ms"`, `"30s"`, `"5m"`, `"1h30m"`, `"1.5h"`, `"2d"`, `"1w"` | w, d, h, m, s, ms, us; largest first, each once |
| `90`, `0.5` | seconds |
"""

from __future__ import annotations

import math
import re
from datetime import timedelta
from decimal import Decimal
from typing import Final

from millstream.errors import UsageError

ACCEPTED: Final = 'a timedelta, a text such as "250ms", "30s", "5m", "1h30m", "2d", or a number of seconds'

_UNITS_US: Final = {
    "w": 7 * 86_400_000_000,
    "d": 86_400_000_000,
    "h": 3_600_000_000,
    "m": 60_000_000,
    "s": 1_000_000,
    "ms": 1_000,
    "us": 1,
}
_TEXT: Final = re.compile(r"\s*" + "".join(rf"(?:(?P<{u}>\d+(?:\.\d+)?)\s*{u}\s*)?" for u in _UNITS_US))


def duration(value: timedelta | str | float) -> timedelta:
    """Return a duration of zero or more, rounded to whole microseconds.

    Raises:
        UsageError: Not one of the accepted forms, negative, or beyond what a timedelta holds; names the value and them.
    """
    try:
        us = _microseconds(value)
        result = None if us is None or us < 0 else timedelta(microseconds=us)
    except OverflowError:
        result = None
    if result is None:
        raise UsageError(f"{value!r} is not a duration; give {ACCEPTED}")
    return result


def duration_us(value: timedelta | str | float) -> int:
    """Return the same as whole microseconds."""
    return duration(value) // timedelta(microseconds=1)


def duration_text(seconds: float | None) -> str:
    """Return a time as people read it: `-` (not known), `0.4 s`, `2 min 5 s`, `3 h 20 min`, `4 d 2 h`, `never`."""
    if seconds is None:
        return "-"
    if math.isinf(seconds):
        return "never"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for unit, size, below, part in (("d", 86_400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if whole >= size:
            rest = whole % size // part
            return f"{whole // size} {unit} {rest} {below}" if rest else f"{whole // size} {unit}"
    return f"{whole} s"


def span_text(us: int) -> str:
    """Return whole microseconds the way `duration` reads them: `1m`, `1h30m`, `250ms`, `0s`."""
    parts: list[str] = []
    for unit, size in _UNITS_US.items():
        count, us = divmod(us, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def _microseconds(value: object) -> int | None:
    if isinstance(value, timedelta):
        return value // timedelta(microseconds=1)
    if isinstance(value, str):
        return _from_text(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return round(value * 1_000_000)


def _from_text(text: str) -> int | None:
    match = _TEXT.fullmatch(text)
    if match is None:
        return None
    parts = {unit: number for unit, number in match.groupdict().items() if number is not None}
    if not parts:
        return None
    return round(sum(Decimal(number) * _UNITS_US[unit] for unit, number in parts.items()))
