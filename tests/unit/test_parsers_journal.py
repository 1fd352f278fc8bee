"""Entries of the systemd journal."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from millstream.parsers.journal import parse_entry
from millstream.parsers.system_event import Severity

NOW = datetime(2026, 5, 20, 12, 0, tzinfo=UTC)
ENTRY = {
    "__CURSOR": "s=99b3;i=15c;b=8f39;m=37ec;t=660f;x=1247",
    "__REALTIME_TIMESTAMP": "1795494961151565",
    "_SOURCE_REALTIME_TIMESTAMP": "1795494961151359",
    "MESSAGE": "via logger",
    "SYSLOG_IDENTIFIER": "backup",
    "_COMM": "logger",
    "_PID": "7802",
    "SYSLOG_PID": "1",
    "_HOSTNAME": "vm",
    "PRIORITY": "5",
}


def entry(**changes: object) -> bytes:
    fields = {name: value for name, value in (ENTRY | changes).items() if value is not ...}
    return json.dumps(fields).encode()


def test_an_entry_is_an_event_with_the_time_its_program_sent_it() -> None:
    line = entry()
    event = parse_entry(line, now=NOW)
    assert event.time == datetime.fromtimestamp(1795494961, UTC).replace(microsecond=151359)
    assert (event.source, event.host, event.program, event.pid) == ("journal", "vm", "backup", 7802)
    assert (event.severity, event.message) == (Severity.NOTICE, "via logger")
    assert (event.raw, event.raw_bytes) == (line.decode(), None)


def test_what_is_missing_is_taken_from_the_next_best_field() -> None:
    event = parse_entry(entry(_SOURCE_REALTIME_TIMESTAMP=..., SYSLOG_IDENTIFIER=..., _PID=...), now=NOW)
    assert event.time.microsecond == 151565
    assert (event.program, event.pid) == ("logger", 1)


def test_an_empty_entry_is_an_event_at_the_time_of_its_reading() -> None:
    event = parse_entry(b"{}", now=NOW)
    assert (event.time, event.message, event.host, event.program) == (NOW, "", None, None)
    assert (event.pid, event.severity) == (None, None)


def test_a_message_of_bytes_is_shown_and_kept() -> None:
    line = entry(MESSAGE=list(b"bad \xff\xfe bytes"))
    event = parse_entry(line, now=NOW)
    assert event.message == "bad \\xff\\xfe bytes"
    assert json.loads(event.raw)["MESSAGE"] == list(b"bad \xff\xfe bytes")


def test_a_field_given_twice_counts_once() -> None:
    assert parse_entry(entry(MESSAGE=["first", "second"]), now=NOW).message == "first"
    assert parse_entry(entry(MESSAGE=[list(b"f\xff"), "second"]), now=NOW).message == "f\\xff"


@pytest.mark.parametrize("value", [None, "", "x", "-1", "8", "9" * 30, ["7", "3"], {"a": 1}, 12, [300], [[1.5]]])
def test_values_out_of_the_ordinary_do_not_fail(value: object) -> None:
    event = parse_entry(
        entry(PRIORITY=value, _PID=value, _SOURCE_REALTIME_TIMESTAMP=value, MESSAGE=value, _HOSTNAME=value), now=NOW
    )
    assert event.severity is (Severity.DEBUG if value == ["7", "3"] else None)


@pytest.mark.parametrize("line", [b'{"MESSAGE": "cut of', b"[1]", b"\xff\xfe", b""])
def test_what_is_no_entry_is_kept_and_said(line: bytes) -> None:
    event = parse_entry(line, now=NOW)
    assert "could not be read" in event.message
    assert event.time == NOW
    assert (event.raw_bytes or event.raw.encode()) == line
