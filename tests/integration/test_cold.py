"""Old records in Parquet files, and one log across both for every reader."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pytest

from millstream.engines.protocol import Maintenance, Outcome, Settlement
from millstream.engines.sqlite import SqliteEngine
from millstream.errors import StorageCorruptError
from millstream.log import Log, Topic
from millstream.log.cold.compaction import ColdRange, Compacted, compact
from millstream.log.cold.store import ColdStore
from millstream.testing import FakeClock


class Reading(msgspec.Struct):
    sensor: str
    value: float
    at: datetime | None = None
    more: dict[str, Any] | None = None


START = datetime(2024, 1, 1, tzinfo=UTC)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(1_700_000_000_000_000)


@pytest.fixture
def log(tmp_path: Path, clock: FakeClock) -> Iterator[Log]:
    made = Log(SqliteEngine(tmp_path / "log.db", durability="relaxed", clock=clock), clock=clock, housekeeping=False)
    yield made
    assert isinstance(made.engine, Maintenance)
    assert made.engine.check() == []
    made.close()


def reading(i: int) -> Reading:
    more = None if i % 3 else {"i": i, "raw": b"\xff", "list": [1.5, None]} if i % 2 else {"i": i}
    return Reading(f"s{i % 3}", i / 2, START + timedelta(seconds=i) if i % 2 else None, more)


def filled(log: Log, count: int = 5000, *, partitions: int = 1) -> Topic[Reading]:
    topic = log.topic("readings", Reading, key="sensor", time="at", partitions=partitions)
    for start in range(0, count, 500):
        topic.extend(
            [reading(i) for i in range(start, start + 500)],
            headers=[{"n": b"%d" % i} if i % 5 == 0 else None for i in range(start, start + 500)],
        )
    return topic


def make_cold(log: Log, end: int, partition: int = 0, topic: str = "readings") -> Compacted:
    return compact(log.engine, ColdStore.of(log.engine), ColdRange(topic, partition, end))


def files_of(log: Log) -> list[Path]:
    return sorted(ColdStore.of(log.engine).folder.glob("*/*/*"))


def again(log: Log) -> Topic[Reading]:
    """Return the topic as a program sees it that has nothing of it in memory."""
    return log.topic("readings", Reading, key="sensor", time="at")


def test_records_and_frames_are_the_same_before_and_after(log: Log) -> None:
    topic = filled(log)
    records, frame = topic.read(records_max=5000), topic.frame().collect()
    made = make_cold(log, 3000)
    assert (made.files, made.records) == (1, 3000)
    assert topic.info().records == 5000
    assert again(log).read(records_max=5000) == records
    assert again(log).frame().collect().equals(frame)
    assert again(log).read(2990, records_max=20) == records[2990:3010]
    assert list(again(log).tail("start", wait=0)) == records


def test_any_reader_of_parquet_opens_a_file(log: Log) -> None:
    topic = filled(log)
    make_cold(log, 3000)
    [file] = files_of(log)
    plain = pl.read_parquet(file)
    frame = topic.frame(0, 3000).collect()
    assert plain.select(frame.columns).equals(frame)


def test_offsets_times_columns_and_conditions_bound_what_is_read(log: Log) -> None:
    topic = filled(log)
    frame = topic.frame().collect()
    make_cold(log, 1500)
    make_cold(log, 3000)
    for start, end in [(0, 10), (1499, 1501), (2999, 3001), (1000, 4000), (5000, 5000)]:
        assert topic.frame(start, end).collect().equals(frame.slice(start, end - start))
    early, late = START + timedelta(seconds=100), START + timedelta(seconds=4000)
    expected = frame.filter((pl.col("_event_time") >= early) & (pl.col("_event_time") < late))
    assert topic.frame(early, late).collect().equals(expected)
    query = topic.frame().filter(pl.col("sensor") == "s1").select("value", "_offset")
    assert query.collect().equals(frame.filter(pl.col("sensor") == "s1").select("value", "_offset"))
    assert topic.frame().head(7).collect().equals(frame.head(7))
    assert topic.read_frame(1400, 3100, columns=["_offset", "more"]).equals(frame[1400:3100].select("_offset", "more"))


def test_columns_and_conditions_are_pushed_into_the_files(log: Log) -> None:
    topic = filled(log)
    make_cold(log, 5000)
    plan = topic.frame().filter(pl.col("sensor") == "s1").select("value").explain()
    assert "Parquet SCAN" in plan
    assert "PROJECT 2/" in plan
    assert 'SELECTION: col("sensor")' in plan


def test_a_queue_a_stream_and_groups_read_across_both(log: Log) -> None:
    topic = filled(log)
    group = topic.group("workers")
    before = [group.records(lease) for lease in group.lease(worker="w", records_max=4000, duration="1m")]
    other = topic.group("others")
    make_cold(log, 3000)
    leases = again(log).group("others").lease(worker="w", records_max=4000, duration="1m")
    assert [other.records(lease) for lease in leases] == before
    other.settle([Settlement(lease, lease.start, lease.end, Outcome.ACK) for lease in leases])
    values = [value for values, _ in topic.read_values(0, 5000) for value in values]
    assert values == [reading(i) for i in range(5000)]
    assert other.info().ledger.done == 4000


def test_raw_records_and_partitions_become_cold_too(log: Log) -> None:
    topic = log.topic("raw", partitions=3)
    for i in range(300):
        topic.append(b"%d" % i, key=b"%d" % i)
    frame = topic.frame().collect()
    for partition in range(3):
        make_cold(log, 90, partition, "raw")
    assert topic.frame().collect().equals(frame)
    assert {record.value for p in range(3) for record in topic.read(partition=p)} == {b"%d" % i for i in range(300)}


def test_an_older_type_is_read_as_the_newer_one(log: Log) -> None:
    class Wider(msgspec.Struct):
        sensor: str
        value: float
        at: datetime | None = None
        more: dict[str, Any] | None = None
        unit: str = "C"

    topic = filled(log, 1000)
    make_cold(log, 500)
    wider = log.topic("readings", Wider, key="sensor", time="at")
    wider.extend([Wider("s9", 1.0, unit="F")] * 10)
    expected = ["C"] * 1000 + ["F"] * 10
    assert wider.frame().collect()["unit"].to_list() == expected
    make_cold(log, 1010)
    assert len(files_of(log)) == 2
    assert wider.frame().collect()["unit"].to_list() == expected
    assert [record.value.unit for record in wider.read(records_max=2000)] == expected
    assert topic.read(records_max=3)[0].value == reading(0)


def test_a_missing_or_damaged_file_is_named(log: Log) -> None:
    filled(log)
    make_cold(log, 3000)
    [file] = files_of(log)
    data = file.read_bytes()
    file.write_bytes(data[:100] + bytes(len(data) - 100))
    with pytest.raises(StorageCorruptError, match=file.name):
        again(log).read(10)
    file.unlink()
    for look in (lambda: again(log).read(10), lambda: again(log).frame()):
        with pytest.raises(StorageCorruptError, match=f"{file.name} is missing"):
            look()
    file.write_bytes(data)
    assert again(log).read(10, records_max=1)[0].value == reading(10)
