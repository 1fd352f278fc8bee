"""`kill -9` of writing processes: what they were told is there, in their order, once, and the others go on."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from random import Random

import pytest
from tests.waiting import until

from millstream.engines.protocol import Append, Durability, TopicSpec
from millstream.engines.sqlite import SqliteEngine
from millstream.testing.raw_batches import raw_batch, read_values

ROUNDS = int(os.environ.get("MILLSTREAM_CRASHES", "500")) // 100
PROCESSES = 4
THREADS = 2
SCRIPT = Path(__file__).with_name("writing_process.py")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    engine = SqliteEngine(tmp_path / "x.db")
    engine.create_topic(TopicSpec("events"))
    engine.close()
    return tmp_path / "x.db"


@contextmanager
def started(*commands: list[str]) -> Iterator[list[subprocess.Popen[str]]]:
    """Run the script once for each command line; whatever is left of them at the end is killed."""
    processes = [
        subprocess.Popen([sys.executable, str(SCRIPT), *command], stdout=subprocess.PIPE, text=True)
        for command in commands
    ]
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()


def all_longer(files: list[Path], sizes: list[int]) -> bool:
    return all(file.exists() and file.stat().st_size > size for file, size in zip(files, sizes, strict=True))


def acknowledged_in(path: Path) -> list[tuple[int, int, int, int]]:
    """Return (producer, call, offset, count) of each whole line."""
    if not path.exists():
        return []
    return [
        (int(producer), int(call), int(offset), int(count))
        for producer, call, offset, count in (
            line.split() for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")
        )
    ]


def check_log(path: Path, acknowledged: list[tuple[int, int, int, int]]) -> int:
    """Check the whole log against what was acknowledged so far; return how many records were not."""
    engine = SqliteEngine(path)
    assert engine.check() == []
    start, values = read_values(engine, "events")
    engine.close()
    assert start == 0
    for producer, call, offset, count in acknowledged:
        expected = [b"%d:%d:%d:%d" % (producer, call, index, count) for index in range(count)]
        assert values[offset : offset + count] == expected
    by_producer: dict[int, list[tuple[int, ...]]] = {}
    for value in values:
        producer, call, index, count = (int(part) for part in value.split(b":"))
        by_producer.setdefault(producer, []).append((call, index, count))
    for records in by_producer.values():
        calls = records[-1][0] + 1
        assert records == [(call, index, 1 + call % 3) for call in range(calls) for index in range(1 + call % 3)]
    return len(values) - sum(count for _, _, _, count in acknowledged)


@pytest.mark.parametrize("at_once", [True, False], ids=["all_at_once", "one_after_another"])
def test_killed_writers_lose_nothing_acknowledged(path: Path, tmp_path: Path, at_once: bool) -> None:
    acknowledged: list[tuple[int, int, int, int]] = []
    unacknowledged = 0
    for round_number in range(max(2, ROUNDS // 2)):
        random = Random(f"{at_once} {round_number}")
        files = [tmp_path / f"acknowledged-{round_number}-{number}" for number in range(PROCESSES)]
        commands = []
        for number, file in enumerate(files):
            producer = (round_number * PROCESSES + number) * THREADS
            durability = random.choice(list(Durability))  # a killed process loses nothing under either
            commands.append(["append", str(path), str(file), str(producer), str(THREADS), durability])
        with started(*commands) as processes:
            until(partial(all_longer, files, [200] * PROCESSES), seconds=120)
            time.sleep(random.uniform(0, 0.1))  # another moment each round
            for number, process in enumerate(processes):
                process.kill()
                if not at_once and number < PROCESSES - 1:
                    process.wait()
                    seen = [file.stat().st_size for file in files]
                    until(partial(all_longer, files[number + 1 :], seen[number + 1 :]), seconds=120)
        for file in files:
            acknowledged += acknowledged_in(file)
        now_unacknowledged = check_log(path, acknowledged)
        # Each thread had one call of at most 3 records in flight.
        assert now_unacknowledged - unacknowledged <= PROCESSES * THREADS * 3
        unacknowledged = now_unacknowledged
    assert len(acknowledged) > PROCESSES * THREADS


def test_writer_killed_in_the_middle_of_a_transaction_does_not_hold_up_the_others(path: Path) -> None:
    engine = SqliteEngine(path)
    offsets: list[int] = []

    def append() -> None:
        offsets.append(engine.append([Append("events", 0, raw_batch([b"other"]))])[0].offset)

    with started(["stall", str(path)]) as [process]:
        assert process.stdout is not None
        assert process.stdout.readline() == "stalling\n"
        thread = threading.Thread(target=append)
        thread.start()
        thread.join(0.3)
        assert thread.is_alive(), "the stalled process does not hold the lock: this test shows nothing"
        assert read_values(engine, "events") == (0, [b"before"]), "readers do not wait for writers"
        process.kill()
        thread.join(60)
        assert offsets == [1]
    assert read_values(engine, "events") == (0, [b"before", b"other"])
    assert engine.check() == []
    engine.close()


@pytest.mark.skipif(sys.platform == "win32", reason="only POSIX drops all locks on a file at any close")
def test_second_engine_of_a_process_leaves_the_locks_of_the_first_alone(path: Path) -> None:
    # A process that opens and closes the file by other means than SQLite loses all its locks on it; then another one
    # may take the write-ahead log for abandoned (sqlite.org/howtocorrupt.html, 2.2).
    takes_shared_range = (
        "import fcntl, sys; file = open(sys.argv[1], 'r+b'); "
        "fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 510, 0x40000002)"
    )
    command = [sys.executable, "-W", "ignore", "-c", takes_shared_range, str(path)]
    engine = SqliteEngine(path)
    engine.append([Append("events", 0, raw_batch([b"x"]))])
    assert "BlockingIOError" in subprocess.run(command, check=False, capture_output=True, text=True).stderr
    second = SqliteEngine(path)
    assert "BlockingIOError" in subprocess.run(command, check=False, capture_output=True, text=True).stderr
    second.close()
    assert "BlockingIOError" in subprocess.run(command, check=False, capture_output=True, text=True).stderr
    engine.close()
    assert subprocess.run(command, check=False, capture_output=True, text=True).stderr == ""


def test_processes_that_make_a_log_at_the_same_moment_share_it(tmp_path: Path) -> None:
    path, go = tmp_path / "new.db", tmp_path / "go"
    code = """
import os, sys
from millstream.engines.protocol import Append, TopicSpec
from millstream.engines.sqlite import SqliteEngine
from millstream.testing.raw_batches import raw_batch
print("ready", flush=True)
while not os.path.exists(sys.argv[2]):
    pass
engine = SqliteEngine(sys.argv[1])
engine.create_topic(TopicSpec("events"))
engine.append([Append("events", 0, raw_batch([sys.argv[3].encode()]))])
engine.close()
"""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(path), str(go), str(number)], stdout=subprocess.PIPE, text=True
        )
        for number in range(PROCESSES)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    go.touch()
    assert [process.wait(60) for process in processes] == [0] * PROCESSES
    for process in processes:
        assert process.stdout is not None
        process.stdout.close()
    engine = SqliteEngine(path)
    assert engine.check() == []
    assert sorted(read_values(engine, "events")[1]) == [b"%d" % number for number in range(PROCESSES)]
    engine.close()


def test_check_of_the_log_notices_a_lost_and_a_doubled_record(path: Path) -> None:
    engine = SqliteEngine(path)
    engine.append([Append("events", 0, raw_batch([b"0:0:0:1"]))])
    assert check_log(path, [(0, 0, 0, 1)]) == 0
    with pytest.raises(AssertionError):
        check_log(path, [(0, 0, 0, 1), (0, 1, 1, 2)])
    engine.append([Append("events", 0, raw_batch([b"0:0:0:1"]))])
    with pytest.raises(AssertionError):
        check_log(path, [(0, 0, 0, 1)])
    engine.close()
