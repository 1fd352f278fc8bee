"""A time in front of logfmt, pairs and JSON is the time of the line."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millstream.parsers.choose import choose_format
from millstream.parsers.formats import FORMATS
from millstream.parsers.log_event import LogEvent
from millstream.parsers.system_event import Severity
from millstream.parsers.times import parse_time

NOW = datetime(2026, 12, 1, tzinfo=UTC)
TEN = datetime(2026, 11, 24, 10, tzinfo=UTC)


def read(format: str, line: str) -> LogEvent:
    parser: Any = FORMATS[format].parser("app.log")
    [event] = parser.events([line.encode()], now=NOW)
    assert isinstance(event, LogEvent)
    return event


@pytest.mark.parametrize(
    ("line", "format", "fields"),
    [
        ('2026-11-24T10:00:00Z level=warn msg="late by" minutes=7', "logfmt", {"minutes": "7"}),
        ('[2026-11-24 10:00:00 +0000] level=warn msg="late by" minutes=7', "logfmt", {"minutes": "7"}),
        ('1795514400 level=warn msg="late by" minutes=7', "logfmt", {"minutes": "7"}),
        ("2026-11-24T10:00:00Z level: warn, msg=late by; minutes=7", "pairs", {"minutes": "7"}),
        ('2026-11-24T10:00:00Z {"level":"warn","msg":"late by","minutes":7}', "json", {"minutes": 7}),
        ('2026-11-24T10:00:00.000Z: {"level":"warn","msg":"late by","minutes":7}', "json", {"minutes": 7}),
    ],
)
def test_time_in_front_is_that_of_the_line(line: str, format: str, fields: dict[str, Any]) -> None:
    assert choose_format([line.encode()]) == format
    event = read(format, line)
    assert (event.time, event.severity, event.message, event.fields) == (TEN, Severity.WARNING, "late by", fields)


@pytest.mark.parametrize(
    ("line", "format"),
    [
        ("2026-11-24T11:00:00Z ts=2026-11-24T10:00:00Z level=warn msg=x", "logfmt"),
        ('2026-11-24T11:00:00Z {"time":"2026-11-24T10:00:00Z","msg":"x"}', "json"),
    ],
)
def test_time_that_a_line_names_goes_before_the_one_in_front(line: str, format: str) -> None:
    assert read(format, line).time == TEN


@pytest.mark.parametrize(
    ("line", "format"),
    [
        ("2026-03-01T10:00:00Z web kernel: IN=eth0 OUT= SRC=192.0.2.1 DST=192.0.2.2 PROTO=TCP", "syslog"),
        ('2026-03-01T10:00:00Z web app[3]: {"msg":"x"}', "syslog"),
        ("2026-03-01T10:00:00Z INFO a=1 b=2", "application"),
    ],
)
def test_lines_that_say_who_wrote_them_are_of_their_own_format(line: str, format: str) -> None:
    assert choose_format([line.encode()]) == format


NAMES = st.from_regex(r"x_[a-z]{1,8}", fullmatch=True)
VALUES = st.from_regex(r"[A-Za-z0-9_/+-]{1,12}", fullmatch=True)
MOMENTS = st.integers(0, 10**9).map(lambda second: datetime(1990, 1, 1, tzinfo=UTC) + timedelta(seconds=second))


@given(MOMENTS, st.dictionaries(NAMES, VALUES, min_size=1, max_size=5), st.sampled_from(["{} ", "[{}] ", "{}: "]))
def test_what_was_written_is_read_again(moment: datetime, named: dict[str, str], front: str) -> None:
    before = front.format(moment.isoformat())
    logfmt = read("logfmt", before + " ".join(f"{name}={value}" for name, value in named.items()))
    as_json = read("json", before + msgspec.json.encode(named).decode())
    for event in (logfmt, as_json):
        assert (event.time, event.fields) == (moment, named)


CLOCKS = (
    "2026-03-01T10:00:00 2026-02-30T10:00:00.123456789 0000-01-01T00:00:00 0001-01-01T00:00:00.000001 "
    "9999-12-31T23:59:59.999999 2024-02-29T00:00:00.1234567 2026-03-01T24:00:00 2026-03-01T10:00:60"
)


@pytest.mark.parametrize("clock", [*CLOCKS.split(), "2026-03-01 23:59:59.9"])
@pytest.mark.parametrize("zone", ["Z", "+00:00", "-12:30", "+23:59", "+24:00", "-99:59", "+01:60"])
def test_times_of_rfc_3339_are_what_they_are_as_any_other_shape(clock: str, zone: str) -> None:
    """They have a faster way, which a blank before the zone is not."""
    assert parse_time(f"{clock}{zone}", now=NOW) == parse_time(f"{clock} {zone}", now=NOW)
