"""Numbers as people say them: `0.82 ms`, `12 a second`, `3 an hour`."""

from __future__ import annotations

import math

from millstream.durations import duration_text


def time_text(seconds: float) -> str:
    """Return a time with two or three digits that say something."""
    if math.isinf(seconds):
        return "for ever"
    if seconds == 0:
        return "0 s"
    for below, unit, size in ((1e-3, "us", 1e-6), (1.0, "ms", 1e-3), (9.95, "s", 1.0)):
        if seconds < below * 0.9995:
            return f"{seconds / size:.3g} {unit}" if unit != "s" else f"{seconds:.2g} s"
    return duration_text(seconds)


def rate_text(per_s: float) -> str:
    """Return a rate in the unit in which it is one or more."""
    for factor, unit in ((1.0, "a second"), (60.0, "a minute"), (3600.0, "an hour"), (86_400.0, "a day")):
        if per_s * factor >= 0.995 or unit == "a day":
            return f"{number_text(per_s * factor)} {unit}"
    raise AssertionError("a day is the last unit")


def number_text(value: float) -> str:
    """Return `0.042`, `3.2`, `120`, `12,000`."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.2g}"


def percent_text(share: float) -> str:
    return f"{share:.0%}" if share >= 0.1 or share == 0 else f"{share:.1%}"


def bytes_text(size: float) -> str:
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{number_text(size)} {unit}"
        size /= 1000
    return f"{number_text(size)} GB"
