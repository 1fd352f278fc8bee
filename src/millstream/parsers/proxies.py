r"""Access logs that are not those of Apache: proxies, load balancers, object stores.

| written by | example |
|---|---|
| Envoy, Istio | `[2026-03-01T10:00:00.123Z] "GET /a HTTP/2" 200 - 154 0 22 10 "10.0.0.1" "curl/8" "id" ...` |
| Squid | `1772359200.123    921 10.0.0.1 TCP_MISS/200 507 GET http://a.com/ ann HIER_DIRECT/10.0.2.1 text/html` |
| AWS ALB | `https 2026-03-01T10:00:00.123456Z app/lb/1 10.0.0.1:2817 10.0.2.1:80 0.0 0.1 0.0 200 200 34 366 "GET .."` |
| AWS ELB | `2026-03-01T10:00:00.123456Z lb 10.0.0.1:2817 10.0.2.1:80 0.0 0.1 0.0 200 200 0 29 "GET ..." ...` |
| AWS S3 | `owner bucket [01/Mar/2026:10:00:00 +0000] 10.0.0.1 user id REST.GET.OBJECT key "GET ..." 200 - ...` |
| uWSGI | `[pid: 7|app: 0|req: 1/1] 10.0.0.1 (ann) {...} [Sun Mar  1 10:00:00 2026] GET /a => generated ...` |

CloudFront and IIS write `w3c`; Traefik and the ingress of nginx write `access`, with more behind; Caddy writes `json`.

A request is the message: its method, its address, the status. `http_method`, `url`, `status`, `body_bytes`, and
the like are in `fields` by the names of `AccessEvent`, all others by those of the product.

Source: envoyproxy.io, "Access logging", default format string; wiki.squid-cache.org, "LogFormat", native;
docs.aws.amazon.com, "Access logs for your Application Load Balancer", "Classic Load Balancer", "Amazon S3 server access
log format"; uwsgi-docs.readthedocs.io, "Formatting uWSGI requests logs".
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, tzinfo
from typing import Any, Final

from millstream.parsers.event_parser import ReadLine
from millstream.parsers.levels import severity_of_status
from millstream.parsers.times import parse_time, since_1970

_TOKEN: Final = re.compile(r'"((?:[^"\\]|\\.)*)"|\[([^\]]*)\]|(\S+)')
_REQUEST: Final = re.compile(
    r"(?P<http_method>[A-Z_-]{2,20}) (?P<url>\S+)(?: (?P<http_version>HTTP/[0-9.]{1,5}|-))?", re.DOTALL
)
_ADDRESS: Final = re.compile(r"\[?(?P<ip>[0-9.]{7,15}|[0-9a-fA-F:.]{2,45}?)\]?(?::(?P<port>\d{1,5}))?")
_VALUES_MAX: Final = 40
_NUMBERS: Final = frozenset({"status", "body_bytes", "request_bytes"})

_ENVOY: Final = (
    "time request status response_flags request_bytes body_bytes duration_ms upstream_service_time_ms forwarded_for "
    "user_agent request_id authority upstream"
)
_ENVOY_WITH_DETAILS: Final = (
    "time request status response_flags response_code_details connection_termination_details "
    "upstream_transport_failure_reason request_bytes body_bytes duration_ms upstream_service_time_ms forwarded_for "
    "user_agent request_id authority upstream upstream_cluster upstream_local_address downstream_local_address "
    "downstream_remote_address requested_server_name route_name"
)
"""What Istio writes."""
_ALB: Final = (
    "type time load_balancer client target request_processing_time target_processing_time response_processing_time "
    "status target_status request_bytes body_bytes request user_agent ssl_cipher ssl_protocol target_group_arn "
    "trace_id "
    "domain_name chosen_cert_arn matched_rule_priority request_creation_time actions_executed redirect_url "
    "error_reason "
    "target_port_list target_status_code_list classification classification_reason conn_trace_id"
)
_ELB: Final = (
    "time load_balancer client target request_processing_time target_processing_time response_processing_time status "
    "target_status request_bytes body_bytes request user_agent ssl_cipher ssl_protocol"
)
_S3: Final = (
    "bucket_owner bucket time client requester request_id operation key request status error_code body_bytes "
    "object_size "
    "total_time_ms turn_around_time_ms referrer user_agent version_id host_id signature_version cipher_suite "
    "authentication_type vhost tls_version access_point_arn acl_required source_region"
)

_ISO: Final = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{1,6}Z"
_IS_ENVOY: Final = re.compile(rf'\[{_ISO}\] "[^"]{{0,8000}}" \d{{1,3}} ')
_IS_ALB: Final = re.compile(rf"(?:https?|h2|grpcs|wss?) {_ISO} \S+ ")
_IS_ELB: Final = re.compile(rf"{_ISO} \S+ [0-9a-fA-F.:]+:\d{{1,5}} \S+ -?[0-9.]+ ")
_IS_S3: Final = re.compile(r"[0-9a-f]{64} \S{3,255} \[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\] ")
_SQUID: Final = re.compile(
    r"(?P<time>\d{9,10}\.\d{3}) +(?P<duration_ms>-?\d{1,10}) (?P<client>\S+) "
    r"(?P<result>[A-Z_]{3,40})/(?P<status>\d{3}) "
    r"(?P<body_bytes>\d{1,15}) (?P<http_method>[A-Z_]{2,20}) (?P<url>\S+) (?P<user>\S+) "
    r"(?P<hierarchy>[A-Z_]{1,40}(?:/\S*)?) "
    r"(?P<content_type>\S+).*",
    re.DOTALL,
)
_UWSGI: Final = re.compile(
    r"\[pid: (?P<pid>\d{1,10})\|app: (?P<app>[^|]{1,20})\|req: (?P<req>[^\]]{1,40})\] (?P<client>\S+) "
    r"\((?P<user>[^)]{0,100})\) "
    r"\{[^}]{0,100}\} \[(?P<time>[^\]]{10,40})\] (?P<http_method>[A-Z]{2,20}) (?P<url>\S+) => generated "
    r"(?P<body_bytes>\d{1,15}) "
    r"bytes in (?P<duration_ms>\d{1,10}) (?:msecs|micros|nanos) \((?P<http_version>\S{1,20}) (?P<status>\d{3})\).*",
    re.DOTALL,
)

_SHAPES: Final[Sequence[tuple[re.Pattern[str], str, Sequence[Sequence[str]]]]] = (
    (_IS_ENVOY, "envoy", (_ENVOY.split(), _ENVOY_WITH_DETAILS.split())),
    (_IS_ALB, "alb", (_ALB.split(),)),
    (_IS_ELB, "elb", (_ELB.split(),)),
    (_IS_S3, "s3", (_S3.split(),)),
)


def proxy_reader(zone: tzinfo | None = None) -> ReadLine:
    """Return what reads one line; see `EventParser`."""

    def read(text: str, now: datetime) -> Mapping[str, Any] | None:
        text = text.strip()
        for start, program, layouts in _SHAPES:
            if start.match(text):
                named = _named(text, layouts)
                return None if named is None else _said(named, program, now, UTC)
        if match := _SQUID.fullmatch(text):
            return _said(match.groupdict(), "squid", now, UTC, time=since_1970(match["time"]))
        if match := _UWSGI.fullmatch(text):
            return _said(match.groupdict(), "uwsgi", now, zone)
        return None

    return read


def _named(text: str, layouts: Sequence[Sequence[str]]) -> dict[str, str | None] | None:
    """Return the values of a line by their names; the longest layout that the line fills. More values are left out."""
    # Not more than the longest layout has: each look for the end of a bracket may go through the whole line.
    tokens = itertools.islice(_TOKEN.finditer(text), _VALUES_MAX)
    values = [next(group for group in match.groups() if group is not None) for match in tokens]
    fitting = [layout for layout in layouts if len(values) >= min(len(layout), 13)]
    if not fitting:
        return None
    layout = next((layout for layout in reversed(fitting) if len(values) >= len(layout)), fitting[0])
    return dict(zip(layout, values, strict=False))


def _said(
    named: Mapping[str, str | None], program: str, now: datetime, zone: tzinfo | None, time: datetime | None = None
) -> dict[str, Any]:
    fields: dict[str, Any] = {name: value for name, value in named.items() if value not in (None, "", "-")}
    text = fields.pop("time", None)
    request = _REQUEST.fullmatch(fields.get("request", ""))
    if request is not None:
        del fields["request"]
        fields |= {name: value for name, value in request.groupdict().items() if value not in (None, "-")}
    for name in _NUMBERS & fields.keys():
        value = fields[name]
        fields[name] = int(value) if value.isascii() and value.isdecimal() and len(value) < 19 else value
    address, port = address_of(fields.pop("client", None) or _first(fields.get("forwarded_for")))
    status = fields.get("status")
    pid = fields.pop("pid", None)
    words = (fields.get("http_method") or fields.get("request"), fields.get("url"), status)
    return {
        "time": time or parse_time(text, now=now, zone=zone),
        "program": program,
        "pid": int(pid) if pid else None,
        "severity": severity_of_status(status) if isinstance(status, int) else None,
        "message": " ".join(str(word) for word in words if word is not None),
        "user": fields.pop("user", None) or fields.pop("requester", None),
        "source_ip": address,
        "source_port": port,
        "fields": fields or None,
    }


def address_of(text: str | None) -> tuple[str | None, int | None]:
    """Return the address and the port of `10.0.0.1:80`, `[::1]:80`, `::1`; None for what is none."""
    match = _ADDRESS.fullmatch(text or "")
    if match is None:
        return None, None
    port = match["port"]
    return match["ip"], int(port) if port and int(port) < 65536 else None


def _first(text: str | None) -> str | None:
    return None if text is None else text.partition(",")[0].strip()
