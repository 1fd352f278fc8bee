r"""Lines that begin with a clock and no date: `12:34:56.789 [main] INFO  com.shop.Till - sold`, `[12:34:56] joined`.

The date is not in them. It is found from when they were read, or their file was changed last, and from one another:

| lines | date |
|---|---|
| that come while they are written | the last of a reading: the last such time that is not after its reading |
| before it | that of the line behind; one whose clock is later was written the day before |
| that are in a file already | the file tells that of the first; a clock that goes back means the next day |

Lines that are up to ten minutes out of order stay on their day. A gap of more than a day is not seen. What stands
behind the clock is read as that of an application: a level, a thread, a logger.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, time, timedelta, tzinfo
from typing import TYPE_CHECKING, Any, Final

import msgspec

from millstream.parsers.application import application_reader
from millstream.parsers.event_parser import EventParser
from millstream.parsers.log_event import LogEvent
from millstream.parsers.system_event import text_of

if TYPE_CHECKING:
    import polars as pl

CLOCK: Final = r"(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:[.,]\d{1,9})?(?![\d/-]|:\d)"
_LINE: Final = re.compile(
    rf"(?P<open>\[?)(?P<clock>{CLOCK})(?P<rest>(?(open)\]?)(?=[\]\s:|,]).*)", re.ASCII | re.DOTALL
)
AHEAD_MAX: Final = timedelta(hours=1)
"""How far a line may be ahead of its reading: clocks differ, and are set."""
_OUT_OF_ORDER: Final = timedelta(minutes=10)
_DAY: Final = timedelta(days=1)


class Clocks(msgspec.Struct, frozen=True):
    """What is known of lines that are read from a place of a file on."""

    first: datetime
    """The time of the first of them, in this machine's zone, without one."""
    count: int
    """How many there are; those behind come while they are written."""


Look = Callable[[], Clocks | None]
"""Looks at a file; asked once, if its lines have clocks."""


class ClockParser(EventParser):
    """Parses the lines of one source, in order."""

    def __init__(self, source: str, zone: tzinfo | None = None) -> None:
        super().__init__(source, self._read_line, format="clock")
        self._zone = zone
        self._read_application = application_reader(zone)
        self._look: Look | None = None
        self._told = 0
        """Lines of which the file told the dates, and that are still to come."""
        self._last: datetime | None = None
        """The last of these, or the first before it came."""
        self._times: Iterator[datetime] = iter(())
        """Of the lines of the reading that is being parsed."""

    def begin_at(self, look: Look) -> None:
        """Take what can tell the date of the first line; see `sources.heads`."""
        self._look = look

    def fits(self, line: bytes, *, now: datetime) -> bool:
        """Return whether a line begins with a clock."""
        return _LINE.fullmatch(text_of(line)[0]) is not None

    def events(self, lines: Iterable[bytes], *, now: datetime) -> list[LogEvent]:
        """Return the event of each line, in their order. Never fails on a line."""
        found = list(lines)
        self._begin(found, now)
        return super().events(found, now=now)

    def columns(self, lines: Sequence[bytes], *, now: datetime) -> pl.DataFrame:
        """Return the same as columns."""
        self._begin(lines, now)
        return super().columns(lines, now=now)

    def _begin(self, lines: Sequence[bytes], now: datetime) -> None:
        """Find the times of the lines of a reading."""
        matches = (_LINE.fullmatch(text_of(line)[0]) for line in lines)
        clocks = [clock_of(match["clock"]) for match in matches if match is not None]
        if clocks and self._look is not None:
            told, self._look = self._look(), None
            self._told, self._last = (0, None) if told is None else (told.count, told.first)
        latest = now.astimezone(self._zone).replace(tzinfo=None) + AHEAD_MAX
        times: list[datetime] = []
        for clock in clocks[: self._told]:
            assert self._last is not None
            moment = following(clock, self._last)
            if moment > latest:  # it is another file than the one that was looked at
                self._told = 0
                break
            self._last = moment
            times.append(moment)
        self._told = max(0, self._told - len(times))
        self._times = iter([*times, *backwards(clocks[len(times) :], latest)])

    def _read_line(self, text: str, now: datetime) -> Mapping[str, Any] | None:
        match = _LINE.fullmatch(text)
        moment = None if match is None else next(self._times, None)
        if match is None or moment is None:
            return None
        written = f"{match['open']}{moment:%Y-%m-%d %H:%M:%S.%f}{match['rest']}"
        said = self._read_application(written, now)
        if said is None or said["time"] is None:
            said = {"message": match["rest"].lstrip("]:|,").strip()}
        return {**said, "time": moment.replace(tzinfo=self._zone).astimezone(UTC)}


def clock_of(text: str) -> time:
    """Return what `CLOCK` matched."""
    whole, _, fraction = text.replace(",", ".").partition(".")
    return time(int(whole[:2]), int(whole[3:5]), int(whole[6:8]), int(fraction.ljust(6, "0")[:6] or 0))


def following(clock: time, before: datetime) -> datetime:
    """Return the time of a clock that stands behind another line."""
    moment = datetime.combine(before.date(), clock)
    if moment < before - _OUT_OF_ORDER:
        return moment + _DAY
    return moment - _DAY if moment > before + _DAY - _OUT_OF_ORDER else moment


def preceding(clock: time, behind: datetime) -> datetime:
    """Return the time of a clock that stands before another line."""
    moment = datetime.combine(behind.date(), clock)
    if moment > behind + _OUT_OF_ORDER:
        return moment - _DAY
    return moment + _DAY if moment < behind - _DAY + _OUT_OF_ORDER else moment


def backwards(clocks: Sequence[time], latest: datetime) -> list[datetime]:
    """Return the times of lines that follow one another, the last of them as late as it can be."""
    found: list[datetime] = []
    for clock in reversed(clocks):
        if found:
            moment = preceding(clock, found[-1])
        else:
            moment = datetime.combine(latest.date(), clock)
            moment -= _DAY if moment > latest else timedelta()
        found.append(moment)
    return found[::-1]
