"""`kill -9` while the log of a container is written and rotated: each line once, each stack trace whole.

The lines of its two streams stand between one another, as a runtime writes them.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from millstream import App
from millstream.parsers.log_event import LogEvent
from millstream.sources.files import FileSource
from millstream.sources.multiline import Multiline
from millstream.sources.system import follow_system

KILLS = int(os.environ.get("MILLSTREAM_TEST_KILLS", "5"))
LIVES_S = 0.8
"""How long a process is left alive at most once it follows."""
FOLLOWER = """
import sys, threading
from millstream import App
from millstream.sources.files import FileSource
from millstream.sources.multiline import Multiline
from millstream.sources.system import follow_system

# A machine that is busy may stop the writer within a trace for longer than usual.
traces = Multiline(preset="traces", quiet="60s")
source = FileSource([sys.argv[2]], format="container", multiline=traces, lines_first=None)
with App(sys.argv[1]) as app, follow_system(app, sources=[source]):
    print("following", flush=True)
    threading.Event().wait()
"""


class Container:
    """Writes what two streams say until told to stop; a trace is not rotated in its middle."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.finished = threading.Event()
        self.lines: list[str] = []
        self.traces = 0
        self._chance = random.Random(11)
        self._number = 0

    def begin(self) -> None:
        self.lines += self._mixed()
        self.path.write_text("".join(f"{line}\n" for line in self.lines))

    def write(self) -> None:
        pause = threading.Event()
        while not self.finished.is_set():
            with self.path.open("a") as file:
                for _ in range(self._chance.choice([1, 5, 60])):
                    for line in self._mixed():
                        self.lines.append(line)
                        file.write(f"{line}\n")
                        if self._chance.random() < 0.02:
                            file.flush()
                            pause.wait(0.005)
            pause.wait(0.01)
            if self._chance.random() < 0.03:
                # Rotations are hours apart; here at least so far that a follower comes to know the file between two.
                pause.wait(0.5)
                self.path.rename(self.path.with_name(f"{self.path.name}.{datetime.now(UTC):%Y%m%d-%H%M%S%f}"))

    def _mixed(self) -> list[str]:
        queues = [self._said(stream) for stream in ("stdout", "stderr")]
        found = []
        while any(queues):
            found.append(self._chance.choice([queue for queue in queues if queue]).pop(0))
        return found

    def _said(self, stream: str) -> list[str]:
        self._number += 1
        texts = [f"INFO request {self._number}"]
        if self._chance.random() < 0.5:
            self.traces += 1
            frame = f'  File "a.py", line {self._number}'
            texts = ["Traceback (most recent call last):", frame, f"ValueError: {self._number}"]
        now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%f}000Z"
        return [f"{now} {stream} F {text}" for text in texts]


def killed(url: str, path: Path, chance: random.Random) -> None:
    """Start a follower, and kill it at some moment."""
    command = [sys.executable, "-c", FOLLOWER, url, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == b"following\n"
            threading.Event().wait(chance.uniform(0, LIVES_S))
        finally:
            process.kill()


def read_all(app: App, path: Path) -> None:
    traces = Multiline(preset="traces", quiet="60s")
    source = FileSource([path], format="container", multiline=traces, lines_first=None, follow=False)
    with follow_system(app, sources=[source]) as follower:
        follower.join()
    assert follower.notes == ()


def test_each_line_is_stored_once_and_each_trace_whole(tmp_path: Path) -> None:
    container = Container(tmp_path / "0.log")
    url = f"sqlite:///{tmp_path / 'log.db'}"
    container.begin()
    with App(url) as app:  # what was renamed before anything of it was read is another file's
        read_all(app, container.path)
    writer = threading.Thread(target=container.write)
    writer.start()
    chance = random.Random(13)
    try:
        for _ in range(KILLS):
            killed(url, container.path, chance)
    finally:
        container.finished.set()
        writer.join()
    container.path.touch()  # it may have been renamed last
    with App(url) as app:
        read_all(app, container.path)
        events = app.topic("system", LogEvent, time="time").frame().collect()
    assert Counter(events["raw"].str.split("\n").explode()) == Counter(container.lines)
    ended = events.filter(pl.col("message").str.contains("ValueError"))
    # Below the line that tells of it a trace belongs to that line's event.
    whole = ended.filter(
        pl.col("message").str.contains(r'(?:^|\n)Traceback .*\n  File "a.py", line [0-9]+\nValueError: [0-9]+$')
    )
    numbers = whole["message"].str.extract_groups(r"line ([0-9]+)\nValueError: ([0-9]+)$").struct.unnest()
    assert numbers["1"].equals(numbers["2"], check_names=False)
    assert ended.height == whole.height == container.traces
