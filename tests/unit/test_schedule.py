"""When something is due, also where clocks are changed."""

from __future__ import annotations

import itertools
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millstream.errors import UsageError
from millstream.records import time_from_us, time_to_us
from millstream.triggers.schedule import At, Cron, Every, Schedule, dues_between

BERLIN = ZoneInfo("Europe/Berlin")


def local_dues(schedule: Schedule, start: datetime, end: datetime, zone: ZoneInfo = BERLIN) -> list[str]:
    dues = dues_between(schedule, time_to_us(start) - 1, time_to_us(end) - 1)
    return [time_from_us(us).astimezone(zone).strftime("%m-%d %H:%M %z") for us in dues]


def berlin(month: int, day: int, hour: int = 0) -> datetime:
    return datetime(2026, month, day, hour, tzinfo=BERLIN)


def test_a_time_of_day_that_is_skipped_is_due_after_the_gap() -> None:
    dues = local_dues(Cron("30 2 * * *", timezone="Europe/Berlin"), berlin(3, 28), berlin(3, 31))
    assert dues == ["03-28 02:30 +0100", "03-29 03:00 +0200", "03-30 02:30 +0200"]


def test_several_times_in_one_gap_are_due_once() -> None:
    assert local_dues(Cron("0,30 2 * * *", timezone="Europe/Berlin"), berlin(3, 29), berlin(3, 30)) == [
        "03-29 03:00 +0200"
    ]


def test_a_time_of_day_that_comes_twice_is_due_the_first_time() -> None:
    dues = local_dues(Cron("30 2 * * *", timezone="Europe/Berlin"), berlin(10, 24), berlin(10, 27))
    assert dues == ["10-24 02:30 +0200", "10-25 02:30 +0200", "10-26 02:30 +0100"]


@pytest.mark.parametrize(("month", "day", "hours"), [(3, 29, 23), (6, 1, 24), (10, 25, 25)])
def test_an_interval_runs_in_real_time(month: int, day: int, hours: int) -> None:
    start = berlin(month, day)
    dues = [*dues_between(Cron("*/15 * * * *", "Europe/Berlin"), time_to_us(start) - 1, time_to_us(start) + 10**12)]
    assert {b - a for a, b in itertools.pairwise(dues)} == {900_000_000}
    of_day = [us for us in dues if time_from_us(us).astimezone(BERLIN).day == day]
    assert len(of_day) == 4 * hours


def test_a_gap_and_a_repetition_at_midnight() -> None:
    sao_paulo = ZoneInfo("America/Sao_Paulo")
    cron = Cron("0 0 * * *", "America/Sao_Paulo")
    dues = local_dues(
        cron,
        datetime(2018, 11, 3, tzinfo=sao_paulo),
        datetime(2018, 11, 6, tzinfo=sao_paulo),
        sao_paulo,
    )
    assert dues == ["11-03 00:00 -0300", "11-04 01:00 -0200", "11-05 00:00 -0200"]
    dues = local_dues(
        Cron("30 23 * * *", "America/Sao_Paulo"),
        datetime(2018, 2, 16, tzinfo=sao_paulo),
        datetime(2018, 2, 19, tzinfo=sao_paulo),
        sao_paulo,
    )
    assert dues == ["02-16 23:30 -0200", "02-17 23:30 -0200", "02-18 23:30 -0300"]


def test_a_day_that_a_time_zone_left_out_is_due_at_its_end() -> None:
    apia = ZoneInfo("Pacific/Apia")
    cron = Cron("0 12 * * *", "Pacific/Apia")
    start, end = datetime(2011, 12, 29, tzinfo=apia), datetime(2012, 1, 1, tzinfo=apia)
    # The gap ends as the 31st begins.
    assert [due[:11] for due in local_dues(cron, start, end, apia)] == ["12-29 12:00", "12-31 00:00", "12-31 12:00"]


@pytest.mark.parametrize(
    ("expression", "first"),
    [
        ("5 0 * * *", "2026-01-01 00:05"),
        ("@daily", "2026-01-02 00:00"),
        ("0 9 * * mon-fri", "2026-01-01 09:00"),
        ("0 9 * * 7", "2026-01-04 09:00"),
        ("0 0 13 * fri", "2026-01-02 00:00"),
        ("0 0 1-7 * */7", "2026-01-04 00:00"),
        ("0 0 29 2 *", "2028-02-29 00:00"),
        ("10/20 * * * *", "2026-01-01 00:10"),
        ("0 0 1 jul,dec *", "2026-07-01 00:00"),
    ],
)
def test_expressions(expression: str, first: str) -> None:
    due = Cron(expression).next_after(time_to_us(datetime(2026, 1, 1, tzinfo=UTC)))
    assert due is not None
    assert f"{time_from_us(due):%Y-%m-%d %H:%M}" == first


@pytest.mark.parametrize(
    ("expression", "says"),
    [
        ("5 0 * *", "has 4 fields"),
        ("60 * * * *", "'60' is no minute; give 0-59"),
        ("* * * * fun", "'fun' is no day of week"),
        ("*/0 * * * *", "'\\*/0' is no minute"),
        ("5-1 * * * *", "'5-1' is no minute"),
        ("0 0 31 2 *", "never comes"),
        ("", "has 0 fields"),
        ("1,,2 * * * *", "'' is no minute"),
    ],
)
def test_bad_expressions_say_which_field_and_what_to_give(expression: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        Cron(expression)


def test_an_unknown_time_zone_is_named() -> None:
    for name in ("Europe/Berlim", "../etc", ""):
        if name:
            with pytest.raises(UsageError, match="no time zone"):
                Cron("@daily", name)


def test_intervals_are_whole_multiples_for_everybody() -> None:
    every = Every.of("10m")
    assert str(every) == "every 10m"
    assert [*dues_between(every, 0, 1_800_000_000)] == [600_000_000, 1_200_000_000, 1_800_000_000]
    assert every.next_after(600_000_000) == 1_200_000_000
    assert every.last_at(600_000_000) == 600_000_000
    with pytest.raises(UsageError, match="below 100 ms"):
        Every.of(0)


def test_a_moment_is_due_once() -> None:
    at = At.of(datetime(2026, 1, 1, tzinfo=UTC))
    assert at.next_after(0) == at.due_us == at.last_at(at.due_us)
    assert at.next_after(at.due_us) is None
    assert at.last_at(at.due_us - 1) is None
    with pytest.raises(UsageError, match="no time zone"):
        At.of(datetime(2026, 1, 1))  # noqa: DTZ001 - that is what is refused


EXPRESSIONS = st.sampled_from(
    ["30 2 * * *", "*/15 * * * *", "0 */2 * * *", "15 0,1,2,3 * * sun", "0 0 1 * *", "7 3 31 * *", "@hourly"]
)
ZONES = st.sampled_from(["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "UTC", "Africa/Cairo"])


@settings(max_examples=60, deadline=None)
@given(EXPRESSIONS, ZONES, st.integers(0, 3652 * 1440), st.integers(1, 60))
def test_due_moments_are_those_of_a_walk_minute_by_minute(expression: str, zone: str, minute: int, days: int) -> None:
    cron = Cron(expression, zone)
    after_us = time_to_us(datetime(2020, 1, 1, tzinfo=UTC)) + minute * 60_000_000
    until_us = after_us + min(days, 40) * 86_400_000_000
    dues = [*dues_between(cron, after_us, until_us)]
    assert dues == sorted(set(dues))
    if cron._fields.interval:
        assert dues == _walk(cron, ZoneInfo(zone), after_us, until_us)
    else:
        # Each local day on which it is due has each of its times at most once, and at least one.
        first, last = (_day(us, zone) for us in (after_us, until_us))
        days_due = {_day(us, zone) for us in dues} - {first, last}
        every_day = [first + timedelta(days=n) for n in range(1, (last - first).days)]
        assert days_due == {day for day in every_day if cron._fields.on(day)}
    for due_us in dues[:20]:
        assert cron.last_at(due_us) == due_us
        assert cron.next_after(due_us - 1) == due_us
        before = cron.last_at(due_us - 1)
        assert before is not None
        assert cron.next_after(before) == due_us


def _day(us: int, zone: str) -> date:
    return time_from_us(us).astimezone(ZoneInfo(zone)).date()


def _walk(cron: Cron, zone: ZoneInfo, after_us: int, until_us: int) -> list[int]:
    found = []
    for us in range(after_us + 60_000_000, until_us + 1, 60_000_000):
        local = time_from_us(us).astimezone(zone)
        if (local.hour, local.minute) in cron._fields.times and cron._fields.on(local.date()):
            found.append(us)
    return found
