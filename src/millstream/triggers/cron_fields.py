"""The five fields of a cron expression: which days they are on, which times of a day they name."""

from __future__ import annotations

import re
from datetime import date, timedelta
from typing import Final, NamedTuple

import msgspec

from millstream.errors import UsageError

SHORTHANDS: Final = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}

_MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS: Final = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")


class _Field(NamedTuple):
    what: str
    low: int
    high: int
    names: tuple[str, ...] = ()
    """Of the numbers from `low` on."""


_FIELDS: Final = (
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of month", 1, 31),
    _Field("month", 1, 12, _MONTHS),
    _Field("day of week", 0, 7, _DAYS),
)

_TERM: Final = re.compile(r"(?P<star>\*)|(?P<first>\w+)(?:-(?P<last>\w+))?")


class CronFields(msgspec.Struct, frozen=True):
    """A parsed expression."""

    times: tuple[tuple[int, int], ...]
    """Hours and minutes of a day, in order."""
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    """0 is Sunday."""
    both: bool
    """A day must be right by month and by week; else either is enough."""
    interval: bool
    """Minute or hour begins with `*`: it means every so often, not a time of day."""

    def on(self, day: date) -> bool:
        """Return whether it is due on a day at all."""
        if day.month not in self.months:
            return False
        by_month, by_week = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        return (by_month and by_week) if self.both else (by_month or by_week)

    def day_after(self, day: date) -> date:
        """Return the next day that may be one, which leaves out months that are not."""
        after = day + timedelta(days=1)
        while after.month not in self.months:
            after = (after.replace(day=1) + timedelta(days=32)).replace(day=1)
        return after


def parse_cron(expression: str) -> CronFields:
    """Return the fields of an expression.

    Raises:
        UsageError: Not an expression of five fields; names the field and what it may hold.
    """
    if not isinstance(expression, str):
        raise UsageError(f'cron={expression!r} is no text; give one such as "5 0 * * *"')
    texts = SHORTHANDS.get(expression.lower(), expression).lower().split()
    if len(texts) != len(_FIELDS):
        raise UsageError(
            f"cron={expression!r} has {len(texts)} fields, not 5: minute, hour, day of month, month, day of week, such "
            'as "5 0 * * *" (five past midnight)'
        )
    minutes, hours, days, months, weekdays = (
        _numbers(text, field, expression) for text, field in zip(texts, _FIELDS, strict=True)
    )
    return CronFields(
        times=tuple((hour, minute) for hour in sorted(hours) for minute in sorted(minutes)),
        days=days,
        months=months,
        weekdays=frozenset(number % 7 for number in weekdays),
        both=texts[2].startswith("*") or texts[4].startswith("*"),
        interval=texts[0].startswith("*") or texts[1].startswith("*"),
    )


def _numbers(text: str, field: _Field, expression: str) -> frozenset[int]:
    numbers: set[int] = set()
    for term in text.split(","):
        body, slash, step_text = term.partition("/")
        match = _TERM.fullmatch(body)
        step = int(step_text) if step_text.isdecimal() else 0
        if match is None or (slash and not step):
            raise _refused(term, field, expression)
        first, last = field.low, field.high
        if not match["star"]:
            first = _number(match["first"], field, expression)
            # `5/15` means from 5 on.
            last = _number(match["last"], field, expression) if match["last"] else field.high if slash else first
        if last < first:
            raise _refused(term, field, expression)
        numbers.update(range(first, last + 1, step or 1))
    return frozenset(numbers)


def _number(text: str, field: _Field, expression: str) -> int:
    if text in field.names:
        return field.names.index(text) + field.low
    if not text.isdecimal() or not field.low <= int(text) <= field.high:
        raise _refused(text, field, expression)
    return int(text)


def _refused(term: str, field: _Field, expression: str) -> UsageError:
    named = f" or {field.names[0]}-{field.names[-1]}" if field.names else ""
    return UsageError(
        f"cron={expression!r}: {term!r} is no {field.what}; give {field.low}-{field.high}{named}, `*`, ranges such as "
        f"{field.low}-{field.low + 3}, steps such as */5, and lists of them"
    )
