"""Time stamps as programs write them.

| shape | example |
|---|---|
| ISO 8601, RFC 3339 | `2026-03-01T10:00:00.123Z`, `2026-03-01 10:00:00,123 +0100`, `20260301T100000Z` |
| with slashes | `2026/03/01 10:00:00` |
| RFC 2822, HTTP | `Sun, 01 Mar 2026 10:00:00 +0100` |
| web servers | `01/Mar/2026:10:00:00 +0100` |
| C | `Sun Mar  1 10:00:00.123456 2026` |
| syslog, without a year | `Mar  1 10:00:00` |
| since 1970 | seconds, milliseconds, microseconds, nanoseconds, told by their size; also as a number with a fraction |

A time without a zone is in the zone that is given. `PDT`, `CEST` and the like mean what they mean where they are
official; one that is not known is taken for the given zone.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Any, Final

from millstream.parsers.syslog import time_without_year

MONTHS: Final = {
    name: number
    for number, name in enumerate(
        ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"), 1
    )
}
_HOURS: Final = {
    "UTC": 0, "GMT": 0, "Z": 0, "WET": 0, "WEST": 1, "BST": 1, "CET": 1, "CEST": 2, "EET": 2, "EEST": 3, "MSK": 3,
    "EST": -5, "EDT": -4, "CDT": -5, "MST": -7, "MDT": -6, "PST": -8, "PDT": -7, "JST": 9, "KST": 9,
    "AEST": 10, "AEDT": 11,
}  # fmt: skip

_CLOCK: Final = r"(?P<hour>\d\d):(?P<minute>\d\d):(?P<second>\d\d)(?:[.,](?P<fraction>\d{1,9}))?"
_ZONE: Final = r"(?: ?(?P<zone>Z|[+-]\d\d:?\d\d|[+-]\d\d|[A-Z]{1,5}))?"
_SHAPES: Final = tuple(
    re.compile(shape, re.ASCII)
    for shape in (
        rf"(?P<year>\d{{4}})[-/.](?P<month>\d\d)[-/.](?P<day>\d\d)[T ]\s?{_CLOCK}{_ZONE}",
        rf"(?P<year>\d{{4}})(?P<month>\d\d)(?P<day>\d\d)[T ]?(?P<hour>\d\d)(?P<minute>\d\d)(?P<second>\d\d){_ZONE}",
        rf"(?:[A-Z][a-z]{{2}}, )?(?P<day>\d\d?)[ -](?P<month>[A-Z][a-z]{{2}})[ -](?P<year>\d{{4}}) {_CLOCK}{_ZONE}",
        rf"(?P<day>\d\d)/(?P<month>[A-Z][a-z]{{2}})/(?P<year>\d{{4}}):{_CLOCK}{_ZONE}",
        rf"(?:[A-Z][a-z]{{2}} )?(?P<month>[A-Z][a-z]{{2}}) +(?P<day>\d\d?) {_CLOCK}{_ZONE} (?P<year>\d{{4}})",
    )
)
_WITHOUT_YEAR: Final = re.compile(
    r"(?P<month>[A-Z][a-z]{2}) +(?P<day>\d\d?) (?P<clock>\d\d:\d\d:\d\d(?:\.\d{1,9})?)", re.ASCII
)
_NUMBER: Final = re.compile(r"\d{9,20}(?:\.\d{1,9})?", re.ASCII)
_EARLIEST: Final = datetime(1971, 1, 1, tzinfo=UTC)


def parse_time(value: Any, *, now: datetime, zone: tzinfo | None = None) -> datetime | None:
    """Return a time in UTC, or None for what is none.

    Args:
        value: A text of one of the shapes above, or a number since 1970.
        now: Gives the year to a time without one: the last such time that is not after it.
        zone: Of times that name none; None: this machine's.
    """
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, (int, float)):
        return since_1970(value)
    text = str(value).strip()
    for shape in _SHAPES:
        match = shape.fullmatch(text)
        if match is not None:
            return _moment(match.groupdict(), zone)
    match = _WITHOUT_YEAR.fullmatch(text)
    if match is not None:
        return time_without_year(match["month"], match["day"], match["clock"], now, zone)
    return since_1970(text) if _NUMBER.fullmatch(text) else None


def since_1970(value: float | str) -> datetime | None:
    """Return the time that a number of s, ms, us or ns since 1970 means; None for one that means none from 1971 on."""
    try:
        if isinstance(value, str) and "." not in value:
            value = int(value)
        number = float(value)
        if not 0 < number < 1e20:
            return None
        for least, unit_us in ((1e17, 0.001), (1e14, 1.0), (1e11, 1e3), (0, 1e6)):
            if number >= least:
                # Whole numbers as such: a float holds 16 digits.
                us = value * 1_000_000 // round(1e6 / unit_us) if isinstance(value, int) else round(number * unit_us)
                moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=int(us))
                return moment if moment >= _EARLIEST else None
    except (ValueError, OverflowError):
        return None
    return None


def _moment(parts: dict[str, str | None], zone: tzinfo | None) -> datetime | None:
    def number(name: str) -> int:
        return int(parts[name] or 0)

    month = parts["month"] or ""
    fraction = (parts.get("fraction") or "0").ljust(6, "0")[:6]
    try:
        moment = datetime(
            number("year"),
            int(month) if month.isdigit() else MONTHS[month],
            number("day"),
            number("hour"),
            number("minute"),
            min(number("second"), 59),  # a leap second is the one before it
            int(fraction),
            tzinfo=_zone(parts.get("zone")) or zone,
        )
        return moment.astimezone(UTC)
    except (ValueError, KeyError, OverflowError):
        return None


def _zone(text: str | None) -> tzinfo | None:
    if text is None:
        return None
    if text[0] in "+-":
        digits = text[1:].replace(":", "").ljust(4, "0")
        away = timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
        return timezone(-away if text[0] == "-" else away)
    hours = _HOURS.get(text)
    return None if hours is None else timezone(timedelta(hours=hours))
