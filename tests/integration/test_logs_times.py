"""Times that are wrong or say too little: the step `time`, and files that are old."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millstream import App
from millstream.logs.config import parse_config
from millstream.logs.steps.chain import Chain
from millstream.parsers.formats import FORMATS
from millstream.parsers.log_event import LogEvent
from millstream.parsers.log_lines import LogParser
from millstream.sources.files import FileSource
from millstream.sources.system import follow_system
from millstream.testing import FakeClock

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def event(message: str = "m", **fields: Any) -> LogEvent:
    return LogEvent(**{"time": NOW, "source": "s", "message": message, "raw": message, **fields})


def chain(*steps: str) -> Chain:
    text = "\n".join(f"[[step]]\n{step}" for step in steps)
    return Chain(parse_config(text, "test.toml", {}).steps, {})


def apply(events: list[LogEvent], *steps: str) -> list[LogEvent]:
    return chain(*steps).events(events, now=NOW)


@pytest.fixture(params=["UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu"])
def zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    if not hasattr(time, "tzset"):
        pytest.skip("this system's zone cannot be set for a process")
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield request.param
    monkeypatch.undo()
    time.tzset()


def read(*lines: str, source: str = "s", now: datetime = NOW) -> list[LogEvent]:
    return LogParser(source).events([line.encode() for line in lines], now=now)


def local(*parts: int) -> datetime:
    year, month, day, hour, minute, second = (*parts, 0, 0)[:6]
    return datetime(year, month, day, hour, minute, second).astimezone(UTC)


def test_clock_that_began_anew_gets_the_time_of_reading_and_what_it_said_is_kept() -> None:
    lines = ["1970-01-01T00:00:09.5+00:00 cam kernel: up", "2026-03-01T11:59:00Z cam kernel: right"]
    anew, right = apply(read(*lines), 'kind = "time"\npast = "365d"')
    assert (anew.time, anew.fields) == (NOW, {"original_time": "1970-01-01T00:00:09.500+00:00"})
    assert (right.time, right.fields) == (datetime(2026, 3, 1, 11, 59, tzinfo=UTC), None)


def test_all_repairs_keep_what_was_said_but_not_a_declared_zone() -> None:
    lines = ["2026-03-01T10:00:00Z h p: m", "2026-03-01T19:00:00Z h p: m"]
    early, late = apply(read(*lines), 'kind = "time"\nshift = "-1h"\nfuture = "5m"')
    assert (early.time, early.fields) == (
        datetime(2026, 3, 1, 9, 0, tzinfo=UTC),
        {"original_time": "2026-03-01T10:00:00+00:00"},
    )
    assert (late.time, late.fields) == (NOW, {"original_time": "2026-03-01T19:00:00+00:00"})
    [found] = apply(read("Mar  1 10:00:00 h p: m"), 'kind = "time"\nzone = "Asia/Tokyo"')
    assert found.fields is None


def test_zone_is_of_lines_that_have_none(zone: str) -> None:
    lines = [
        "2026-03-01T10:00:00+00:00 h p: m",
        "2026-03-01T10:00:00Z h p: Mar  1 10:00:00",
        "<13>Mar  1 10:00:00 h p: at 11:00:00Z",
        "2026-03-01 10:00:00,5 INFO m",
    ]
    found = apply(read(*lines), 'kind = "time"\nzone = "Asia/Tokyo"')
    ten, one = datetime(2026, 3, 1, 10, 0, tzinfo=UTC), datetime(2026, 3, 1, 1, 0, tzinfo=UTC)
    assert [event.time for event in found] == [ten, ten, one, one + timedelta(milliseconds=500)]


def test_times_of_formats_that_are_the_same_everywhere_are_in_no_zone() -> None:
    lines = {
        "journal": '{"__REALTIME_TIMESTAMP":"1772359200000000","MESSAGE":"backup of 10:00:00"}',
        "audit": "type=USER_LOGIN msg=audit(1772359200.000:7): pid=1 uid=0 msg='op=login acct=\"ann\" res=success'",
        "container": '{"log":"10:00:00 up\\n","stream":"stdout","time":"2026-03-01T10:00:00Z"}',
    }
    for name, line in lines.items():
        frame = FORMATS[name].parser("s").columns([line.encode()], now=NOW)
        assert frame["time"].to_list() == [datetime(2026, 3, 1, 10, 0, tzinfo=UTC)], name
        assert chain('kind = "time"\nzone = "Asia/Tokyo"').apply(frame, now=NOW).kept["time"].equals(frame["time"]), (
            name
        )


def test_year_nearest_to_the_reading_is_that_of_a_clock_that_is_ahead(zone: str) -> None:
    lines = ["<13>Mar  5 10:00:00 c app: ahead", "<13>Feb 28 10:00:00 c app: right", "2025-03-05 10:00:00 m"]
    given = read(*lines)
    assert given[0].time == local(2025, 3, 5, 10), "what is days ahead is taken for last year's"
    found = apply(given, 'kind = "time"\nyear = "nearest"')
    assert [one.time for one in found] == [local(2026, 3, 5, 10), local(2026, 2, 28, 10), local(2025, 3, 5, 10)]
    assert (found[0].fields or {})["original_time"].startswith("2025-03-05")
    assert found[1:] == given[1:]
    [both, *_] = apply(given, 'kind = "time"\nyear = "nearest"\nfuture = "1h"')
    assert both.time == NOW


def test_file_that_is_a_year_old_has_the_year_of_its_last_change(zone: str, tmp_path: Path) -> None:
    traditional = ["Dec 31 23:59:59 h p: m", "Jan  1 00:00:01 h p: m", "Jan  2 10:00:00 h p: m"]
    lines = ["no time", *traditional, "2021-03-01 10:00:00 m"]
    times = [local(2023, 12, 31, 23, 59, 59), local(2024, 1, 1, 0, 0, 1), local(2024, 1, 2, 10), local(2021, 3, 1, 10)]
    changed = local(2024, 1, 2, 10, 0, 1)
    assert times_of(lines, tmp_path / "a", changed) == [changed, *times]
    assert times_of(lines * 300, tmp_path / "b", changed) == [changed, *times, *[times[-1], *times] * 299]


def test_file_of_today_or_without_a_time_of_its_own_is_read_as_of_now(tmp_path: Path) -> None:
    lines = ["no time", "Mar  1 10:00:00 h p: m"]
    changes = NOW - timedelta(hours=23), NOW + timedelta(days=900), datetime(1980, 1, 1, tzinfo=UTC)
    for number, changed in enumerate(changes):
        assert times_of(lines, tmp_path / str(number), changed) == [NOW, local(2026, 3, 1, 10)]


def times_of(lines: list[str], file: Path, changed: datetime) -> list[datetime]:
    file.write_text("".join(f"{line}\n" for line in lines))
    os.utime(file, (changed.timestamp(), changed.timestamp()))
    with App("memory://", clock=FakeClock(int(NOW.timestamp()) * 1_000_000)) as app:
        with follow_system(app, sources=[FileSource([file], lines_first=None, follow=False)]) as follower:
            follower.join()
        return [record.value.time for record in follower.topic.read(0, records_max=10_000)]


def test_year_can_be_said(zone: str) -> None:
    lines = ["Dec 31 23:59:59 h p: m", "Jan  1 00:00:01 h p: m", "<3>Feb 29 10:00:00 h p: m"]
    found = apply(read(*lines), 'kind = "time"\nyear = 2023')
    assert [one.time for one in found] == [
        local(2023, 12, 31, 23, 59, 59),
        local(2023, 1, 1, 0, 0, 1),
        local(2024, 2, 29, 10),  # 2023 has none
    ]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(631_152_000_000_000, 2_145_916_800_000_000), min_size=1))  # 1990 to 2037, in us
def test_columns_of_times_are_those_of_single_events(stamps: list[int]) -> None:
    times = [datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=us) for us in stamps]
    step = 'kind = "time"\nzone = "America/St_Johns"\nshift = "+90s"\npast = "3650d"\nfuture = "3650d"'
    found = apply([event(time=one) for one in times], step)
    for one, event_found in zip(times, found, strict=True):
        elsewhere = one.astimezone().replace(tzinfo=ZoneInfo("America/St_Johns")).astimezone(UTC)
        wanted = elsewhere + timedelta(seconds=90)
        assert event_found.time == (NOW if abs(wanted - NOW) > timedelta(days=3650) else wanted)


def test_times_at_the_ends_of_the_calendar_are_no_error(zone: str) -> None:
    times = [datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)]
    events = [event("Jan  1 00:00:00 h p: m", time=one) for one in times]
    for step in ('zone = "Asia/Tokyo"', "year = 2023", 'year = "nearest"', 'past = "1d"'):
        assert len(apply(events, f'kind = "time"\n{step}')) == 2
