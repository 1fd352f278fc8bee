"""One entry of the systemd journal, as `journalctl --output=json` writes it.

A field is a text; a list of numbers where its bytes are not UTF-8 or not printable; a list of those where an entry has
the field more than once; null where journalctl left it out for its size.

Source: systemd.journal-fields(7); https://systemd.io/JOURNAL_EXPORT_FORMATS ("Journal JSON Format").
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, ClassVar

import msgspec

from millstream.parsers.event_parser import event_columns
from millstream.parsers.log_event import LogEvent
from millstream.parsers.messages.tables import read_message
from millstream.parsers.system_event import severity_of, text_of
from millstream.records import time_from_us

if TYPE_CHECKING:
    import polars as pl

_DECODER = msgspec.json.Decoder(dict[str, msgspec.Raw])
_US_MAX = 253_402_300_799_999_999  # 9999-12-31T23:59:59.999999Z, the last time that a datetime can say

SOURCE = "journal"


class JournalParser:
    """Parses entries of the journal, one a line."""

    format: ClassVar[str] = "journal"

    def events(self, lines: Sequence[bytes], *, now: datetime) -> list[LogEvent]:
        """Return the event of each entry; see `parse_entry`."""
        return [parse_entry(line, now=now) for line in lines]

    def columns(self, lines: Sequence[bytes], *, now: datetime) -> pl.DataFrame:
        """Return the same as columns."""
        return event_columns(self.events(lines, now=now))

    def fits(self, line: bytes, *, now: datetime) -> bool:
        """Return whether a line is an entry as journalctl writes it."""
        return line.startswith(b"{") and b'"__REALTIME_TIMESTAMP"' in line


def parse_entry(line: bytes, *, now: datetime) -> LogEvent:
    """Return the event of one entry; the message says so where the line is no entry (such as one that was cut).

    `time` is when the program sent it where the journal knows, else when the journal took it, else `now`.
    """
    raw, exact = text_of(line)
    try:
        fields = _DECODER.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return LogEvent(
            time=now.astimezone(UTC),
            source=SOURCE,
            message=f"an entry that could not be read; the first {len(line):,} bytes of it are kept in `raw`",
            raw=raw,
            raw_bytes=exact,
            format=SOURCE,
        )
    time = _number(fields, "_SOURCE_REALTIME_TIMESTAMP", _US_MAX)
    if time is None:
        time = _number(fields, "__REALTIME_TIMESTAMP", _US_MAX)
    level = _number(fields, "PRIORITY", 7)
    pid = _number(fields, "_PID", 2**31)
    program = _text(fields, "SYSLOG_IDENTIFIER") or _text(fields, "_COMM")
    message = _text(fields, "MESSAGE") or ""
    return LogEvent(
        time=now.astimezone(UTC) if time is None else time_from_us(time),
        source=SOURCE,
        message=message,
        host=_text(fields, "_HOSTNAME"),
        program=program,
        pid=_number(fields, "SYSLOG_PID", 2**31) if pid is None else pid,
        severity=None if level is None else severity_of(level),
        raw=raw,
        raw_bytes=exact,
        format=SOURCE,
        **read_message(program, message),
    )


def _text(fields: dict[str, msgspec.Raw], name: str) -> str | None:
    if name not in fields:
        return None
    try:
        value = msgspec.json.decode(fields[name])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None  # what is inside of a field is looked at here for the first time
    if isinstance(value, list) and value and not isinstance(value[0], int):
        value = value[0]  # the field was given more than once
    if isinstance(value, list):
        try:
            return bytes(value).decode(errors="backslashreplace")
        except (TypeError, ValueError):
            return None
    return value if isinstance(value, str) else None


def _number(fields: dict[str, msgspec.Raw], name: str, most: int) -> int | None:
    """Return a field as a number from 0 to `most`; None where it is anything else."""
    text = _text(fields, name)
    if text is None or not text.isascii() or not text.isdecimal() or len(text) > 20:
        return None
    number = int(text)
    return number if number <= most else None
