"""The formats of text that can be asked for by name: which parser reads one, and what it makes.

A new format is a parser, a line here, and its part of docs/logs.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec

from millstream.errors import UsageError
from millstream.parsers.access import AccessEvent, AccessParser
from millstream.parsers.log_event import LogEvent
from millstream.parsers.log_lines import LogParser

if TYPE_CHECKING:
    import polars as pl


class Parser(Protocol):
    """Reads the lines of one source, in order. It never fails on a line: what it does not know is kept as it is."""

    def columns(self, lines: Sequence[bytes], *, now: datetime) -> pl.DataFrame:
        """Return a row for each line, in their order, with the columns of the format's type.

        Args:
            lines: Without their ends.
            now: The time of reading, with a zone.
        """
        ...


class Format(msgspec.Struct, frozen=True):
    """One format."""

    type: type[Any]
    """What a line becomes; its field `time` is the event time."""
    parser: Callable[[str], Parser]
    """Makes a parser, given where the lines come from."""
    about: str


FORMATS: Final = {
    "access": Format(AccessEvent, lambda source: AccessParser(), "access logs of web servers, common and combined"),
    "syslog": Format(LogEvent, LogParser, "logs such as auth.log: RFC 3164, RFC 5424, ISO times, and what they mean"),
}


def format_of(name: str) -> Format:
    """Return a format by its name.

    Raises:
        UsageError: There is none of that name.
    """
    if name not in FORMATS:
        raise UsageError(f"there is no format {name!r}; there is {', '.join(FORMATS)}")
    return FORMATS[name]
