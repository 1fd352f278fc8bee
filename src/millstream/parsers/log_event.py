"""One schema for what matters in the event log of any system.

The names are our own, short enough to type; what each is in the Elastic Common Schema (ECS 8) is below and in
`ECS_NAMES`, so that results can be handed to tools that speak it.

| field | ECS | of |
|---|---|---|
| time, message, raw | @timestamp, message, event.original | every line |
| host, program, pid, severity | host.hostname, process.name, process.pid, log.level | every line that says it |
| source | log.file.path | where the line was read |
| kind, action, success | event.category, event.action, event.outcome | what is understood |
| user, target_user | user.name, user.target.name | who did it, and to whom |
| source_ip, source_port, source_name | source.ip, source.port, source.domain | from where |
| method, session, terminal | authentication.method (ours), session.id (ours), process.tty | logins |
| command | process.command_line | privilege |
| service | service.name | services |
| device, device_vendor | device.id, device.manufacturer | USB |
| device_product, device_serial | device.model.name, device.serial_number | USB |
| fields | labels | what a parser found beyond these |
| format | event.module | the parser |

Source: elastic.co/guide/en/ecs/current/ecs-field-reference.html.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final

import msgspec

from millstream.parsers.system_event import Severity, SystemEvent


class Kind(StrEnum):
    """What kind of thing happened; the same on every system."""

    LOGIN = "login"
    """Somebody tried to log in; `success` says with which outcome, None where the line does not decide it."""
    LOGOUT = "logout"
    PRIVILEGE = "privilege"
    """Somebody took, or wanted, the rights of another user: sudo, su, special rights at a login."""
    DEVICE = "device"
    """A device was plugged in or out."""
    SERVICE = "service"
    """A service was started or stopped, or failed."""
    ACCOUNT = "account"
    """A user or group was made, changed or removed."""
    LOG_CLEARED = "log_cleared"


class LogEvent(SystemEvent, frozen=True, kw_only=True):
    """A line of an event log, and what it says in the words that are the same on every system."""

    kind: Kind | None = None
    """None for lines of no known kind."""
    action: str | None = None
    """What exactly, such as `session_opened`; each parser's page lists its actions."""
    success: bool | None = None
    user: str | None = None
    target_user: str | None = None
    source_ip: str | None = None
    source_port: int | None = None
    source_name: str | None = None
    method: str | None = None
    """How the login was made: `password`, `publickey`, ..."""
    session: str | None = None
    terminal: str | None = None
    command: str | None = None
    service: str | None = None
    device: str | None = None
    """How the system names it, such as `usb 1-2`."""
    device_vendor: str | None = None
    device_product: str | None = None
    device_serial: str | None = None
    fields: dict[str, Any] | None = None
    """What a parser found beyond the fields above."""
    format: str | None = None
    """Which parser read the line: a name of `FORMATS`; with `raw` it can be read again by a newer one."""


def event_of(row: Mapping[str, Any]) -> LogEvent:
    """Return the event of a row of a frame of its topic (`iter_rows(named=True)`)."""
    values = {name: row[name] for name in LogEvent.__struct_fields__}
    values["kind"] = None if values["kind"] is None else Kind(values["kind"])
    values["severity"] = None if values["severity"] is None else Severity(values["severity"])
    values["fields"] = None if values["fields"] is None else msgspec.json.decode(values["fields"])
    return LogEvent(**values)


ECS_NAMES: Final = {
    "time": "@timestamp",
    "message": "message",
    "raw": "event.original",
    "source": "log.file.path",
    "host": "host.hostname",
    "program": "process.name",
    "pid": "process.pid",
    "severity": "log.level",
    "kind": "event.category",
    "action": "event.action",
    "success": "event.outcome",
    "user": "user.name",
    "target_user": "user.target.name",
    "source_ip": "source.ip",
    "source_port": "source.port",
    "source_name": "source.domain",
    "method": "authentication.method",
    "session": "session.id",
    "terminal": "process.tty",
    "command": "process.command_line",
    "service": "service.name",
    "device": "device.id",
    "device_vendor": "device.manufacturer",
    "device_product": "device.model.name",
    "device_serial": "device.serial_number",
    "fields": "labels",
    "format": "event.module",
}
"""Field of a `LogEvent` -> field of ECS; `authentication.method` and `session.id` are not in it, only in its style."""
