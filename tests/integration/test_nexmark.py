"""The NEXMark queries as streams give the answers of DuckDB: over one partition or four, whatever the micro-batches.

The full size is measured, and compared again, in benchmarks/nexmark.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from benchmarks.nexmark import oracle, words
from benchmarks.nexmark.generator import BID, Event, events
from benchmarks.nexmark.streams import STREAMS

from millstream.clock import SystemClock
from millstream.engines.connect import connect
from millstream.log.log import Log
from millstream.log.topic import Topic
from millstream.stream.reader import StreamReader

EVENTS = 100_000
PER_SECOND = 2_000
"""50 seconds of event time: several of every window."""

FEW = 30_000
"""Where a query runs many small micro-batches."""

NOTHING_KIND = 9
"""Of records that no query takes: they only say that event time has come so far."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("nexmark")
    events(0, EVENTS, per_second=PER_SECOND).write_parquet(folder / f"{EVENTS}.parquet")
    events(0, FEW, per_second=PER_SECOND).write_parquet(folder / f"{FEW}.parquet")
    words.lines(0, FEW).write_parquet(folder / "words.parquet")
    return folder


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    made = Log(connect(f"sqlite:///{tmp_path / 'log.db'}", clock=SystemClock()), housekeeping=False)
    yield made
    made.close()


def expected(query: str, folder: Path, count: int) -> pl.DataFrame:
    return oracle.by_duckdb(query, folder / ("words.parquet" if query == "words" else f"{count}.parquet"), threads=1)


def filled(log: Log, query: str, count: int, partitions: int = 1) -> Topic[Any]:
    """A topic of the events, and then of records a long time later, which close every window."""
    frame = words.lines(0, count) if query == "words" else events(0, count, per_second=PER_SECOND)
    topic = log.topic("in", words.Line if query == "words" else Event, time="time", partitions=partitions)
    end = frame.tail(1).with_columns(pl.col("time") + pl.duration(days=9))
    end = (
        end.with_columns(text=pl.lit("")) if query == "words" else end.with_columns(kind=pl.lit(NOTHING_KIND, pl.Int64))
    )
    numbers = pl.int_range(pl.len())
    if partitions == 1:
        topic.extend(frame)
        topic.extend(end)
        return topic
    keyed = frame.with_columns((numbers * 7919 % 101).cast(pl.String).cast(pl.Binary).alias("_key"))
    ends = pl.concat([end] * 101).with_columns(numbers.cast(pl.String).cast(pl.Binary).alias("_key"))
    topic.extend(keyed)
    topic.extend(ends)
    return topic


def stream(topic: Topic[Any], query: str) -> StreamReader:
    return StreamReader(topic, description=lambda records: STREAMS[query](records).to("out"), name=query)


def answer(log: Log, query: str) -> pl.DataFrame:
    found = log.topic("out").frame().collect()
    return found.filter(pl.col("word") != "") if query == "words" else found


def assert_same(wanted: pl.DataFrame, found: pl.DataFrame) -> None:
    assert found.height == wanted.height
    assert oracle.same(wanted, found)


@pytest.mark.parametrize("query", STREAMS)
def test_a_query_has_the_answer_of_duckdb(log: Log, folder: Path, query: str) -> None:
    count = FEW if query == "words" else EVENTS
    reader = stream(filled(log, query, count), query)
    assert reader.run_now(threading.Event()) == count + 1
    assert_same(expected(query, folder, count), answer(log, query))


@pytest.mark.parametrize("query", STREAMS)
def test_four_partitions_have_the_answer_of_one(log: Log, folder: Path, query: str) -> None:
    reader = stream(filled(log, query, FEW, partitions=4), query)
    reader.open(records_max=7_000).run_now(threading.Event())
    assert_same(expected(query, folder, FEW), answer(log, query))


@pytest.mark.parametrize("query", STREAMS)
def test_micro_batches_of_any_size_and_restarts_do_not_change_the_answer(log: Log, folder: Path, query: str) -> None:
    reader = stream(filled(log, query, FEW), query)
    sizes = random.Random(query)
    while reader.open(records_max=sizes.choice([1, 50, 999, 2_500, 7_001])).step():
        pass
    assert_same(expected(query, folder, FEW), answer(log, query))


def test_the_events_are_the_published_mix_and_do_not_depend_on_where_they_are_made() -> None:
    some = events(0, 10_000, seed=3)
    assert some.get_column("kind").value_counts().sort("kind").get_column("count").to_list() == [200, 600, 9200]
    assert events(1_234, 5_678, seed=3).equals(some.slice(1_234, 5_678 - 1_234))
    assert not events(0, 100, seed=4).equals(events(0, 100, seed=3))
    bids = some.filter(pl.col("kind") == BID)
    assert bids.select(pl.col("auction", "bidder", "price").null_count()).row(0) == (0, 0, 0)


@pytest.mark.parametrize("query", [*oracle.QUERIES, oracle.WORDS])
def test_duckdb_and_polars_agree(folder: Path, query: str) -> None:
    path = folder / ("words.parquet" if query == "words" else f"{FEW}.parquet")
    assert_same(oracle.by_duckdb(query, path, threads=1), oracle.by_polars(query, path))
