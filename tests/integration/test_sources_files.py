"""A directory of log files, watched."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from millstream.sources import files
from millstream.sources.files import PROGRAMS, FileSource, program_of, system_files


class Follower:
    """Reads a source in a thread, and stores lines with their positions."""

    def __init__(self, source: FileSource, positions: dict[bytes, bytes]) -> None:
        self.source = source
        self.positions = positions
        self.stop_event = threading.Event()
        self.notes: list[str] = []
        self.lines: list[tuple[str, str]] = []
        self.changed = threading.Condition()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        for reading in self.source.read(dict(self.positions), self.stop_event, self.notes.append):
            with self.changed:
                self.lines += [(Path(line.origin).name, line.data.decode()) for line in reading.lines]
                self.positions |= {key: value for key, value in reading.positions.items() if value is not None}
                self.changed.notify_all()

    def wait(self, count: int) -> list[tuple[str, str]]:
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.lines) >= count, 60), self.lines
            return self.lines

    def stop(self) -> None:
        self.stop_event.set()
        self.thread.join(60)
        assert not self.thread.is_alive()


@pytest.fixture
def follow() -> Iterator[Callable[..., Follower]]:
    followers: list[Follower] = []

    def start(source: FileSource, positions: dict[bytes, bytes] | None = None) -> Follower:
        followers.append(Follower(source, {} if positions is None else positions))
        return followers[-1]

    yield start
    for follower in followers:
        follower.stop()


def add(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


def test_what_is_there_what_is_added_and_what_appears_is_read(tmp_path: Path, follow: Callable[..., Follower]) -> None:
    a, b = tmp_path / "a.log", tmp_path / "b.log"
    add(a, "old 1\nold 2\nold 3\n")
    follower = follow(FileSource([a, b], lines_first=2))
    assert follower.wait(2) == [("a.log", "old 2"), ("a.log", "old 3")]
    add(a, "new\n")
    assert follower.wait(3)[2:] == [("a.log", "new")]
    add(b, "first of b\n")
    assert follower.wait(4)[3:] == [("b.log", "first of b")]
    assert follower.notes == [f"not on this machine, and read once they are: {b}"]
    assert follower.source.following() == (str(a), str(b))
    follower.stop()
    assert follower.source.following() == ()


def test_a_change_is_announced_and_not_waited_for(
    tmp_path: Path, follow: Callable[..., Follower], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_LOOK_MS", 600_000)  # the look that happens by itself comes too late for any of these
    path = tmp_path / "a.log"
    add(path, "old\n")
    follower = follow(FileSource([path]))
    follower.wait(1)
    written, until = 1, time.monotonic() + 60
    while len(follower.lines) < 2:  # those before changes are announced are seen with the first one after
        assert time.monotonic() < until
        add(path, "more\n")
        written += 1
        time.sleep(0.05)
    for i in range(10):
        add(path, f"{i}\n")
        follower.wait(written + 1 + i)


def test_lines_written_just_before_the_stop_are_read(tmp_path: Path, follow: Callable[..., Follower]) -> None:
    path = tmp_path / "a.log"
    add(path, "old\n")
    follower = follow(FileSource([path]))
    follower.wait(1)
    add(path, "last words\n")
    follower.stop()
    assert follower.lines == [("a.log", "old"), ("a.log", "last words")]


def test_a_second_start_goes_on_from_the_stored_positions(tmp_path: Path, follow: Callable[..., Follower]) -> None:
    path = tmp_path / "a.log"
    add(path, "1\n")
    source = FileSource([path])
    first = follow(source)
    first.wait(1)
    first.stop()
    add(path, "2\n")
    second = follow(source, first.positions)
    assert second.wait(1) == [("a.log", "2")]


def test_a_rotation_is_followed(tmp_path: Path, follow: Callable[..., Follower]) -> None:
    path = tmp_path / "a.log"
    add(path, "1\n")
    follower = follow(FileSource([path]))
    follower.wait(1)
    add(path, "2\n3 without its end")
    path.rename(tmp_path / "a.log.1")
    add(path, "4\n")
    assert [text for _, text in follower.wait(4)] == ["1", "2", "3 without its end", "4"]


def test_a_large_file_does_not_hold_up_the_others(tmp_path: Path, follow: Callable[..., Follower]) -> None:
    large, small = tmp_path / "large.log", tmp_path / "small.log"
    add(large, "x\n" * 50_000)
    add(small, "y\n")
    follower = follow(FileSource([large, small], lines_first=50_000))
    lines = follower.wait(50_001)
    assert lines.index(("small.log", "y")) < 10_000


def test_without_any_directory_nothing_is_read_and_the_stop_works(
    tmp_path: Path, follow: Callable[..., Follower]
) -> None:
    follower = follow(FileSource([tmp_path / "no" / "a.log"]))
    follower.stop()
    assert follower.lines == []


def test_the_files_of_programs_are_known_by_their_path() -> None:
    assert program_of("/var/log/dpkg.log") == "dpkg"
    assert program_of("/var/log/apt/history.log") == "apt"
    assert program_of("/var/log/syslog") is None
    assert program_of("/home/dpkg.log") is None
    assert len(system_files()) == len(PROGRAMS)


def test_entries_of_a_slow_query_log_are_put_together_by_its_format(
    tmp_path: Path, follow: Callable[..., Follower]
) -> None:
    add(tmp_path / "slow.log", "# User@Host: a[a] @ b []\nSELECT 1\nFROM c;\n# User@Host: a[a] @ b []\nSELECT 2;\n")
    follower = follow(FileSource([tmp_path / "slow.log"], format="mysql_slow"))
    assert follower.wait(2) == [
        ("slow.log", "# User@Host: a[a] @ b []\nSELECT 1\nFROM c;"),
        ("slow.log", "# User@Host: a[a] @ b []\nSELECT 2;"),
    ]
