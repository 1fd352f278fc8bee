"""Access logs: the shapes that servers write, and what is odd in them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import polars as pl
import pytest

from millstream.log.frames import frame_schema
from millstream.log.schema import METADATA_COLUMNS
from millstream.log.types import schema_of
from millstream.parsers.access import AccessEvent, AccessParser, parse_line

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
TIME = datetime(2026, 10, 10, 11, 55, 36, tzinfo=UTC)
START = "203.0.113.7 - - [10/Oct/2026:13:55:36 +0200]"


def parse(*lines: str | bytes) -> list[dict[str, Any]]:
    frame = AccessParser().columns([line if isinstance(line, bytes) else line.encode() for line in lines], now=NOW)
    return frame.to_dicts()


def said(row: dict[str, Any]) -> dict[str, Any]:
    """Return what a row says, without what every row has."""
    return {name: value for name, value in row.items() if value is not None and name not in ("raw", "time", "parsed")}


@pytest.mark.parametrize(
    ("line", "fields"),
    [
        (
            f'{START} "GET /a?b=1 HTTP/1.1" 200 2326',
            {"http_method": "GET", "url": "/a?b=1", "http_version": "HTTP/1.1", "status": 200, "body_bytes": 2326},
        ),
        (
            f'{START} "GET / HTTP/2.0" 304 - "https://example.com/" "Mozilla/5.0 (X11)"',
            {
                "http_method": "GET",
                "url": "/",
                "http_version": "HTTP/2.0",
                "status": 304,
                "referrer": "https://example.com/",
                "user_agent": "Mozilla/5.0 (X11)",
            },
        ),
        (f'{START} "-" 408 0 "-" "-"', {"status": 408, "body_bytes": 0}),
        (f'{START} "" 400 226', {"request": "", "status": 400, "body_bytes": 226}),
        (f'{START} "GET /no version" 400 1', {"request": "GET /no version", "status": 400, "body_bytes": 1}),
        (
            f'{START} "GET / HTTP/1.1" 200 1 "-" "x" "198.51.100.1" 0.012',
            {
                "http_method": "GET",
                "url": "/",
                "http_version": "HTTP/1.1",
                "status": 200,
                "body_bytes": 1,
                "user_agent": "x",
                "extra": '"198.51.100.1" 0.012',
            },
        ),
        (
            f'example.com:443 {START} "GET / HTTP/1.1" 200 1',
            {
                "vhost": "example.com:443",
                "http_method": "GET",
                "url": "/",
                "http_version": "HTTP/1.1",
                "status": 200,
                "body_bytes": 1,
            },
        ),
        (
            rf'{START} "\x16\x03\x01\x00" 400 226 "-" "-"',
            {"request": "\x16\x03\x01\x00", "status": 400, "body_bytes": 226},
        ),
        (
            rf'{START} "GET /a\"b\\c HTTP/1.1" 404 5 "-" "a \"quoted\" \xc3\xa4 agent"',
            {
                "http_method": "GET",
                "url": '/a"b\\c',
                "http_version": "HTTP/1.1",
                "status": 404,
                "body_bytes": 5,
                "user_agent": 'a "quoted" ä agent',
            },
        ),
        (
            rf'{START} "GET / HTTP/1.1" 200 5 "-" "\xe4 is no UTF-8"',
            {
                "http_method": "GET",
                "url": "/",
                "http_version": "HTTP/1.1",
                "status": 200,
                "body_bytes": 5,
                "user_agent": r"\xe4 is no UTF-8",
            },
        ),
    ],
)
def test_line_of_each_shape_is_taken_apart(line: str, fields: dict[str, Any]) -> None:
    [row] = parse(line)
    assert row["time"] == TIME
    assert row["parsed"]
    assert row["raw"] == line
    assert said(row) == {"source_ip": "203.0.113.7"} | fields
    exact = parse_line(line)
    assert exact is not None
    assert said(exact) == said(row), "the expression that knows escapes says the same"


def test_user_may_have_spaces() -> None:
    [row] = parse('10.0.0.1 - ann lee [10/Oct/2026:13:55:36 +0200] "GET / HTTP/1.1" 200 1')
    assert row["user"] == "ann lee"


def test_line_of_another_shape_is_kept_whole_with_the_time_of_the_line_before_it() -> None:
    rows = parse("no access log at all", f'{START} "GET / HTTP/1.1" 200 1', f"{START} cut in the mid")
    assert [row["parsed"] for row in rows] == [False, True, False]
    assert [row["time"] for row in rows] == [NOW, TIME, TIME]
    assert said(rows[2]) == {}
    assert rows[2]["raw"] == f"{START} cut in the mid"


def test_time_that_does_not_exist_makes_the_line_one_of_another_shape() -> None:
    [row] = parse('10.0.0.1 - - [31/Feb/2026:13:55:36 +0200] "GET / HTTP/1.1" 200 1')
    assert (row["parsed"], row["time"]) == (False, NOW)


def test_bytes_that_are_not_utf8_are_shown_and_kept() -> None:
    line = f'{START} "GET /'.encode() + b"\xff" + b' HTTP/1.1" 200 1'
    [row] = parse(line)
    assert row["raw_bytes"] == line
    assert row["parsed"]
    assert row["url"] == r"/\xff"


def test_columns_are_those_of_the_event() -> None:
    frame = AccessParser().columns([f'{START} "GET / HTTP/1.1" 200 1'.encode()], now=NOW)
    expected = frame_schema(schema_of(AccessEvent, time="time"))
    assert dict(frame.schema) == {name: kind for name, kind in expected.items() if name not in METADATA_COLUMNS}
    assert isinstance(frame, pl.DataFrame)


def test_nothing_in_is_nothing_out() -> None:
    assert parse() == []


def test_line_that_fits_is_told_from_others() -> None:
    parser = AccessParser()
    assert parser.fits(f'{START} "GET / HTTP/1.1" 200 1'.encode(), now=NOW)
    assert not parser.fits(b"other", now=NOW)
