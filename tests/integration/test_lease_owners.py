"""Leases of processes that are gone, or cannot say that they are there: another run of the machine, a full disk."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import apsw
import pytest

from millstream.engines.protocol import Append, Lease, Outcome, Settlement, TopicSpec
from millstream.engines.sqlite import SqliteEngine
from millstream.engines.sqlite.owners import Owners
from millstream.errors import LeaseLostError, StorageFullError
from millstream.testing import FakeClock
from millstream.testing.file_faults import FileFault, FileFaults
from millstream.testing.raw_batches import raw_batch

OTHER_RUN = "00000000-17-abcdef01"
FAR_US = 10**15
"""On a steady clock: what a machine that ran for thirty years would leave behind."""

MINUTE_US = 60_000_000


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A log with three records, leased by a process of another run of the machine."""
    path = tmp_path / "log.db"
    with closing(SqliteEngine(path)) as engine:
        engine.create_topic(TopicSpec("t"))
        engine.create_group("t", "g")
        engine.append([Append("t", 0, raw_batch([b"1", b"2", b"3"]))])
        assert len(take(engine)) == 1
    with closing(apsw.Connection(str(path))) as connection:
        connection.execute("UPDATE lease SET owner = ?, deadline_us = ?", (OTHER_RUN, FAR_US))
    return path


def take(engine: SqliteEngine) -> list[Lease]:
    return engine.lease("t", "g", worker="w", records_max=10, duration_us=MINUTE_US)


@contextmanager
def living(log: Path) -> Iterator[None]:
    import fcntl

    with open(f"{log}-wake/{OTHER_RUN}.alive", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def test_leases_of_an_earlier_run_of_the_machine_are_over(log: Path) -> None:
    with closing(SqliteEngine(log)) as engine:
        assert [(lease.start, lease.end, lease.attempt) for lease in take(engine)] == [(0, 1, 2), (1, 3, 1)]


def test_a_death_that_could_not_be_recorded_is_noticed_again(tmp_path: Path) -> None:
    (tmp_path / f"{OTHER_RUN}.alive").touch()
    owners, told = Owners(str(tmp_path)), []

    def record(name: str, tallies: object) -> None:
        told.append(name)
        if len(told) == 1:
            raise StorageFullError("the disk is full")

    with pytest.raises(StorageFullError):
        owners.look(record, list)
    until = time.monotonic() + 30
    while len(told) < 2 and time.monotonic() < until:
        owners.look(record, list)
        time.sleep(0.05)
    assert told == [OTHER_RUN] * 2
    assert not list(tmp_path.iterdir())


@pytest.fixture
def faults(tmp_path: Path) -> Iterator[FileFaults]:
    with FileFaults(tmp_path / "log.db") as faults:
        yield faults


@pytest.fixture
def engines(tmp_path: Path, clock: FakeClock, faults: FileFaults) -> Iterator[tuple[SqliteEngine, SqliteEngine]]:
    """Two on one log with three records, as two processes have them."""
    with (
        closing(SqliteEngine(tmp_path / "log.db", clock=clock)) as one,
        closing(SqliteEngine(tmp_path / "log.db", clock=clock)) as other,
    ):
        one.create_topic(TopicSpec("t"))
        one.create_group("t", "g")
        one.append([Append("t", 0, raw_batch([b"1", b"2", b"3"]))])
        yield one, other


def extend_on_a_full_disk(engine: SqliteEngine, leases: list[Lease], faults: FileFaults) -> None:
    with faults.fail(FileFault.DISK_FULL), pytest.raises(StorageFullError):
        engine.extend(leases, MINUTE_US)


def test_leases_that_a_full_disk_keeps_from_being_renewed_are_held(
    engines: tuple[SqliteEngine, SqliteEngine], clock: FakeClock, faults: FileFaults
) -> None:
    one, other = engines
    leases = take(one)
    for _ in range(5):
        clock.advance("59s")
        extend_on_a_full_disk(one, leases, faults)
    clock.advance("59s")
    assert take(other) == []
    assert take(one) == []
    one.settle([Settlement(leases[0], 0, 2, Outcome.ACK)])
    [left] = one.extend(leases, MINUTE_US)
    assert (left.start, left.end) == (2, 3)


def test_leases_that_a_full_disk_kept_from_being_renewed_run_out_when_nobody_tries_any_more(
    engines: tuple[SqliteEngine, SqliteEngine], clock: FakeClock, faults: FileFaults
) -> None:
    one, other = engines
    leases = take(one)
    clock.advance("59s")
    extend_on_a_full_disk(one, leases, faults)
    clock.advance("61s")
    assert [(lease.start, lease.attempt) for lease in take(other)] == [(0, 2), (1, 1)]
    with pytest.raises(LeaseLostError):
        one.settle([Settlement(leases[0], 0, 3, Outcome.ACK)])


@pytest.mark.skipif(sys.platform == "win32", reason="locks by flock")
def test_leases_of_a_living_process_are_held_whatever_its_machine_is_called(log: Path) -> None:
    with closing(SqliteEngine(log)) as engine, living(log):
        assert take(engine) == []
