"""Patterns of files: what they mean now, later, and after a rotation."""

from __future__ import annotations

import gzip
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.integration.test_sources_files import Follower, add, follow
from tests.integration.test_sources_system import until

from millstream.errors import UsageError
from millstream.sources import followed
from millstream.sources.files import FileSource
from millstream.sources.patterns import FilePattern, without_generations

__all__ = ["follow"]


def read_once(source: FileSource, positions: dict[bytes, bytes]) -> list[tuple[str, str]]:
    """Read what there is, as the next start would after this one."""
    lines: list[tuple[str, str]] = []
    for reading in source.read(dict(positions), threading.Event(), lambda sentence: None):
        lines += [(Path(line.origin).name, line.data.decode()) for line in reading.lines]
        if reading.lines:
            for key, value in reading.positions.items():
                if value is None:
                    positions.pop(key, None)
                else:
                    positions[key] = value
    return lines


def test_files_of_a_pattern_are_read_as_they_appear(tmp_path: Path, follow: Callable[..., Follower]) -> None:
    add(tmp_path / "a.log", "1\n2\n3\n")
    add(tmp_path / "a.txt", "not meant\n")
    add(tmp_path / ".hidden.log", "not meant\n")
    follower = follow(FileSource([f"{tmp_path}/*.log"], lines_first=2))
    assert follower.wait(2) == [("a.log", "2"), ("a.log", "3")]
    add(tmp_path / "b.log", "first of b\n")
    assert follower.wait(3)[2:] == [("b.log", "first of b")]
    add(tmp_path / "a.log", "4\n")
    assert follower.wait(4)[3:] == [("a.log", "4")]
    assert set(follower.source.following()) == {f"{tmp_path}/a.log", f"{tmp_path}/b.log"}
    assert follower.notes == []


def test_a_directory_may_appear_later_at_any_depth(tmp_path: Path, follow: Callable[..., Follower]) -> None:
    follower = follow(FileSource([f"{tmp_path}/logs/**/error.log"]))
    until(lambda: bool(follower.notes), "it was looked for")
    deep = tmp_path / "logs" / "one" / "two"
    deep.mkdir(parents=True)
    add(deep / "error.log", "deep\n")
    assert follower.wait(1) == [("error.log", "deep")]
    add(tmp_path / "logs" / "error.log", "at the top\n")
    assert follower.wait(2)[1:] == [("error.log", "at the top")]
    assert follower.notes == [f"no file is named like {tmp_path}/logs/**/error.log yet; each is read once there is one"]


def test_rotated_files_are_no_new_ones(tmp_path: Path, follow: Callable[..., Follower]) -> None:
    log = tmp_path / "a.log"
    add(log, "1\n")
    follower = follow(FileSource([f"{tmp_path}/*"], lines_first=None))
    follower.wait(1)
    add(log, "2\n")
    log.rename(tmp_path / "a.log.1")
    add(log, "3\n")
    assert [text for _, text in follower.wait(3)] == ["1", "2", "3"]
    (tmp_path / "a.log.1.gz").write_bytes(gzip.compress((tmp_path / "a.log.1").read_bytes()))
    (tmp_path / "a.log.1").unlink()
    add(log, "4\n")
    assert [text for _, text in follower.wait(4)] == ["1", "2", "3", "4"]
    follower.stop()
    again = follow(FileSource([f"{tmp_path}/*"], lines_first=None), follower.positions)
    add(log, "5\n")
    assert again.wait(1) == [("a.log", "5")]


def test_a_file_renamed_to_a_name_that_tells_nothing_is_no_new_one(
    tmp_path: Path, follow: Callable[..., Follower]
) -> None:
    log = tmp_path / "a.log"
    add(log, "a line that is long enough to be told from others by its beginning, as lines are\n")
    follower = follow(FileSource([f"{tmp_path}/*.log"], lines_first=None))
    follower.wait(1)
    log.rename(tmp_path / "old.log")
    add(tmp_path / "old.log", "2\n")
    add(log, "3\n")
    assert follower.wait(3)[1:] == [("a.log", "2"), ("a.log", "3")]
    add(tmp_path / "old.log", "somebody adds to it\n")
    assert follower.wait(4)[3:] == [("old.log", "somebody adds to it")]
    follower.stop()
    again = follow(FileSource([f"{tmp_path}/*.log"], lines_first=None), follower.positions)
    add(log, "4\n")
    assert again.wait(1) == [("a.log", "4")]


def test_a_file_renamed_before_the_next_one_has_a_line_is_no_new_one(
    tmp_path: Path, follow: Callable[..., Follower]
) -> None:
    log = tmp_path / "a.log"
    add(log, "a line that is long enough to be told from others by its beginning, as lines are\n")
    follower = follow(FileSource([f"{tmp_path}/*.log"], lines_first=None))
    follower.wait(1)
    log.rename(tmp_path / "old.log")
    log.touch()
    inode = log.stat().st_ino
    tails = follower.source._files
    assert tails is not None
    position = tails._tails[log]
    until(lambda: position.position is not None and position.position.inode == inode, "the old file was left")
    add(log, "2\n")
    assert follower.wait(2)[1:] == [("a.log", "2")]
    follower.stop()
    again = follow(FileSource([f"{tmp_path}/*.log"], lines_first=None), follower.positions)
    add(log, "3\n")
    again.wait(1)
    again.stop()
    assert [text for _, text in [*follower.lines, *again.lines][1:]] == ["2", "3"]


def test_a_file_renamed_while_nothing_read_is_found_under_its_new_name(tmp_path: Path) -> None:
    log, positions = tmp_path / "a.log", dict[bytes, bytes]()
    source = FileSource([f"{tmp_path}/*.log"], lines_first=None, follow=False)
    add(log, "1\n")
    assert read_once(source, positions) == [("a.log", "1")]
    add(log, "2\n")
    log.rename(tmp_path / "old.log")
    add(log, "3\n")
    assert read_once(source, positions) == [("a.log", "2"), ("a.log", "3")]
    add(log, "4\n")
    assert read_once(source, positions) == [("a.log", "4")]


def test_a_file_that_came_while_nothing_read_is_read_from_its_first_line(tmp_path: Path) -> None:
    positions: dict[bytes, bytes] = {}
    source = FileSource([f"{tmp_path}/*.log"], lines_first=1, follow=False)
    add(tmp_path / "a.log", "1\n2\n")
    assert read_once(source, positions) == [("a.log", "2")]
    add(tmp_path / "b.log", "1\n2\n3\n")
    assert read_once(source, positions) == [("b.log", "1"), ("b.log", "2"), ("b.log", "3")]
    assert read_once(source, positions) == []


def test_what_rotated_twice_is_read_on_in_one_pass_that_does_not_follow(tmp_path: Path) -> None:
    log, positions = tmp_path / "a.log", dict[bytes, bytes]()
    source = FileSource([log], lines_first=None, follow=False)
    add(log, "1\n")
    assert read_once(source, positions) == [("a.log", "1")]
    add(log, "2\n")
    log.rename(tmp_path / "a.log.2")
    add(log, "3\n")
    log.rename(tmp_path / "a.log.1")
    add(log, "4\n")
    assert [text for _, text in read_once(source, positions)] == ["2", "3", "4"]


def test_thousands_of_files_need_few_descriptors(
    tmp_path: Path, follow: Callable[..., Follower], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(followed, "OPEN_MAX", 20)
    for number in range(2000):
        (tmp_path / f"{number}.log").write_text(f"{number}\n")
    before = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").is_dir() else 0
    follower = follow(FileSource([f"{tmp_path}/*.log"], lines_first=None))
    follower.wait(2000)
    for number in range(0, 2000, 100):
        add(tmp_path / f"{number}.log", "more\n")
    follower.wait(2020)
    if before:
        assert len(os.listdir("/proc/self/fd")) - before < 60
    assert len(follower.source.following()) == 2000


def test_a_file_that_is_long_gone_is_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(followed, "FORGET_US", 0)
    positions: dict[bytes, bytes] = {}
    add(tmp_path / "a.log", "1\n")
    add(tmp_path / "b.log", "1\n")
    source = FileSource([f"{tmp_path}/*.log"], lines_first=None, follow=False)
    read_once(source, positions)
    (tmp_path / "a.log").unlink()
    files = followed.FollowedFiles(
        [f"{tmp_path}/*.log"], positions, clock=source._clock, note=print, lines_first=None, multiline=None, olddirs=[]
    )
    files.search()
    add(tmp_path / "b.log", "2\n")
    [reading] = files.round(None)
    files.close()
    assert reading.positions[b"file:" + os.fsencode(tmp_path / "a.log")] is None


def test_events_of_several_lines_and_formats_are_asked_for_by_name(tmp_path: Path) -> None:
    log = tmp_path / "app.log"
    add(log, "2026-03-01 10:00:00 ERROR no\nTraceback (most recent call last):\n  File 'x'\nValueError: no\n")
    source = FileSource([log], lines_first=None, follow=False, multiline="python", format="auto")
    [(_, event)] = read_once(source, {})
    assert event.endswith("ValueError: no")
    parser = FileSource([log], format="%{WORD:user} %{GREEDYDATA:message}").parser(str(log))
    assert parser.format == "pattern"
    with pytest.raises(UsageError, match="there is no format"):
        FileSource([log], format="cobol")
    with pytest.raises(UsageError, match="no multiline preset"):
        FileSource([log], multiline="cobol")


@pytest.mark.parametrize(
    ("pattern", "meant", "not_meant"),
    [
        ("/l/*.log", ["/l/a.log", "/l/b-1.log"], ["/l/.a.log", "/l/a.txt", "/l/x/a.log"]),
        ("/l/**/e.log", ["/l/e.log", "/l/a/e.log", "/l/a/b/e.log"], ["/l/a/f.log", "/e.log"]),
        ("/l/**", ["/l/a", "/l/a/b"], ["/l", "/m/a"]),
        ("/l/[ab]/?.log", ["/l/a/x.log", "/l/b/y.log"], ["/l/c/x.log", "/l/a/xx.log"]),
        ("/l/.*.log", ["/l/.a.log"], ["/l/a.log"]),
    ],
)
def test_a_pattern_means_what_a_shell_would(pattern: str, meant: list[str], not_meant: list[str]) -> None:
    found = FilePattern(pattern)
    assert [path for path in [*meant, *not_meant] if found.matches(Path(path))] == meant


def test_rotated_names_are_told_from_others_that_look_alike() -> None:
    names = [
        "a.log",
        "a.log.1",
        "a.log.2.gz",
        "b.log.1",
        "a-20260211.log",
        "a-2.log",
        "c-20260211.log",
        "a.log.gz",
        "d.gz",
    ]
    left = without_generations([Path("/l", name) for name in names], [])
    assert [path.name for path in left] == ["a.log", "b.log.1", "a-2.log", "c-20260211.log", "d.gz"]
