"""Records of logins as `sources/logins.py` hands them on: one of wtmp, btmp, utmp, lastlog, or of a database, a line.

    {"login_file":"wtmp","type":"user_process","pid":7,"line":"pts/0","user":"ann","host":"203.0.113.9",
     "time":"2026-03-01T10:00:00Z","decides":true}

| record | kind | action |
|---|---|---|
| a user's process | login | session_opened |
| a dead process | logout | session_closed |
| anything in btmp | login | login_failed |
| boot, shutdown, run level | service | boot, shutdown, run_level |
| the clock was set | | clock_was, clock_set |

The same login is usually in a text log as well. Only a record with `decides` has `success`: see docs/logs-logins.md.

Source: utmp(5); util-linux, login-utils/last.c; https://github.com/thkukuk/wtmpdb.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

import msgspec

from millstream.parsers.log_event import Kind
from millstream.parsers.times import parse_time

_DECODER: Final = msgspec.json.Decoder(dict[str, Any])
_SYSTEM: Final = "system"
"""The service of what happens to the whole machine."""
_SHUTDOWN_LEVELS: Final = ("0", "6")

Said = dict[str, Any]


def login_reader() -> Any:
    """Return what reads one line; see `EventParser`."""

    def read(text: str, now: datetime) -> Mapping[str, Any] | None:
        if '"login_file"' not in text[:64]:
            return None
        try:
            record = _DECODER.decode(text)
        except (msgspec.DecodeError, RecursionError):
            return None
        file = record.get("login_file")
        if not isinstance(file, str):
            return None
        return {
            "time": _time(record.get("time"), now),
            "program": file,
            "pid": _pid(record.get("pid")),
            "fields": {name: value for name, value in record.items() if value not in (None, "", 0)},
            **_MEANINGS.get(_what(record, file), _unknown)(record),
        }

    return read


def _what(record: Mapping[str, Any], file: str) -> str:
    """Return what a record means; as last(1) has it, for programs that fill it in oddly."""
    kind = record.get("type")
    line, user = _text(record, "line") or "", _text(record, "user") or ""
    if kind is None:
        return "unknown"
    if file == "btmp":
        return "failed"
    if file not in ("wtmp", "utmp"):
        return str(kind)
    if line.startswith("~"):
        named = {"shutdown": "shutdown", "reboot": "boot_time", "runlevel": "run_level"}
        return next((what for name, what in named.items() if user.startswith(name)), str(kind))
    if user == "date" and line[:1] in ("|", "{"):
        return "old_time" if line[0] == "|" else "new_time"
    if kind == "user_process" and not user:
        return "dead_process"
    return str(kind)


def _opened(record: Mapping[str, Any]) -> Said:
    user = _text(record, "user")
    return {
        "kind": Kind.LOGIN,
        "action": "session_opened",
        "success": True if record.get("decides") is True else None,
        "message": f"{user or 'somebody'} logged in{_on(record)}",
        "user": user,
        "terminal": _text(record, "line"),
        "session": _session(record),
        "service": _text(record, "service"),
        **_origin(record),
    }


def _closed(record: Mapping[str, Any]) -> Said:
    # A record of the end names only the terminal: whose it was is known from the login.
    login = record.get("login")
    begun: Mapping[str, Any] = login if isinstance(login, Mapping) else {}
    user = _text(record, "user") or _text(begun, "user")
    line = _text(record, "line") or _text(begun, "line")
    return {
        "kind": Kind.LOGOUT,
        "action": "session_closed",
        "message": f"{user or 'somebody'} logged out{_on({'line': line, 'host': begun.get('host')})}",
        "user": user,
        "terminal": line,
        "session": _session(begun) or _session(record),
        "service": _text(record, "service"),
        **_origin(begun),
    }


def _failed(record: Mapping[str, Any]) -> Said:
    user = _text(record, "user")
    return {
        "kind": Kind.LOGIN,
        "action": "login_failed",
        "success": False if record.get("decides") is True else None,
        "message": f"{user or 'somebody'} failed to log in{_on(record)}",
        "user": user,
        "terminal": _text(record, "line"),
        **_origin(record),
    }


def _boot(record: Mapping[str, Any]) -> Said:
    kernel = _text(record, "host")
    message = f"the system was started{f', kernel {kernel}' if kernel else ''}"
    return {"kind": Kind.SERVICE, "action": "boot", "service": _SYSTEM, "message": message}


def _shutdown(record: Mapping[str, Any]) -> Said:
    return {"kind": Kind.SERVICE, "action": "shutdown", "service": _SYSTEM, "message": "the system was shut down"}


def _run_level(record: Mapping[str, Any]) -> Said:
    number = record.get("pid")
    number = number if isinstance(number, int) else 0
    level, before = _level(number & 0xFF), _level(number >> 8 & 0xFF)
    if level in _SHUTDOWN_LEVELS:
        return _shutdown(record) | {"pid": None}
    message = f"run level {level or '?'}{f', before {before}' if before else ''}"
    return {"kind": Kind.SERVICE, "action": "run_level", "service": _SYSTEM, "message": message, "pid": None}


def _level(code: int) -> str:
    return chr(code) if chr(code).isascii() and chr(code).isalnum() else ""


def _clock_was(record: Mapping[str, Any]) -> Said:
    return {"action": "clock_was", "message": "the clock stood here when it was set"}


def _clock_set(record: Mapping[str, Any]) -> Said:
    return {"action": "clock_set", "message": "the clock was set to this"}


def _unknown(record: Mapping[str, Any]) -> Said:
    kind = _text(record, "type")
    if kind is None:
        return {"message": "a record that cannot be understood"}
    name = _text(record, "user")
    return {"message": f"{kind.replace('_', ' ')}{f' of {name}' if name else ''}{_on(record)}"}


_MEANINGS: Final[Mapping[str, Callable[[Mapping[str, Any]], Said]]] = {
    "user_process": _opened,
    "dead_process": _closed,
    "failed": _failed,
    "boot_time": _boot,
    "shutdown": _shutdown,
    "run_level": _run_level,
    "old_time": _clock_was,
    "new_time": _clock_set,
}


def _origin(record: Mapping[str, Any]) -> Said:
    """Return from where: the address of the record, or that in its host; else the host's name."""
    host = (_text(record, "host") or "").split(" ")[0]  # mosh: "203.0.113.9 via mosh [7]"
    address = _text(record, "address") or _address(host)
    # An X display, or a window of tmux or screen, is no host.
    is_name = bool(host) and _address(host) is None and not host.startswith(":") and "(" not in host
    return {"source_ip": address, "source_name": host if is_name else None}


def _address(text: str) -> str | None:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return None


def _on(record: Mapping[str, Any]) -> str:
    line, host = _text(record, "line"), _text(record, "host")
    return f"{f' on {line}' if line else ''}{f' from {host}' if host else ''}"


def _session(record: Mapping[str, Any]) -> str | None:
    """Return what a login and its end have in common."""
    for name in ("session", "pid", "row"):
        number = record.get(name)
        if isinstance(number, int) and number > 0:
            return str(number)
    return None


def _text(record: Mapping[str, Any], name: str) -> str | None:
    value = record.get(name)
    return value if isinstance(value, str) and value else None


def _pid(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**31 else None


def _time(value: Any, now: datetime) -> datetime | None:
    return parse_time(value, now=now) if isinstance(value, str) else None
