"""Times that are wrong: of another zone, of a clock that is off, of a year that was guessed."""

from __future__ import annotations

import re
import zoneinfo
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, Literal

from millstream.durations import duration
from millstream.errors import UsageError
from millstream.logs.steps.members import with_new_member
from millstream.logs.steps.step import Step, StepTable

if TYPE_CHECKING:
    import polars as pl

ORIGINAL: Final = "original_time"
"""The name in `fields` of the time that a line was read with, where it was replaced."""
YEAR_MIN: Final = 1970
YEAR_MAX: Final = 9998
"""A year before the last that there is: a time of it may be in the next one elsewhere."""

_WITHOUT_YEAR: Final = (
    r"^(?:<\d{1,3}>)?(?:[A-Z][a-z]{2} [ \d]?\d \d\d:\d\d:\d\d"  # syslog
    r"|[IWEF]\d{4} \d\d:\d\d:\d\d\.\d"  # glog
    r"|\d\d-\d\d \d\d:\d\d:\d\d\.\d)"  # Android
)
"""How lines begin whose time has no year; in the syntax of both Python and Polars."""
_CLOCK_AND_ZONE: Final = r"(?:^|\D)\d\d:\d\d:\d\d(?:[.,]\d{1,9})?(?: ?(Z|UTC|GMT|[+-]\d\d:?\d\d)\b)?"
"""The first time of day in a line, and its zone if it has one; in the syntax of Polars."""
_WITH_ZONE: Final = (
    *("audit", "audit_beside", "container", "devices", "journal", "logins"),
    *("macos", "otlp", "w3c", "windows", "zeek"),
)
"""Formats whose times are the same everywhere, as numbers or in UTC, whatever else a line says."""
_SIGNED: Final = re.compile(r"([+-])(.+)")
_QUARTER: Final = "15m"
"""Clocks are set, and days begin anywhere, at the beginning of a quarter of an hour: times of one change alike."""

Year = int | Literal["nearest"]


class TimeTable(StepTable, frozen=True, kw_only=True, tag="time"):
    """Repairs of time stamps; in this order."""

    year: int | str | None = None
    """Of lines whose times have none, where it was guessed wrong: this one, or the one nearest to the reading."""
    zone: str | None = None
    """Of lines whose times have none; they were read as of this machine's zone."""
    shift: str | None = None
    """Of a clock that is off: added to each time, such as "-1h"."""
    future: str | None = None
    """A time further than this after it was read becomes the time of reading."""
    past: str | None = None
    """A time further than this before it was read becomes the time of reading: of clocks that began anew."""

    def check(self) -> None:
        super().check()
        if all(one is None for one in (self.year, self.zone, self.shift, self.future, self.past)):
            raise UsageError("give year, zone, shift, future or past")
        self._year()
        self._shift()
        if self.zone is not None:
            _zone(self.zone)
        for text in (self.future, self.past):
            if text is not None:
                duration(text)

    def open(self, environment: Mapping[str, str]) -> Step:
        return _TimeRepair(
            year=self._year(),
            zone=None if self.zone is None else _zone(self.zone),
            shift=self._shift(),
            future=None if self.future is None else duration(self.future),
            past=None if self.past is None else duration(self.past),
        )

    def _year(self) -> Year | None:
        match self.year:
            case None:
                return None
            case "nearest":
                return "nearest"
            case int(year) if YEAR_MIN <= year <= YEAR_MAX:
                return year
        raise UsageError(f'year is {self.year!r}; give a number from {YEAR_MIN} to {YEAR_MAX}, or "nearest"')

    def _shift(self) -> timedelta:
        if self.shift is None:
            return timedelta()
        found = _SIGNED.fullmatch(self.shift)
        if found is None:
            raise UsageError(f'shift is {self.shift!r}; give a sign and a duration, such as "-1h" or "+90s"')
        return duration(found[2]) * (-1 if found[1] == "-" else 1)


class _TimeRepair(Step):
    def __init__(
        self,
        *,
        year: Year | None,
        zone: zoneinfo.ZoneInfo | None,
        shift: timedelta,
        future: timedelta | None,
        past: timedelta | None,
    ) -> None:
        self._year = year
        self._zone = zone
        self._shift = shift
        self._future = future
        self._past = past

    def apply(self, frame: pl.DataFrame, *, now: datetime) -> pl.DataFrame:
        import polars as pl

        said = frame.get_column("time")
        times = said if self._year is None else self._with_years(frame, now)
        # A declared zone is what the line meant: only what is replaced beyond it is kept.
        if self._zone is not None:
            places = frame.select(_is_without_zone()).to_series().arg_true()
            said, times = (_put(one, places, self._in_zone(one.gather(places))) for one in (said, times))
        repaired = times.to_frame("time").select(self._moved(now)).to_series()
        text = pl.col("said").dt.strftime('"%Y-%m-%dT%H:%M:%S%.f+00:00"')
        original = pl.select(pl.when(said != repaired).then(said).alias("said")).select(text).to_series()
        fields = with_new_member(frame.get_column("fields"), ORIGINAL, original)
        return frame.with_columns(repaired.alias("time"), fields.alias("fields"))

    def _moved(self, now: datetime) -> pl.Expr:
        import polars as pl

        time = pl.col("time") + pl.lit(self._shift)
        reading = pl.lit(now.astimezone(UTC)).cast(pl.Datetime("us", "UTC"))
        is_wrong = pl.lit(value=False)
        if self._future is not None:
            is_wrong |= time > reading + pl.lit(self._future)
        if self._past is not None:
            is_wrong |= time < reading - pl.lit(self._past)
        return pl.when(is_wrong).then(reading).otherwise(time).alias("time")

    def _in_zone(self, times: pl.Series) -> pl.Series:
        # The wall clock that the parser saw, on a wall elsewhere.
        return _by_quarter(times, lambda time: time.astimezone().replace(tzinfo=self._zone).astimezone(UTC))

    def _with_years(self, frame: pl.DataFrame, now: datetime) -> pl.Series:
        """Return the times of a frame, with another year where a line says none."""
        times = frame.get_column("time")
        places = frame.get_column("raw").str.contains(_WITHOUT_YEAR).arg_true()
        if not len(places):
            return times
        chosen = times.gather(places)
        return _put(times, places, _by_quarter(chosen, lambda time: self._with_year(time, now)))

    def _with_year(self, time: datetime, now: datetime) -> datetime:
        if isinstance(self._year, int):
            return _in_year(time, self._year) or time
        years = (_in_year(time, year) for year in range(now.year - 8, now.year + 9))
        return min((one for one in years if one is not None), key=lambda one: abs(one - now), default=time)


def _is_without_zone() -> pl.Expr:
    import polars as pl

    of_format = pl.col("format").is_in(_WITH_ZONE).fill_null(value=False)
    return pl.col("raw").str.extract(_CLOCK_AND_ZONE).is_null() & ~of_format


def _in_year(time: datetime, year: int) -> datetime | None:
    """Return a time as it is on this machine's wall in another year; None where that has no such day."""
    try:
        return time.astimezone().replace(year=year, tzinfo=None).astimezone().astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        return None


def _by_quarter(times: pl.Series, change: Callable[[datetime], datetime]) -> pl.Series:
    """Return times that were moved by as much as the quarter of an hour they are in."""
    import polars as pl

    if not len(times):
        return times  # nothing replaced is of no type
    quarters = times.dt.truncate(_QUARTER)
    different = quarters.unique()
    moved = [_changed(time, change) - time for time in different.to_list()]
    return times + quarters.replace_strict(different, pl.Series(moved, dtype=pl.Duration("us")))


def _put(column: pl.Series, places: pl.Series, values: pl.Series) -> pl.Series:
    return column.clone().scatter(places, values)  # scatter changes the series it is called on


def _changed(time: datetime, change: Callable[[datetime], datetime]) -> datetime:
    try:
        return change(time)
    except (ValueError, OverflowError, OSError):
        return time  # at the ends of the calendar there is no other clock


def _zone(name: str) -> zoneinfo.ZoneInfo:
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError) as error:
        raise UsageError(f'zone: there is no {name!r}; give a name such as "Europe/Berlin"') from error
