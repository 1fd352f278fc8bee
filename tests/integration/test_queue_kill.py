"""Workers are killed at random: nothing is lost, only what was running is repeated, and the order of keys holds.

The number of jobs is small unless MILLSTREAM_FULL=1 asks for 10,000.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import struct
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest

from millstream.app import App
from millstream.engines.protocol import GroupInfo
from millstream.queue import DeadLetter

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")

SCRIPT = Path(__file__).with_name("queue_worker_process.py")
FULL = os.environ.get("MILLSTREAM_FULL") == "1"
JOBS = 10_000 if FULL else 1_200
PROCESSES = 4
KEYS = 17
DISK_BYTES = 48_000_000 + JOBS * 12_000
PAUSE_S = (0.02, 0.2)
"""Between two kills."""

LIFE = 200
"""Lines that a process notes at most, before it may be killed: on a slow machine the work comes to an end as well."""
PATIENCE_S = 1200.0 if FULL else 240.0


class Job(msgspec.Struct):
    number: int
    key: str


class Start(NamedTuple):
    """A job that a process began."""

    at_ns: int
    number: int
    worker: str
    """Process and thread."""


Trouble = Callable[[random.Random], None]
"""What else goes wrong between two kills."""


class Kills:
    """Processes that share the work, of which one is killed every now and then and replaced."""

    def __init__(
        self,
        folder: Path,
        order: str,
        *,
        log: Path | None = None,
        workers: int = 1,
        clock: Path | None = None,
        trouble: Trouble | None = None,
    ) -> None:
        self._folder = folder
        self._log = log or folder / "log.db"
        self._arguments = (order, str(workers), str(clock) if clock else "-")
        self._trouble = trouble
        self._running: list[tuple[subprocess.Popen[bytes], Path, int]] = []
        """Each with its notes, and after how many of them it may be killed."""
        self.killed = 0
        self.notes: list[Path] = []

    def start(self, dice: random.Random) -> None:
        notes = self._folder / f"notes{len(self.notes)}"
        self.notes.append(notes)
        command = [sys.executable, str(SCRIPT), str(self._log), str(notes), *self._arguments]
        self._running.append((subprocess.Popen(command), notes, dice.randrange(1, LIFE)))

    def run(self, dice: random.Random) -> None:
        """Kill and replace until a process finds that nothing is left to do."""
        for _ in range(PROCESSES):
            self.start(dice)
        until = time.monotonic() + PATIENCE_S
        done = False
        try:
            while not any(Path(f"{notes}.over").exists() for _, notes, _ in self._running):
                assert time.monotonic() < until, "the work does not come to an end"
                time.sleep(dice.uniform(*PAUSE_S))
                if self._trouble is not None:
                    self._trouble(dice)
                worker, notes, life = self._running[dice.randrange(PROCESSES)]
                # One that has begun no jobs yet is given the time to: else nothing would ever be done here.
                # (One that could not even open its log on a full disk is replaced as well.)
                begun = notes.exists() and notes.read_bytes().count(b"\n") >= life
                if begun or worker.poll() is not None:
                    worker.kill()
                    code = worker.wait()
                    if Path(f"{notes}.over").exists():
                        continue  # it found that nothing is left to do, at the latest just now
                    self.killed += code == -signal.SIGKILL
                    self._running.remove((worker, notes, life))
                    self.start(dice)
            done = True
        finally:
            for worker, *_ in self._running:
                try:
                    worker.wait(PATIENCE_S / 2 if done else 0)
                except subprocess.TimeoutExpired:
                    worker.kill()
                    worker.wait()

    def events(self, kind: str) -> list[Start]:
        found = []
        for notes in self.notes:
            if not notes.exists():
                continue
            for line in notes.read_text().splitlines():
                word, number, thread, at_ns = line.split()
                if word == kind:
                    found.append(Start(int(at_ns), int(number), f"{notes.name}/{thread}"))
        return sorted(found)


def fill(path: Path) -> None:
    with App(str(path), durability="relaxed") as app:
        app.topic("jobs", Job).extend([Job(n, f"k{n % KEYS}") for n in range(JOBS)])
        app.topic("jobs").group("work")


def outcome(path: Path) -> tuple[GroupInfo, list[DeadLetter]]:
    with App(str(path)) as app:
        letters = app.topic("jobs.dead", DeadLetter).read() if "jobs.dead" in app.log.topics() else []
        return app.topic("jobs").group("work").info(), [record.value for record in letters]


def check_nothing_lost(path: Path, kills: Kills, *, may_end: bool = False) -> None:
    """Look at ledger and notes.

    Args:
        may_end: A process may end by itself: where it cannot even open the log.
    """
    info, letters = outcome(path)
    assert letters == []
    assert info.ledger.balanced
    assert (info.ledger.done, info.ledger.in_progress) == (JOBS, 0)
    assert {event.number for event in kills.events("end")} == set(range(JOBS))
    assert kills.killed >= 3
    starts = kills.events("start")
    again, ended = len(starts) - JOBS, len(kills.notes) - PROCESSES - kills.killed
    print(f"\n{JOBS:,} jobs done, {kills.killed} processes killed, {ended} ended otherwise, {again} jobs begun again")
    assert may_end or ended == 0


def check_only_running_ones_repeated(kills: Kills) -> None:
    starts = kills.events("start")
    last = {start.worker: start for start in starts}
    times = Counter(start.number for start in starts)
    interrupted = Counter(start.number for start in last.values())
    # A job that ended in the moment before its worker noted that is still the last one that the worker began.
    repeated = {n: count - 1 - interrupted[n] for n, count in times.items() if count - 1 > interrupted[n]}
    assert repeated == {}, f"jobs started again that were not running: {repeated}"


@pytest.mark.timeout(PATIENCE_S * 2)
@pytest.mark.parametrize("seed", [1])
def test_killed_workers_lose_nothing_and_repeat_only_what_was_running(tmp_path: Path, seed: int) -> None:
    fill(tmp_path / "log.db")
    kills = Kills(tmp_path, "none")
    kills.run(random.Random(seed))
    check_nothing_lost(tmp_path / "log.db", kills)
    check_only_running_ones_repeated(kills)


@pytest.mark.timeout(PATIENCE_S * 2)
@pytest.mark.parametrize("seed", [2])
def test_killed_workers_keep_the_order_of_each_key(tmp_path: Path, seed: int) -> None:
    fill(tmp_path / "log.db")
    kills = Kills(tmp_path, "key", workers=2)
    kills.run(random.Random(seed))
    check_nothing_lost(tmp_path / "log.db", kills)
    check_only_running_ones_repeated(kills)
    by_key: dict[int, list[int]] = defaultdict(list)
    for start in kills.events("start"):
        by_key[start.number % KEYS].append(start.number)
    for numbers in by_key.values():
        assert numbers == sorted(numbers)


@pytest.mark.timeout(PATIENCE_S * 2)
@pytest.mark.parametrize("seed", [3])
def test_a_clock_that_is_set_by_an_hour_while_workers_are_killed_loses_nothing(tmp_path: Path, seed: int) -> None:
    fill(tmp_path / "log.db")
    clock = tmp_path / "clock"
    clock.write_bytes(struct.pack("q", 0))

    def set_clock(dice: random.Random) -> None:
        # In place: a file that is cut off for a moment ends those who have it in memory.
        with clock.open("r+b", buffering=0) as file:
            file.write(struct.pack("q", dice.choice((-3_600_000_000, 0, 3_600_000_000))))

    kills = Kills(tmp_path, "none", clock=clock, trouble=set_clock)
    kills.run(random.Random(seed))
    check_nothing_lost(tmp_path / "log.db", kills)
    check_only_running_ones_repeated(kills)


class SmallDisk:
    """A file system of its own, which somebody fills and empties."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.fills = 0
        self._ballast = folder / "ballast"

    def trouble(self, dice: random.Random) -> None:
        if self._ballast.exists():
            if dice.random() < 0.5:
                self._ballast.unlink()
        elif dice.random() < 0.6:
            self.fills += 1
            self._fill()

    def _fill(self) -> None:
        with self._ballast.open("wb", buffering=0) as file:
            for size in (1 << 20, 4096):
                with contextlib.suppress(OSError):
                    while file.write(bytes(size)):
                        pass

    def empty(self) -> None:
        self._ballast.unlink(missing_ok=True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[SmallDisk]:
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root on Linux")
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder)]
    mounted = subprocess.run(mount, capture_output=True, text=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"a small file system cannot be mounted here: {mounted.stderr.strip()}")
    yield SmallDisk(folder)
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.timeout(PATIENCE_S * 2)
@pytest.mark.parametrize("seed", [4])
def test_a_disk_that_fills_up_while_workers_are_killed_loses_nothing(
    tmp_path: Path, small_disk: SmallDisk, seed: int
) -> None:
    log = small_disk.folder / "log.db"
    fill(log)
    kills = Kills(tmp_path, "results", log=log, trouble=small_disk.trouble)
    kills.run(random.Random(seed))
    small_disk.empty()
    assert small_disk.fills >= 3
    check_nothing_lost(log, kills, may_end=True)
    with App(str(log)) as app:
        kept = app.topic("jobs").group("work").state(0)
    assert {int(number) for number in kept} == set(range(JOBS)), "a job is done with its result, or not at all"
