"""What reads the lines of a source whose format is given by a user: a name, a pattern, or `auto`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final

from millstream.errors import UsageError
from millstream.parsers.choose import SAMPLE_LINES, choose_format
from millstream.parsers.clocks import Look
from millstream.parsers.event_parser import LogEventParser
from millstream.parsers.formats import format_of, format_of_pattern
from millstream.parsers.log_event import LogEvent
from millstream.parsers.log_lines import LogParser
from millstream.sources.heads import tell_dates, tell_head

if TYPE_CHECKING:
    import polars as pl

AUTO: Final = "auto"
_AS_EVENTS: Final = {"access": "web"}
"""Formats that become something else than a `LogEvent`, and what reads the same lines as one."""
_SURE_LINES: Final = 50
"""With so many lines seen, the choice stays."""


def parser_of(format: str) -> Callable[[str], LogEventParser]:
    """Return what makes the parser of an origin.

    Args:
        format: A name of `FORMATS`, `auto`, or a pattern with `%{NAME:field}` or `(?P<field>...)` in it.

    Raises:
        UsageError: There is no such format, its lines are no events, or the pattern is wrong.
    """
    if format == AUTO:
        return SampledParser
    if "%{" in format or "(?P<" in format:
        made: Callable[[str], LogEventParser] = format_of_pattern(format).parser  # type: ignore[assignment]
        return made
    found = format_of(_AS_EVENTS.get(format, format))
    if found.type is not LogEvent:
        raise UsageError(f"lines of format {format!r} become {found.type.__name__}, not events of a log")
    made = found.parser  # type: ignore[assignment] # those of events have both methods
    return made


class SampledParser:
    """Reads lines by the format that understands most of the first ones; those that none does, as syslog.

    The choice is made with the first line, and again whenever twice as many were seen, until there were fifty. One that
    was made stays where no format understands half of them any more: stack traces are longer than what is in front.
    """

    def __init__(self, origin: str) -> None:
        self._origin = origin
        self._sample: list[bytes] = []
        self._name = ""
        self._choose_at = 1
        self._parser: LogEventParser = LogParser(origin)
        self._head: tuple[Sequence[bytes], datetime] | None = None
        self._look: Look | None = None

    @property
    def format(self) -> str:
        return self._parser.format

    def events(self, lines: Sequence[bytes], *, now: datetime) -> list[LogEvent]:
        """Return the event of each line, in their order."""
        self._choose(lines)
        return self._parser.events(lines, now=now)

    def columns(self, lines: Sequence[bytes], *, now: datetime) -> pl.DataFrame:
        """Return the same as columns."""
        self._choose(lines)
        return self._parser.columns(lines, now=now)

    def begin_with(self, head: Sequence[bytes], *, now: datetime) -> None:
        """Choose by the first lines of the file, of which no events are made; see `heads.TakesHead`."""
        self._head = head, now
        self._choose(head)

    def begin_at(self, look: Look) -> None:
        """Take what tells the date of the first line; see `heads.TakesDates`."""
        self._look = look

    def _choose(self, lines: Sequence[bytes]) -> None:
        if self._choose_at > _SURE_LINES:
            return
        self._sample += lines[: SAMPLE_LINES - len(self._sample)]
        if len(self._sample) < self._choose_at:
            return
        self._choose_at = max(2 * len(self._sample), 1)
        try:
            name = choose_format(self._sample)
        except UsageError:
            return
        if name != self._name:
            self._name = name
            self._parser = parser_of(name)(self._origin)
            if self._head is not None:
                tell_head(self._parser, self._head[0], now=self._head[1])
            if self._look is not None:
                tell_dates(self._parser, self._look)
