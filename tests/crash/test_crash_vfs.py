"""The crash VFS itself, with SQLite alone: what must survive does, what may be lost sometimes is."""

from __future__ import annotations

from pathlib import Path
from random import Random

import apsw
import pytest

from millstream.testing.crash_vfs import CrashVFS
from millstream.testing.disk import SECTOR_BYTES, Disk

CRASHES = 60


def acknowledged_commits(disk: Disk, *, synchronous: str, seed: int) -> int:
    """Commit rows 0, 1, 2, ... until the power is cut; return how many commits returned before that."""
    random = Random(seed)
    disk.root.mkdir()
    acknowledged = 0
    with CrashVFS(disk) as vfs:
        disk.cut_at(random.randint(30, 400))
        connection = apsw.Connection(str(disk.root / "x.db"), vfs=vfs.name)
        connection.execute("pragma journal_mode = wal")
        connection.execute(f"pragma synchronous = {synchronous}")
        connection.execute(f"pragma wal_autocheckpoint = {random.choice((3, 10, 1000))}")
        connection.execute("create table row(number integer primary key, filler blob)")
        while not disk.is_cut:
            filler = random.randbytes(random.choice((10, 600, 9000)))
            connection.execute("insert into row values (?, ?)", (acknowledged, filler))
            if not disk.is_cut:
                acknowledged += 1
        connection.close()
    return acknowledged


def surviving_rows(path: Path) -> int:
    """Return how many rows there are after SQLite's recovery; they must be 0, 1, 2, ... in a sound file."""
    connection = apsw.Connection(str(path))
    assert connection.execute("pragma integrity_check").get == "ok"
    if not connection.execute("select count(*) from sqlite_schema").get:
        return 0
    numbers = [number for (number,) in connection.execute("select number from row order by number")]
    assert numbers == list(range(len(numbers)))
    connection.close()
    return len(numbers)


def lost_commits(tmp_path: Path, *, synchronous: str, seed: int) -> int:
    disk = Disk(tmp_path / f"live-{seed}")
    acknowledged = acknowledged_commits(disk, synchronous=synchronous, seed=seed)
    disk.crash(seed, tmp_path / f"after-{seed}")
    return acknowledged - surviving_rows(tmp_path / f"after-{seed}" / "x.db")


def test_synchronous_full_loses_no_acknowledged_commit(tmp_path: Path) -> None:
    lost = {seed: lost_commits(tmp_path, synchronous="full", seed=seed) for seed in range(CRASHES)}
    assert [seed for seed, count in lost.items() if count > 0] == []


def test_synchronous_normal_loses_some_acknowledged_commits_and_no_file(tmp_path: Path) -> None:
    lost = {seed: lost_commits(tmp_path, synchronous="normal", seed=seed) for seed in range(CRASHES)}
    assert sum(count > 0 for count in lost.values()) > CRASHES // 4


def test_synchronous_off_damages_some_files(tmp_path: Path) -> None:
    damaged = 0
    for seed in range(CRASHES):
        try:
            lost_commits(tmp_path, synchronous="off", seed=seed)
        except (AssertionError, apsw.Error):
            damaged += 1
    assert damaged > 0


def test_same_seed_leaves_the_same_files(tmp_path: Path) -> None:
    disk = Disk(tmp_path / "live")
    acknowledged_commits(disk, synchronous="normal", seed=7)
    left = []
    for into in (tmp_path / "a", tmp_path / "b", tmp_path / "c"):
        disk.crash(8 if into.name == "c" else 7, into)
        left.append({path.name: path.read_bytes() for path in into.iterdir()})
    assert left[0] == left[1]
    assert left[0] != left[2]


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    return Disk(tmp_path)


def outcomes(disk: Disk, name: str, into: Path) -> set[bytes | None]:
    """Return the contents that 400 seeds leave of a file, None where it is gone."""
    contents: set[bytes | None] = set()
    for seed in range(400):
        target = into / str(seed)
        disk.crash(seed, target)
        contents.add((target / name).read_bytes() if (target / name).exists() else None)
    return contents


def test_synced_content_under_a_synced_name_always_survives(disk: Disk, tmp_path: Path) -> None:
    disk.open(str(tmp_path / "f"), content=None)
    disk.write(str(tmp_path / "f"), 0, b"abc")
    disk.sync(str(tmp_path / "f"), directory=True)
    assert outcomes(disk, "f", tmp_path / "out") == {b"abc"}


def test_name_may_be_lost_until_its_directory_is_synced(disk: Disk, tmp_path: Path) -> None:
    disk.open(str(tmp_path / "f"), content=None)
    disk.write(str(tmp_path / "f"), 0, b"abc")
    disk.sync(str(tmp_path / "f"), directory=False)
    assert outcomes(disk, "f", tmp_path / "out") == {b"abc", None}


def test_deleted_file_may_come_back_until_the_directory_is_synced(disk: Disk, tmp_path: Path) -> None:
    disk.open(str(tmp_path / "f"), content=b"abc")
    disk.delete(str(tmp_path / "f"), directory=False)
    assert outcomes(disk, "f", tmp_path / "out-1") == {b"abc", None}
    disk.open(str(tmp_path / "g"), content=b"")
    disk.delete(str(tmp_path / "g"), directory=True)
    assert outcomes(disk, "f", tmp_path / "out-2") == {None}


def test_later_write_can_survive_an_earlier_one(disk: Disk, tmp_path: Path) -> None:
    disk.open(str(tmp_path / "f"), content=b"")
    disk.write(str(tmp_path / "f"), 0, b"a")
    disk.write(str(tmp_path / "f"), 1, b"b")
    assert {b"", b"a", b"\0b", b"ab"} <= outcomes(disk, "f", tmp_path / "out")


def test_write_is_torn_at_sectors_and_harms_no_other_byte(disk: Disk, tmp_path: Path) -> None:
    before, after = b"x" * 4 * SECTOR_BYTES, b"y" * 2 * SECTOR_BYTES
    disk.open(str(tmp_path / "f"), content=before)
    disk.write(str(tmp_path / "f"), 100, after)
    seen = outcomes(disk, "f", tmp_path / "out")
    assert len(seen) > 4
    for content in seen:
        assert content is not None
        assert content[:100] == before[:100]
        assert content[100 + len(after) :] == before[100 + len(after) :]


def test_truncation_may_be_lost(disk: Disk, tmp_path: Path) -> None:
    disk.open(str(tmp_path / "f"), content=b"abcdef")
    disk.truncate(str(tmp_path / "f"), 2)
    assert outcomes(disk, "f", tmp_path / "out") == {b"abcdef", b"ab"}


def test_sync_that_was_running_when_the_power_went_promises_nothing(disk: Disk, tmp_path: Path) -> None:
    disk.open(str(tmp_path / "f"), content=b"")
    disk.write(str(tmp_path / "f"), 0, b"abc")
    disk.cut_at(2)
    disk.sync(str(tmp_path / "f"), directory=False)
    assert disk.is_cut
    assert b"" in outcomes(disk, "f", tmp_path / "out")


def test_nothing_after_the_cut_is_recorded(disk: Disk, tmp_path: Path) -> None:
    disk.open(str(tmp_path / "f"), content=b"")
    disk.cut()
    disk.write(str(tmp_path / "f"), 0, b"abc")
    disk.sync(str(tmp_path / "f"), directory=True)
    assert outcomes(disk, "f", tmp_path / "out") == {b""}
