"""What reads a file that nobody has written to for long: what its lines do not say of their time, it does."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from millstream.parsers.event_parser import LogEventParser
from millstream.parsers.log_event import LogEvent

if TYPE_CHECKING:
    import polars as pl

_LONG_AGO: Final = timedelta(days=1)
"""Nobody can have meant less: what is written now and then has times of today."""
_FIRST: Final = datetime(2000, 1, 1, tzinfo=UTC)
"""Archives that are to be the same every time have files of 1970 and 1980: that is no time at all."""


class LastChangeParser:
    """Reads lines as if at the last change of their file, where that was long ago.

    A line is not younger than its file: of a time without a year, that is the last one which is not after it; a line
    without any time has the file's.
    """

    def __init__(self, path: str, parser: LogEventParser) -> None:
        self._path = path
        self._parser = parser

    @property
    def format(self) -> str:
        return self._parser.format

    def events(self, lines: Sequence[bytes], *, now: datetime) -> list[LogEvent]:
        """Return the event of each line, in their order."""
        return self._parser.events(lines, now=self._at(now))

    def columns(self, lines: Sequence[bytes], *, now: datetime) -> pl.DataFrame:
        """Return the same as columns."""
        return self._parser.columns(lines, now=self._at(now))

    def _at(self, now: datetime) -> datetime:
        try:
            changed = datetime.fromtimestamp(os.stat(self._path).st_mtime, UTC)
        except (OSError, ValueError, OverflowError):
            return now  # it was renamed or removed meanwhile, or is none of this system
        return changed if _FIRST <= changed < now - _LONG_AGO else now
