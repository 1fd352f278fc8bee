"""Merging, retention and giving space back, while nobody loses a record."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from millstream.engines.protocol import Maintenance, Outcome, Settlement
from millstream.engines.sqlite import SqliteEngine
from millstream.log import Log, Retention
from millstream.log.housekeeping import ACTIVE_US, IDLE_US, Housekeeping
from millstream.testing import FakeClock


class Reading(msgspec.Struct):
    sensor: str
    value: float
    at: datetime | None = None


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


def test_a_thousand_single_appends_become_one_batch_with_the_same_records(log: Log, clock: FakeClock) -> None:
    topic = log.topic("readings", Reading, key="sensor", time="at")
    for i in range(1000):
        clock.advance("1ms")
        topic.append(
            Reading(f"s{i % 3}", float(i), START + timedelta(seconds=i) if i % 2 else None),
            headers={"n": str(i)} if i % 5 == 0 else None,
            key="other" if i % 7 == 0 else None,
        )
    before, frame = topic.read(), topic.frame().collect()
    assert topic.info().partitions[0].batches == 1000
    log.keep_house()
    assert topic.info().partitions[0].batches == 1
    assert topic.read() == before
    assert topic.frame().collect().equals(frame)
    assert topic.frame(START, START + timedelta(seconds=100)).collect().height == 50


def test_raw_records_are_merged_too(log: Log) -> None:
    topic = log.topic("raw")
    for i in range(50):
        topic.append(b"%d" % i)
    log.keep_house()
    assert topic.info().partitions[0].batches == 1
    assert [record.value for record in topic.read()] == [b"%d" % i for i in range(50)]


def test_batches_of_an_older_type_are_merged_into_the_newer(log: Log) -> None:
    class Wider(msgspec.Struct):
        sensor: str
        value: float
        at: datetime | None = None
        unit: str = "C"

    old = log.topic("readings", Reading)
    for i in range(20):
        old.append(Reading("a", float(i)))
    new = log.topic("readings", Wider)
    for i in range(20):
        new.append(Wider("b", float(i), None, "F"))
    log.keep_house()
    assert new.info().partitions[0].batches == 1
    assert [record.value.unit for record in new.read()] == ["C"] * 20 + ["F"] * 20
    assert [record.value.sensor for record in old.read()] == ["a"] * 20 + ["b"] * 20


def test_merging_takes_up_where_it_ended_and_leaves_large_batches_alone(log: Log) -> None:
    topic = log.topic("readings", Reading)
    topic.extend([Reading("a", float(i)) for i in range(70_000)])
    large = topic.info().partitions[0].batches
    for round_number in range(1, 4):
        for i in range(100):
            topic.append(Reading("b", float(i)))
        log.keep_house()
        assert topic.info().partitions[0].batches <= large + round_number
    assert topic.info().records == 70_300
    assert topic.read(70_299)[0].value == Reading("b", 99.0)


def test_a_busy_topic_is_left_alone_and_an_idle_one_is_merged(tmp_path: Path) -> None:
    clock = FakeClock(1_700_000_000_000_000)
    log = Log(SqliteEngine(tmp_path / "log.db", durability="relaxed", clock=clock), clock=clock, housekeeping=False)
    topic = log.topic("raw")
    for _ in range(100):
        topic.append(b"x")
    house = Housekeeping(log.engine, clock, eager=True)
    house.run_once(idle_us=IDLE_US)
    assert topic.info().partitions[0].batches == 100
    clock.advance("2s")
    house.run_once(idle_us=IDLE_US)
    assert topic.info().partitions[0].batches == 1
    log.close()


def test_readers_and_writers_go_on_while_batches_are_merged(log: Log) -> None:
    topic = log.topic("raw")

    def write() -> None:
        for i in range(2000):
            topic.append(b"%d" % i)

    def read() -> None:
        offset = 0
        while offset < 2000:
            for record in topic.read(offset, wait="5s"):
                assert record.value == b"%d" % record.offset
                offset += 1

    with ThreadPoolExecutor() as threads:
        futures = [threads.submit(write), threads.submit(read)]
        while not futures[0].done():
            log.keep_house()
    for future in futures:
        future.result()
    log.keep_house()
    assert topic.info().partitions[0].batches < 20


def test_two_that_keep_house_at_once_do_the_work_once(tmp_path: Path, log: Log, clock: FakeClock) -> None:
    topic = log.topic("raw")
    for i in range(500):
        topic.append(b"%d" % i)
    other = Log(SqliteEngine(tmp_path / "log.db", clock=clock), clock=clock, housekeeping=False)
    threads = [threading.Thread(target=which.keep_house) for which in (log, other, log, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    other.close()
    assert [record.value for record in topic.read()] == [b"%d" % i for i in range(500)]


def test_records_past_their_age_are_deleted_but_not_what_a_group_needs(log: Log, clock: FakeClock) -> None:
    topic = log.topic("raw", retention=Retention(age="1h"))
    group = topic.group("slow")
    for _ in range(3):
        topic.extend([b"x"] * 10)
        clock.advance("40m")
    log.keep_house()
    assert topic.info().partitions[0].start_offset == 0
    [lease] = group.lease(worker="w", records_max=15, duration="1m")
    group.settle([Settlement(lease, 0, 15, Outcome.ACK)])
    log.keep_house()
    assert topic.info().partitions[0].start_offset == 10  # whole batches, and only what the group has done
    assert group.info().ledger.balanced
    assert topic.read(10, records_max=1)[0].offset == 10


def test_a_merged_batch_is_kept_until_its_newest_record_is_old(log: Log, clock: FakeClock) -> None:
    topic = log.topic("raw", retention=Retention(age="1h"))
    for _ in range(20):
        topic.append(b"old", time=START)
    clock.advance("50m")
    for _ in range(20):
        topic.append(b"new", time=START)
    log.keep_house()
    assert topic.info().partitions[0].batches == 1
    clock.advance("20m")
    log.keep_house()
    assert [record.value for record in topic.read()][-1] == b"new"
    clock.advance("1h")
    log.keep_house()
    assert topic.info().records == 0


def test_size_is_bounded_and_space_goes_back_to_the_file_system(tmp_path: Path) -> None:
    log = Log(SqliteEngine(tmp_path / "log.db", durability="relaxed"), housekeeping=False)
    topic = log.topic("raw", retention=Retention(size_bytes=1_000_000))
    for _ in range(40):
        topic.extend([os.urandom(1000) for _ in range(500)])
    assert topic.info().size_bytes > 15_000_000
    log.keep_house()
    assert topic.info().size_bytes <= 1_000_000
    assert topic.info().partitions[0].end_offset == 20_000
    for _ in range(3):
        log.keep_house()
    log.close()
    assert (tmp_path / "log.db").stat().st_size < 3_000_000


def test_what_a_group_at_work_has_still_to_read_is_left_as_it_is(log: Log, clock: FakeClock) -> None:
    topic = log.topic("raw")
    topic.frame().collect()  # this process has imported Polars, so it merges itself
    for i in range(100):
        topic.append(b"%d" % i)
    group = topic.group("slow")
    house = Housekeeping(log.engine, clock)
    house.run_once(idle_us=0)
    assert topic.info().partitions[0].batches == 100
    [lease] = group.lease(worker="w", records_max=50, duration="1h")
    group.settle([Settlement(lease, 0, 50, Outcome.ACK)])
    house.run_once(idle_us=0)
    assert topic.info().partitions[0].batches == 51
    [lease] = group.lease(worker="w", records_max=1, duration="1h")
    clock.advance(ACTIVE_US / 1e6)
    house.run_once(idle_us=0)
    assert topic.info().partitions[0].batches == 51, "a worker is at the next one"
    group.settle([Settlement(lease, 50, 51, Outcome.RELEASE)])
    house.run_once(idle_us=0)
    assert topic.info().partitions[0].batches == 1, "a group that nobody works for does not keep the log large"
    assert [record.value for record in topic.read()] == [b"%d" % i for i in range(100)]


# --- a process without Polars -----------------------------------------------------------------------------------------


def keep_house_elsewhere(path: Path, act: str) -> Any:
    """Keep house in a process that imports nothing that it does not need."""
    script = Path(__file__).with_name("housekeeping_process.py")
    command = [sys.executable, str(script), str(path), act]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_process_without_polars_has_another_one_merge(tmp_path: Path, log: Log) -> None:
    topic = log.topic("jobs", Reading)
    for i in range(100):
        topic.append(Reading("a", float(i)))
    before = topic.read()
    assert keep_house_elsewhere(tmp_path / "log.db", "merge") == {"batches": 1, "polars": False}
    assert topic.read() == before


@pytest.mark.skipif(sys.platform == "win32", reason="there is no /bin/false")
def test_a_process_that_can_start_no_other_merges_itself(tmp_path: Path, log: Log) -> None:
    topic = log.topic("jobs", Reading)
    for i in range(100):
        topic.append(Reading("a", float(i)))
    assert keep_house_elsewhere(tmp_path / "log.db", "alone") == {"batches": 1, "polars": True}
    assert topic.info().records == 100


def test_a_process_without_polars_deletes_a_merged_batch_an_age_after_it_saw_it_last(tmp_path: Path, log: Log) -> None:
    topic = log.topic("jobs", Reading)
    for i in range(100):
        topic.append(Reading("a", float(i)))
    log.keep_house()
    assert topic.info().partitions[0].batches == 1
    # Seen first after 50 minutes, so it is older than an hour by the third look, and by no clock before the second.
    assert keep_house_elsewhere(tmp_path / "log.db", "retain") == {"counts": [100, 100, 0], "polars": False}
