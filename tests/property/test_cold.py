"""Cold records are the records that were appended: any type, any order of appends, merges, compactions and trims."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st
from tests.property.test_codings import ENCODINGS, EVENTS, META, OBJECTS, Event, infer, stored, topics

from millstream.engines.protocol import Maintenance
from millstream.engines.sqlite import SqliteEngine
from millstream.log import Log, Topic
from millstream.log.batches import RecordCoding
from millstream.log.cold import compaction, writing
from millstream.log.cold.compaction import ColdRange, compact
from millstream.log.cold.store import ColdStore
from millstream.log.cold.sweeping import condemn, sweep
from millstream.log.cold.writing import write_file
from millstream.log.schema import Schema
from millstream.log.types import schema_of
from millstream.records import Coding, StoredBatch

EXAMPLES = 1000 if os.environ.get("MILLSTREAM_EXAMPLES") == "full" else 60


def cold(folder: str, batches: list[StoredBatch], schema: Schema, schema_id: int) -> list[StoredBatch]:
    """Return batches as cold ones, in a file."""
    path = Path(folder, "x.parquet")
    written = write_file(path, batches, {schema_id: schema}, schema)
    references = compaction._references(0, batches[0].offset, schema_id, str(path), written)
    return list(references)


@given(topics())
@settings(max_examples=2 * EXAMPLES, deadline=None)
def test_every_type_comes_back_equal(topic: tuple[Any, list[Any]]) -> None:
    cls, values = topic
    schema = schema_of(cls)
    note(schema.describe())
    coding: RecordCoding[Any] = RecordCoding(schema, cls, topic="events", schema_id=1)
    rows = stored(coding.encode(values, coding=Coding.ROWS))
    columns = stored(coding.encode(values, coding=Coding.COLUMNS), offset=len(values), append_time_us=2_000_000)
    with tempfile.TemporaryDirectory() as folder:
        batches = cold(folder, [rows, columns], schema, 1)
        records = [record for batch in batches for record in coding.records(batch, schema)]
        assert records == coding.records(rows, schema) + coding.records(columns, schema)
        frame = pl.concat([coding.frame(rows, schema), coding.frame(columns, schema)])
        assert pl.concat([coding.frame(batch, schema) for batch in batches]).equals(frame)
        for name in frame.columns:
            assert coding.frame(batches[0], schema, [name]).equals(frame.select(name).head(8))


@given(OBJECTS)
@settings(max_examples=EXAMPLES, deadline=None)
def test_json_objects_come_back_equal(objects: list[dict[str, Any]]) -> None:
    schema = infer(objects)
    note(schema.describe())
    coding: RecordCoding[dict[str, Any]] = RecordCoding(schema, dict, schema_id=1)
    columns = stored(coding.encode(objects, coding=Coding.COLUMNS))
    with tempfile.TemporaryDirectory() as folder:
        [batch] = cold(folder, [columns], schema, 1)
        assert coding.records(batch, schema) == coding.records(columns, schema)
        assert coding.frame(batch, schema).equals(coding.frame(columns, schema))


@given(st.lists(st.tuples(EVENTS, META), min_size=1, max_size=6), st.sampled_from(ENCODINGS), st.booleans())
@settings(max_examples=EXAMPLES, deadline=None)
def test_keys_times_and_headers_come_back_equal(events: list[tuple[Event, Any]], how: Coding, derived: bool) -> None:
    schema = schema_of(Event, key="name", time="moment") if derived else schema_of(Event)
    coding: RecordCoding[Event] = RecordCoding(schema, Event, schema_id=1)
    keys, times, headers = zip(*(meta for _, meta in events), strict=True)
    hot = stored(
        coding.encode([event for event, _ in events], keys=keys, times=times, headers=headers, coding=how), offset=9
    )
    with tempfile.TemporaryDirectory() as folder:
        [batch] = cold(folder, [hot], schema, 1)
        assert coding.records(batch, schema) == coding.records(hot, schema)
        moments = [record.event_time_us for record in coding.records(hot, schema)]
        assert (batch.event_time_min_us, batch.event_time_max_us) == (min(moments), max(moments))


class Item(msgspec.Struct):
    name: str
    number: int
    more: dict[str, Any] | None = None


def item(i: int) -> Item:
    return Item(f"n{i % 5}", i, {"i": [i]} if i % 2 else None)


@pytest.fixture(scope="module", autouse=True)
def _small_files() -> Iterator[None]:
    """Files of two row groups, row groups of eight rows: every edge is met soon."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writing, "GROUP_ROWS", 8)
        patch.setattr(compaction, "FILE_RECORDS", 16)
        yield


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(1, 20)),
        st.tuples(st.just("singles"), st.integers(1, 20)),
        st.tuples(st.just("merge"), st.just(0)),
        st.tuples(st.just("compact"), st.integers(0, 100)),
        st.tuples(st.just("trim"), st.integers(0, 100)),
        st.tuples(st.just("sweep"), st.just(0)),
        st.tuples(st.just("look"), st.integers(0, 100)),
    ),
    min_size=1,
    max_size=20,
)


@given(STEPS)
@settings(max_examples=EXAMPLES, deadline=None)
def test_a_log_is_a_list_whatever_becomes_cold_and_goes(steps: list[tuple[str, int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        log = Log(SqliteEngine(Path(folder, "x.db"), durability="relaxed"), housekeeping=False)
        try:
            _play(log, steps)
        finally:
            log.close()


def _play(log: Log, steps: list[tuple[str, int]]) -> None:
    engine: Any = log.engine
    assert isinstance(engine, Maintenance)
    topic = log.topic("items", Item, key="name")
    end = 0
    for step, number in steps:
        start = topic.info().partitions[0].start_offset
        at = start + (end - start) * number // 100
        match step:
            case "append":
                topic.extend([item(i) for i in range(end, end + number)])
                end += number
            case "singles":
                for i in range(end, end + number):
                    topic.append(item(i))
                end += number
            case "merge":
                log.keep_house()
            case "compact":
                compact(log.engine, ColdStore.of(log.engine), ColdRange("items", 0, at))
            case "trim":
                condemn(log.engine, "items", 0, at)
                assert engine.trim("items", 0, at) <= at
            case "sweep":
                sweep(log.engine)
            case "look":
                _check(log.topic("items", Item, key="name"), at, end)
    _check(log.topic("items", Item, key="name"), topic.info().partitions[0].start_offset, end)
    _check(topic, topic.info().partitions[0].start_offset, end)
    assert engine.check() == []


def _check(topic: Topic[Item], start: int, end: int) -> None:
    """A read, a frame and a filtered frame from an offset on are those of the list."""
    expected = [item(i) for i in range(start, end)]
    records = topic.read(start, records_max=1000)
    assert [(record.offset, record.value) for record in records] == list(zip(range(start, end), expected, strict=True))
    frame = topic.frame(start).collect()
    assert frame["_offset"].to_list() == list(range(start, end))
    assert frame["number"].to_list() == [value.number for value in expected]
    odd = topic.frame(start).filter(pl.col("name") == "n3").select("more", "number").collect()
    assert odd["number"].to_list() == [value.number for value in expected if value.name == "n3"]
    values = [value for values, _ in topic.read_values(start, end) for value in values]
    assert values == expected
