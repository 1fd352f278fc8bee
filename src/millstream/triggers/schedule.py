"""When something is due: a cron expression, an interval, a moment. Pure: no clock is read here.

What happens when clocks are changed in a time zone, for `Cron`:

| expression | local time that is skipped | that comes twice |
|---|---|---|
| a time of day, as `30 2 * * *` | due at the first moment after the gap | due the first time |
| an interval, as `*/15 * * * *`: minute or hour begins with `*` | not due: no time passes there | due both times |

So what is due once a day is due once on every day, and what is due every 15 minutes is due every 15 minutes. Debian's
cron does the same. `Every` counts real time and knows no time zone.
"""

from __future__ import annotations

import functools
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Final, Protocol

import msgspec

from millstream.durations import duration_us, span_text
from millstream.errors import UsageError
from millstream.records import time_from_us, time_to_us
from millstream.triggers.cron_fields import CronFields, parse_cron

SEARCH_DAYS: Final = 366 * 41
"""The longest wait that there is: February 29 on one day of the week, across a year such as 2100 that has none."""

EVERY_US_MIN: Final = 100_000
"""An interval is not shorter: each due time costs commits."""

_DAY: Final = timedelta(days=1)


class Schedule(Protocol):
    """Moments at which something is due, in microseconds since 1970 UTC. Its text says how it was written."""

    def next_after(self, us: int) -> int | None:
        """Return the first due moment after this one; None: there is none."""
        ...

    def last_at(self, us: int) -> int | None:
        """Return the last due moment up to this one, itself included; None: there was none."""
        ...


def dues_between(schedule: Schedule, after_us: int, until_us: int) -> Iterator[int]:
    """Yield the due moments in (after, until], oldest first."""
    due_us = schedule.next_after(after_us)
    while due_us is not None and due_us <= until_us:
        yield due_us
        due_us = schedule.next_after(due_us)


class Cron:
    """A cron expression of five fields in a time zone.

    Args:
        expression: Minute, hour, day of month, month, day of week: `*`, numbers, `1-5`, `*/15`, lists, names (`mon`,
            `jan`); or `@hourly`, `@daily`, `@weekly`, `@monthly`, `@yearly`. Where day of month and day of week are
            both given, either is enough; where one begins with `*`, both must hold.
        timezone: A name such as "Europe/Berlin"; None is UTC.

    Raises:
        UsageError: Not such an expression, a day that never comes, or an unknown time zone.
    """

    def __init__(self, expression: str, timezone: str | None = None) -> None:
        self._fields: CronFields = parse_cron(expression)
        self.expression = " ".join(expression.split())
        self.timezone = timezone or "UTC"
        self._zone = _zone(self.timezone)
        self._dues_of = functools.lru_cache(maxsize=8)(self._dues_of_day)
        if self.next_after(0) is None:
            raise UsageError(f"cron={expression!r} names a day that never comes; check day of month and month")

    def __str__(self) -> str:
        return f"{self.expression} ({self.timezone})"

    def __repr__(self) -> str:
        return f"Cron({self.expression!r}, timezone={self.timezone!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Cron) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))

    def next_after(self, us: int) -> int | None:
        day = self._local_day(us) - _DAY
        for _ in range(SEARCH_DAYS):
            if self._fields.on(day):
                found = _first_after(self._dues_of(day), us)
                if found is not None:
                    # Where clocks go back across midnight, the next day begins before this one has ended.
                    beside = _first_after(self._dues_of(day + _DAY), us) if self._fields.on(day + _DAY) else None
                    return found if beside is None else min(found, beside)
            day = self._fields.day_after(day)
        return None

    def last_at(self, us: int) -> int | None:
        day = self._local_day(us) + _DAY
        for _ in range(SEARCH_DAYS):
            if self._fields.on(day):
                found = _last_at(self._dues_of(day), us)
                if found is not None:
                    beside = _last_at(self._dues_of(day - _DAY), us) if self._fields.on(day - _DAY) else None
                    return found if beside is None else max(found, beside)
            day -= _DAY
        return None

    def _local_day(self, us: int) -> date:
        return time_from_us(us).astimezone(self._zone).date()

    def _dues_of_day(self, day: date) -> list[int]:
        """Return the due moments of a local day, in order, each once."""
        if self._zone is UTC:
            return [time_to_us(datetime(day.year, day.month, day.day, h, m, tzinfo=UTC)) for h, m in self._fields.times]
        moments = {
            us
            for hour, minute in self._fields.times
            for us in _moments(datetime.combine(day, time(hour, minute)), self._zone, self._fields.interval)
        }
        return sorted(moments)


class Every(msgspec.Struct, frozen=True):
    """An interval of real time: due at its whole multiples since 1970 UTC, so that all processes agree on them.

    `Every.of("10m")` makes one.
    """

    interval_us: int

    @classmethod
    def of(cls, interval: timedelta | str | float) -> Every:
        """Return the interval of a timedelta, a text such as "10m", or seconds.

        Raises:
            UsageError: Not a duration, or below 100 ms.
        """
        us = duration_us(interval)
        if us < EVERY_US_MIN:
            raise UsageError(f'every={interval!r} is below 100 ms; give more, such as "10m"')
        return cls(us)

    def __str__(self) -> str:
        return f"every {span_text(self.interval_us)}"

    def next_after(self, us: int) -> int | None:
        return (us // self.interval_us + 1) * self.interval_us

    def last_at(self, us: int) -> int | None:
        return us // self.interval_us * self.interval_us


class At(msgspec.Struct, frozen=True):
    """One moment. `At.of(datetime)` makes one."""

    due_us: int

    @classmethod
    def of(cls, moment: datetime) -> At:
        """Return the moment of a datetime.

        Raises:
            UsageError: It has no time zone.
        """
        if not isinstance(moment, datetime):
            raise UsageError(f"at={moment!r} is no datetime; give one with a time zone")
        return cls(time_to_us(moment))

    def __str__(self) -> str:
        return f"at {time_from_us(self.due_us).isoformat()}"

    def next_after(self, us: int) -> int | None:
        return self.due_us if us < self.due_us else None

    def last_at(self, us: int) -> int | None:
        return self.due_us if us >= self.due_us else None


def _zone(name: str) -> tzinfo:
    if name == "UTC":
        return UTC
    from zoneinfo import ZoneInfo

    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError, TypeError):
        raise UsageError(
            f"there is no time zone {name!r}; give a name such as 'Europe/Berlin' (on a system without time zones: "
            "pip install tzdata)"
        ) from None


def _moments(local: datetime, zone: tzinfo, interval: bool) -> Sequence[int]:
    """Return when a local time is due by the table above."""
    first, second = local.replace(tzinfo=zone), local.replace(tzinfo=zone, fold=1)
    before, after = first.utcoffset() or timedelta(), second.utcoffset() or timedelta()
    if before == after:
        return [time_to_us(first)]
    if before > after:  # It comes twice.
        return [time_to_us(first), time_to_us(second)] if interval else [time_to_us(first)]
    return [] if interval else [_gap_end(local, zone, before, after)]


def _gap_end(local: datetime, zone: tzinfo, before: timedelta, after: timedelta) -> int:
    """Return the moment at which clocks were set forward over a local time, to the second."""
    low, high = local - after, local - before
    while high - low > timedelta(seconds=1):
        middle = (low + (high - low) / 2).replace(microsecond=0)
        if middle.replace(tzinfo=UTC).astimezone(zone).utcoffset() == before:
            low = middle
        else:
            high = middle
    return time_to_us(high.replace(tzinfo=UTC))


def _first_after(dues: list[int], us: int) -> int | None:
    place = bisect_right(dues, us)
    return dues[place] if place < len(dues) else None


def _last_at(dues: list[int], us: int) -> int | None:
    place = bisect_right(dues, us)
    return dues[place - 1] if place else None
