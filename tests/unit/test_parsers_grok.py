"""Patterns of a user's own."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from millstream import UsageError
from millstream.parsers.event_parser import EventParser
from millstream.parsers.grok import NAMES, Grok, grok_reader

NOW = datetime(2026, 3, 7, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("IP", ["10.0.0.1", "255.255.255.255", "2001:db8::7", "::1"], ["256.1.1.1", "10.0.0", "x"]),
        ("HOSTNAME", ["example.com", "web-1"], ["-x", ""]),
        ("NUMBER", ["1", "-2.5", "+.5"], ["x", "1."]),
        ("UUID", ["123e4567-e89b-12d3-a456-426614174000"], ["123"]),
        ("QUOTEDSTRING", ['"a \\" b"', "'x'"], ['"', "x"]),
        ("TIMESTAMP_ISO8601", ["2026-03-01T10:00:00Z", "2026-03-01 10:00:00,123 +0100"], ["2026-03-01"]),
        ("HTTPDATE", ["01/Mar/2026:10:00:00 +0100"], ["01/Mar/2026"]),
        ("SYSLOGTIMESTAMP", ["Mar  1 10:00:00"], ["1 Mar"]),
        ("EMAILADDRESS", ["ann@example.com"], ["ann"]),
        ("PATH", ["/a/b", "C:\\x"], ["a/b"]),
        ("MAC", ["00:1b:44:11:3a:b7"], ["00:1b"]),
    ],
)
def test_name_matches_what_it_says(name: str, good: list[str], bad: list[str]) -> None:
    grok = Grok(f"%{{{name}:x}}")
    assert [grok.match(text) for text in good] == [{"x": text} for text in good]
    assert [grok.match(text) for text in bad] == [None] * len(bad)


def test_every_name_is_an_expression() -> None:
    for name in NAMES:
        Grok(f"%{{{name}:x}}")


def test_fields_find_their_place_in_the_event() -> None:
    pattern = (
        r"%{TIMESTAMP:time} \[%{LOGLEVEL:level}\] %{IP:source_ip} (?P<command>\w+) "
        r"took %{NUMBER:took:float} %{GREEDY:msg}"
    )
    parser = EventParser("x", grok_reader(pattern), format="pattern")
    lines = [b"2026-03-01T10:00:00Z [WARN] 10.0.0.1 copy took 1.5 a lot of time", b"other"]
    [event, other] = parser.events(lines, now=NOW)
    assert event.time == other.time == datetime(2026, 3, 1, 10, tzinfo=UTC)
    assert (event.severity, event.source_ip, event.command) == ("warning", "10.0.0.1", "copy")
    assert (event.message, event.fields) == ("a lot of time", {"took": 1.5})
    assert (other.message, other.fields) == ("other", None)


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("%{NOBODY:x}", ["%{NOBODY:x}", "IPORHOST"]),
        ("%{IP:x} %{IP:x}", ["'x' twice"]),
        ("%{IP:x:money}", ["int, float"]),
        ("(", ["regular expression"]),
        ("%{IP}", ["keeps nothing"]),
    ],
)
def test_wrong_pattern_says_what(pattern: str, words: list[Any]) -> None:
    with pytest.raises(UsageError) as raised:
        Grok(pattern)
    for word in words:
        assert word in str(raised.value)
