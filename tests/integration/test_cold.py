"""Old records in Parquet files, and one log across both for every reader."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pytest

from millstream.engines.memory import MemoryEngine
from millstream.engines.protocol import Maintenance, Outcome, Settlement
from millstream.engines.sqlite import SqliteEngine
from millstream.errors import OffsetOutOfRangeError, StorageCorruptError, StorageError, UsageError
from millstream.log import Cold, Log, Retention, Topic
from millstream.log.cold.checking import check_cold
from millstream.log.cold.compaction import ColdRange, Compacted, compact
from millstream.log.cold.copying import backup
from millstream.log.cold.store import ColdStore
from millstream.log.cold.sweeping import sweep
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


# --- what becomes cold, and what goes --------------------------------------------------------------------------------


def test_old_records_become_cold_in_the_background(log: Log, clock: FakeClock) -> None:
    topic = filled(log, 2000)
    clock.advance("8d")
    topic.extend([reading(i) for i in range(2000, 2500)])
    frame = topic.frame().collect()
    log.topic("readings", cold=Cold(after="7d"))
    log.keep_house()
    [file] = files_of(log)
    assert pl.read_parquet(file)["_offset"].to_list() == list(range(2000))
    assert topic.frame().collect().equals(frame)
    log.keep_house()
    assert files_of(log) == [file]


def test_what_is_beyond_a_size_becomes_cold(log: Log) -> None:
    topic = filled(log, 20_000)
    frame = topic.frame().collect()
    log.keep_house()
    size_bytes = topic.info().size_bytes
    log.topic("readings", cold=Cold(size_bytes=size_bytes // 2))
    topic.extend([reading(i) for i in range(20_000, 25_000)])
    log.keep_house()
    assert files_of(log)
    assert topic.frame(0, 20_000).collect().equals(frame)


def test_retention_by_age_and_by_size_deletes_cold_files(log: Log, clock: FakeClock) -> None:
    topic = filled(log, 2000)
    make_cold(log, 2000)
    clock.advance("8d")
    topic.extend([reading(i) for i in range(2000, 3000)])
    make_cold(log, 3000)
    _old, new = files_of(log)
    log.topic("readings", retention=Retention(age="7d"))
    log.keep_house()
    assert files_of(log) == [new]
    assert topic.info().partitions[0].start_offset == 2000
    with pytest.raises(OffsetOutOfRangeError):
        again(log).read(10)
    assert again(log).frame().collect()["_offset"].to_list() == list(range(2000, 3000))
    log.topic("readings", retention=Retention(size_bytes=new.stat().st_size // 2))
    log.keep_house()
    assert files_of(log) == []
    assert topic.info().records == 0


def test_records_that_a_group_needs_stay_cold_for_it(log: Log, clock: FakeClock) -> None:
    topic = filled(log, 1000)
    topic.group("slow")
    make_cold(log, 1000)
    clock.advance("8d")
    log.topic("readings", retention=Retention(age="7d"))
    log.keep_house()
    assert topic.info().records == 1000
    assert len(files_of(log)) == 1


def test_leftovers_of_ours_are_removed_and_nothing_else(log: Log) -> None:
    filled(log, 1000)
    make_cold(log, 1000)
    [file] = files_of(log)
    leftovers = [
        file.with_name("0000000000001000-0000000000002000-0123456789abcdef.parquet"),
        file.with_name("0000000000001000-0000000000002000-0123456789abcdef.parquet.partial"),
    ]
    others = [file.with_name("mine.parquet"), file.with_name("0-1.parquet")]
    for path in [*leftovers, *others]:
        path.write_bytes(b"?")
    log.keep_house()
    assert files_of(log) == sorted([file, *others])


def test_files_of_a_deleted_topic_go_with_it(log: Log) -> None:
    topic = filled(log, 1000)
    make_cold(log, 1000)
    topic.delete()
    log.keep_house()
    assert files_of(log) == []


def test_cold_files_can_lie_in_another_folder_where_only_ours_are_removed(
    log: Log, tmp_path: Path, clock: FakeClock
) -> None:
    topic = filled(log, 1000)
    frame = topic.frame().collect()
    clock.advance("8d")
    topic.append(reading(0))
    place = tmp_path / "archive"
    log.topic("readings", cold=Cold(after="7d", location=str(place)))
    log.keep_house()
    [file] = place.glob("*/*/*")
    strange = file.with_name("0000000000001000-0000000000002000-0123456789abcdef.parquet")
    strange.write_bytes(b"another log's")
    assert topic.frame(0, 1000).collect().equals(frame)
    assert again(log).read(10, records_max=1)[0].value == reading(10)
    log.topic("readings", retention=Retention(age="7d"))
    log.keep_house()
    assert list(place.glob("*/*/*")) == [strange]
    compact(log.engine, ColdStore.of(log.engine, str(place)), ColdRange("readings", 0, 1001))
    assert len(list(place.glob("*/*/*"))) == 2
    topic.delete()
    log.keep_house()
    assert list(place.glob("*/*/*")) == [strange]


def test_what_was_copied_elsewhere_in_part_is_removed(
    log: Log, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(log, 1000)
    place = tmp_path / "archive"

    def cut_off(file: Path, partial: Path) -> None:
        partial.write_bytes(file.read_bytes()[:100])
        raise KeyboardInterrupt  # as if the process died here

    with monkeypatch.context() as patch:
        patch.setattr("millstream.log.cold.store.shutil.copyfile", cut_off)
        with pytest.raises(KeyboardInterrupt):
            compact(log.engine, ColdStore.of(log.engine, str(place)), ColdRange("readings", 0, 1000))
    assert len(list(place.glob("*/*/*.partial"))) == 1
    sweep(log.engine)
    assert list(place.glob("*/*/*")) == []


def test_a_batch_that_changed_meanwhile_is_left_as_it_is(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    topic = filled(log, 1000)
    frame = topic.frame().collect()
    store = ColdStore.of(log.engine)
    publish = store.publish

    def publish_late(file: Path, name: str) -> None:
        Log(log.engine, clock=log.clock, housekeeping=False).keep_house()
        publish(file, name)

    monkeypatch.setattr(store, "publish", publish_late)
    monkeypatch.setattr("millstream.log.cold.sweeping.ColdStore.leftovers", lambda *_: iter(()))
    for i in range(20):
        topic.append(reading(i))
    made = compact(log.engine, store, ColdRange("readings", 0, 1020))
    assert made.files == 0
    assert files_of(log) == []
    assert topic.frame(0, 1000).collect().equals(frame)


def test_a_backup_takes_the_cold_files_along(log: Log, tmp_path: Path) -> None:
    topic = filled(log)
    make_cold(log, 3000)
    frame = topic.frame().collect()
    assert backup(log.engine, str(tmp_path / "copy.db")) == []
    for file in files_of(log):
        file.unlink()
    copy = Log(SqliteEngine(tmp_path / "copy.db"), housekeeping=False)
    assert copy.topic("readings").frame().collect().drop("more").equals(frame.drop("more"))
    assert check_cold(copy.engine) == []
    copy.close()
    assert [finding.problem.endswith("is missing") for finding in check_cold(log.engine)] == [True]


def test_doctor_finds_a_changed_byte(log: Log) -> None:
    filled(log)
    make_cold(log, 3000)
    assert check_cold(log.engine) == []
    [file] = files_of(log)
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    [finding] = check_cold(log.engine)
    assert finding.where == "readings/0"
    assert file.name in finding.problem
    assert "SHA-256" in finding.problem


def test_a_log_in_memory_says_that_it_has_no_files() -> None:
    log = Log(MemoryEngine(), housekeeping=False)
    with pytest.raises(UsageError, match="not a file"):
        log.topic("t", cold=Cold(after="7d"))


@pytest.mark.parametrize("make", [lambda: Cold(), lambda: Cold(size_bytes=-1), lambda: Cold(after="soon")])
def test_settings_that_mean_nothing_are_refused(make: Callable[[], Cold]) -> None:
    with pytest.raises(UsageError):
        _ = make().after_us


def test_a_file_that_retention_deletes_while_it_is_read_is_out_of_range(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = filled(log, 1000)
    make_cold(log, 1000)
    engine: Any = log.engine
    read = engine.read

    def read_then_lose(*args: Any, **kwargs: Any) -> Any:
        found = read(*args, **kwargs)
        monkeypatch.undo()
        assert engine.trim("readings", 0, 1000) == 1000
        assert sweep(engine) == 1
        return found

    monkeypatch.setattr(engine, "read", read_then_lose)
    with pytest.raises(OffsetOutOfRangeError):
        topic.read(10)


def test_sql_joins_topics_across_hot_and_cold(log: Log) -> None:
    filled(log)
    places = log.topic("places", dict)
    places.extend([{"sensor": f"s{i}", "place": f"room {i}"} for i in range(3)])
    query = (
        "SELECT place, count(*) AS n, sum(value) AS total FROM readings JOIN places USING (sensor) "
        "WHERE readings._offset >= 100 GROUP BY place ORDER BY place"
    )
    before = log.sql(query)
    make_cold(log, 3000)
    make_cold(log, 3, topic="places")
    assert log.sql(query).equals(before)
    assert before["n"].sum() == 4900
    plan = log.sql("EXPLAIN SELECT sensor, count(*) FROM readings WHERE value > 2400 GROUP BY sensor")
    text = "\n".join(plan.to_series().to_list())
    assert "Parquet SCAN" in text
    assert "PROJECT 2/" in text
    assert "SELECTION" in text


def test_a_process_without_polars_has_another_make_records_cold(tmp_path: Path) -> None:
    program = """
import sys, time
from millstream import App, Cold
app = App(sys.argv[1], durability="relaxed")
topic = app.topic("events", cold=Cold(after=0.2))
for i in range(100):
    topic.append(b"%d" % i)
until = time.monotonic() + 60
while topic.engine.batch_headers("events", 0, 0, 1, headers_max=1)[0].coding != "cold":
    assert time.monotonic() < until, "nothing became cold"
    time.sleep(0.05)
assert "polars" not in sys.modules
app.close()
"""
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "x.db")], check=True)
    log = Log(SqliteEngine(tmp_path / "x.db"), housekeeping=False)
    assert [record.value for record in log.topic("events").read()] == [b"%d" % i for i in range(100)]
    assert check_cold(log.engine) == []
    log.close()


def test_a_place_that_cannot_be_written_is_named_and_nothing_has_changed(log: Log, tmp_path: Path) -> None:
    topic = filled(log, 1000)
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="cannot be written"):
        compact(log.engine, ColdStore.of(log.engine, str(tmp_path / "file")), ColdRange("readings", 0, 1000))
    assert files_of(log) == []
    (tmp_path / "log.db.cold").rename(tmp_path / "away")
    (tmp_path / "log.db.cold").write_text("in the way")
    with (
        pytest.raises(StorageError, match=r"log\.db\.cold for cold files cannot be made"),
        ColdStore.of(log.engine).exclusive(wait=True),
    ):
        pass
    assert topic.read(records_max=1000)[-1].value == reading(999)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit of a file's size for a process")
def test_a_disk_that_is_full_leaves_the_records_where_they_are(log: Log) -> None:
    topic = filled(log, 5000)
    program = """
import resource, signal, sys
from millstream.engines.sqlite import SqliteEngine
from millstream.errors import StorageError
from millstream.log.cold.compaction import ColdRange, compact
from millstream.log.cold.store import ColdStore
import polars
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
engine = SqliteEngine(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
try:
    compact(engine, ColdStore.of(engine), ColdRange("readings", 0, 5000))
except StorageError as error:
    assert "cannot be written" in str(error), error
else:
    raise AssertionError("it was written")
"""
    path = log.engine.url.removeprefix("sqlite:///")
    subprocess.run([sys.executable, "-c", program, path], check=True)
    assert files_of(log) == []
    assert topic.read(records_max=5000)[-1].value == reading(4999)
