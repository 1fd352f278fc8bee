"""Seals over random records: right however they are stored, and any change is named at its place."""

from __future__ import annotations

import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from millstream.engines.connect import connect
from millstream.engines.protocol import Maintenance
from millstream.log.cold.compaction import ColdRange, compact
from millstream.log.cold.store import ColdStore
from millstream.log.log import Log
from millstream.log.merging import headers_of, merge
from millstream.log.rows import split
from millstream.log.schema import Schema
from millstream.log.seals.check import verify
from millstream.log.seals.sealer import Sealer
from millstream.sources.writer import OnceWriter

TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=12)
VALUES = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | TEXT


class Item(msgspec.Struct, frozen=True):
    name: str
    number: int | None = None
    share: float | None = None
    ready: bool | None = None
    data: bytes | None = None
    more: dict[str, Any] | None = None
    several: list[int] = []


ITEMS = st.builds(
    Item,
    name=TEXT,
    number=st.none() | st.integers(-(2**63), 2**63 - 1),
    share=st.none() | st.floats(allow_nan=False),
    ready=st.none() | st.booleans(),
    data=st.none() | st.binary(max_size=8),
    more=st.none() | st.dictionaries(TEXT, VALUES | st.lists(VALUES, max_size=3), max_size=3),
    several=st.lists(st.integers(-9, 9), max_size=3),
)
BATCHES = st.lists(st.lists(ITEMS, min_size=1, max_size=6), min_size=1, max_size=5)


def filled(log: Log, batches: list[list[Item]]) -> None:
    topic = log.topic("items", Item, key="name")
    writer: OnceWriter[Item] = OnceWriter(topic, "reader", sealer=Sealer(topic))
    for items in batches:
        writer.store(items, {}, writer.positions()[0])


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(BATCHES)
def test_records_are_as_sealed_as_rows_as_columns_and_in_cold_files(batches: list[list[Item]]) -> None:
    count = sum(map(len, batches))
    with (
        tempfile.TemporaryDirectory() as folder,
        closing(Log(connect(str(Path(folder) / "log.db")), housekeeping=False)) as log,
    ):
        filled(log, batches)
        before = verify(log, "items")
        assert (before.findings, before.records) == ((), count)
        assert isinstance(log.engine, Maintenance)
        headers = list(headers_of(log.engine, "items", 0, 0, count))
        stored = log.engine.read("items", 0, 0, records_max=count)
        schema = Schema.decode(log.engine.describe_topic("items").schemas[1])
        assert log.engine.replace("items", 0, headers, [merge(stored, [schema] * len(stored), schema, 1)])
        assert verify(log, "items") == before
        assert compact(log.engine, ColdStore.of(log.engine), ColdRange("items", 0, count)).records == count
        assert verify(log, "items") == before


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(BATCHES, st.data())
def test_record_that_is_put_in_place_of_another_is_named(batches: list[list[Item]], data: st.DataObject) -> None:
    count = sum(map(len, batches))
    with (
        tempfile.TemporaryDirectory() as folder,
        closing(Log(connect(str(Path(folder) / "log.db")), housekeeping=False)) as log,
    ):
        filled(log, batches)
        assert isinstance(log.engine, Maintenance)
        stored = log.engine.read("items", 0, 0, records_max=count)
        batch = data.draw(st.sampled_from(stored))
        place = data.draw(st.integers(0, batch.count - 1))
        rows = list(split(batch.data, batch.count))
        changed = msgspec.msgpack.decode(rows[place])
        changed["name"] += data.draw(TEXT.filter(bool))
        rows[place] = msgspec.msgpack.encode(changed)
        header = next(h for h in headers_of(log.engine, "items", 0, 0, count) if h.offset == batch.offset)
        other = msgspec.structs.replace(batch, data=b"".join(rows))
        assert log.engine.replace("items", 0, [header], [other])
        [finding] = verify(log, "items").findings
        assert finding.where == "items/0"
        # Where the next one is the same as it was, it looks as if another had been put before it.
        assert finding.problem.startswith((f"record {batch.offset + place} is ", f"record {batch.offset + place} was "))
