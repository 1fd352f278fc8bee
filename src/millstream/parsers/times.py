r"""Time stamps as programs write them.

| shape | example |
|---|---|
| ISO 8601, RFC 3339 | `2026-03-01T10:00:00.123Z`, `2026-03-01 10:00:00,123 +0100`, `20260301T100000Z` |
| ISO 8601, day of the year | `2026-060T10:00:00` |
| with slashes, year first | `2026/03/01 10:00:00`, `26/03/01 10:00:00`, `260301 10:00:00` |
| without slashes | `20260301.100000,123`, `20260301 10:00:00`, `260301 100000` |
| with slashes, else | `03/01/2026 10:00:00`, `3/1/2026, 10:00:00 AM`: the month comes first, unless it cannot be one |
| with dots | `01.03.2026 10:00:00`: the day comes first |
| RFC 2822, HTTP | `Sun, 01 Mar 2026 10:00:00 +0100`, `01-Mar-2026 10:00:00 Europe/Berlin` |
| web servers | `01/Mar/2026:10:00:00 +0100` |
| C | `Sun Mar  1 10:00:00.123456 2026`, `Sun Mar  1 10:00:00 UTC 2026`, `Mar 01, 2026 10:00:00 AM` |
| syslog, without a year | `Mar  1 10:00:00`, `1 mars 10:00:00`, `Mär 01 10:00:00` |
| since 1970 | seconds, milliseconds, microseconds, nanoseconds, told by their size; also as a number with a fraction |
| TAI64N | `@40000000433225833b6e1a8c` |

Months have their English, French, German, Spanish, Italian, Portuguese and Dutch names, short or whole. A year of two
digits is in this century, from 70 on in the last one. A time without a zone is in the zone that is given. `PDT`, `CEST`
and the like mean what they mean where they are official, `Europe/Berlin` what the time-zone database says; a name that
is not known is taken for the given zone.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Any, Final
from zoneinfo import ZoneInfo

from millstream.parsers.months import month_number
from millstream.parsers.syslog import time_without_year

_HOURS: Final = {
    "UTC": 0, "GMT": 0, "Z": 0, "WET": 0, "WEST": 1, "BST": 1, "CET": 1, "CEST": 2, "MEZ": 1, "MESZ": 2, "EET": 2,
    "EEST": 3, "MSK": 3, "EST": -5, "EDT": -4, "CDT": -5, "CST": -6, "MST": -7, "MDT": -6, "PST": -8, "PDT": -7,
    "AKST": -9, "AKDT": -8, "HST": -10, "JST": 9, "KST": 9, "HKT": 8, "SGT": 8, "AWST": 8, "ACST": 9.5, "ACDT": 10.5,
    "AEST": 10, "AEDT": 11, "NZST": 12, "NZDT": 13, "BRT": -3, "ART": -3, "SAST": 2,
}  # fmt: skip
"""`CST` and `IST` are several zones: the first is taken for that of America, as it is most often."""

_WORD: Final = r"[A-Za-zÀ-ɏ]{3,10}\.?"
_CLOCK: Final = (
    r"(?P<hour>\d\d?):(?P<minute>\d\d):(?P<second>\d\d)(?:[.,:](?P<fraction>\d{1,9}))?(?: ?(?P<half>[AaPp][Mm]))?"
)
_ZONE: Final = (
    r"(?: ?(?P<zone>Z|(?:UTC|GMT)?[+-]\d\d:?\d\d|(?:UTC|GMT)?[+-]\d\d?|[A-Z]{1,5}"
    r"|[A-Z][A-Za-z]{1,20}/[A-Za-z_/+-]{1,40}))?"
)
_WEEKDAY: Final = r"(?:[A-Za-zÀ-ɏ]{2,10}\.?,? )?"
_SHAPES: Final = tuple(
    re.compile(shape, re.ASCII)
    for shape in (
        rf"(?P<year>\d{{4}})[-/.](?P<month>\d\d?)[-/.](?P<day>\d\d?)(?:[T _:]|, )\s?{_CLOCK}{_ZONE}",
        rf"(?P<year>\d{{4}})(?P<month>\d\d)(?P<day>\d\d)[T ]?(?P<hour>\d\d)(?P<minute>\d\d)(?P<second>\d\d)"
        rf"(?:[.,](?P<fraction>\d{{1,9}}))?{_ZONE}",
        rf"(?P<year>\d{{4}})(?P<month>\d\d)(?P<day>\d\d)[ T-]{_CLOCK}{_ZONE}",
        r"(?P<year>\d{4})(?P<month>\d\d)(?P<day>\d\d)\.(?P<hour>\d\d)(?P<minute>\d\d)(?P<second>\d\d)"
        r"(?:[.,](?P<fraction>\d{1,9}))?",
        rf"(?P<year>\d{{4}})-(?P<yday>\d{{3}})[T ]{_CLOCK}{_ZONE}",
        rf"{_WEEKDAY}(?P<day>\d\d?)\.?[ /-](?P<month>{_WORD})[ /-](?P<year>\d{{4}})(?:[ :]|, ){_CLOCK}{_ZONE}",
        rf"{_WEEKDAY}(?P<month>{_WORD}) +(?P<day>\d\d?),? (?P<year>\d{{4}}),? {_CLOCK}{_ZONE}",
        rf"{_WEEKDAY}(?P<month>{_WORD}) +(?P<day>\d\d?) {_CLOCK}{_ZONE} (?P<year>\d{{4}})",
        rf"(?P<first>\d\d?)/(?P<second_>\d\d?)/(?P<year>\d{{4}})(?:[ :T]|, ){_CLOCK}{_ZONE}",
        rf"(?P<day>\d\d?)\.(?P<month>\d\d?)\.(?P<year>\d{{4}})(?:[ T]|, ){_CLOCK}{_ZONE}",
        rf"(?P<year>\d\d)[/-]?(?P<month>\d\d)[/-]?(?P<day>\d\d) {{1,2}}{_CLOCK}{_ZONE}",
        r"(?P<year>\d\d)(?P<month>\d\d)(?P<day>\d\d) (?P<hour>\d\d)(?P<minute>\d\d)(?P<second>\d\d)",
    )
)
_WITHOUT_YEAR: Final = re.compile(
    rf"(?:{_WEEKDAY}(?P<month>{_WORD}) +(?P<day>\d\d?)|(?P<day_>\d\d?)\.? (?P<month_>{_WORD})) "
    r"(?P<clock>\d\d:\d\d:\d\d(?:\.\d{1,9})?)",
    re.ASCII,
)
_AT: Final = r"\d\d?:\d\d:\d\d(?:[.,]\d{1,9}|:\d{3}(?!\d))?(?: [AP]M(?!\w))?"
_OFFSET: Final = (
    rf"(?: ?(?:Z(?!\w)|[+-]\d\d:?\d\d(?!\d))| "
    rf"(?:{'|'.join(sorted(_HOURS))}|[A-Z][a-z]{{2,15}}/[A-Z][A-Za-z_]{{2,30}})(?!\w)"
    r"|[A-Z]{2,4}(?= ))?"
)
_MONTH: Final = r"[A-Z][a-zÀ-ɏ]{2,9}\.?"
AT_START: Final = "|".join(
    (
        rf"\d{{4}}[-/.]\d\d[-/.]\d\d(?:[T _:]|, ){_AT}{_OFFSET}",
        rf"\d{{4}}-\d{{3}}[T ]{_AT}{_OFFSET}",
        rf"\d{{8}}[ T]{_AT}{_OFFSET}",
        rf"\d{{8}}[.T]\d{{6}}(?:[.,]\d{{1,9}})?{_OFFSET}",
        rf"\d\d/\d\d/\d\d {_AT}{_OFFSET}",
        rf"\d{{6}} {{1,2}}(?:{_AT}|\d{{6}}(?!\d))",
        rf"\d\d?[-/ ]{_MONTH}[-/ ]\d{{4}}[ :]{_AT}{_OFFSET}",
        rf"{_MONTH} \d\d?, \d{{4}},? {_AT}{_OFFSET}",
        rf"[A-Z][a-z]{{2}} {_MONTH} +\d\d? {_AT}{_OFFSET} \d{{4}}",
        rf"\d\d?/\d\d?/\d{{4}},? {_AT}{_OFFSET}",
        rf"\d\d?\.\d\d?\.\d{{4}} {_AT}{_OFFSET}",
        r"@[0-9a-f]{24}(?![0-9a-f])",
        r"\d{10}(?:\.\d{1,9})?(?!\d)|\d{13}(?!\d)|\d{16}(?!\d)|\d{19}(?!\d)",
    )
)
"""A regular expression for a time that a line begins with; whether it is one, `parse_time` says."""
_INTERNET: Final = re.compile(
    r"\d{4}-\d\d-\d\d[T ](?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:[0-5]\d)", re.ASCII
)
"""RFC 3339: most logs have it, and Python reads it ten times as fast as the shapes."""
_NUMBER: Final = re.compile(r"\d{9,20}(?:\.\d{1,9})?", re.ASCII)
_TAI64: Final = re.compile(r"@(?P<seconds>[0-9a-f]{16})(?P<nanos>[0-9a-f]{8})?")
_TAI64_1970: Final = 2**62 + 10
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
    if _INTERNET.fullmatch(text) is not None:
        try:
            return datetime.fromisoformat(text).astimezone(UTC)
        except (ValueError, OverflowError):
            pass  # such as a day that is none: what is said of that is below
    for shape in _SHAPES:
        match = shape.fullmatch(text)
        if match is not None:
            return _moment(match.groupdict(), zone)
    match = _WITHOUT_YEAR.fullmatch(text)
    if match is not None:
        month, day = match["month"] or match["month_"], match["day"] or match["day_"]
        return time_without_year(month, day, match["clock"], now, zone)
    match = _TAI64.fullmatch(text)
    if match is not None:
        seconds = int(match["seconds"], 16) - _TAI64_1970
        nanos = int(match["nanos"] or "0", 16)
        return since_1970(seconds * 10**9 + nanos) if seconds > 10**8 and nanos < 10**9 else None
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
        return int(parts.get(name) or 0)

    fraction = (parts.get("fraction") or "0").ljust(6, "0")[:6]
    try:
        year = number("year") if len(parts["year"] or "") == 4 else _century(number("year"))
        month, day = _day_of_year(year, number("yday")) if parts.get("yday") else _month_and_day(parts)
        moment = datetime(
            year,
            month,
            day,
            _hour(number("hour"), parts.get("half")),
            number("minute"),
            min(number("second"), 59),  # a leap second is the one before it
            int(fraction),
            tzinfo=_zone(parts.get("zone")) or zone,
        )
        return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _month_and_day(parts: dict[str, str | None]) -> tuple[int, int]:
    """Return the month and the day; a month of no known name is 0, which is none."""
    first, second = parts.get("first"), parts.get("second_")
    if first is not None and second is not None:
        return (int(second), int(first)) if int(first) > 12 else (int(first), int(second))
    month = parts["month"] or ""
    return int(month) if month.isdigit() else month_number(month), int(parts["day"] or 0)


def _day_of_year(year: int, number: int) -> tuple[int, int]:
    day = datetime(year, 1, 1, tzinfo=UTC) + timedelta(days=number - 1)
    if day.year != year:
        raise ValueError(f"the year {year} has no day {number}")
    return day.month, day.day


def _century(year: int) -> int:
    return year + (1900 if year >= 70 else 2000)


def _hour(hour: int, half: str | None) -> int:
    if half is None:
        return hour
    if not 1 <= hour <= 12:
        raise ValueError(f"there is no hour {hour} {half}")
    return hour % 12 + (12 if half in ("PM", "pm", "Pm", "pM") else 0)


def _zone(text: str | None) -> tzinfo | None:
    if text is None:
        return None
    away = text.removeprefix("UTC").removeprefix("GMT")
    if away and away[0] in "+-":
        digits = away[1:].replace(":", "")
        digits = digits.zfill(2).ljust(4, "0")
        apart = timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
        return timezone(-apart if away[0] == "-" else apart)
    if "/" in text:
        return _named_zone(text)
    hours = _HOURS.get(text)
    return None if hours is None else timezone(timedelta(hours=hours))


def _named_zone(name: str) -> tzinfo | None:
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError):  # there is none; KeyError: ZoneInfoNotFoundError
        return None
