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
from millstream.stream.reader import StreamReader
from millstream.stream.source import READ_BYTES_AIM, RECORDS_AT_FIRST


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
