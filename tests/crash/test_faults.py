"""The disk fails or fills up at the n-th call, for every n of each operation: an error, and nothing half done."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from millstream.engines.protocol import (
    Append,
    BatchHeader,
    Durability,
    GroupInfo,
    Lease,
    OffsetMove,
    Outcome,
    Settlement,
    StateChange,
    TopicInfo,
    TopicSpec,
)
from millstream.engines.sqlite import SqliteEngine
from millstream.errors import StorageError, StorageFullError
from millstream.records import Coding, StoredBatch
from millstream.testing import FakeClock
from millstream.testing.file_faults import FileFault, FileFaults
from millstream.testing.raw_batches import raw_batch, read_values

CALLS_MAX = 400
"""More file operations than any scenario has: a loop that gets here does not end."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "x.db"


@pytest.fixture
def faults(path: Path) -> Iterator[FileFaults]:
    with FileFaults(path) as faults:
        yield faults


@pytest.fixture
def engine(path: Path, faults: FileFaults) -> Iterator[SqliteEngine]:
    engine = SqliteEngine(path, clock=FakeClock())
    engine.create_topic(TopicSpec("events"))
    engine.create_topic(TopicSpec("results"))
    engine.create_group("events", "workers")
    engine.create_group("events", "stream")
    for number in range(40):
        engine.append([Append("events", 0, raw_batch([b"%d" % number, bytes(500)]))])
    yield engine
    engine.close()


class Seen:
    """All that an engine tells about its log, to be compared before and after."""

    def __init__(self, engine: SqliteEngine) -> None:
        topics = engine.topics()
        self.topics: list[TopicInfo] = [engine.describe_topic(topic) for topic in topics]
        self.values = [read_values(engine, topic) for topic in topics]
        self.headers: list[list[BatchHeader]] = []
        for info in self.topics:
            [part] = info.partitions
            self.headers.append(
                engine.batch_headers(info.spec.name, 0, part.start_offset, part.end_offset, headers_max=10_000)
            )
        self.groups: list[GroupInfo] = [
            engine.describe_group(topic, group) for topic in topics for group in engine.groups(topic)
        ]
        self.state = engine.state("events", "stream", 0)
        with engine.transaction() as tx:
            there = tx.execute("SELECT 1 FROM sqlite_master WHERE name = 'orders'")
            self.rows = tx.execute("SELECT number FROM orders") if there else []

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Seen) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]


# Each prepares what it needs and returns the call to be failed. The call is given once more when the fault is lifted.


def an_append(engine: SqliteEngine) -> Callable[[], object]:
    return lambda: engine.append(
        [Append("events", 0, raw_batch([b"a", b"b"])), Append("results", 0, raw_batch([b"c"]))]
    )


def a_large_append(engine: SqliteEngine) -> Callable[[], object]:
    return lambda: engine.append([Append("events", 0, raw_batch([bytes(100_000)]))])


def a_lease(engine: SqliteEngine) -> Callable[[], object]:
    return lambda: engine.lease("events", "workers", worker="w", records_max=3, duration_us=1000)


def leased(engine: SqliteEngine) -> Lease:
    engine.append([Append("events", 0, raw_batch([b"x"] * 4))])
    [lease] = engine.lease("events", "workers", worker="w", records_max=4, duration_us=1_000_000)[:1]
    return lease


def a_settlement(engine: SqliteEngine) -> Callable[[], object]:
    lease = leased(engine)
    middle = (lease.start + lease.end) // 2
    settlements = [Settlement(lease, middle, lease.end, Outcome.ACK)]
    if middle > lease.start:
        settlements.append(Settlement(lease, lease.start, middle, Outcome.REJECT))
    return lambda: engine.settle(settlements, appends=[Append("results", 0, raw_batch([b"dead"]))])


def an_extension(engine: SqliteEngine) -> Callable[[], object]:
    lease = leased(engine)
    return lambda: engine.extend([lease], 2_000_000)


def a_commit(engine: SqliteEngine) -> Callable[[], object]:
    engine.append([Append("events", 0, raw_batch([b"x"]))])
    info = engine.describe_group("events", "stream")
    return lambda: engine.commit(
        "events",
        "stream",
        [OffsetMove(0, info.committed[0], info.committed[0] + 1)],
        state=[StateChange(0, b"key", b"%d" % info.committed[0])],
        appends=[Append("results", 0, raw_batch([b"out"]))],
    )


def a_replacement(engine: SqliteEngine) -> Callable[[], object]:
    for _ in range(3):
        engine.append([Append("events", 0, raw_batch([b"x", bytes(3000)]))])
    end = engine.describe_topic("events").partitions[0].end_offset
    old = engine.batch_headers("events", 0, end - 6, end, headers_max=10)[-3:]
    stored = engine.read("events", 0, old[0].offset, records_max=end - old[0].offset)
    new = StoredBatch(
        partition=0,
        offset=old[0].offset,
        coding=Coding.ROWS,
        count=end - old[0].offset,
        data=b"".join(batch.data for batch in stored),
        meta=None,
        schema_id=0,
        append_time_us=old[0].append_time_us,
        event_time_min_us=None,
        event_time_max_us=None,
    )
    return lambda: engine.replace("events", 0, old, [new])


def a_trim(engine: SqliteEngine) -> Callable[[], object]:
    engine.append([Append("events", 0, raw_batch([bytes(3000)]))])
    before = engine.batch_headers("events", 0, 0, 1 << 40, headers_max=1)
    start = engine.describe_topic("events").partitions[0].start_offset
    end = start + (before[0].count if before else 1)
    return lambda: engine.trim("events", 0, end, force=True)


def a_new_topic(engine: SqliteEngine) -> Callable[[], object]:
    name = f"topic-{len(engine.topics())}"
    return lambda: engine.create_topic(TopicSpec(name))


def a_deleted_topic(engine: SqliteEngine) -> Callable[[], object]:
    engine.create_topic(TopicSpec("short-lived"))
    engine.create_group("short-lived", "g")
    engine.append([Append("short-lived", 0, raw_batch([bytes(20_000)]))])
    return lambda: engine.delete_topic("short-lived")


def a_transaction(engine: SqliteEngine) -> Callable[[], object]:
    with engine.transaction() as tx:
        tx.execute("CREATE TABLE IF NOT EXISTS orders (number INTEGER, filler BLOB)")

    def operation() -> None:
        with engine.transaction() as tx:
            tx.append([Append("events", 0, raw_batch([b"an order"]))])
            tx.execute("INSERT INTO orders SELECT count(*), zeroblob(9000) FROM orders")

    return operation


CALLS: dict[str, Callable[[SqliteEngine], Callable[[], object]]] = {
    "append": an_append,
    "large_append": a_large_append,
    "lease": a_lease,
    "settle": a_settlement,
    "extend": an_extension,
    "commit": a_commit,
    "replace": a_replacement,
    "trim": a_trim,
    "create_topic": a_new_topic,
    "delete_topic": a_deleted_topic,
    "transaction": a_transaction,
}

RELAXED = ("lease", "extend", "replace", "trim")
"""Not synced, because power loss may take them back."""


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("fault", FileFault, ids=lambda fault: fault.name.lower())
def test_fault_at_every_file_operation_leaves_nothing_half_done(
    engine: SqliteEngine, path: Path, faults: FileFaults, name: str, fault: FileFault
) -> None:
    failed = 0
    for call in range(1, CALLS_MAX):
        operation = CALLS[name](engine)
        before = Seen(engine)
        error: StorageError | None = None
        with faults.fail(fault, call=call):
            try:
                operation()
            except StorageError as raised:  # any other error fails the test
                error = raised
        if error is not None:
            failed += 1
            assert faults.failures
            assert Seen(engine) == before, f"half done when the fault hit operation {call}"
            if fault is FileFault.DISK_FULL:
                assert isinstance(error, StorageFullError)
            operation()  # usable again, the same instance
        assert Seen(engine) != before
        if faults.calls < call:
            break
    else:
        pytest.fail(f"{name} still has file operations after {CALLS_MAX}")
    if fault in (FileFault.DISK_FULL, FileFault.WRITE_ERROR, FileFault.DEVICE_GONE) or (
        fault is FileFault.SYNC_ERROR and name not in RELAXED
    ):
        assert failed, "no fault reached the caller: this test shows nothing"
    assert engine.check() == []
    after = Seen(engine)
    engine.close()
    reopened = SqliteEngine(path, clock=FakeClock())
    assert reopened.check() == []
    assert Seen(reopened) == after
    reopened.close()


def test_full_disk_fails_every_append_of_a_shared_commit_and_none_later(
    engine: SqliteEngine, faults: FileFaults
) -> None:
    outcomes: list[object] = []

    def append(number: int) -> None:
        try:
            outcomes.append(engine.append([Append("results", 0, raw_batch([b"%d" % number]))]))
        except StorageError as error:
            outcomes.append(error)

    def from_threads() -> None:
        threads = [threading.Thread(target=append, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    with faults.fail(FileFault.DISK_FULL):
        from_threads()
    assert [type(outcome) for outcome in outcomes] == [StorageFullError] * 8
    assert read_values(engine, "results") == (0, [])
    outcomes.clear()
    from_threads()
    assert all(isinstance(outcome, list) for outcome in outcomes)
    assert sorted(read_values(engine, "results")[1]) == [b"%d" % number for number in range(8)]


def test_failed_asynchronous_append_tells_its_error(engine: SqliteEngine, faults: FileFaults) -> None:
    told: list[Any] = []
    event = threading.Event()

    def done(positions: object, error: BaseException | None) -> None:
        told.append((positions, type(error)))
        event.set()

    with faults.fail(FileFault.DISK_FULL):
        engine.submit([Append("results", 0, raw_batch([b"x"]))], done, durability=Durability.FSYNC)
        assert event.wait(10)
    assert told == [(None, StorageFullError)]


def test_error_names_the_file_and_keeps_the_cause(engine: SqliteEngine, faults: FileFaults, path: Path) -> None:
    with faults.fail(FileFault.DISK_FULL), pytest.raises(StorageFullError) as caught:
        engine.append([Append("results", 0, raw_batch([b"x"]))])
    assert path.name in str(caught.value)
    assert caught.value.__cause__ is not None


def test_failed_write_back_after_a_commit_does_not_undo_or_repeat_it(engine: SqliteEngine, faults: FileFaults) -> None:
    # Over 64 MB in one transaction: the writer itself copies the write-ahead log back after the commit.
    large = [Append("results", 0, raw_batch([bytes(24_000_000)]))] * 3
    outcomes: list[object] = []

    def append() -> None:
        try:
            outcomes.append(engine.append(large))
        except StorageError as error:
            outcomes.append(error)

    with faults.fail(FileFault.DISK_FULL, suffix=""):
        threads = [threading.Thread(target=append) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert faults.failures, "nothing was written back: this test shows nothing"
    assert all(isinstance(outcome, list) for outcome in outcomes)
    assert len(read_values(engine, "results")[1]) == 9
    assert engine.check() == []
