"""Rows as syslog messages.

    <134>1 2026-03-01T10:00:00.123456Z web sshd 77 - [millstream action="login_failed" user="ann"] Failed password ...

Source: RFC 5424, 6 (format), 6.3.3 (escapes of structured data), 8.1 (what goes over UDP).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from millstream.records import time_from_us
from millstream.sinks.rows import Rows

FACILITIES: Final = (
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp", "ntp",
    "audit", "alert", "clock", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
)  # fmt: skip
"""In the order of their numbers (RFC 5424, 6.2.1)."""

SEVERITIES: Final = ("emerg", "alert", "crit", "err", "warning", "notice", "info", "debug")
LEVELS: Final = {"critical": 2, "high": 3, "medium": 4, "low": 5, "informational": 6}
"""Of alerts."""

DATA_ID: Final = "millstream"
MESSAGE_BYTES_MAX: Final = 256 * 1024
"""A longer one is cut: receivers take less."""
UDP_BYTES_MAX: Final = 65_000
"""Of a datagram: what IP can carry."""

_HEADER: Final = frozenset({"time", "host", "program", "pid", "severity", "message"})
_ELSEWHERE: Final = frozenset({"raw", "raw_bytes"})
"""The line as it was is not sent again beside what it says."""


def messages_of(rows: Rows, facility: int, app_name: str) -> list[bytes]:
    """Return a message for each row, in order."""
    times = rows.times.to_physical().to_list()
    return [message_of(row, time_us, facility, app_name) for row, time_us in zip(rows.values(), times, strict=True)]


def message_of(row: Any, time_us: int | None, facility: int, app_name: str) -> bytes:
    """Return the message of one row: its header and structured data from fields of those names, or all as JSON."""
    if not isinstance(row, Mapping) or not isinstance(row.get("message"), str):
        return _message(facility * 8 + 6, time_us, {}, app_name, "", msgspec.json.encode(row).decode())
    said = row.get("severity")
    if said in SEVERITIES:
        severity = SEVERITIES.index(said)
    else:
        severity = LEVELS.get(row.get("level") or "", 6)
    pairs = [(name, _text(value)) for name, value in row.items() if name not in _HEADER | _ELSEWHERE]
    inside = "".join(f' {_name(name)}="{_escaped(value)}"' for name, value in pairs if value)
    data = f"[{DATA_ID}{inside}]" if inside else ""
    return _message(facility * 8 + severity, time_us, row, app_name, data, row["message"])


def _message(
    priority: int, time_us: int | None, row: Mapping[str, Any], app_name: str, data: str, message: str
) -> bytes:
    at = "-" if time_us is None else time_from_us(time_us).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    host = _printable(row.get("host"), 255)
    program = _printable(row.get("program") or app_name, 48)
    pid = _printable(row.get("pid"), 128)
    head = f"<{priority}>1 {at} {host} {program} {pid} - {data or '-'} "
    found = (head + message).encode("utf-8", "replace")
    return found if len(found) <= MESSAGE_BYTES_MAX else _cut(found)


def _cut(message: bytes) -> bytes:
    """Return the beginning of a message, without half a character at its end."""
    return message[:MESSAGE_BYTES_MAX].decode(errors="ignore").encode()


def _printable(value: Any, most: int) -> str:
    """Return what a field of the header may hold: printable ASCII without spaces."""
    text = "".join(char if "!" <= char <= "~" else "_" for char in str(value))[:most]
    return "-" if value is None or not text else text


def _name(text: str) -> str:
    """Return what a parameter may be called."""
    return "".join(char if "!" <= char <= "~" and char not in '="]' else "_" for char in text)[:32] or "_"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("]", "\\]")


def _text(value: Any) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    return str(value) if isinstance(value, (int, float)) else msgspec.json.encode(value).decode()
