"""A disk that is really full: a small file system, and a limit on the size of files."""

from __future__ import annotations

import contextlib
import os
import random
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from millstream.engines.protocol import Append, TopicSpec
from millstream.engines.sqlite import SqliteEngine
from millstream.errors import StorageFullError
from millstream.testing.raw_batches import raw_batch, read_values

TMPFS_BYTES = 32 * 1024 * 1024
BALLAST_BYTES = 8 * 1024 * 1024
"""Removed to make room: twice what the write-ahead log usually takes."""

RECORD = bytes(50_000)

LIMITED = """
import resource, sys
from millstream.engines.protocol import Append, TopicSpec
from millstream.engines.sqlite import SqliteEngine
from millstream.errors import StorageError
from millstream.testing.raw_batches import raw_batch, read_values

engine = SqliteEngine(sys.argv[1])
engine.create_topic(TopicSpec("events"))
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (3_000_000, hard))
stored = 0
try:
    while stored < 1000:
        engine.append([Append("events", 0, raw_batch([bytes(50_000)]))])
        stored += 1
except StorageError as error:
    print(type(error).__name__)
assert read_values(engine, "events") == (0, [bytes(50_000)] * stored)
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
engine.append([Append("events", 0, raw_batch([b"room again"]))])
assert engine.check() == []
engine.close()
engine = SqliteEngine(sys.argv[1])
assert engine.check() == []
assert read_values(engine, "events") == (0, [bytes(50_000)] * stored + [b"room again"])
engine.close()
print(stored)
"""


@pytest.fixture
def small_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on a file system of its own."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root on Linux")
    # The write-ahead log may grow to twice this disk's size before the writer itself copies it back: not here.
    monkeypatch.setattr("millstream.engines.sqlite.checkpoints.INLINE_PAGES", 512)
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={TMPFS_BYTES}", "tmpfs", str(folder)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"a small file system cannot be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(engine: SqliteEngine) -> int:
    """Append until the disk is full; return how many records were stored."""
    for stored in range(TMPFS_BYTES // len(RECORD)):
        try:
            engine.append([Append("events", 0, raw_batch([RECORD]))])
        except StorageFullError:
            return stored
    pytest.fail("the small disk does not get full")


def test_full_disk_refuses_appends_and_takes_them_again_when_there_is_room(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(BALLAST_BYTES))
    with closing(SqliteEngine(small_disk / "x.db")) as engine:
        engine.create_topic(TopicSpec("events"))
        stored = fill(engine)
        assert stored > 10
        for _ in range(3):
            with pytest.raises(StorageFullError):
                engine.append([Append("events", 0, raw_batch([RECORD]))])
        assert read_values(engine, "events") == (0, [RECORD] * stored), "a full disk can be read"
        ballast.unlink()
        [position] = engine.append([Append("events", 0, raw_batch([RECORD]))])
        assert position.offset == stored
        assert engine.check() == []
    with closing(SqliteEngine(small_disk / "x.db")) as reopened:
        assert reopened.check() == []
        assert read_values(reopened, "events") == (0, [RECORD] * (stored + 1))


def test_log_on_a_full_disk_is_opened_or_says_that_the_disk_is_full(small_disk: Path) -> None:
    SqliteEngine(small_disk / "x.db").close()
    ballast = small_disk / "ballast"
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
        while file.write(bytes(4096)):
            pass
    with pytest.raises(StorageFullError):
        SqliteEngine(small_disk / "x.db")
    ballast.unlink()
    with closing(SqliteEngine(small_disk / "x.db")) as engine:
        assert engine.check() == []


def test_trimming_makes_room_on_a_disk_that_was_full(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(BALLAST_BYTES))
    with closing(SqliteEngine(small_disk / "x.db")) as engine:
        engine.create_topic(TopicSpec("events"))
        stored = fill(engine)
        ballast.unlink()
        assert engine.trim("events", 0, stored - 1) == stored - 1
        for _ in range(2 * stored):
            [position] = engine.append([Append("events", 0, raw_batch([RECORD]))])
            engine.trim("events", 0, position.offset)
        assert engine.check() == []


def test_write_ahead_log_on_a_full_disk_is_copied_back_and_begins_anew(
    small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("millstream.engines.sqlite.checkpoints.INLINE_PAGES", 1_000_000)
    # Room made in the background would take what the test has just found to be free.
    monkeypatch.setattr("millstream.engines.sqlite.wal_room.FROM_BYTES", 2 * TMPFS_BYTES)
    path = small_disk / "x.db"

    def append(engine: SqliteEngine, records: int) -> None:
        """Append records one by one, and keep only the last."""
        for _ in range(records):
            [position] = engine.append([Append("events", 0, raw_batch([RECORD]))])
            engine.trim("events", 0, position.offset)

    with closing(SqliteEngine(path)) as engine:
        engine.create_topic(TopicSpec("events"))
        engine.append([Append("events", 0, raw_batch([RECORD] * 20))])
        append(engine, 1)  # the file has room for 19 records now, and need not grow any more
    with closing(SqliteEngine(path)) as engine:
        append(engine, 60)
        log_bytes = path.with_name("x.db-wal").stat().st_size
        assert log_bytes > 60 * len(RECORD)
        free_bytes = os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_frsize
        (small_disk / "ballast").write_bytes(bytes(free_bytes - 10 * len(RECORD)))
        append(engine, 100)  # more than there is room for in a log that only grows; the file reuses what was trimmed
        assert engine.check() == []


@pytest.mark.skipif(sys.platform == "win32", reason="file size limits are a Unix thing")
def test_file_size_limit_is_a_storage_error_and_the_engine_goes_on_when_it_is_lifted(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error", "-c", LIMITED, str(tmp_path / "x.db")]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert finished.returncode == 0, finished.stderr
    error, stored = finished.stdout.split()
    assert error in ("StorageError", "StorageFullError")
    assert 10 < int(stored) < 1000


@pytest.mark.parametrize("arguments", [(), ("--format", "syslog")])
def test_lines_that_do_not_fit_on_a_disk_are_told_and_go_on_later(small_disk: Path, arguments: tuple[str, ...]) -> None:
    draw = random.Random(7)
    lines = [f'{{"n": {n}, "text": "{draw.randbytes(200).hex()}"}}\n' for n in range(3 * TMPFS_BYTES // 400)]
    put = [sys.executable, "-m", "millstream", "put", "t", "--url", str(small_disk / "x.db"), *arguments]
    text = "".join(lines)
    full = subprocess.run(put, input=text, capture_output=True, text=True, check=False, timeout=120)
    assert full.returncode == 3
    told = re.search(r"stopped after line (\d+); --skip \1 goes on there\nmillstream: no room left for", full.stderr)
    assert told, full.stderr
    with closing(SqliteEngine(small_disk / "x.db")) as engine:
        stored = sum(partition.end_offset for partition in engine.describe_topic("t").partitions)
    assert stored == int(told[1]) > 0
    assert f"stored {stored:,} records in t" in full.stdout
