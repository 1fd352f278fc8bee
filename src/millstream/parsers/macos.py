"""The unified log of macOS, one entry a line.

| style of `log` | line |
|---|---|
| `ndjson` | `{"timestamp":"2026-03-01 11:00:00.123456+0100","eventMessage":"...","processImagePath":"/bin/x",...}` |
| `syslog` | `2026-03-01 11:00:00.123456+0100  localhost sudo[7]: (library) [subsystem:category] message` |
| `default` | `2026-03-01 11:00:00.123456+0100 0x1a2b     Default     0x0                  7      0    sudo: message` |
| `compact` | `2026-03-01 11:00:00.123 Df sudo[7:1a2b] [subsystem:category] message` |

The first has all there is. `<private>` is what macOS does not say; it is no name.

Source: log(1); the fields of OSLogEntry.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, tzinfo
from typing import Any, Final

import msgspec

from millstream.parsers.event_parser import ReadLine
from millstream.parsers.macos_messages import read_macos_message
from millstream.parsers.system_event import Severity
from millstream.parsers.times import parse_time

_DECODER: Final = msgspec.json.Decoder(dict[str, Any])

_SEVERITIES: Final = {
    "default": Severity.NOTICE, "info": Severity.INFO, "debug": Severity.DEBUG, "error": Severity.ERR,
    "fault": Severity.CRIT,
    "df": Severity.NOTICE, "i": Severity.INFO, "db": Severity.DEBUG, "e": Severity.ERR, "f": Severity.CRIT,
}  # fmt: skip
"""Types of messages, long and as `--style compact` has them. `Default` is what is kept on disk: a notice."""

_TIME: Final = r"(?P<time>\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3,6}(?:[+-]\d{4})?)"
_SENDER: Final = (
    r"(?:\((?P<sender>[^()]{1,200})\) )?"
    r"(?:\[(?P<subsystem>[^\[\]:]{0,200}):(?P<category>[^\[\]]{0,200})\] )?(?P<message>.*)"
)
_STYLES: Final = (
    re.compile(
        rf"{_TIME} +(?P<host>[^ ]{{1,255}}) (?P<program>[^\[\]]{{1,200}})\[(?P<pid>\d{{1,10}})\]: {_SENDER}",
        re.DOTALL,
    ),
    re.compile(
        rf"{_TIME} 0x(?P<thread>[0-9a-f]{{1,16}}) +(?P<type>[A-Z][a-z]+) +0x[0-9a-f]{{1,16}} +(?P<pid>\d{{1,10}}) +"
        rf"\d{{1,5}} +(?P<program>[^:]{{1,200}}): {_SENDER}",
        re.DOTALL,
    ),
    re.compile(
        rf"{_TIME} (?P<type>Df|I|Db|E|F) {{1,2}}(?P<program>[^\[\]]{{1,200}})"
        rf"\[(?P<pid>\d{{1,10}}):(?P<thread>[0-9a-f]{{1,16}})\] {_SENDER}",
        re.DOTALL,
    ),
)
_END: Final = {"count", "finished"}
"""What stands in the line that `log show` ends with."""
_KEPT: Final = {
    "subsystem": "subsystem", "category": "category", "eventType": "event_type", "userID": "user_id",
    "threadID": "thread_id", "activityIdentifier": "activity_id", "bootUUID": "boot_id", "traceID": "trace_id",
    "signpostName": "signpost_name", "signpostType": "signpost_type", "machTimestamp": "mach_timestamp",
}  # fmt: skip


def macos_reader(zone: tzinfo | None = None) -> ReadLine:
    """Return what reads one line; see `EventParser`.

    Args:
        zone: Of the times of `--style compact`, which name none; None: this machine's.
    """

    def read(text: str, now: datetime) -> Mapping[str, Any] | None:
        if text.startswith("{"):
            return _from_json(text, now, zone)
        if text[:1].isdigit():
            return _from_text(text, now, zone)
        return None

    return read


def _from_json(text: str, now: datetime, zone: tzinfo | None) -> Mapping[str, Any] | None:
    try:
        entry = _DECODER.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return None
    if entry.keys() == _END:
        return {"time": None, "message": text}
    time, message = entry.get("timestamp"), entry.get("eventMessage")
    if not isinstance(time, str) or not ("processImagePath" in entry or "machTimestamp" in entry):
        return None
    message = message if isinstance(message, str) else ""
    program, sender = (_last(entry.get(name)) for name in ("processImagePath", "senderImagePath"))
    kept = {ours: entry[theirs] for theirs, ours in _KEPT.items() if _is_plain(entry.get(theirs))}
    if kept.get("event_type") == "logEvent":
        del kept["event_type"]
    said = {
        "time": _time(time, now, zone),
        "message": message,
        "program": program,
        "pid": _number(entry.get("processID")),
        "severity": _SEVERITIES.get(str(entry.get("messageType", "")).lower()),
        "fields": {**kept, **({"sender": sender} if sender and sender != program else {})} or None,
    }
    return said | read_macos_message(program, message.strip())


def _from_text(text: str, now: datetime, zone: tzinfo | None) -> Mapping[str, Any] | None:
    match = next((found for style in _STYLES if (found := style.fullmatch(text)) is not None), None)
    if match is None:
        return None
    parts = match.groupdict()
    message, program = parts["message"], parts["program"].strip()
    fields = {name: parts[name] for name in ("subsystem", "category", "sender") if parts[name]}
    if parts.get("thread"):
        fields["thread_id"] = int(parts["thread"], 16)
    said = {
        "time": _time(parts["time"], now, zone),
        "message": message,
        "program": program,
        "pid": _number(int(parts["pid"])),
        "host": parts.get("host"),
        "severity": _SEVERITIES.get((parts.get("type") or "").lower()),
        "fields": fields or None,
    }
    return said | read_macos_message(program, message.strip())


def _time(text: str, now: datetime, zone: tzinfo | None) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo or zone is None else moment.replace(tzinfo=zone)).astimezone(UTC)
    except (ValueError, OverflowError):
        return parse_time(text, now=now, zone=zone)


def _last(path: Any) -> str | None:
    """Return the last part of a path: the name of a program."""
    return path.rpartition("/")[2] or None if isinstance(path, str) else None


def _number(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31 else None


def _is_plain(value: Any) -> bool:
    """Return whether a value says something: 0 and empty text do not."""
    return isinstance(value, (str, int)) and bool(value)
