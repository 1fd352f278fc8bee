"""Formats of log lines: what each says of lines that its documented grammar allows."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from millstream import UsageError
from millstream.log.frames import frame_schema
from millstream.log.schema import METADATA_COLUMNS
from millstream.log.types import schema_of
from millstream.parsers.choose import choose_format
from millstream.parsers.event_parser import EventParser
from millstream.parsers.formats import FORMATS
from millstream.parsers.log_event import Kind, LogEvent
from millstream.parsers.system_event import Severity, text_of
from millstream.parsers.times import parse_time

NOW = datetime(2026, 3, 7, 12, 0, tzinfo=UTC)
TEN = datetime(2026, 3, 1, 10, 0, tzinfo=UTC)
ERR, INFO, CRIT, WARNING, NOTICE = Severity.ERR, Severity.INFO, Severity.CRIT, Severity.WARNING, Severity.NOTICE


def events(name: str, *lines: str) -> list[LogEvent]:
    parser = FORMATS[name].parser("x.log")
    assert isinstance(parser, EventParser)
    return parser.events([line.encode() for line in lines], now=NOW)


def said(event: LogEvent) -> dict[str, Any]:
    """Return what an event says, without what every event has."""
    fields = msgspec.structs.asdict(event)
    return {name: value for name, value in fields.items() if value is not None and name not in ("raw", "source")}


LINES: list[tuple[str, str, dict[str, Any]]] = [
    (
        "json",
        '{"time":"2026-03-01T10:00:00Z","level":"error","msg":"no room","pid":7,"hostname":"web","app":"shop",'
        '"free":0}',
        {"severity": ERR, "message": "no room", "pid": 7, "host": "web", "program": "shop", "fields": {"free": 0}},
    ),
    (
        "json",
        'web-1  | {"ts":1772359200.0,"level":30,"message":"hi","user":"ann","remote_addr":"203.0.113.9"},',
        {"severity": INFO, "message": "hi", "user": "ann", "source_ip": "203.0.113.9"},
    ),
    (
        "json",
        '{"t":{"$date":"2026-03-01T10:00:00.000+00:00"},"s":"W","c":"STORAGE","msg":"unclean"}',
        {"severity": WARNING, "message": "unclean", "fields": {"c": "STORAGE"}},
    ),
    (
        "json",
        '{"instant":{"epochSecond":1772359200,"nanoOfSecond":0},"level":"FATAL","message":"x"}',
        {"severity": CRIT, "message": "x"},
    ),
    (
        "logfmt",
        r'ts=2026-03-01T10:00:00Z level=warn msg="a \"b\" c" took=3ms cached',
        {"severity": WARNING, "message": 'a "b" c', "fields": {"took": "3ms", "cached": "true"}},
    ),
    (
        "error",
        "[Sun Mar 01 10:00:00.000000 2026] [ssl:error] [pid 7:tid 9] [client 203.0.113.9:50229] "
        "AH01618: user not found",
        {
            "severity": ERR,
            "program": "apache",
            "pid": 7,
            "source_ip": "203.0.113.9",
            "source_port": 50229,
            "message": "AH01618: user not found",
            "fields": {"module": "ssl", "tid": "9"},
        },
    ),
    (
        "error",
        "2026/03/01 10:00:00 [crit] 7#9: *23 open() failed, client: 203.0.113.9, server: example.com, "
        'request: "GET / HTTP/1.1"',
        {
            "severity": CRIT,
            "program": "nginx",
            "pid": 7,
            "source_ip": "203.0.113.9",
            "message": 'open() failed, client: 203.0.113.9, server: example.com, request: "GET / HTTP/1.1"',
            "fields": {"server": "example.com", "request": "GET / HTTP/1.1", "connection": "23"},
        },
    ),
    (
        "postgres",
        '2026-03-01 10:00:00.000 UTC [7] ann@shop FATAL:  password authentication failed for user "ann"',
        {
            "severity": CRIT,
            "program": "postgres",
            "pid": 7,
            "user": "ann",
            "kind": Kind.LOGIN,
            "action": "login_failed",
            "success": False,
            "message": 'password authentication failed for user "ann"',
            "fields": {"level": "FATAL", "database": "shop"},
        },
    ),
    (
        "postgres",
        "2026-03-01 11:00:00 CET [7-1] LOG:  database system is ready to accept connections",
        {
            "severity": INFO,
            "program": "postgres",
            "pid": 7,
            "message": "database system is ready to accept connections",
            "fields": {"level": "LOG"},
        },
    ),
    (
        "mysql",
        "2026-03-01T10:00:00.000000Z 8 [Note] [MY-010926] [Server] "
        "Access denied for user 'ann'@'203.0.113.9' (using password: YES)",
        {
            "severity": NOTICE,
            "program": "mysqld",
            "kind": Kind.LOGIN,
            "action": "login_failed",
            "success": False,
            "user": "ann",
            "source_ip": "203.0.113.9",
            "message": "Access denied for user 'ann'@'203.0.113.9' (using password: YES)",
            "fields": {"thread": "8", "code": "MY-010926", "part": "Server"},
        },
    ),
    (
        "cef",
        r"<13>Mar  1 10:00:00 fw CEF:0|Acme|Wall\|er|1.0|100|blocked|8|rt=1772359200000 src=203.0.113.9 spt=4000 "
        r"suser=ann msg=a=b \= c",
        {
            "message": "a=b = c",
            "program": "Acme Wall|er",
            "severity": ERR,
            "source_ip": "203.0.113.9",
            "source_port": 4000,
            "user": "ann",
        },
    ),
    (
        "cef",
        "LEEF:2.0|Acme|Wall|1.0|blocked|^|src=203.0.113.9^usrName=ann^sev=2^devTime=1772359200000",
        {"message": "blocked", "program": "Acme Wall", "severity": NOTICE, "source_ip": "203.0.113.9", "user": "ann"},
    ),
    (
        "audit",
        "type=USER_LOGIN msg=audit(1772359200.000:456): pid=7 uid=0 auid=4294967295 ses=3 "
        'msg=\'op=login acct="ann" exe="/usr/sbin/sshd" hostname=? addr=203.0.113.9 terminal=ssh res=failed\'',
        {
            "program": "audit",
            "pid": 7,
            "kind": Kind.LOGIN,
            "action": "login_failed",
            "user": "ann",
            "source_ip": "203.0.113.9",
            "terminal": "ssh",
            "session": "3",
        },
    ),
    (
        "audit",
        "type=USER_CMD msg=audit(1772359200.000:457): pid=8 uid=1000 ses=3 "
        "msg='cwd=\"/\" cmd=6964202D75 terminal=pts/0 res=success'",
        {
            "program": "audit",
            "pid": 8,
            "kind": Kind.PRIVILEGE,
            "action": "sudo",
            "success": True,
            "terminal": "pts/0",
            "session": "3",
            "command": "id -u",
        },
    ),
]


@pytest.mark.parametrize(("name", "line", "fields"), LINES)
def test_line_of_the_format_says(name: str, line: str, fields: dict[str, Any]) -> None:
    [event] = events(name, line)
    found = said(event)
    assert found.pop("format") == name
    if "fields" not in fields:
        found.pop("fields", None)
    if name == "audit":
        found.pop("message")
    assert found == {"time": TEN, **fields}
    assert event.raw == line


def test_a_name_that_is_empty_is_no_date() -> None:
    """It stood for one that is not there."""
    [event] = FORMATS["json"].parser("s").events([b'{"":"2026-03-01","time":"10:00:00","msg":"x"}'], now=NOW)  # type: ignore[attr-defined]
    assert (event.time, event.message) == (NOW, "x")


def test_w3c_head_names_the_fields_of_the_lines_after_it() -> None:
    *_, one, other = (
        events(
            "w3c",
            "#Software: Microsoft Internet Information Services 10.0",
            "#Date: 2026-03-01 09:00:00",
            "#Fields: date time s-ip cs-method cs-uri-stem cs-username c-ip sc-status",
            "2026-03-01 10:00:00 10.0.0.1 GET /a - 203.0.113.9 404",
            "#Fields: time c-ip cs(User-Agent)",
            '10:00:00 203.0.113.7 "Mozilla/5.0 ""x"" (X11)"',
        )[:4]
        + events(
            "w3c", "#Date: 2026-03-01 09:00:00", "#Fields: time c-ip cs(User-Agent)", '10:00:00 203.0.113.7 "a ""b"" c"'
        )[2:]
    )
    assert (one.time, one.source_ip, one.message, one.user) == (TEN, "203.0.113.9", "GET /a 404", None)
    assert (other.time, other.source_ip, other.fields) == (TEN, "203.0.113.7", {"cs(User-Agent)": 'a "b" c'})


@pytest.mark.parametrize("name", [name for name in FORMATS if isinstance(FORMATS[name].parser("x"), EventParser)])
def test_line_of_another_shape_is_the_message_with_the_time_of_the_line_before(name: str) -> None:
    line = next((line for kind, line, _ in LINES if kind == name), "#Date: 2026-03-01 10:00:00")
    first, second, third = events(name, "nothing known, at all!", line, "  at main.py, line 7")
    assert (first.time, first.message) == (NOW, "nothing known, at all!")
    assert (third.time, third.message, third.raw) == (second.time, "at main.py, line 7", "  at main.py, line 7")


@pytest.mark.parametrize("name", [name for name in FORMATS if name != "access"])
def test_columns_are_those_of_the_event_and_say_the_same(name: str) -> None:
    lines = [line.encode() for _, line, _ in LINES] + [b"caf\xe9", b""]
    frame = FORMATS[name].parser("x.log").columns(lines, now=NOW)
    expected = frame_schema(schema_of(LogEvent, time="time"))
    assert dict(frame.schema) == {column: kind for column, kind in expected.items() if column not in METADATA_COLUMNS}
    parser = FORMATS[name].parser("x.log")
    if isinstance(parser, EventParser):
        rows = frame.to_dicts()
        for row, event in zip(rows, parser.events(lines, now=NOW), strict=True):
            fields = msgspec.structs.asdict(event)
            row["fields"] = None if row["fields"] is None else msgspec.json.decode(row["fields"])
            assert row == fields


@pytest.mark.parametrize(
    "text",
    [
        "2026-03-01T10:00:00Z",
        "2026-03-01 11:00:00,000 +0100",
        "20260301T100000Z",
        "2026/03/01 10:00:00",
        "Sun, 01 Mar 2026 11:00:00 +0100",
        "01/Mar/2026:10:00:00 +0000",
        "Sun Mar  1 10:00:00.000000 2026",
        "Mar  1 10:00:00",
        "2026-03-01 02:00:00 PST",
        "2026-060T10:00:00",
        "20260301.100000,000",
        "20260301 10:00:00",
        "26/03/01 10:00:00",
        "260301 10:00:00",
        "260301 100000",
        "3/1/2026, 10:00:00 AM",
        "03/01/2026 10:00:00",
        "01.03.2026 10:00:00",
        "Mar 01, 2026 10:00:00 AM",
        "Sun Mar  1 10:00:00 UTC 2026",
        "01-Mar-2026 11:00:00 Europe/Berlin",
        "01 March 2026 10:00:00",
        "So. 1. März 2026 10:00:00",
        "1 mars 10:00:00",
        "Mär 01 10:00:00",
        "2026-03-01 12:00:00 UTC+02:00",
        "2026-03-01 12:00:00 UTC+2",
        "2026-03-01 10:00:00:000",
        "@4000000069a40e2a00000000",
        "1772359200",
        "1772359200000",
        "1772359200000000",
        "1772359200000000000",
        "1772359200.000",
        1772359200,
        1772359200.0,
        1772359200000,
    ],
)
def test_time_of_any_usual_form_is_understood(text: Any) -> None:
    assert parse_time(text, now=NOW, zone=UTC) == TEN


@pytest.mark.parametrize(
    "text",
    [
        "",
        "soon",
        "2026-02-31 10:00:00",
        "2026-13-01T10:00:00Z",
        "12",
        -1,
        True,
        "2026-366T10:00:00",
        "13:00:00 PM",
        "3/1/2026 13:00:00 PM",
        "@4000000000000000",
        "1 foo 10:00:00",
        None,
        1e300,
        "9" * 20,
    ],
)
def test_what_is_no_time_is_none(text: Any) -> None:
    assert parse_time(text, now=NOW, zone=UTC) is None


@pytest.mark.parametrize(("name", "line"), [(name, line) for name, line, _ in LINES])
def test_format_is_chosen_by_looking_at_lines(name: str, line: str) -> None:
    assert choose_format([line.encode(), b"", b"  and more"] * 3) == name


def test_access_and_syslog_are_chosen_too() -> None:
    assert choose_format([b'10.0.0.1 - - [10/Oct/2026:13:55:36 +0200] "GET / HTTP/1.1" 200 1']) == "access"
    assert choose_format([b"Mar  1 10:00:00 web sshd[1]: Invalid user x from 203.0.113.9 port 1"]) == "syslog"


def test_lines_of_no_known_format_are_said() -> None:
    with pytest.raises(UsageError, match=r"no format that is known .*syslog"):
        choose_format([b"the quick brown fox", b"jumps over the lazy dog"])


def test_security_event_without_an_extension_is_one() -> None:
    [event] = events("cef", "CEF:0|Acme|Wall|1.0|100|blocked|8|")
    assert (event.message, event.program, event.severity) == ("blocked", "Acme Wall", ERR)


@pytest.mark.parametrize(
    "line",
    [b'{"a":' * 50_000, b'{"__REALTIME_TIMESTAMP":"17\xed2","MESSAGE":"\xed"}', b'{"_PID":' + b"[" * 50_000],
    ids=["deep", "not UTF-8", "deep value"],
)
def test_journal_entry_that_cannot_be_read_is_kept(line: bytes) -> None:
    [event] = FORMATS["journal"].parser("x").columns([line], now=NOW).to_dicts()
    assert event["time"] == NOW
    assert (event["raw"], event["raw_bytes"]) == text_of(line)
