"""Lines that begin with a clock and no date."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millstream import App
from millstream.parsers.choose import choose_format
from millstream.parsers.clocks import AHEAD_MAX, ClockParser
from millstream.parsers.formats import FORMATS
from millstream.parsers.log_event import LogEvent
from millstream.sources.file_dates import clocks_of
from millstream.sources.files import FileSource
from millstream.sources.sampled import SampledParser
from millstream.sources.system import follow_system

NOW = datetime(2026, 3, 7, 12, tzinfo=UTC)


def times(*lines: str, now: datetime = NOW, zone: Any = UTC) -> list[str]:
    events = ClockParser("x", zone).events([line.encode() for line in lines], now=now)
    return [f"{event.time:%d %H:%M:%S}" for event in events]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("10:00:00.123 [main] WARN  com.shop.Till - late", ("late", "warning", "com.shop.Till", {"thread": "main"})),
        ("[10:00:00] [Server thread/INFO]: ann joined", ("ann joined", "info", None, {"thread": "Server thread"})),
        ("10:00:00,123 ERROR it broke", ("it broke", "err", None, None)),
        ("10:00:00 -!- ann has joined", ("-!- ann has joined", None, None, None)),
        ("[10:00:00.123456789] it works", ("it works", None, None, None)),
        ("10:00:00: it works", ("it works", None, None, None)),
        ("10:00:00|INFO|it works", ("it works", "info", None, None)),
    ],
)
def test_what_stands_behind_a_clock_is_understood(line: str, said: tuple[Any, ...]) -> None:
    [event] = ClockParser("x", UTC).events([line.encode()], now=NOW)
    assert (event.message, event.severity, event.fields) == (said[0], said[1], said[3])
    assert event.time.replace(microsecond=0) == datetime(2026, 3, 7, 10, tzinfo=UTC)
    assert event.raw == line
    if said[2]:
        assert event.program == said[2]
    assert choose_format([line.encode()] * 2) == "clock"


@pytest.mark.parametrize(
    "line", ["10:00:00", "10:61:00 x", "25:00:00 x", "10:00:00/x", "10:00:00:00:aa:bb x", "1:00:00 x", "10:00:00-07 x"]
)
def test_what_is_no_clock_is_none(line: str) -> None:
    assert not ClockParser("x").fits(line.encode(), now=NOW)
    [event] = ClockParser("x").events([line.encode()], now=NOW)
    assert (event.message, event.time) == (line, NOW)


def test_the_last_line_is_as_late_as_it_can_be() -> None:
    assert times("11:59:00 a") == ["07 11:59:00"]
    assert times("12:59:00 a") == ["07 12:59:00"], "clocks may be ahead by an hour"
    assert times("13:01:00 a") == ["06 13:01:00"]
    assert times("11:59:00 a", zone=ZoneInfo("Asia/Tokyo")) == ["07 02:59:00"]


def test_a_midnight_between_lines_is_seen() -> None:
    lines = ("09:00:00 a", "23:59:59 b", "no clock", "00:00:01 c", "08:00:00 d", "07:00:00 e")
    assert times(*lines) == ["05 09:00:00", "05 23:59:59", "05 23:59:59", "06 00:00:01", "06 08:00:00", "07 07:00:00"]


def test_lines_a_little_out_of_order_stay_on_their_day() -> None:
    assert times("23:59:58 a", "00:00:01 b", "23:59:59 c", "00:00:02 d") == [
        "06 23:59:58", "07 00:00:01", "06 23:59:59", "07 00:00:02",
    ]  # fmt: skip


def test_lines_that_come_while_they_are_written_have_the_day_of_their_reading() -> None:
    parser = ClockParser("x", UTC)
    for day in (7, 9):  # nothing was written for two days
        [event] = parser.events([b"11:00:00 x"], now=NOW.replace(day=day))
        assert event.time.day == day


def aged(path: Path, text: str, changed: datetime) -> Path:
    path.write_text(text)
    os.utime(path, (changed.timestamp(), changed.timestamp()))
    return path


def test_the_lines_of_a_file_have_the_days_up_to_its_last_change(tmp_path: Path) -> None:
    hours = 24 * 9
    begin = datetime(2024, 2, 25, 13, 30)  # noqa: DTZ001 (of this machine)
    written = [begin + timedelta(hours=hour) for hour in range(hours)]
    text = "".join(f"{moment:%H:%M:%S} [main] INFO  a.B - {n}\n" + "  more\n" * 9 for n, moment in enumerate(written))
    path = aged(tmp_path / "old.log", text, written[-1].astimezone(UTC) + timedelta(seconds=5))
    with App("memory://") as app:
        for format in ("clock", "auto"):
            source = FileSource([path], lines_first=None, follow=False, format=format)
            with follow_system(app, format, sources=[source]) as follower:
                follower.join()
            events = [one.value for one in app.topic(format, LogEvent, time="time").read(records_max=10**6)]
            found = [event.time for event in events if event.message.isdecimal()]
            assert found == [moment.astimezone(UTC) for moment in written], format
            assert {event.format for event in events} == {"clock"}


def test_lines_behind_those_that_were_looked_at_are_of_now(tmp_path: Path) -> None:
    path = aged(tmp_path / "a.log", "10:00:00 a\n09:00:00 b\n", NOW - timedelta(hours=2))
    told = clocks_of(path, 0, zone=UTC)
    assert told is not None
    assert (told.first.day, told.count) == (6, 2)
    parser = ClockParser("a.log", UTC)
    parser.begin_at(lambda: told)
    lines = [b"10:00:00 a", b"09:00:00 b", b"11:30:00 c"]
    assert [event.time.day for event in parser.events(lines, now=NOW)] == [6, 7, 7]
    [later] = parser.events([b"10:00:00 d"], now=NOW + timedelta(days=3))
    assert later.time.day == 10


def test_what_another_file_tells_does_no_harm(tmp_path: Path) -> None:
    path = aged(tmp_path / "a.log", "11:00:00 a\n" * 9, NOW)
    parser = ClockParser("a.log", UTC)
    parser.begin_at(lambda: clocks_of(path, 0, zone=UTC))
    events = parser.events([b"11:00:00 a", b"10:00:00 b", b"09:00:00 c"], now=NOW)
    assert all(event.time <= NOW + AHEAD_MAX for event in events)


@pytest.mark.parametrize("text", ["", "no clock\n", "10:00:00 no end"])
def test_a_file_without_such_lines_tells_nothing(tmp_path: Path, text: str) -> None:
    path = aged(tmp_path / "a.log", text, NOW)
    assert (clocks_of(path, 0) is None) is ("10:" not in text)
    assert clocks_of(tmp_path / "none.log", 0) is None


def test_the_format_is_seen() -> None:
    parser = SampledParser("x")
    parser.events(
        [b"10:00:00.123 [main] WARN  com.shop.Till - late", b"10:00:01.123 [main] WARN  com.shop.Till - late"], now=NOW
    )
    assert parser.format == "clock"


gaps = st.lists(st.integers(0, 23 * 3600) | st.integers(0, 5) | st.just(23 * 3600), min_size=1, max_size=40)


@given(st.datetimes(datetime(2001, 1, 1), datetime(2060, 1, 1)), gaps)  # noqa: DTZ001
def test_times_are_read_as_they_were_written(begin: datetime, seconds: list[int]) -> None:
    written = [begin]
    for gap in seconds:
        written.append(written[-1] + timedelta(seconds=gap))
    lines = [f"{moment:%H:%M:%S.%f} x".encode() for moment in written]
    now = written[-1].replace(tzinfo=UTC)
    events = ClockParser("x", UTC).events(lines, now=now)
    assert [event.time.replace(tzinfo=None) for event in events] == written
    frame = ClockParser("x", UTC).columns(lines, now=now)
    assert frame.to_dicts() == [msgspec.structs.asdict(event) for event in events]
    assert FORMATS["clock"].parser("x").fits(lines[0], now=now)
