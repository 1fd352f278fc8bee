"""Named fields (of JSON, logfmt, CSV, ...) to a `LogEvent`: which of them are the time, the message, the level.

| of the event | names, in any case, the first that is there |
|---|---|
| time | @timestamp, timestamp, time, ts, datetime, date, eventTime, t, instant, date_time, _time; date with time |
| message | message, msg, log, event, text, short_message, body, @message |
| severity | level, lvl, severity, log.level, loglevel, levelname, s, ...: see `levels` |
| host | host, hostname, host.name, nodename |
| program | program, app, application, service, service.name, syslog_identifier, logger, name, process, component, ... |
| pid | pid, process.pid, process_id, processId |
| user, source_ip | user, username, user.name; source.ip, src_ip, client_ip, remote_addr, remote_ip, ip, ... |

All others are in `fields`, nested ones as they are.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, tzinfo
from typing import Any, Final

from millstream.parsers.levels import LEVELS, level_among
from millstream.parsers.times import parse_time

TIMES: Final = (
    "@timestamp",
    "timestamp",
    "time",
    "ts",
    "datetime",
    "date",
    "eventtime",
    "t",
    "instant",
    "date_time",
    "_time",
    "event_time",
    "log_time",
    "started_at",
    "created_at",
    "edgestarttimestamp",
    "start_time",
    "time_iso8601",
    "time_local",
)
MESSAGES: Final = ("message", "msg", "log", "event", "text", "short_message", "body", "@message")
HOSTS: Final = ("host", "hostname", "host.name", "nodename")
PROGRAMS: Final = (
    "program", "app", "application", "service", "service.name", "syslog_identifier", "logger", "name", "process",
    "component", "loggername", "logger_name", "@module",
)  # fmt: skip
PIDS: Final = ("pid", "process.pid", "process_id", "processid")
USERS: Final = ("user", "username", "user.name")
ADDRESSES: Final = (
    "source.ip",
    "src_ip",
    "client_ip",
    "remote_addr",
    "remoteaddr",
    "remote_ip",
    "srcip",
    "clientip",
    "src",
    "ip",
)
KNOWN_NAMES: Final = frozenset({*TIMES, *MESSAGES, *LEVELS, *HOSTS, *PROGRAMS, *PIDS, *USERS, *ADDRESSES} - {"s", "t"})
_ADDRESS: Final = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}|[0-9a-fA-F]{0,4}:[0-9a-fA-F:]{0,40}:[0-9a-fA-F.]{0,20}")

FIELDS_MAX: Final = 1000
"""Of one line; more are kept in `raw` only."""


def event_fields(named: Mapping[str, Any], *, now: datetime, zone: tzinfo | None) -> dict[str, Any]:
    """Return the fields of a `LogEvent` that named fields say; `time` is None where none of them is one."""
    lower: dict[str, str] = {}
    for name in named:
        lower.setdefault(name.lower(), name)
    taken: set[str] = set()

    def first(names: tuple[str, ...], accept: Any) -> Any:
        for name in names:
            written = lower.get(name)
            if written is not None and (found := accept(named[written])) is not None:
                taken.add(written)
                return found
        return None

    together = None
    if "date" in lower and "time" in lower:
        day, clock = named[lower["date"]], named[lower["time"]]
        together = parse_time(f"{day} {clock}", now=now, zone=zone) if _text(day) and _text(clock) else None
        taken |= set() if together is None else {lower["date"], lower["time"]}
    level = level_among(named, lower)
    if level is not None:
        taken.add(level[0])
    said = {
        "time": together or first(TIMES, lambda value: _time(value, now, zone)),
        "message": first(MESSAGES, _text) or "",
        "severity": None if level is None else level[1],
        "host": first(HOSTS, _text),
        "program": first(PROGRAMS, _text),
        "pid": first(PIDS, _number),
        "user": first(USERS, _text),
        "source_ip": first(ADDRESSES, _address),
    }
    rest = {name: value for name, value in named.items() if name not in taken}
    said["fields"] = dict(list(rest.items())[:FIELDS_MAX]) or None
    return said


def _time(value: Any, now: datetime, zone: tzinfo | None) -> datetime | None:
    if isinstance(value, Mapping):
        # {"$date": ...} of MongoDB; {"epochSecond": ..., "nanoOfSecond": ...} of Log4j.
        if "epochSecond" in value:
            seconds, nanos = _number(value["epochSecond"]), _number(value.get("nanoOfSecond", 0))
            return None if seconds is None else parse_time(seconds * 10**9 + (nanos or 0), now=now, zone=zone)
        value = value.get("$date")
    return parse_time(value, now=now, zone=zone)


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _address(value: Any) -> str | None:
    """Return an address; names such as `src` are also used for what is none."""
    return value if isinstance(value, str) and _ADDRESS.fullmatch(value) else None


def _number(value: Any) -> int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value if 0 <= value < 2**31 * 1000 else None
    return int(value) if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 12 else None
