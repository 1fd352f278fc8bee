"""Leases of processes that are not there any more: of an earlier run of the machine, or in a copy of the file."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import apsw
import pytest

from millstream.engines.protocol import Append, Lease, TopicSpec
from millstream.engines.sqlite import SqliteEngine
from millstream.engines.sqlite.owners import Owners
from millstream.errors import StorageFullError
from millstream.testing.raw_batches import raw_batch

OTHER_RUN = "00000000-17-abcdef01"
FAR_US = 10**15
"""On a steady clock: what a machine that ran for thirty years would leave behind."""


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
    return engine.lease("t", "g", worker="w", records_max=10, duration_us=60_000_000)


@contextmanager
def living(log: Path) -> Iterator[None]:
    import fcntl

    with open(f"{log}-wake/{OTHER_RUN}.alive", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def test_leases_of_an_earlier_run_of_the_machine_are_over(log: Path) -> None:
    with closing(SqliteEngine(log)) as engine:
        assert [(lease.start, lease.end, lease.attempt) for lease in take(engine)] == [(0, 1, 2), (1, 3, 1)]


@pytest.mark.skipif(sys.platform == "win32", reason="locks by flock")
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


def test_leases_of_a_living_process_are_held_whatever_its_machine_is_called(log: Path) -> None:
    with closing(SqliteEngine(log)) as engine, living(log):
        assert take(engine) == []
