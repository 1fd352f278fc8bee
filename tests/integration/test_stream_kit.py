"""StreamTest: the kit with which users test their streams."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import polars as pl
import pytest

from millstream import App, Context, UsageError, count, sinks, sum_, table, tumbling
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


# --- sinks ------------------------------------------------------------------------------------------------------------


def to_files_and_function(app: App, folder: Path, called: list[pl.DataFrame]) -> StreamReader:
    @app.stream(app.topic("clicks", Click))
    def kept(s: Stream) -> None:
        s.to(sinks.files(folder, "ndjson"))
        s.filter(pl.col("load_ms") > 100).to(sinks.function(called.append))

    return kept


def test_sinks_are_recorded_and_not_written_to(app: App, tmp_path: Path) -> None:
    called: list[pl.DataFrame] = []
    with StreamTest(to_files_and_function(app, tmp_path / "out", called)) as test:
        test.push(Click("/", 120), Click("/a", 80))
        assert test.sink("files in") == test.sink() == [{"page": "/", "load_ms": 120}, {"page": "/a", "load_ms": 80}]
        assert test.sink(1) == [{"page": "/", "load_ms": 120}]
        assert test.info().lag == 0
    assert called == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("batch", [1, 2, 1000])
@pytest.mark.parametrize("place", range(4))
def test_a_crash_keeps_the_promise_of_each_sink(app: App, tmp_path: Path, batch: int, place: int) -> None:
    values = [Click("/", 500), Click("/", 501), Click("/", 502)]
    with StreamTest(to_files_and_function(app, tmp_path, []), batch=batch) as test:
        test.push(*values[:place], CRASH, *values[place:])
        test.restart()
        assert [row["load_ms"] for row in test.sink(0)] == [500, 501, 502]
        again = [row["load_ms"] for row in test.sink(1)]
        assert again == [*[500, 501, 502][:place], 500, 501, 502]


def test_a_crash_after_a_commit_shows_nothing_twice(app: App, tmp_path: Path) -> None:
    with StreamTest(to_files_and_function(app, tmp_path, [])) as test:
        for number in range(3):
            test.push(Click("/", number), CRASH)
            test.crash()
        assert [row["load_ms"] for row in test.sink(0)] == [0, 1, 2]


def test_windows_that_close_by_the_clock_reach_a_sink(app: App, tmp_path: Path) -> None:
    @app.stream(app.topic("clicks", Click))
    def counted(s: Stream) -> None:
        s.window(tumbling("1m"), by="page").agg(n=count()).to(sinks.files(tmp_path / "out", "csv"))

    with StreamTest(counted, now=NOON) as test:
        test.push(Click("/", 1))
        assert test.sink("csv") == []
        test.advance("2m")
        assert [(row["page"], row["window_start"], row["n"]) for row in test.sink("csv")] == [("/", NOON, 1)]


def test_json_objects_reach_a_sink_as_they_are(app: App, tmp_path: Path) -> None:
    @app.stream(app.topic("objects", dict))
    def objects(s: Stream) -> None:
        s.to(sinks.files(tmp_path / "out"))

    with StreamTest(objects) as test:
        test.push({"a": 1}, {"b": [2]})
        assert test.sink() == [{"a": 1}, {"b": [2]}]


@pytest.mark.parametrize("which", [2, -1, "parquet", "n"])
def test_a_sink_that_is_not_there_is_named_with_those_that_are(app: App, tmp_path: Path, which: str | int) -> None:
    with (
        StreamTest(to_files_and_function(app, tmp_path, [])) as test,
        pytest.raises(UsageError, match=r"give its number.* 0: ndjson files in .*; 1: function"),
    ):
        test.sink(which)


def test_a_stream_without_sinks_says_so(per_minute: StreamReader) -> None:
    with StreamTest(per_minute) as test, pytest.raises(UsageError, match=r"no sink of the stream is 0.*: none"):
        test.sink()
