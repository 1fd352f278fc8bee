"""StreamTest: the kit with which users test their streams."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import msgspec
import polars as pl
import pytest

from millstream import App, Context, UsageError, count, sum_, table, tumbling
from millstream.stream import Stream, StreamReader
from millstream.testing import CRASH, StreamTest

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


class Click(msgspec.Struct, frozen=True):
    page: str
    load_ms: int


@pytest.fixture
def app() -> Iterator[App]:
    with App("memory://") as app:
        yield app


@pytest.fixture
def per_minute(app: App) -> StreamReader:
    @app.stream(app.topic("clicks", Click))
    def per_minute(s: Stream) -> None:
        s.window(tumbling("1m"), by="page").agg(n=count(), total=sum_("load_ms")).to("counts")
        s.filter(pl.col("load_ms") > 100).to(app.topic("slow", Click))

    return per_minute


def test_what_is_pushed_comes_out(app: App, per_minute: StreamReader) -> None:
    with StreamTest(per_minute) as test:
        test.push(Click("/", 120), Click("/", 80), time=NOON)
        assert test.outputs("slow") == [Click("/", 120)]
        assert test.outputs("counts") == []
        test.push(Click("/", 1), time=NOON + timedelta(minutes=1))
        [row] = test.outputs("counts")
        assert (row["page"], row["n"], row["total"]) == ("/", 2, 200)
        assert test.info().lag == 0
    assert app.topic("clicks").end_offsets() == app.topic("slow").end_offsets() == {0: 0}


def test_time_passes_when_it_is_told_to(per_minute: StreamReader) -> None:
    with StreamTest(per_minute, now=NOON) as test:
        test.push(Click("/", 1))
        test.advance("59s")
        assert test.outputs("counts") == []
        test.advance("2s")
        assert [row["n"] for row in test.outputs("counts")] == [1]


def test_a_crash_shows_that_each_is_at_least_once(app: App) -> None:
    called: list[int] = []

    @app.stream(app.topic("clicks", Click))
    def calls(s: Stream) -> None:
        s.each(lambda click: called.append(click.load_ms))

    with StreamTest(calls) as test:
        test.push(Click("/", 1), CRASH, Click("/", 2))
    assert called == [1, 1, 2]


def test_all_that_is_due_by_then_happens_in_one_advance(app: App) -> None:
    """A timer that was moved wakes its key at the old time first; a timer may set the next one."""

    def heard(state: int, click: Click, context: Context) -> tuple[int, None]:
        context.set_timer("60s")
        return state + 1, None

    def silent(state: int, context: Context) -> tuple[int, dict[str, int]]:
        if context.event_time < NOON + timedelta(minutes=3):
            context.set_timer("60s")
        return state + 1, {"state": state}

    @app.stream(app.topic("clicks", Click))
    def silences(s: Stream) -> None:
        s.stateful_map(heard, 0, by="page", on_timer=silent).to("silences")

    with StreamTest(silences) as test:
        test.push(Click("/", 1), time=NOON)
        test.push(Click("/", 1), time=NOON + timedelta(seconds=10))
        test.advance("10m")
        assert test.outputs("silences") == [{"state": 2}, {"state": 3}, {"state": 4}]


@pytest.mark.parametrize("batch", [1, 2, 1000])
@pytest.mark.parametrize("place", range(4))
def test_a_crash_between_any_two_records_changes_nothing(per_minute: StreamReader, batch: int, place: int) -> None:
    values = [Click("/", 500), Click("/a", 50), Click("/", 150)]
    with StreamTest(per_minute, batch=batch) as test:
        test.push(*values[:place], CRASH, *values[place:], time=NOON)
        test.restart()
        test.push(Click("/", 1), CRASH, time=NOON + timedelta(minutes=1))
        assert test.outputs("slow") == [Click("/", 500), Click("/", 150)]
        assert [(row["page"], row["n"]) for row in test.outputs("counts")] == [("/", 2), ("/a", 1)]


def test_streams_of_several_topics_are_pushed_to_by_name(app: App) -> None:
    class User(msgspec.Struct):
        page: str
        owner: str

    @app.stream(app.topic("clicks", Click), table(app.topic("pages", User, key="page")))
    def owned(clicks: Stream, pages: object) -> None:
        clicks.to("out")

    with StreamTest(owned) as test:
        test.push(User("/", "ann"), topic="pages")
        test.push(Click("/", 1))
        assert len(test.outputs("out")) == 1
        assert len(test.records("pages")) == 1
        with pytest.raises(UsageError, match=r"'page'.*clicks, pages"):
            test.push(Click("/", 1), topic="page")
