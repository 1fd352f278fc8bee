"""Heads of files: what the lines of CSV, of IIS and of Zeek mean stands in front of them, and is not read again.

A file that is read on from where it was left, or from its last lines, is told its head first.
"""

from __future__ import annotations

from codecs import BOM_UTF8
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Final, Protocol, runtime_checkable

from millstream.parsers.clocks import Look
from millstream.parsers.event_parser import EventParser, LogEventParser
from millstream.sources.log_file import LogFile, open_log_file

HEADED: Final = frozenset({"csv", "w3c", "zeek"})
"""Formats whose lines mean nothing without the head of their file."""
HEAD_BYTES: Final = 64 * 1024
HEAD_LINES_MAX: Final = 200
BACK_BYTES: Final = 1024 * 1024
"""So far back from where reading goes on a later head is looked for: a server that is started again writes another."""
_DIRECTIVE: Final = b"#"


@runtime_checkable
class TakesHead(Protocol):
    """A parser that wants to know what its file begins with."""

    def begin_with(self, head: Sequence[bytes], *, now: datetime) -> None:
        """Take the first lines of a file, of which no events are made, and the heads before the first line to come."""
        ...


@runtime_checkable
class TakesDates(Protocol):
    """A parser that may want to know what day its first line is of."""

    def begin_at(self, look: Look) -> None:
        """Take what tells it, by a look at the file."""
        ...


def tell_dates(parser: LogEventParser, look: Look) -> None:
    """Have a parser know what tells the dates of its file, if it is one that asks."""
    if isinstance(parser, TakesDates):
        parser.begin_at(look)


def head_of(path: Path, offset: int) -> list[bytes]:
    """Return the first lines of a file, and lines like those of a head before an offset; none where it has none (now).

    Args:
        offset: Where reading goes on.
    """
    file = open_log_file(path, lambda sentence: None)
    if file is None:
        return []
    try:
        first = _whole_lines(file, min(HEAD_BYTES, offset), 0)[:HEAD_LINES_MAX]
        if not any(line.startswith(_DIRECTIVE) for line in first):
            return first
        start = max(offset % 2, offset - BACK_BYTES)  # not inside a unit of UTF-16
        later = _whole_lines(file, offset - start, start)
        return [*first, *(line for line in later if line.startswith(_DIRECTIVE))]
    finally:
        file.close()


def tell_head(parser: LogEventParser, head: Sequence[bytes], *, now: datetime) -> None:
    """Have a parser know the head of its file, if its format is one that has heads; no event comes of it."""
    if isinstance(parser, TakesHead):
        parser.begin_with(head, now=now)
    elif isinstance(parser, EventParser) and parser.format in HEADED:
        for line in head:
            parser.fits(line, now=now)


def _whole_lines(file: LogFile, size: int, offset: int) -> list[bytes]:
    data = file.read(size, offset)
    if file.utf16 is not None:
        data = file.utf16.text_of(data)
    if not offset:
        data = data.removeprefix(BOM_UTF8)
    return [line.rstrip(b"\r") for line in data[: data.rfind(b"\n") + 1].split(b"\n") if line.strip()]
