"""Access logs as events of the one schema."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.property.test_parsers import access

from millstream.errors import UsageError
from millstream.parsers.log_event import LogEvent, event_of
from millstream.parsers.web import WebParser
from millstream.sources.sampled import SampledParser, parser_of

NOW = datetime(2026, 4, 7, 12, 0, tzinfo=UTC)
LINE = rb'203.0.113.7 - ann [01/Mar/2026:10:55:36 +0100] "GET /a\"b HTTP/1.1" 404 5 "-" "curl/8.5"'


def test_a_request_is_an_event_with_its_fields() -> None:
    [event] = WebParser("access.log").events([LINE], now=NOW)
    assert event == LogEvent(
        time=datetime(2026, 3, 1, 9, 55, 36, tzinfo=UTC),
        source="access.log",
        message='GET /a"b HTTP/1.1 404',
        source_ip="203.0.113.7",
        user="ann",
        raw=LINE.decode(),
        fields={
            "status": 404, "http_method": "GET", "url": '/a"b', "http_version": "HTTP/1.1", "body_bytes": 5,
            "user_agent": "curl/8.5",
        },
        format="web",
    )  # fmt: skip


def test_a_line_of_another_shape_is_the_message_at_the_time_of_the_line_before() -> None:
    parser = WebParser("access.log")
    first, second = parser.events([LINE, b" something else "], now=NOW)
    assert (second.time, second.message, second.fields) == (first.time, "something else", None)
    [third] = parser.columns([b"more"], now=NOW).to_dicts()
    assert (third["time"], third["message"]) == (first.time, "more")


@given(st.lists(access.map(str.encode) | st.just(LINE) | st.binary(max_size=8), max_size=8), st.integers(0, 8))
def test_columns_say_what_events_say(lines: list[bytes], place: int) -> None:
    at_once, one_by_one = WebParser("x"), WebParser("x")
    found = [
        event_of(row)
        for part in (lines[:place], lines[place:])
        for row in at_once.columns(part, now=NOW).iter_rows(named=True)
    ]
    assert [msgspec.structs.asdict(one) for one in found] == [
        msgspec.structs.asdict(one) for one in one_by_one.events(lines, now=NOW)
    ]


@given(
    st.integers(100, 599),
    st.from_regex(r"/[a-z0-9?=&%._-]{0,20}", fullmatch=True),
    st.sampled_from(["GET", "POST"]),
    st.integers(0, 10**12),
    st.integers(10**9, 2 * 10**9),
)
def test_what_was_formatted_is_what_is_parsed(status: int, url: str, method: str, size: int, time: int) -> None:
    moment = datetime.fromtimestamp(time, UTC)
    line = f'10.0.0.1 - - [{moment:%d/%b/%Y:%H:%M:%S %z}] "{method} {url} HTTP/1.1" {status} {size}'
    [event] = WebParser("x").events([line.encode()], now=NOW)
    assert event.time == moment
    assert event.fields == {
        "status": status,
        "http_method": method,
        "url": url,
        "http_version": "HTTP/1.1",
        "body_bytes": size,
    }


def test_a_format_is_chosen_by_the_first_lines() -> None:
    parser = SampledParser("access.log")
    assert [event.format for event in parser.events([LINE, LINE], now=NOW)] == ["web", "web"]
    assert SampledParser("x").events([b'{"level":"info","msg":"x"}'], now=NOW)[0].format == "json"
    assert SampledParser("x").events([b"nothing that anybody knows"], now=NOW)[0].format == "syslog"


def test_a_choice_is_made_again_when_more_is_seen() -> None:
    parser = SampledParser("x")
    formats = [parser.events([line], now=NOW)[0].format for line in [b"begin", *[LINE] * 10]]
    assert (formats[0], formats[-1]) == ("syslog", "web")


def test_formats_and_patterns_are_told_apart() -> None:
    [event] = parser_of(r"%{IP:source_ip} %{GREEDYDATA:message}")("x").events([b"10.0.0.1 it works"], now=NOW)
    assert (event.source_ip, event.message) == ("10.0.0.1", "it works")
    assert parser_of("access")("x").format == "web"
    with pytest.raises(UsageError, match="there is no format 'cobol'"):
        parser_of("cobol")


def test_choice_stays_where_lines_of_no_format_outnumber_the_others() -> None:
    parser = SampledParser("app.log")
    head = b"2026-03-01 10:00:00,123 ERROR shop: no answer"
    [first] = parser.events([head], now=NOW)
    trace = parser.events([b"  at line %d" % number for number in range(60)], now=NOW)
    assert {event.format for event in (first, *trace)} == {first.format} != {"syslog"}
    assert {event.time for event in trace} == {first.time}
