"""Requests that servers and proxies log as JSON, under whatever names.

| written by | names |
|---|---|
| Caddy | `request` with `method`, `uri`, `remote_ip`; `status`, `size`, `duration` |
| Traefik | `RequestMethod`, `RequestPath`, `DownstreamStatus`, `ClientHost`, `Duration` |
| nginx, its ingress, with a `log_format` of JSON | `request_method`, `request_uri`, `status`, `remote_addr`, ... |
| Envoy, Istio | `method`, `path`, `response_code`, `downstream_remote_address` |
| Cloudflare | `ClientRequestMethod`, `ClientRequestURI`, `EdgeResponseStatus`, `ClientIP` |
| Google Cloud | `requestMethod`, `requestUrl`, `status`, `remoteIp` |
| Kong, and others | `request` and `response`, with `method`, `uri`, `status` |

`http_method`, `url`, `status`, `body_bytes`, `user_agent`, `referrer`, `http_version`, `vhost`, `duration_ms` are in
`fields` as with all access logs; other names stay.

Source: caddyserver.com/docs/logging; doc.traefik.io, "Access logs"; kubernetes.github.io/ingress-nginx, "Log format";
envoyproxy.io, "Access logging"; developers.cloudflare.com/logs; docs.konghq.com, "HTTP log".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from millstream.parsers.levels import severity_from, severity_of_status
from millstream.parsers.proxies import address_of
from millstream.parsers.system_event import Severity

_METHODS: Final = frozenset(
    ("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "PROPFIND", "REPORT", "LOCK")
)
_METHOD: Final = (
    "request_method",
    "http_method",
    "RequestMethod",
    "ClientRequestMethod",
    "requestMethod",
    "method",
    "verb",
)
_URL: Final = (
    "request_uri", "RequestPath", "ClientRequestURI", "requestUrl", "uri", "url", "path", "request_url", "url.original",
)  # fmt: skip
_STATUS: Final = (
    "status", "DownstreamStatus", "EdgeResponseStatus", "response_code", "status_code", "statusCode", "response_status",
)  # fmt: skip
_STATUS_NAMES: Final = frozenset(_STATUS)
_CLIENT: Final = (
    "client_ip", "remote_ip", "remote_addr", "ClientHost", "ClientIP", "remoteIp", "downstream_remote_address",
    "x_forwarded_for", "clientip", "client",
)  # fmt: skip
_WITH_PORT: Final = frozenset({"downstream_remote_address"})
_USERS: Final = ("remote_user", "user_id", "ClientUsername")
_TEXTS: Final = {
    "http_version": ("server_protocol", "proto", "protocol", "RequestProtocol", "ClientRequestProtocol"),
    "vhost": ("host", "http_host", "server_name", "RequestHost", "authority", "ClientRequestHost", "vhost"),
    "user_agent": ("user_agent", "http_user_agent", "request_User-Agent", "ClientRequestUserAgent", "userAgent"),
    "referrer": ("referrer", "referer", "http_referrer", "http_referer", "request_Referer", "ClientRequestReferer"),
}  # fmt: skip
_BYTES: Final = (
    "body_bytes_sent", "bytes_sent", "size", "DownstreamContentSize", "EdgeResponseBytes", "responseSize",
)  # fmt: skip
_NGINX: Final = frozenset({"request_method", "request_uri", "body_bytes_sent"})
"""Where one of these is, `host` is the site that was asked for, and not the machine."""
_DULL: Final = frozenset({"", "handled request"})
"""Messages that say nothing of the request."""
_BAD: Final = tuple(Severity)
_SECONDS: Final = re.compile(r"\d{1,9}(?:\.\d{1,9})?", re.ASCII)
_REQUEST: Final = re.compile(
    r"(?P<http_method>[A-Z]{3,10}) (?P<url>\S{1,8000})(?: (?P<http_version>HTTP/[0-9.]{1,4}))?"
)


def access_said(named: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """Return the fields of an event and the names that are left; None for what is no request."""
    if _STATUS_NAMES.isdisjoint(named) and "response" not in named:
        return None
    flat = _flat(named)
    request = _request(flat)
    status = _whole(flat, _STATUS)
    if request is None or status is None or not 100 <= status[1] <= 599:
        return None
    taken, fields = request
    taken.add(status[0])
    fields["status"] = status[1]
    _take_texts(flat, taken, fields, is_nested=flat is not named)
    if (size := _whole(flat, _BYTES)) is not None:
        taken.add(size[0])
        fields["body_bytes"] = size[1]
    if (took := _duration(flat, is_nested=flat is not named)) is not None:
        taken.add(took[0])
        fields["duration_ms"] = took[1]
    address, port, client = _client(flat)
    level = severity_from(flat.get("level"))
    by_status = severity_of_status(status[1])
    said: dict[str, Any] = {
        "source_ip": address,
        "source_port": port,
        "severity": by_status if level is None else min(level, by_status, key=_BAD.index),
        "user": next((flat[name] for name in _USERS if _is_text(flat.get(name))), None),
        "fields": fields,
    }
    own = next((flat[name] for name in ("message", "msg") if isinstance(flat.get(name), str)), "")
    if own in _DULL:
        taken |= {"message", "msg"}
        said["message"] = f"{fields['http_method']} {fields['url']} {status[1]}"
    return said, {name: value for name, value in flat.items() if name not in taken | client}


def _take_texts(flat: Mapping[str, Any], taken: set[str], fields: dict[str, Any], *, is_nested: bool) -> None:
    for field, names in _TEXTS.items():
        for name in names:
            if name == "host" and not is_nested and _NGINX.isdisjoint(flat):
                continue
            if isinstance(flat.get(name), str) and name not in taken:
                taken.add(name)
                if _is_text(flat[name]):
                    fields.setdefault(field, flat[name])
                break


def _flat(named: dict[str, Any]) -> dict[str, Any]:
    """Return an object with what is inside of its request and its response beside the others."""
    inner, outer = named.get("request"), named.get("response")
    if not isinstance(inner, dict):
        return named
    beside = {name: value for name, value in named.items() if name != "request"}
    flat = {**inner, **beside}
    headers = inner.get("headers")
    if isinstance(headers, dict):
        agent = headers.get("User-Agent") or headers.get("user-agent")
        agent = agent[0] if isinstance(agent, list) and agent else agent
        flat |= {"user_agent": agent} if isinstance(agent, str) else {}
    if isinstance(outer, dict):
        flat |= {name: outer[name] for name in ("status", "size") if name in outer}
    return flat


def _request(flat: Mapping[str, Any]) -> tuple[set[str], dict[str, Any]] | None:
    line = flat.get("request")
    if isinstance(line, str) and (match := _REQUEST.fullmatch(line)) is not None and match["http_method"] in _METHODS:
        return {"request"}, {name: value for name, value in match.groupdict().items() if value is not None}
    method = next((name for name in _METHOD if isinstance(flat.get(name), str) and flat[name] in _METHODS), None)
    url = next((name for name in _URL if isinstance(flat.get(name), str) and flat[name]), None)
    if method is None or url is None:
        return None
    return {method, url}, {"http_method": flat[method], "url": flat[url]}


def _client(flat: Mapping[str, Any]) -> tuple[str | None, int | None, set[str]]:
    for name in _CLIENT:
        value = flat.get(name)
        first = value.partition(",")[0].strip() if isinstance(value, str) else ""
        address, port = address_of(first)
        if address is not None:
            return (address, port, {name}) if name in _WITH_PORT else (first, None, {name})
    return None, None, set()


def _duration(flat: Mapping[str, Any], *, is_nested: bool) -> tuple[str, float] | None:
    """Return how long a request took: seconds of Caddy and nginx, nanoseconds of Traefik, milliseconds of Envoy."""
    for name, unit_ms in (("Duration", 1e-6), ("request_time", 1e3), ("duration", 1e3 if is_nested else 1.0)):
        value = flat.get(name)
        if isinstance(value, str) and _SECONDS.fullmatch(value):
            value = float(value)
        if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 1e15:
            return name, round(value * unit_ms, 6)
    return None


def _whole(flat: Mapping[str, Any], names: tuple[str, ...]) -> tuple[str, int] | None:
    for name in names:
        value = flat.get(name)
        if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 16:
            return name, int(value)
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**15:
            return name, value
    return None


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and value not in ("", "-")
