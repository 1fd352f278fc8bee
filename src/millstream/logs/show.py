"""Events and alerts as lines for a person."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from millstream.logs.alert import Alert, Level
from millstream.parsers.log_event import Kind, LogEvent
from millstream.parsers.system_event import Severity

RESET: Final = "\x1b[0m"
BOLD_RED: Final = "\x1b[1;31m"
RED: Final = "\x1b[31m"
YELLOW: Final = "\x1b[33m"
GREEN: Final = "\x1b[32m"
CYAN: Final = "\x1b[36m"
DIM: Final = "\x1b[2m"

_OF_LEVEL: Final = {Level.CRITICAL: BOLD_RED, Level.HIGH: BOLD_RED, Level.MEDIUM: YELLOW}
_BAD: Final = (Severity.EMERG, Severity.ALERT, Severity.CRIT, Severity.ERR)
_OF_KIND: Final = {Kind.PRIVILEGE: YELLOW, Kind.DEVICE: CYAN, Kind.ACCOUNT: YELLOW, Kind.LOG_CLEARED: BOLD_RED}


def event_line(event: LogEvent, *, color: bool = False) -> str:
    """Return one event: its local time, host, kind, and what happened."""
    kind = event.kind.value if event.kind is not None else ""
    text = f"{_time(event.time)} {event.host or '-':<12} {kind:<9} {sentence(event)}"
    return f"{_color(event)}{text}{RESET}" if color and _color(event) else text


def alert_line(alert: Alert, *, color: bool = False) -> str:
    """Return one alert."""
    text = f"{_time(alert.time)} {'ALERT':<12} {alert.level.value:<9} {_plain(alert.message)} [{alert.rule}]"
    return f"{_OF_LEVEL.get(alert.level, CYAN)}{text}{RESET}" if color else text


def sentence(event: LogEvent) -> str:
    """Return what happened, in words where they are known, else as the program said it."""
    who, whom = event.user or "somebody", event.target_user or "somebody"
    came_from = f" from {event.source_ip or event.source_name}" if event.source_ip or event.source_name else ""
    at = f" on {event.terminal}" if event.terminal and not came_from else ""
    how = f" ({event.method})" if event.method else ""
    refused = event.success is False
    match event.kind:
        case Kind.LOGIN if event.success is not None:
            text = f"{who} {'failed to log in' if refused else 'logged in'}{came_from}{at}{how}"
        case Kind.LOGIN if event.action:
            text = f"{event.action.replace('_', ' ')}: {who}{came_from}{at}"
        case Kind.LOGOUT:
            text = f"{who} logged out{came_from}"
        case Kind.PRIVILEGE if refused:
            text = f"{who} was refused the rights of {whom}" + (f": {event.command}" if event.command else "")
        case Kind.PRIVILEGE:
            text = f"{who} acts as {whom}" + (f": {event.command}" if event.command else "")
        case Kind.DEVICE:
            name = " ".join(part for part in (event.device_vendor, event.device_product) if part)
            text = f"{event.device or 'a device'} {event.action or ''}" + (f": {name}" if name else "")
        case Kind.SERVICE if event.service:
            text = f"{event.service} {event.action or ''}"
        case Kind.ACCOUNT if event.action:
            text = f"{whom}: {event.action.replace('_', ' ')}"
        case _:
            name, message = event.program or event.source, _first_line(event.message)
            text = f"{name}[{event.pid}]: {message}" if event.pid is not None else f"{name}: {message}"
    return _plain(text)


def _color(event: LogEvent) -> str:
    if event.success is False:
        return RED
    if event.kind is Kind.LOGIN and event.success:
        return GREEN
    if event.kind is not None:
        return _OF_KIND.get(event.kind, "")
    return RED if event.severity in _BAD else DIM


def _time(moment: datetime) -> str:
    return f"{moment.astimezone():%Y-%m-%d %H:%M:%S}"


def _first_line(message: str) -> str:
    """Return the first line of a message, and how many more there are."""
    first, _, rest = message.strip().partition("\n")
    more = len(rest.splitlines())
    return f"{first.rstrip()} (+{more} {'line' if more == 1 else 'lines'})" if more else first


def _plain(text: str) -> str:
    """Return text without what moves a terminal's cursor or changes its colours: a log is written by others."""
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in text)
