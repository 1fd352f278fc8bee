"""Formats of applications, proxies, containers, tables: what each says of lines that its documented grammar allows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from millstream import UsageError
from millstream.parsers.choose import choose_format
from millstream.parsers.event_parser import EventParser
from millstream.parsers.formats import FORMATS
from millstream.parsers.log_event import Kind, LogEvent
from millstream.parsers.system_event import Severity

NOW = datetime(2026, 3, 7, 12, 0, tzinfo=UTC)
TEN = datetime(2026, 3, 1, 10, 0, tzinfo=UTC)


def events(name: str, *lines: str) -> list[LogEvent]:
    parser = FORMATS[name].parser("x.log")
    assert isinstance(parser, EventParser)
    return parser.events([line.encode() for line in lines], now=NOW)


def said(event: LogEvent) -> dict[str, Any]:
    """Return what an event says, without what every event has."""
    fields = msgspec.structs.asdict(event)
    return {
        name: value for name, value in fields.items() if value is not None and name not in ("raw", "source", "format")
    }


INFO, WARNING, ERR, NOTICE = Severity.INFO, Severity.WARNING, Severity.ERR, Severity.NOTICE

APPLICATIONS: list[tuple[str, dict[str, Any]]] = [
    (
        "2026-03-01T10:00:00.000Z [main] INFO  com.shop.Till - it works",
        {"program": "com.shop.Till", "severity": INFO, "fields": {"thread": "main"}},
    ),
    (
        "2026-03-01T10:00:00.000Z  INFO 7 --- [shop] [main] c.e.App : it works",
        {"program": "c.e.App", "pid": 7, "severity": INFO, "fields": {"thread": "shop main"}},
    ),
    ("2026-03-01 10:00:00,000 +0000 - shop.till - WARNING - it works", {"program": "shop.till", "severity": WARNING}),
    ("[2026-03-01 10:00:00 +0000] [7] [INFO] it works", {"pid": 7, "severity": INFO}),
    (
        "[2026-03-01 10:00:00,000 UTC: INFO/MainProcess] it works",
        {"severity": INFO, "fields": {"thread": "MainProcess"}},
    ),
    (
        "[2026-03-01T10:00:00,000Z][INFO ][o.e.n.Node     ] [node-1] it works",
        {"severity": INFO, "fields": {"thread": "o.e.n.Node node-1"}},
    ),
    ("[2026-03-01 10:00:00 UTC] local.ERROR: it works", {"program": "local", "severity": ERR}),
    ("[01-Mar-2026 10:00:00 UTC] PHP Warning:  it works", {"severity": WARNING}),
    ("[01-Mar-2026 10:00:00 UTC] NOTICE: it works", {"severity": NOTICE}),
    ("2026-03-01T10:00:00.000Z [INFO]  it works", {"severity": INFO}),
    ("2026-03-01T10:00:00.000Z\tinfo\tcore.api\tit works", {"program": "core.api", "severity": INFO}),
    ("2026-03-01 10:00:00.000 UTC [info] <0.7.0> it works", {"severity": INFO, "fields": {"thread": "0.7.0"}}),
    (
        "2026-03-01 10:00:00.000Z ERROR (MainThread) [core] it works",
        {"severity": ERR, "fields": {"thread": "MainThread core"}},
    ),
    (
        "W, [2026-03-01T10:00:00.000000Z #7]  WARN -- shop: it works",
        {},  # Ruby's times have no zone
    ),
    (
        "2026-03-01T10:00:00.000+0000 W NETWORK  [conn1] it works",
        {"program": "NETWORK", "severity": WARNING, "fields": {"thread": "conn1"}},
    ),
    ("2026-03-01T10:00:00Z Error: it works", {"severity": ERR}),
]


@pytest.mark.parametrize(("line", "fields"), [pair for pair in APPLICATIONS if pair[1]])
def test_line_of_an_application_says(line: str, fields: dict[str, Any]) -> None:
    [event] = events("application", line)
    assert said(event) == {"time": TEN, "message": "it works", **fields}
    assert choose_format([line.encode()]) == "application"


@pytest.mark.parametrize(
    ("line", "fields"),
    [
        (
            "W0301 10:00:00.000000       7 reflector.go:12] it works",
            {"severity": WARNING, "pid": 7, "fields": {"place": "reflector.go:12"}},
        ),
        (
            "03-01 10:00:00.000  1702  2395 W Tag: it works",
            {"severity": WARNING, "program": "Tag", "pid": 1702, "fields": {"tid": "2395"}},
        ),
        ("7:M 01 Mar 2026 10:00:00.000 # it works", {"severity": WARNING, "pid": 7, "fields": {"role": "M"}}),
        (
            "W, [2026-03-01T10:00:00.000000 #7]  WARN -- shop: it works",
            {"severity": WARNING, "program": "shop", "pid": 7},
        ),
        (
            "MainThread::INFO::2026-03-01 10:00:00,000::vds::71::it works",
            {"severity": INFO, "program": "vds", "fields": {"thread": "MainThread", "line": "71"}},
        ),
    ],
)
def test_line_with_a_local_time_says(line: str, fields: dict[str, Any]) -> None:
    """The time is in the zone of this machine, wherever the test runs."""
    [event] = events("application", line)
    found = said(event)
    assert abs(found.pop("time") - TEN) <= timedelta(hours=14)
    assert found == {"message": "it works", **fields}
    assert choose_format([line.encode()]) == "application"


def test_refused_login_of_sql_server_is_one() -> None:
    [event] = events(
        "application",
        "2026-03-01 10:00:00.12 Logon       Login failed for user 'sa'. Reason: Password. [CLIENT: 203.0.113.9]",
    )
    assert (event.kind, event.action, event.success) == (Kind.LOGIN, "login_failed", False)
    assert (event.user, event.source_ip) == ("sa", "203.0.113.9")


def test_line_of_syslog_with_an_error_in_it_stays_one_of_syslog() -> None:
    assert choose_format([b"2026-03-01T10:00:00+00:00 web sshd[1]: error: no room"]) == "syslog"


@pytest.mark.parametrize("line", ["1772359200000 hi", "[2026-03-01T10:00:00Z] hi", "@4000000069a40e2a00000000 hi"])
def test_line_that_begins_with_a_time_has_it(line: str) -> None:
    [event] = events("timed", line)
    assert (event.time, event.message) == (TEN, "hi")


REQUESTS: list[tuple[str, str, dict[str, Any]]] = [
    (
        "proxy",
        '[2026-03-01T10:00:00.000Z] "GET /a HTTP/2" 503 UH 154 9 22 10 "203.0.113.9, 10.0.0.1" "curl/8" "id" "shop" '
        '"10.0.2.1:80"',
        {
            "program": "envoy",
            "severity": ERR,
            "message": "GET /a 503",
            "source_ip": "203.0.113.9",
            "fields": {
                "http_method": "GET", "url": "/a", "http_version": "HTTP/2", "status": 503, "response_flags": "UH",
                "request_bytes": 154, "body_bytes": 9, "duration_ms": "22", "upstream_service_time_ms": "10",
                "forwarded_for": "203.0.113.9, 10.0.0.1", "user_agent": "curl/8", "request_id": "id",
                "authority": "shop", "upstream": "10.0.2.1:80",
            },
        },
    ),
    (
        "proxy",
        "1772359200.000    921 203.0.113.9 TCP_MISS/200 507 GET http://example.com/ ann HIER_DIRECT/10.0.2.1 text/html",
        {
            "program": "squid",
            "severity": INFO,
            "message": "GET http://example.com/ 200",
            "user": "ann",
            "source_ip": "203.0.113.9",
            "fields": {
                "duration_ms": "921", "result": "TCP_MISS", "status": 200, "body_bytes": 507, "http_method": "GET",
                "url": "http://example.com/", "hierarchy": "HIER_DIRECT/10.0.2.1", "content_type": "text/html",
            },
        },
    ),
    (
        "proxy",
        "https 2026-03-01T10:00:00.000000Z app/lb/1 203.0.113.9:2817 10.0.2.1:80 0.086 0.048 0.037 404 404 34 366 "
        '"GET https://example.com:443/ HTTP/1.1" "curl/8" ECDHE TLSv1.2 arn "Root=1" "example.com" "-" 0 '
        '2026-03-01T10:00:00.000000Z "forward" "-" "-"',
        {
            "program": "alb",
            "severity": WARNING,
            "message": "GET https://example.com:443/ 404",
            "source_ip": "203.0.113.9",
            "source_port": 2817,
            "fields": {
                "type": "https", "load_balancer": "app/lb/1", "target": "10.0.2.1:80",
                "request_processing_time": "0.086", "target_processing_time": "0.048",
                "response_processing_time": "0.037", "status": 404, "target_status": "404", "request_bytes": 34,
                "body_bytes": 366, "http_method": "GET", "url": "https://example.com:443/", "http_version": "HTTP/1.1",
                "user_agent": "curl/8", "ssl_cipher": "ECDHE", "ssl_protocol": "TLSv1.2", "target_group_arn": "arn",
                "trace_id": "Root=1", "domain_name": "example.com", "matched_rule_priority": "0",
                "request_creation_time": "2026-03-01T10:00:00.000000Z", "actions_executed": "forward",
            },
        },
    ),
    (
        "proxy",
        f"{'a' * 64} photos [01/Mar/2026:10:00:00 +0000] 203.0.113.9 ann 3E57 REST.GET.OBJECT a.png "
        '"GET /a.png HTTP/1.1" 200 - 11 12 7 6 "-" "aws-cli" -',
        {
            "program": "s3",
            "severity": INFO,
            "message": "GET /a.png 200",
            "user": "ann",
            "source_ip": "203.0.113.9",
            "fields": {
                "bucket_owner": "a" * 64, "bucket": "photos", "request_id": "3E57", "operation": "REST.GET.OBJECT",
                "key": "a.png", "http_method": "GET", "url": "/a.png", "http_version": "HTTP/1.1", "status": 200,
                "body_bytes": 11, "object_size": "12", "total_time_ms": "7", "turn_around_time_ms": "6",
                "user_agent": "aws-cli",
            },
        },
    ),
    (
        "haproxy",
        "<134>2026-03-01T10:00:00+00:00 lb haproxy[7]: 203.0.113.9:33317 [01/Mar/2026:10:00:00.000] web shop/s1 "
        '10/0/30/69/109 502 27 - - SH-- 1/1/1/1/0 0/0 {a.com} "GET /a HTTP/1.1"',
        {
            "program": "haproxy",
            "host": "lb",
            "pid": 7,
            "severity": ERR,
            "message": "GET /a 502",
            "source_ip": "203.0.113.9",
            "source_port": 33317,
            "fields": {
                "frontend": "web", "backend": "shop", "server": "s1", "termination": "SH--", "connections": "1/1/1/1/0",
                "queues": "0/0", "captured": "{a.com}", "request_ms": 10, "queue_ms": 0, "connect_ms": 30,
                "response_ms": 69, "duration_ms": 109, "body_bytes": 27, "http_method": "GET", "url": "/a",
                "http_version": "HTTP/1.1", "status": 502,
            },
        },
    ),
    (
        "haproxy",
        "<134>2026-03-01T10:00:00+00:00 lb haproxy[7]: 203.0.113.9:33313 [01/Mar/2026:10:00:00.000] fnt bck/srv1 "
        "0/0/5007 212 -- 0/0/0/0/3 0/0",
        {
            "program": "haproxy",
            "host": "lb",
            "pid": 7,
            "message": "fnt bck/srv1",
            "source_ip": "203.0.113.9",
            "source_port": 33313,
            "fields": {
                "frontend": "fnt", "backend": "bck", "server": "srv1", "termination": "--", "connections": "0/0/0/0/3",
                "queues": "0/0", "queue_ms": 0, "connect_ms": 0, "duration_ms": 5007, "body_bytes": 212,
            },
        },
    ),
    (
        "haproxy",
        "<129>2026-03-01T10:00:00+00:00 lb haproxy[7]: Server bck/srv1 is DOWN, reason: Layer4 timeout",
        {
            "program": "haproxy",
            "host": "lb",
            "pid": 7,
            "severity": Severity.ALERT,
            "message": "Server bck/srv1 is DOWN, reason: Layer4 timeout",
            "kind": Kind.SERVICE,
            "action": "failed",
            "success": False,
            "service": "bck/srv1",
        },
    ),
]  # fmt: skip


@pytest.mark.parametrize(("name", "line", "fields"), REQUESTS)
def test_request_says(name: str, line: str, fields: dict[str, Any]) -> None:
    [event] = events(name, line)
    assert said(event) == {"time": TEN, **fields}
    assert choose_format([line.encode()]) == name


def test_access_log_of_traefik_and_of_the_ingress_is_one_with_more_behind() -> None:
    lines = [
        b'203.0.113.9 - ann [01/Mar/2026:10:00:00 +0000] "GET / HTTP/1.1" 200 5 "-" "curl/8" 1 "r@docker" '
        b'"http://10.0.0.1:80" 2ms',
        b'203.0.113.9 - - [01/Mar/2026:10:00:00 +0000] "GET / HTTP/2.0" 200 5 "-" "curl/8" 9 0.01 [a-b-80] [] '
        b"10.0.0.1:80 5 0.01 200 1f",
    ]
    assert choose_format(lines) == "access"
    rows = FORMATS["access"].parser("x").columns(lines, now=NOW).to_dicts()
    assert [row["extra"] for row in rows] == [
        '1 "r@docker" "http://10.0.0.1:80" 2ms',
        "9 0.01 [a-b-80] [] 10.0.0.1:80 5 0.01 200 1f",
    ]


def test_line_of_a_container_is_taken_out_of_its_frame() -> None:
    one, part, inner, docker = events(
        "container",
        "2026-03-01T10:00:00.000000000Z stdout F ERROR: it broke",
        "2026-03-01T10:00:00.000000000Z stderr P half of",
        '2026-03-01T10:00:01.000000000Z stdout F {"ts":"2026-03-01T10:00:00Z","level":"warn","msg":"late","n":1}',
        r'{"log":"it works\n","stream":"stdout","time":"2026-03-01T10:00:00.000000000Z"}',
    )
    assert (one.time, one.message, one.severity, one.fields) == (TEN, "ERROR: it broke", ERR, {"stream": "stdout"})
    assert (part.message, part.fields) == ("half of", {"stream": "stderr", "partial": True})
    assert (inner.time, inner.message, inner.severity, inner.fields) == (
        TEN, "late", WARNING, {"stream": "stdout", "n": 1},
    )  # fmt: skip
    assert (docker.time, docker.message, docker.fields) == (TEN, "it works", {"stream": "stdout"})
    for line in (one.raw, docker.raw):
        assert choose_format([line.encode()]) == "container"


def test_csv_has_its_names_from_its_head() -> None:
    lines = [
        "time,level,user,message,took",
        '2026-03-01T10:00:00Z,warning,ann,"late, by ""much""",7',
        "time,level,user,message,took",
        "2026-03-01T10:00:00Z,info,,fine,",
        "not a row",
    ]
    head, one, again, other, odd = events("csv", *lines)
    assert head.fields == again.fields == {"columns": ["time", "level", "user", "message", "took"]}
    assert (one.time, one.severity, one.user, one.message) == (TEN, WARNING, "ann", 'late, by "much"')
    assert one.fields == {"took": "7"}
    assert (other.message, other.user, other.fields) == ("fine", None, None)
    assert (odd.message, odd.time) == ("not a row", TEN)
    assert choose_format([line.encode() for line in lines[:4]]) == "csv"


@pytest.mark.parametrize("delimiter", ["\t", ";", "|"])
def test_delimiter_is_that_of_the_head(delimiter: str) -> None:
    lines = [delimiter.join(row) for row in (("time", "message"), ("2026-03-01T10:00:00Z", "a, b"))]
    assert events("csv", *lines)[1].message == "a, b"
    assert choose_format([line.encode() for line in lines]) == "csv"


def test_zeek_says_what_its_fields_name() -> None:
    *_, one = events(
        "zeek",
        "#separator \\x09",
        "#path\tssh",
        "#fields\tts\tuid\tid.orig_h\tid.orig_p\tid.resp_h\tid.resp_p\tauth_success\tclient",
        "#types\ttime\tstring\taddr\tport\taddr\tport\tbool\tstring",
        "1772359200.000000\tC1\t203.0.113.9\t4000\t10.0.0.1\t22\tF\t-",
    )
    assert said(one) == {
        "time": TEN, "program": "zeek", "message": "ssh 203.0.113.9 -> 10.0.0.1:22", "kind": Kind.LOGIN,
        "action": "login_failed", "success": False, "source_ip": "203.0.113.9", "source_port": 4000, "session": "C1",
        "fields": {"path": "ssh", "id.resp_h": "10.0.0.1", "id.resp_p": "22", "auth_success": "F"},
    }  # fmt: skip


def test_pairs_have_commas_or_semicolons_between_them() -> None:
    line = """time: 2026-03-01 10:00:00 UTC, level=warn; user="ann", note: 'a, b'; message = late by 7"""
    [event] = events("pairs", line)
    assert said(event) == {
        "time": TEN, "severity": WARNING, "user": "ann", "message": "late by 7", "fields": {"note": "a, b"},
    }  # fmt: skip
    assert choose_format([line.encode()]) == "pairs"


def test_day_and_clock_in_two_fields_are_one_time() -> None:
    [event] = events("logfmt", 'date=2026-03-01 time=10:00:00.000Z devname="fw" srcip=203.0.113.9 msg="deny"')
    assert (event.time, event.source_ip, event.fields) == (TEN, "203.0.113.9", {"devname": "fw"})


def test_gelf_is_json() -> None:
    [event] = events(
        "json",
        '{"version":"1.1","host":"web","short_message":"it broke","level":3,"timestamp":1772359200.0,"_user_id":7}',
    )
    assert (event.time, event.host, event.message, event.severity) == (TEN, "web", "it broke", ERR)
    assert event.fields == {"version": "1.1", "user_id": 7}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("web-1  | it works", (None, "it works")),
        ("\x1b[2Kweb-1  | 2026-03-01T10:00:00.000000000Z it works", (TEN, "it works")),
    ],
)
def test_line_of_docker_compose_names_its_container(line: str, said: tuple[datetime | None, str]) -> None:
    [event] = events("container", line)
    assert (event.time, event.message, event.program) == (said[0] or NOW, said[1], "web-1")


def test_general_log_of_mysql_has_logins() -> None:
    opened, refused, query = events(
        "mysql",
        "2026-03-01T10:00:00.000000Z\t    8 Connect\tann@203.0.113.9 on shop using TCP/IP",
        "2026-03-01T10:00:00.000000Z\t    9 Connect\tAccess denied for user 'ann'@'203.0.113.9' (using password: YES)",
        "2026-03-01T10:00:00.000000Z\t   10 Query\tselect 1",
    )
    for event, success in ((opened, True), (refused, False)):
        assert (event.kind, event.success, event.user, event.source_ip) == (Kind.LOGIN, success, "ann", "203.0.113.9")
    assert (query.time, query.message, query.kind) == (TEN, "Query select 1", None)


def test_log_full_of_stack_traces_is_still_known_by_its_first_line() -> None:
    trace = [b"#%d /srv/app/a.php(%d): A->b()" % (number, number) for number in range(12)]
    lines = [b"[2026-03-01 10:00:00] local.ERROR: it broke", *trace] * 2
    assert choose_format(lines) == "application"
    with pytest.raises(UsageError):
        choose_format(lines[1:])


def test_client_of_apache_is_found_behind_an_error_of_the_system() -> None:
    plain, behind = events(
        "error",
        "[Sun Mar 01 10:00:00.000000 2026] [ssl:info] [pid 7:tid 9] (70014)End of file found: AH02006: stopped",
        "[Sun Mar 01 10:00:00.000000 2026] [ssl:info] [pid 7:tid 9] (70014)End of file found: [client "
        "203.0.113.9:4000] "
        "AH02006: stopped",
    )
    assert (behind.source_ip, behind.source_port) == ("203.0.113.9", 4000)
    assert plain.message == behind.message == "(70014)End of file found: AH02006: stopped"


@pytest.mark.parametrize("level", ["9" * 15, '"' + "9" * 5000 + '"', "1.5", "null", "true", "[]"])
def test_level_that_is_none_is_none(level: str) -> None:
    [event] = events("json", f'{{"level":{level},"msg":"hi"}}')
    assert (event.severity, event.message) == (None, "hi")


@pytest.mark.parametrize(
    ("line", "program", "action"),
    [
        ('Sun Mar  1 10:00:00 2026 [pid 2] [ann] FAIL LOGIN: Client "203.0.113.9"', "vsftpd", "login_failed"),
        (
            "2026-03-01 10:00:00 203.0.113.9:4000 [ann] Peer Connection Initiated with [AF_INET]203.0.113.9:4000",
            "openvpn",
            "login",
        ),
        (
            "Mar 01 10:00:00 imap-login: Info: Login: user=<ann>, method=PLAIN, rip=203.0.113.9, lip=10.0.0.1",
            "dovecot",
            "login",
        ),
        (
            "2026/03/01 10:00:00 [7] auth failed on module data from a.b (203.0.113.9) for ann: password mismatch",
            "rsyncd",
            "login_failed",
        ),
    ],
)
def test_server_with_a_file_of_its_own_is_understood(line: str, program: str, action: str) -> None:
    [event] = events("timed", line)
    assert (event.program, event.action, event.user, event.source_ip) == (program, action, "ann", "203.0.113.9")
    assert abs(event.time - TEN) <= timedelta(hours=14)


def test_log_of_fail2ban_says_who_is_banned() -> None:
    line = "2026-03-01 10:00:00,123 fail2ban.actions        [7]: NOTICE  [sshd] Ban 203.0.113.9"
    [event] = events("application", line)
    assert (event.action, event.service, event.source_ip, event.severity) == ("banned", "sshd", "203.0.113.9", NOTICE)


@pytest.mark.parametrize(
    "line",
    [
        '2026/03/01 10:00:00 [error] 7#9: *23 user "ann": password mismatch, client: 203.0.113.9, server: a, host: "a"',
        '2026/03/01 10:00:00 [error] 7#9: *23 user "ann" was not found in "/etc/x", client: 203.0.113.9, server: a',
        "[Sun Mar 01 10:00:00.1 2026] [auth_basic:error] [pid 7] [client 203.0.113.9:4000] AH01617: user ann: "
        'authentication failure for "/a": Password Mismatch',
        "[Sun Mar 01 10:00:00 2026] [auth_basic:error] [pid 7] [client 203.0.113.9:40] AH01618: user ann not found: /",
    ],
)
def test_a_password_that_a_web_server_refused_is_a_login(line: str) -> None:
    [event] = events("error", line)
    assert (event.kind, event.action, event.success) == (Kind.LOGIN, "login_failed", False)
    assert (event.user, event.source_ip) == ("ann", "203.0.113.9")
