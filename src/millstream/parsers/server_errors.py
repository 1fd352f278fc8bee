"""Error logs of Apache and nginx.

| written by | example |
|---|---|
| Apache 2.4 | `[Sun Mar 01 10:00:00.123456 2026] [ssl:error] [pid 7:tid 9] [client 10.0.0.1:50229] AH01618: ...` |
| nginx | `2026/03/01 10:00:00 [error] 7#9: *23 open() failed, client: 10.0.0.1, server: example.com, ...` |

Source: httpd.apache.org/docs/2.4/mod/core.html#errorlogformat; nginx, src/core/ngx_log.c.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, tzinfo
from typing import Any, Final

from millstream.parsers.levels import severity_from
from millstream.parsers.log_event import Kind
from millstream.parsers.times import parse_time

_APACHE: Final = re.compile(
    r"\[(?P<time>\w{3} \w{3} +\d{1,2} \d\d:\d\d:\d\d(?:\.\d{1,9})? \d{4})\] "
    r"\[(?:(?P<module>[\w-]*):)?(?P<level>\w{1,10})\]"
    r"(?: \[pid (?P<pid>\d{1,10})(?::tid (?P<tid>\d{1,20}))?\])?(?P<front>(?: \([^)]{1,40}\)[^\[]{0,200}(?= "
    r"\[client ))?)"
    r"(?: \[client (?P<client>[^\]]{1,300})\])? ?(?P<message>.*)",
    re.DOTALL,
)
_NGINX: Final = re.compile(
    r"(?P<time>\d{4}/\d\d/\d\d \d\d:\d\d:\d\d) \[(?P<level>\w{1,10})\] (?P<pid>\d{1,10})#(?P<tid>\d{1,20}): "
    r"(?:\*(?P<connection>\d{1,20}) )?(?P<message>.*)",
    re.DOTALL,
)
_NGINX_PART: Final = re.compile(r', (client|server|request|upstream|host|referrer): (?:"([^"]*)"|([^,"]*))')

_REFUSED: Final = re.compile(
    r"AH\d{5}: user (?P<mismatch>\S{1,200}): authentication failure for "
    r"|AH\d{5}: user (?P<unknown>\S{1,200}) not found"
    r'|user "(?P<nginx>[^"]{1,200})"(?:: password mismatch| was not found in )'
)
"""Basic authentication: of Apache (mod_auth_basic), of nginx (auth_basic)."""


def error_reader(zone: tzinfo | None = None) -> Any:
    """Return what reads one line; see `EventParser`."""

    def read(text: str, now: datetime) -> Mapping[str, Any] | None:
        if match := _APACHE.fullmatch(text):
            return _apache(match, now, zone)
        if match := _NGINX.fullmatch(text):
            return _nginx(match, now, zone)
        return None

    return read


def _apache(match: re.Match[str], now: datetime, zone: tzinfo | None) -> dict[str, Any]:
    address, _, port = (match["client"] or "").rpartition(":")
    if not address or not port.isdecimal() or len(port) > 5:
        address, port = match["client"] or "", ""
    fields = {name: match[name] for name in ("module", "tid") if match[name]}
    message = f"{match['front'].strip()} {match['message']}".strip()
    return _event(match, now, zone, "apache", message) | {
        "source_ip": address.strip("[]") or None,
        "source_port": int(port) if port else None,
        "fields": fields or None,
    }


def _nginx(match: re.Match[str], now: datetime, zone: tzinfo | None) -> dict[str, Any]:
    parts = {name: quoted or plain for name, quoted, plain in _NGINX_PART.findall(match["message"])}
    fields = parts | {name: match[name] for name in ("connection",) if match[name]}
    address = fields.pop("client", None)
    return _event(match, now, zone, "nginx", match["message"]) | {"source_ip": address, "fields": fields or None}


def _event(match: re.Match[str], now: datetime, zone: tzinfo | None, program: str, message: str) -> dict[str, Any]:
    return {
        "time": parse_time(match["time"], now=now, zone=zone),
        "program": program,
        "pid": int(match["pid"]) if match["pid"] else None,
        "severity": severity_from(match["level"]),
        "message": message,
        **_login(message),
    }


def _login(message: str) -> dict[str, Any]:
    """Return what a message says of who was refused by a password of the server's own."""
    match = _REFUSED.match(message)
    if match is None:
        return {}
    user = next((name for name in match.groups() if name), None)
    return {"kind": Kind.LOGIN, "action": "login_failed", "success": False, "user": user}
