"""JSON of products: levels that are numbers, names that only one of them has, requests of the web."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millstream.parsers.choose import choose_format
from millstream.parsers.event_parser import EventParser
from millstream.parsers.formats import FORMATS
from millstream.parsers.levels import LEVELS
from millstream.parsers.log_event import Kind, LogEvent
from millstream.parsers.system_event import Severity

NOW = datetime(2026, 3, 7, 12, tzinfo=UTC)
TEN = datetime(2026, 3, 1, 10, tzinfo=UTC)
ISO = "2026-03-01T10:00:00Z"
NUMBERS = [
    *range(-1, 10),
    10,
    15,
    20,
    30,
    35,
    40,
    50,
    60,
    70,
    100,
    200,
    250,
    300,
    400,
    500,
    550,
    600,
    700,
    800,
    900,
    1000,
]
NUMBERS += [5000, 10000, 20000, 30000, 40000, 2**31, 10**30]


def event_of(named: dict[str, Any]) -> LogEvent:
    line = json.dumps(named).encode()
    parser = FORMATS["json"].parser("x")
    assert isinstance(parser, EventParser)
    [event] = parser.events([line], now=NOW)
    assert parser.events([event.raw.encode()], now=NOW) == [event]
    [row] = FORMATS["json"].parser("x").columns([line], now=NOW).to_dicts()
    fields = None if event.fields is None else msgspec.json.encode(event.fields).decode()
    assert row == msgspec.structs.asdict(event) | {"fields": fields}
    return event


def said(named: dict[str, Any]) -> dict[str, Any]:
    event = msgspec.structs.asdict(event_of(named))
    return {
        name: value
        for name, value in event.items()
        if value is not None and name not in ("raw", "source", "format", "fields", "time")
    }


BUNYAN = {"name": "shop", "hostname": "web", "pid": 7, "v": 0}
LEVEL: list[tuple[str, dict[str, Any], dict[int | str, str | None]]] = [
    ("level", BUNYAN, {10: "debug", 20: "debug", 30: "info", 35: "info", 40: "warning", 50: "err", 60: "crit"}),
    (
        "level",
        {},
        {0: "emerg", 3: "err", 7: "debug", 10: "debug", 30: "info", 60: "crit", 8: None, 35: None, 100: None},
    ),
    ("level", {"reqId": "x", "app": "core"}, {0: "debug", 1: "info", 2: "warning", 3: "err", 4: "crit", 5: None}),
    ("level", {"short_message": "x", "version": "1.1", "host": "web"}, {1: "alert", 4: "warning", 7: "debug"}),
    (
        "level",
        {"channel": "app", "datetime": ISO},
        {100: "debug", 250: "notice", 300: "warning", 550: "alert", 600: "emerg"},
    ),
    ("level", {"loggerName": "x"}, {300: "debug", 800: "info", 900: "warning", 1000: "crit"}),
    ("level", {"lineno": 7, "funcName": "f"}, {10: "debug", 20: "info", 30: "warning", 40: "err", 50: "crit"}),
    (
        "Level",
        {"Id": 4625, "ProviderName": "x"},
        {0: "info", 1: "crit", 2: "err", 3: "warning", 4: "info", 5: "debug", 6: None},
    ),
    ("LogLevel", {"EventId": 0, "Category": "x"}, {0: "debug", 2: "info", 3: "warning", 4: "err", 5: "crit", 6: None}),
    ("levelno", {}, {20: "info", 30: "warning"}),
    ("level_value", {}, {5000: "debug", 10000: "debug", 20000: "info", 30000: "warning", 40000: "err"}),
    (
        "severity",
        {},
        {100: "debug", 200: "info", 300: "notice", 400: "warning", 500: "err", 800: "emerg", 900: None, 3: "err"},
    ),
    ("severityNumber", {}, {1: "debug", 9: "info", 13: "warning", 17: "err", 21: "emerg", 25: None}),
    ("lvl", {}, {"eror": None, "dbug": None, "WRN": "warning", "crit": "crit"}),
    (
        "level",
        {},
        {"INFO+2": "info", "ERROR-4": "err", "silly": "debug", "http": "info", "dpanic": "crit", "FINEST": "debug"},
    ),
    ("@level", {}, {"warn": "warning"}),
]


@pytest.mark.parametrize(
    ("name", "beside", "value", "severity"),
    [(name, beside, value, severity) for name, beside, said in LEVEL for value, severity in said.items()],
)
def test_a_level_means_what_its_writer_means(
    name: str, beside: dict[str, Any], value: float | str, severity: str | None
) -> None:
    event = event_of({"time": ISO, "msg": "hi", **beside, name: value})
    assert event.severity == severity
    assert (name in (event.fields or {})) is (severity is None)


def test_a_word_counts_before_a_number() -> None:
    event = event_of({"level": 200, "level_name": "ERROR", "message": "x", "level_value": 7})
    assert event.severity == Severity.ERR


@given(st.sampled_from(LEVELS), st.sampled_from([beside for _, beside, _ in LEVEL]), st.sampled_from(NUMBERS))
def test_any_number_is_a_severity_or_none(name: str, beside: dict[str, Any], number: int) -> None:
    assert event_of({**beside, name: number}).severity in (None, *Severity)


WHO = {"source_ip": "203.0.113.9", "user": "ann"}
SHAPES: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    (
        "Serilog",
        {"@t": ISO, "@mt": "Paid {Amount:0.00} by {@User} {Missing}", "Amount": 3.5, "User": "ann", "@l": "Warning"},
        {"message": "Paid 3.5 by ann {Missing}", "severity": "warning", "user": "ann"},
    ),
    (
        "Serilog at rest",
        {"@t": ISO, "@m": "ready", "SourceContext": "Shop.Till"},
        {"message": "ready", "severity": "info", "program": "Shop.Till"},
    ),
    (
        "ECS, dotted",
        {
            "@timestamp": ISO,
            "log.level": "error",
            "message": "no",
            "ecs.version": "1.6.0",
            "service.name": "shop",
            "process.pid": 7,
        },
        {"message": "no", "severity": "err", "program": "shop", "pid": 7},
    ),
    (
        "ECS, nested",
        {
            "@timestamp": ISO,
            "log": {"level": "error", "logger": "a"},
            "message": "no",
            "host": {"name": "web"},
            "user": {"name": "ann"},
            "source": {"ip": "203.0.113.9", "port": 4000},
            "event": {"category": ["authentication"], "outcome": "failure"},
        },
        {
            "message": "no",
            "severity": "err",
            "program": "a",
            "host": "web",
            "source_port": 4000,
            "kind": Kind.LOGIN,
            "action": "login_failed",
            "success": False,
            **WHO,
        },
    ),
    (
        "ECS, an end",
        {
            "@timestamp": ISO,
            "ecs": {"version": "8"},
            "event": {"category": "authentication", "type": ["end"], "action": "logged-out"},
        },
        {"message": "", "kind": Kind.LOGOUT, "action": "logged-out"},
    ),
    (
        "GELF",
        {
            "version": "1.1",
            "host": "web",
            "short_message": "no",
            "full_message": "no\nat all",
            "level": 3,
            "timestamp": 1772359200.0,
            "_user": "ann",
        },
        {"message": "no\nat all", "host": "web", "severity": "err", "user": "ann"},
    ),
    (
        "Nextcloud",
        {
            "reqId": "x",
            "level": 2,
            "time": ISO,
            "remoteAddr": "203.0.113.9",
            "user": "--",
            "app": "core",
            "message": "Login failed: ann (Remote IP: 203.0.113.9)",
        },
        {
            "message": "Login failed: ann (Remote IP: 203.0.113.9)",
            "severity": "warning",
            "program": "core",
            "kind": Kind.LOGIN,
            "action": "login_failed",
            "success": False,
            **WHO,
        },
    ),
    (
        "Google Cloud",
        {
            "logName": "projects/x/logs/stdout",
            "textPayload": "no",
            "severity": "ERROR",
            "timestamp": ISO,
            "insertId": "1",
        },
        {"message": "no", "severity": "err", "program": "stdout"},
    ),
    (
        "Google Cloud, audit",
        {
            "logName": "projects/x/logs/cloudaudit",
            "timestamp": ISO,
            "severity": "NOTICE",
            "protoPayload": {
                "serviceName": "iam.googleapis.com",
                "methodName": "SetPolicy",
                "authenticationInfo": {"principalEmail": "ann"},
                "requestMetadata": {"callerIp": "203.0.113.9"},
            },
        },
        {"message": "SetPolicy", "severity": "notice", "program": "iam.googleapis.com", **WHO},
    ),
    (
        "Google Cloud, request",
        {
            "logName": "projects/x/logs/requests",
            "timestamp": ISO,
            "severity": "WARNING",
            "httpRequest": {"requestMethod": "GET", "requestUrl": "/a", "status": 404, "remoteIp": "203.0.113.9"},
        },
        {"message": "GET /a 404", "severity": "warning", "program": "requests", "source_ip": "203.0.113.9"},
    ),
    (
        "CloudTrail",
        {
            "eventVersion": "1.08",
            "eventTime": ISO,
            "eventSource": "signin.amazonaws.com",
            "eventName": "ConsoleLogin",
            "sourceIPAddress": "203.0.113.9",
            "userIdentity": {"type": "IAMUser", "userName": "ann"},
            "responseElements": {"ConsoleLogin": "Failure"},
            "errorMessage": "Failed authentication",
        },
        {
            "message": "ConsoleLogin Failed authentication",
            "program": "signin.amazonaws.com",
            "severity": "warning",
            "kind": Kind.LOGIN,
            "action": "login_failed",
            "success": False,
            "method": "console",
            **WHO,
        },
    ),
    (
        "CloudTrail, an account",
        {
            "eventVersion": "1.08",
            "eventTime": ISO,
            "eventSource": "iam.amazonaws.com",
            "eventName": "CreateUser",
            "sourceIPAddress": "cloudformation.amazonaws.com",
            "userIdentity": {"sessionContext": {"sessionIssuer": {"userName": "ann"}}},
            "requestParameters": {"userName": "eve"},
        },
        {
            "message": "CreateUser",
            "program": "iam.amazonaws.com",
            "severity": "info",
            "kind": Kind.ACCOUNT,
            "action": "user_added",
            "success": True,
            "target_user": "eve",
            "user": "ann",
            "source_name": "cloudformation.amazonaws.com",
        },
    ),
    (
        "Kubernetes, audit",
        {
            "kind": "Event",
            "level": "Metadata",
            "auditID": "x",
            "stage": "ResponseComplete",
            "requestURI": "/api/v1/pods",
            "verb": "list",
            "user": {"username": "ann"},
            "sourceIPs": ["203.0.113.9"],
            "responseStatus": {"code": 403},
            "requestReceivedTimestamp": ISO,
        },
        {"message": "list /api/v1/pods 403", "program": "kube-apiserver", "severity": "warning", **WHO},
    ),
    (
        "MongoDB",
        {
            "t": {"$date": ISO},
            "s": "I",
            "c": "ACCESS",
            "id": 20249,
            "ctx": "conn1",
            "msg": "Authentication failed",
            "attr": {"mechanism": "SCRAM-SHA-256", "principalName": "ann", "client": "203.0.113.9:4000"},
        },
        {
            "message": "Authentication failed",
            "severity": "info",
            "kind": Kind.LOGIN,
            "action": "login_failed",
            "success": False,
            "method": "SCRAM-SHA-256",
            "source_port": 4000,
            **WHO,
        },
    ),
    (
        "hclog",
        {"@level": "warn", "@message": "no", "@module": "core", "@timestamp": ISO},
        {"message": "no", "severity": "warning", "program": "core"},
    ),
    (
        "JBoss",
        {"timestamp": ISO, "level": "SEVERE", "loggerName": "a.B", "message": "no", "hostName": "web", "processId": 7},
        {"message": "no", "severity": "crit", "program": "a.B", "host": "web", "pid": 7},
    ),
]


@pytest.mark.parametrize(("named", "wanted"), [one[1:] for one in SHAPES], ids=[one[0] for one in SHAPES])
def test_a_product_says_what_it_says(named: dict[str, Any], wanted: dict[str, Any]) -> None:
    assert said(named) == wanted
    assert event_of(named).time == TEN
    assert choose_format([json.dumps(named).encode()]) == "json"


GET = {"http_method": "GET", "url": "/a?b=c", "status": 404}
REQUESTS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    (
        "Caddy",
        {
            "level": "info",
            "ts": 1772359200.0,
            "logger": "http.log.access",
            "msg": "handled request",
            "request": {
                "remote_ip": "203.0.113.9",
                "remote_port": "4000",
                "client_ip": "203.0.113.9",
                "proto": "HTTP/2.0",
                "method": "GET",
                "host": "a.com",
                "uri": "/a?b=c",
                "headers": {"User-Agent": ["curl/8"]},
            },
            "user_id": "ann",
            "duration": 0.0015,
            "size": 12,
            "status": 404,
        },
        GET
        | {"http_version": "HTTP/2.0", "vhost": "a.com", "user_agent": "curl/8", "body_bytes": 12, "duration_ms": 1.5},
    ),
    (
        "Traefik",
        {
            "ClientAddr": "203.0.113.9:4000",
            "ClientHost": "203.0.113.9",
            "ClientUsername": "ann",
            "DownstreamContentSize": 12,
            "DownstreamStatus": 404,
            "Duration": 1500000,
            "RequestHost": "a.com",
            "RequestMethod": "GET",
            "RequestPath": "/a?b=c",
            "RequestProtocol": "HTTP/1.1",
            "request_User-Agent": "curl/8",
            "level": "info",
            "msg": "",
            "time": ISO,
        },
        GET
        | {"http_version": "HTTP/1.1", "vhost": "a.com", "user_agent": "curl/8", "body_bytes": 12, "duration_ms": 1.5},
    ),
    (
        "nginx",
        {
            "time_iso8601": "2026-03-01T10:00:00+00:00",
            "remote_addr": "203.0.113.9",
            "remote_user": "ann",
            "request_method": "GET",
            "request_uri": "/a?b=c",
            "server_protocol": "HTTP/1.1",
            "status": "404",
            "body_bytes_sent": "12",
            "request_time": "0.0015",
            "http_user_agent": "curl/8",
            "http_referrer": "-",
            "host": "a.com",
        },
        GET
        | {"http_version": "HTTP/1.1", "vhost": "a.com", "user_agent": "curl/8", "body_bytes": 12, "duration_ms": 1.5},
    ),
    (
        "nginx, a request",
        {
            "time_local": "01/Mar/2026:10:00:00 +0000",
            "remote_addr": "203.0.113.9",
            "remote_user": "ann",
            "request": "GET /a?b=c HTTP/1.1",
            "status": 404,
            "body_bytes_sent": 12,
        },
        GET | {"http_version": "HTTP/1.1", "body_bytes": 12},
    ),
    (
        "Envoy",
        {
            "start_time": ISO,
            "method": "GET",
            "path": "/a?b=c",
            "protocol": "HTTP/1.1",
            "response_code": 404,
            "bytes_sent": 12,
            "duration": 1.5,
            "user_agent": "curl/8",
            "authority": "a.com",
            "downstream_remote_address": "203.0.113.9:4000",
            "remote_user": "ann",
        },
        GET
        | {"http_version": "HTTP/1.1", "vhost": "a.com", "user_agent": "curl/8", "body_bytes": 12, "duration_ms": 1.5},
    ),
    (
        "Cloudflare",
        {
            "ClientIP": "203.0.113.9",
            "ClientRequestHost": "a.com",
            "ClientRequestMethod": "GET",
            "ClientRequestURI": "/a?b=c",
            "EdgeResponseBytes": 12,
            "EdgeResponseStatus": 404,
            "EdgeStartTimestamp": ISO,
            "remote_user": "ann",
        },
        GET | {"vhost": "a.com", "body_bytes": 12},
    ),
]


@pytest.mark.parametrize(("named", "fields"), [one[1:] for one in REQUESTS], ids=[one[0] for one in REQUESTS])
def test_a_request_is_told_as_one(named: dict[str, Any], fields: dict[str, Any]) -> None:
    event = event_of(named)
    assert (event.time, event.message, event.severity) == (TEN, "GET /a?b=c 404", Severity.WARNING)
    assert (event.user, event.source_ip) == ("ann", "203.0.113.9")
    assert event.fields is not None
    assert {name: event.fields[name] for name in fields} == fields


def test_what_a_program_says_of_a_request_stays_its_message() -> None:
    event = event_of({"level": "error", "msg": "too late", "host": "web", "method": "GET", "path": "/a", "status": 200})
    assert (event.message, event.severity, event.host) == ("too late", Severity.ERR, "web")
    assert event.fields == {"http_method": "GET", "url": "/a", "status": 200}


@pytest.mark.parametrize(
    "named",
    [
        {"method": "GET", "url": "/a"},
        {"method": "get it", "url": "/a", "status": 200},
        {"method": "GET", "url": "/a", "status": 7},
        {"request": "x"},
    ],
)
def test_what_is_no_request_stays_as_it_is(named: dict[str, Any]) -> None:
    assert event_of(named).fields == named


names = st.sampled_from(sorted({name for _, named, _ in (*SHAPES, *REQUESTS) for name in named}))
anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 700)
    | st.floats(allow_nan=False)
    | st.sampled_from(["", "x", "GET", "/a", ISO]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(names, inner, max_size=3),
    max_leaves=4,
)


@given(st.dictionaries(names, anything, max_size=8), st.sampled_from([named for _, named, _ in (*SHAPES, *REQUESTS)]))
def test_values_of_other_types_do_no_harm(odd: dict[str, Any], named: dict[str, Any]) -> None:
    event_of(odd)
    event_of({**named, **odd})
