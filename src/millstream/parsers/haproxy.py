r"""HAProxy, which sends its log as syslog: with a header of it, or without one in a container.

| kind | example |
|---|---|
| HTTP | `10.0.0.1:33317 [01/Mar/2026:10:00:00.123] web s/s1 10/0/30/69/109 200 27 - - ---- 1/1/1/1/0 0/0 "GET / ..."` |
| TCP | `10.0.0.1:33313 [01/Mar/2026:10:00:00.123] fnt bck/srv1 0/0/5007 212 -- 0/0/0/0/3 0/0` |
| refused | `10.0.0.1:36998 [01/Mar/2026:10:00:00.123] fnt/1: SSL handshake failure` |
| of a server | `Server bck/srv1 is DOWN, reason: Layer4 timeout, ...` |

A time of HAProxy's own has no zone: it is that of this machine, unless one is given.

Source: docs.haproxy.org, configuration manual, 8.2 "Log formats".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, tzinfo
from typing import Any, Final

from millstream.parsers.event_parser import ReadLine
from millstream.parsers.levels import severity_of_status
from millstream.parsers.log_event import Kind
from millstream.parsers.proxies import address_of
from millstream.parsers.syslog import LineParser
from millstream.parsers.system_event import Severity
from millstream.parsers.times import parse_time

_CLIENT: Final = (
    r"(?P<client>\S{3,60}) \[(?P<time>\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d(?:\.\d{1,6})?)\] (?P<frontend>\S{1,200})"
)
_HTTP: Final = re.compile(
    rf"{_CLIENT} (?P<backend>[^\s/]{{1,200}})/(?P<server>\S{{1,200}}) (?P<timers>[0-9+/-]{{5,60}}) "
    rf"(?P<status>-?\d{{1,3}}) "
    r"(?P<body_bytes>\+?\d{1,18}) (?P<cookies>\S{1,200} \S{1,200}) (?P<termination>\S{4}) "
    r"(?P<connections>[0-9+/]{5,60}) "
    r"(?P<queues>\d{1,10}/\d{1,10}) (?P<captured>(?:\{[^}]{0,4000}\} ){0,2})"
    r'"(?P<request>[^"]{0,20000})"?.*',
    re.DOTALL,
)
_TCP: Final = re.compile(
    rf"{_CLIENT} (?P<backend>[^\s/]{{1,200}})/(?P<server>\S{{1,200}}) (?P<timers>[0-9+/-]{{3,60}}) "
    rf"(?P<body_bytes>\+?\d{{1,18}}) "
    r"(?P<termination>\S{2}) (?P<connections>[0-9+/]{5,60}) (?P<queues>\d{1,10}/\d{1,10}).*",
    re.DOTALL,
)
_REFUSED: Final = re.compile(rf"{_CLIENT}: (?P<message>.{{1,400}})", re.DOTALL)
_SERVER: Final = re.compile(
    r"(?:Server|Backend|Proxy|backend) (?P<service>\S{1,200}) (?P<what>is DOWN|is UP|has no server "
    r"available!|started\.|stopped .*|is going DOWN .*).*",
    re.DOTALL,
)
_REQUEST: Final = re.compile(
    r"(?P<http_method>[A-Z]{2,20}) (?P<url>\S+)(?: (?P<http_version>HTTP/[0-9.]{1,5}))?", re.DOTALL
)
_TIMERS_HTTP: Final = ("request_ms", "queue_ms", "connect_ms", "response_ms", "duration_ms")
_TIMERS_TCP: Final = ("queue_ms", "connect_ms", "duration_ms")


def haproxy_reader(zone: tzinfo | None = None) -> ReadLine:
    """Return what reads one line; see `EventParser`."""
    headers = LineParser("haproxy", zone=zone)

    def read(text: str, now: datetime) -> Mapping[str, Any] | None:
        header = headers.header(text, now)
        message = header.message
        found = _message(message, now, zone)
        if found is None and header.program in ("haproxy", "hapee-lb") and header.time is not None:
            found = {"message": message, "severity": header.severity}
        if found is None:
            return None
        found["time"] = header.time or found.get("time")
        return {"program": "haproxy", "host": header.host, "pid": header.pid, **found}

    return read


def _message(text: str, now: datetime, zone: tzinfo | None) -> dict[str, Any] | None:
    if match := (_HTTP.match(text) or _TCP.match(text)):
        return _request(match.groupdict(), now, zone)
    if match := _REFUSED.fullmatch(text):
        return _client(match, now, zone) | {
            "message": match["message"],
            "severity": Severity.WARNING,
            "fields": {"frontend": match["frontend"]},
        }
    if match := _SERVER.fullmatch(text):
        failed = "DOWN" in match["what"] or "no server" in match["what"]
        action = "failed" if failed else "stopped" if match["what"].startswith("stopped") else "started"
        return {
            "message": text,
            "kind": Kind.SERVICE,
            "action": action,
            "success": None if action == "stopped" else not failed,
            "service": match["service"],
            "severity": Severity.ALERT if failed else Severity.NOTICE,
        }
    return None


def _request(parts: dict[str, str | None], now: datetime, zone: tzinfo | None) -> dict[str, Any]:
    names = ("frontend", "backend", "server", "termination", "connections", "queues", "captured")
    fields: dict[str, Any] = {name: (parts.get(name) or "").strip() for name in names}
    status = parts.get("status")
    timers = (parts["timers"] or "").split("/")
    for name, value in zip(_TIMERS_TCP if status is None else _TIMERS_HTTP, timers, strict=False):
        fields[name] = int(value) if re.fullmatch(r"[+-]?\d{1,15}", value, re.ASCII) else value
    fields["body_bytes"] = int((parts["body_bytes"] or "0").lstrip("+"))
    said = _client(parts, now, zone)
    words: list[str] = [f"{fields['frontend']} {fields['backend']}/{fields['server']}"]
    if status is not None:
        request = _REQUEST.match(parts.get("request") or "")
        fields |= {k: v for k, v in request.groupdict().items() if v} if request else {"request": parts.get("request")}
        words = [str(fields.get("http_method") or fields.get("request") or ""), str(fields.get("url") or ""), status]
        if status.isdecimal():
            fields["status"] = int(status)
            said["severity"] = severity_of_status(int(status))
    said["message"] = " ".join(word for word in words if word)
    said["fields"] = {name: value for name, value in fields.items() if value not in (None, "")}
    return said


def _client(parts: re.Match[str] | Mapping[str, str | None], now: datetime, zone: tzinfo | None) -> dict[str, Any]:
    address, port = address_of(parts["client"])
    return {"time": parse_time(parts["time"], now=now, zone=zone), "source_ip": address, "source_port": port}
