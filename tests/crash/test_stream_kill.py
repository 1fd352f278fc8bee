"""`kill -9` of processes that run a pipeline: what comes out is complete, and there once.

That is said of its topics, a join with a table among them, and of the files it writes. What a function is called with
is complete too, and some of it comes again.

A few kills unless MILLSTREAM_FULL=1 asks for a hundred in each test; MILLSTREAM_SEED chooses others.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any, Final

import pytest

from millstream.app import App
from millstream.stream import StreamReader
from millstream.testing.stream_outside import called, declare, expected_homes, found_homes, in_files, load_homes
from millstream.testing.stream_pipeline import (
    Click,
    Order,
    append,
    difference,
    expected,
    last_records,
    outputs,
    records,
)

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")

SCRIPT: Final = Path(__file__).with_name("stream_process.py")
FULL: Final = os.environ.get("MILLSTREAM_FULL") == "1"
SEED: Final = os.environ.get("MILLSTREAM_SEED", "1")
PATIENCE_S: Final = 180.0
FROZEN_S: Final = 9.0
"""Longer than it takes the others to notice that a process gives no sign of life, and to take its partitions."""

FEW: Final = 25
"""Records of an append: the processes find something new in every moment, and many commits are there to be hit."""


class Processes:
    """Processes that run the pipeline on one log, while records are appended."""

    def __init__(
        self, folder: Path, *, processes: int, partitions: int, mode: str, kills: int, frozen: int = 0
    ) -> None:
        self._path = str(folder / "log.db")
        self._folder = folder
        self._partitions = partitions
        self._mode = mode
        self._kills = kills
        self._frozen = frozen
        self._random = Random(f"{SEED} {mode} {processes}")
        self._running: list[subprocess.Popen[bytes]] = []
        self._processes = processes
        self._started = 0
        self._appended: list[Click | Order] = []
        self.killed = 0
        self.at_work = 0
        """Of those killed, how many had committed something."""

    def run(self) -> None:
        """Append, kill, start again; in the end let everything be read, and compare."""
        with App(self._path, durability="relaxed") as app, self._cleared():
            load_homes(app.log, self._partitions)
            reader = declare(app, self._folder, partitions=self._partitions, share=self._mode == "share")
            source = records(self._random, 1_000_000)
            for _ in range(self._processes):
                self._start()
            while self.killed < self._kills:
                self._kill_one(app, reader, source)
                self._start()
            for _ in range(self._frozen):
                self._freeze_one(app, reader, source)
            self._feed(app, source, 20)
            count = len(self._appended)
            append(app.log, last_records(count, self._partitions), self._partitions)
            self._until(lambda: reader.info().lag == 0, "everything was read")
            self._stop()
            # One that was told to stop before it knew how left rows that wait for their file.
            reader.run_now(threading.Event())
            wrong = difference(outputs(app.log), expected(self._appended))
            assert wrong == {}, f"missing, too much: {wrong}; the files are in {self._folder}"
            self._check_outside(app)
            assert reader.info().late == 0
            assert app.log.engine.check() == []
            print(f"\n{self.killed} killed, {self.at_work} of them at work; {count:,} records, every row once")
            assert self.at_work >= self._kills // 3

    # --- inside -----------------------------------------------------------------------------------------------------

    def _check_outside(self, app: App) -> None:
        clicks = Counter((record.visitor, record.n) for record in self._appended if isinstance(record, Click))
        assert found_homes(app.log) == expected_homes(self._appended)
        assert in_files(self._folder) == clicks, f"see {self._folder}"
        calls = called(self._folder)
        assert calls >= clicks
        assert set(calls) == set(clicks)

    def _kill_one(self, app: App, reader: StreamReader, source: Iterator[Click | Order]) -> None:
        """Let the processes work, then kill one at a moment that nobody chose."""
        if at_work := self.killed % 5 != 4:
            before = reader.info().committed
            deadline = time.monotonic() + PATIENCE_S
            while reader.info().committed == before:
                assert time.monotonic() < deadline, "nobody goes on"
                self._feed(app, source, 1)
                time.sleep(0.01)
        until = time.monotonic() + self._random.uniform(0, 0.4)
        while time.monotonic() < until:
            self._feed(app, source, 1)
            time.sleep(self._random.uniform(0, 0.01))
        process = self._running.pop(self._random.randrange(len(self._running)))
        assert process.poll() is None, f"a process ended by itself; see {self._folder}"
        process.kill()
        process.wait()
        self.killed += 1
        self.at_work += at_work

    def _freeze_one(self, app: App, reader: StreamReader, source: Iterator[Click | Order]) -> None:
        """Let a process stand still until the others took over what it had, if they can, and let it go on then."""
        self._until(lambda: reader.info().lag == 0, "all was read")
        self._feed(app, source, 5)
        process = self._random.choice(self._running)
        process.send_signal(signal.SIGSTOP)
        try:
            # One that was stopped within a commit keeps everybody waiting: nobody takes over then.
            until = time.monotonic() + FROZEN_S
            while time.monotonic() < until:
                time.sleep(0.1)
        finally:
            process.send_signal(signal.SIGCONT)

    def _feed(self, app: App, source: Iterator[Click | Order], times: int) -> None:
        for _ in range(times):
            some = [next(source) for _ in range(FEW)]
            append(app.log, some, self._partitions)
            self._appended += some

    def _start(self) -> None:
        command = [sys.executable, str(SCRIPT), self._path, str(self._partitions), self._mode]
        self._started += 1
        with (self._folder / f"process{self._started}.txt").open("wb") as told:
            self._running.append(subprocess.Popen(command, stdout=told, stderr=told))

    def _stop(self) -> None:
        """Stop softly: what is under way is finished."""
        for process in self._running:
            process.send_signal(signal.SIGTERM)
        for process in self._running:
            # One that has just been started does not know how to stop yet.
            ended_well = process.wait(PATIENCE_S) in (0, -signal.SIGTERM)
            assert ended_well, f"a process did not end well; see {self._folder}"

    def _until(self, true: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not true():
            assert time.monotonic() < deadline, f"it never came that {what}; see {self._folder}"
            time.sleep(0.05)

    @contextmanager
    def _cleared(self) -> Iterator[None]:
        try:
            yield
        finally:
            for process in self._running:
                process.kill()
                process.wait()


def run(folder: Path, **settings: Any) -> None:
    Processes(folder, **settings).run()


@pytest.mark.timeout(0 if FULL else 300)
@pytest.mark.parametrize("partitions", [1, 3])
def test_a_pipeline_that_is_killed_again_and_again_loses_and_repeats_nothing(tmp_path: Path, partitions: int) -> None:
    run(tmp_path, processes=1, partitions=partitions, mode="alone", kills=100 if FULL else 8 if partitions == 1 else 4)


@pytest.mark.timeout(0 if FULL else 300)
def test_a_process_that_stands_by_changes_nothing(tmp_path: Path) -> None:
    run(tmp_path, processes=2, partitions=2, mode="alone", kills=100 if FULL else 4)


@pytest.mark.timeout(0 if FULL else 300)
@pytest.mark.parametrize("processes", [2, 3])
def test_sharing_processes_that_are_killed_lose_and_repeat_nothing(tmp_path: Path, processes: int) -> None:
    run(tmp_path, processes=processes, partitions=4, mode="share", kills=100 if FULL else 6)


@pytest.mark.timeout(0 if FULL else 300)
def test_a_process_that_stood_still_and_goes_on_repeats_nothing(tmp_path: Path) -> None:
    run(tmp_path, processes=2, partitions=4, mode="share", kills=1, frozen=20 if FULL else 1)
