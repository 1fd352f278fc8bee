"""One entry of a machine's event log, whatever wrote it."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

import msgspec


class Severity(StrEnum):
    """How bad it is; the eight levels and their order are those of syslog (RFC 5424, 6.2.1)."""

    EMERG = "emerg"
    ALERT = "alert"
    CRIT = "crit"
    ERR = "err"
    WARNING = "warning"
    NOTICE = "notice"
    INFO = "info"
    DEBUG = "debug"


_LEVELS = tuple(Severity)


class SystemEvent(msgspec.Struct, frozen=True):
    """Something that happened on this machine."""

    time: datetime
    """When, in UTC. A line without a time has that of the last line before it in its file, or of its reading."""
    source: str
    """Where it was read: `journal`, or the path of the file."""
    message: str
    host: str | None = None
    program: str | None = None
    pid: int | None = None
    severity: Severity | None = None
    """None where the line does not say."""
    raw: str = ""
    """The line as it was, without its line end. Bytes that are not UTF-8 are shown as `\\xNN`."""
    raw_bytes: bytes | None = None
    """The exact bytes of a line that is not UTF-8; None for all others, where `raw` is exact."""


def severity_of(level: int) -> Severity | None:
    """Return the severity of a syslog level, 0 to 7; None for any other number."""
    return _LEVELS[level] if 0 <= level < len(_LEVELS) else None


def text_of(line: bytes) -> tuple[str, bytes | None]:
    """Return a line as text, and its bytes where the text is not exact."""
    try:
        return line.decode(), None
    except UnicodeDecodeError:
        return line.decode(errors="backslashreplace"), line
