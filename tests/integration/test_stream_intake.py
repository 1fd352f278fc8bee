"""How much of a topic a stream reads at once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import msgspec
import polars as pl
import pytest

from millstream import limits
from millstream.app import App
from millstream.engines.connect import connect
from millstream.engines.protocol import Durability
from millstream.log.log import Log
from millstream.log.topic import Topic
from millstream.records import time_from_us, time_to_us
from millstream.stream import Stream, count, tumbling
from millstream.stream.reader import StreamReader
from millstream.stream.run import StreamRun
from millstream.stream.source import READ_BYTES_AIM, RECORDS_AT_FIRST
from millstream.testing import FakeClock


class Page(msgspec.Struct):
    number: int
    text: str


@pytest.fixture
def app() -> Iterator[App]:
    with App("memory://", durability="relaxed") as app:
        yield app


def fill(app: App, count: int, text: str) -> StreamReader:
    topic = app.topic("pages", Page)
    frame = pl.DataFrame({"number": pl.int_range(count, eager=True)}).with_columns(text=pl.lit(text))
    topic.extend(frame)
    return StreamReader(topic, description=lambda pages: pages.filter(pl.col("number") < 0).to("none"), name="reader")


def sizes(reader: StreamReader) -> list[int]:
    run = reader.open()
    found = []
    while read := run.step():
        found.append(read)
    return found


def test_small_records_are_read_many_at_once(app: App) -> None:
    count = 4 * RECORDS_AT_FIRST
    first, second, *_ = sizes(fill(app, count, "x"))

    assert first == RECORDS_AT_FIRST
    assert second > first
    assert second % limits.COLUMNS_RECORDS_MAX == 0


def test_of_large_records_few_are_read_at_once(app: App) -> None:
    size = 500
    count = RECORDS_AT_FIRST + 100_000
    first, second, *_ = sizes(fill(app, count, "x" * size))

    assert first == RECORDS_AT_FIRST
    assert READ_BYTES_AIM // (2 * size) < second <= READ_BYTES_AIM // size


class Visit(msgspec.Struct):
    at: datetime
    number: int


def test_results_that_keep_the_time_keep_it_as_event_time_too(app: App) -> None:
    begin = datetime(2024, 5, 1, 12, tzinfo=UTC)
    times = [begin + timedelta(seconds=i) for i in range(1000)]
    topic = app.topic("visits", Visit, time="at")
    topic.extend(pl.DataFrame({"at": times, "number": range(1000)}, schema_overrides={"at": pl.Datetime("us", "UTC")}))

    reader = StreamReader(topic, description=lambda visits: visits.filter(pl.col("number") >= 10).to("late"), name="r")
    reader.run_now(threading.Event())

    late = app.topic("late")
    assert late.schema.time is None
    assert late.frame().select("_event_time").collect().to_series().to_list() == times[10:]
    assert [record.event_time for record in late.read(0, records_max=3)] == times[10:13]


BEGIN = datetime(2026, 1, 31, 12, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return BEGIN + timedelta(seconds=seconds)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(time_to_us(BEGIN))


@pytest.fixture
def log(clock: FakeClock) -> Iterator[Log]:
    log = Log(connect("memory://", durability=Durability.RELAXED, clock=clock), clock=clock)
    yield log
    log.close()


def per_minute(*sources: Topic[Visit]) -> StreamReader:
    def describe(first: Stream, *others: Stream) -> None:
        both = first.merge(*others) if others else first
        both.window(tumbling("1m")).agg(n=count()).to("counts")

    return StreamReader(*sources, description=describe, name="per_minute")


def go_on(run: StreamRun, clock: FakeClock, *, until: datetime) -> None:
    """Let the clock go to a moment, and process what is there."""
    clock.advance(until - time_from_us(clock.now_us()))
    while run.step():
        pass
    run.idle()


def counts(log: Log) -> list[int]:
    return [record.value["n"] for record in log.topic("counts").read(0)] if "counts" in log.topics() else []


@pytest.mark.parametrize("partitions", [1, 4])
def test_the_first_record_of_a_source_is_not_too_late_in_a_stream_that_runs_on(
    log: Log, clock: FakeClock, partitions: int
) -> None:
    """Of a topic without any record; and of the partitions of a topic that have none yet."""
    web = log.topic("web", Visit, key="number", time="at", partitions=partitions)
    mobile = log.topic("mobile", Visit, time="at") if partitions == 1 else web
    run = per_minute(*dict.fromkeys([web, mobile])).open()
    run.begin(threading.Event(), live=True)
    go_on(run, clock, until=at(60))
    web.extend([Visit(at(59), 1), Visit(at(60), 1)])
    go_on(run, clock, until=at(60.3))
    assert counts(log) == []
    mobile.append(Visit(at(59.9), 2))
    go_on(run, clock, until=at(60.5))
    go_on(run, clock, until=at(70))
    assert counts(log) == [2]
    run.close()


def test_a_source_without_any_record_does_not_hold_back_for_long(log: Log, clock: FakeClock) -> None:
    web, mobile = log.topic("web", Visit, time="at"), log.topic("mobile", Visit, time="at")
    run = per_minute(web, mobile).open()
    run.begin(threading.Event(), live=True)
    for second in (59, 60):
        go_on(run, clock, until=at(second))
        web.append(Visit(at(second), 1))
    go_on(run, clock, until=at(60.5))
    assert counts(log) == []
    web.append(Visit(at(61), 1))
    go_on(run, clock, until=at(61))
    assert counts(log) == [1]
    run.close()


@pytest.mark.parametrize("live", [True, False])
def test_a_source_without_any_record_does_not_hold_history_back(log: Log, clock: FakeClock, live: bool) -> None:
    clock.advance(timedelta(days=100))
    web, mobile = log.topic("web", Visit, time="at"), log.topic("mobile", Visit, time="at")
    web.extend([Visit(at(59), 1), Visit(at(60), 1)])
    run = per_minute(web, mobile).open()
    run.begin(threading.Event(), live=live)
    run.step()
    assert counts(log) == [1]
    run.close()
