"""Text files that grow, rotate and are cut, on a real file system."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

import pytest
from tests.integration.tail_follower import Follower, add, rotate

from millstream.sources import log_file
from millstream.sources.line_split import LINE_BYTES_MAX, READ_LINES_MAX, split


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "app.log"
    path.write_bytes(b"")
    return path


@pytest.fixture
def follower(log: Path) -> Follower:
    return Follower(log)


def test_lines_come_once_each_as_the_file_grows(log: Path, follower: Follower) -> None:
    add(log, "a\nb\n")
    assert follower.look() == [b"a", b"b"]
    assert follower.look() == []
    add(log, "c\r\n\n")
    assert follower.look() == [b"c"]


def test_a_line_without_its_end_waits_for_it(log: Path, follower: Follower) -> None:
    add(log, "whole\nha")
    assert follower.look() == [b"whole"]
    add(log, "lf\n")
    assert follower.look() == [b"half"]


def test_a_restart_goes_on_where_it_ended_even_inside_a_line(log: Path, follower: Follower) -> None:
    add(log, "a\nb\nhalf")
    follower.look()
    follower.restart()
    add(log, " a line\nc\n")
    assert follower.look() == [b"half a line", b"c"]


def test_a_reading_that_was_not_stored_is_read_again(log: Path, follower: Follower) -> None:
    add(log, "a\n")
    follower.look()
    add(log, "b\n")
    assert follower.tail.read() is not None  # not stored
    follower.restart()
    assert follower.look() == [b"b"]


def test_the_first_start_begins_with_the_last_lines(log: Path) -> None:
    add(log, "".join(f"{i}\n" for i in range(1000)) + "unfinished")
    follower = Follower(log, lines_first=3)
    assert follower.look() == [b"997", b"998", b"999"]
    add(log, " line\n")
    assert follower.look() == [b"unfinished line"]


@pytest.mark.parametrize(("count", "expected"), [(0, []), (1, [b"b"]), (2, [b"a", b"b"]), (5, [b"a", b"b"])])
def test_a_file_shorter_than_the_first_lines_is_read_whole(log: Path, count: int, expected: list[bytes]) -> None:
    add(log, "a\nb\n")
    assert Follower(log, lines_first=count).look() == expected


@pytest.mark.parametrize("count", [0, 1, 10_485, 10_486, 10_487, 25_000, 29_999, 30_000, 40_000])
def test_as_many_of_the_first_lines_are_read_as_are_asked_for(log: Path, count: int) -> None:
    written = [b"%099d" % n for n in range(30_000)]
    add(log, b"".join(line + b"\n" for line in written))
    assert Follower(log, lines_first=count).look() == written[max(0, 30_000 - count) :]


def test_the_first_lines_are_looked_for_so_far_back_only(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_file, "FIRST_BYTES_MAX", 1_500_050)
    add(log, (b"x" * 99 + b"\n") * 30_000)
    lines = Follower(log, lines_first=30_000).look()
    assert (len(lines), set(lines)) == (15_000, {b"x" * 99})


def test_a_file_that_appears_later_is_read_from_its_first_line(tmp_path: Path) -> None:
    follower = Follower(tmp_path / "late.log", lines_first=1)
    assert follower.look() == []
    add(follower.path, "a\nb\nc\n")
    assert follower.look() == [b"a", b"b", b"c"]
    assert follower.notes == []


def test_a_rotated_file_is_finished_before_the_new_one_is_begun(log: Path, follower: Follower) -> None:
    add(log, "a\n")
    follower.look()
    with log.open("ab") as writer:  # still open when the file is renamed, as with a daemon
        writer.write(b"b\n")
        log.rename(log.with_name("app.log.1"))
        log.write_bytes(b"d\n")
        writer.flush()
        assert follower.look() == [b"b"]
        writer.write(b"c\nlast without end")
    assert follower.look() == [b"c"]
    follower.clock.advance("999ms")
    assert follower.look() == []
    follower.clock.advance("1ms")
    assert follower.look() == [b"last without end", b"d"]
    add(log, "e\n")
    assert follower.look() == [b"e"]
    assert follower.notes == []


def test_a_rotated_file_that_still_grows_is_not_left(log: Path, follower: Follower) -> None:
    add(log, "a\n")
    follower.look()
    old = log.with_name("app.log.1")
    log.rename(old)
    log.write_bytes(b"new\n")
    for _ in range(5):
        follower.look()
        follower.clock.advance("900ms")
        add(old, "part ")
    add(old, "end\n")
    assert follower.look() == [b"part part part part part end"]
    follower.clock.advance("1s")
    assert follower.look() == [b"new"]


def test_several_rotations_while_nobody_read_are_read_in_their_order(log: Path, follower: Follower) -> None:
    add(log, "a\n")
    follower.look()
    follower.tail.close()
    for text in ("b\n", "c\n", "d\n"):
        add(log, text)
        rotate(log)
    log.with_name("app.log.4.gz").write_bytes(b"compressed")
    log.with_name("app.log.bak").write_bytes(b"somebody's copy\n")
    add(log, "e\n")
    follower.restart()
    assert follower.look() == [b"b", b"c", b"d"]  # what was renamed twice has no writer any more
    follower.clock.advance("1s")
    assert follower.look() == [b"e"]
    assert follower.notes == []


def test_dated_rotations_are_read_in_their_order(log: Path, follower: Follower) -> None:
    add(log, "a\n")
    follower.look()
    follower.tail.close()
    for date in ("20260211", "20260212", "20260213-1770937261"):
        add(log, f"{date}\n")
        log.rename(log.with_name(f"app.log-{date}"))
        log.write_bytes(b"")
    follower.restart()
    for _ in range(4):
        follower.look()
        follower.clock.advance("1s")
    assert follower.lines == [b"a", b"20260211", b"20260212", b"20260213-1770937261"]


def test_a_rotation_while_nobody_read_loses_nothing(log: Path, follower: Follower) -> None:
    add(log, "a\n")
    follower.look()
    follower.tail.close()
    add(log, "b\nc\n")
    log.rename(log.with_name("app.log.1"))
    add(log, "d\n")
    follower.restart()
    assert follower.look() == [b"b", b"c"]
    follower.clock.advance("1s")
    assert follower.look() == [b"d"]
    assert follower.notes == []


def test_a_file_that_is_gone_with_its_rotation_is_said(log: Path, follower: Follower) -> None:
    add(log, "a\n")
    follower.look()
    follower.tail.close()
    keep = log.with_name("elsewhere")
    log.rename(keep)  # its inode stays taken
    add(log, "b\n")
    follower.restart()
    assert follower.look() == [b"b"]
    assert len(follower.notes) == 1
    assert "begun anew" in follower.notes[0]


def test_an_inode_that_is_used_again_is_not_taken_for_the_old_file(log: Path, follower: Follower) -> None:
    add(log, "old line one\nold line two\n")
    follower.look()
    follower.tail.close()
    # Written in place: the same inode, longer than before, another content.
    log.write_bytes(b"new line one, and longer\nnew line two, and longer\n")
    follower.restart()
    assert follower.look() == [b"new line one, and longer", b"new line two, and longer"]


def test_an_emptied_file_is_read_from_its_start(log: Path, follower: Follower) -> None:
    add(log, "a\nb\n")
    follower.look()
    os.truncate(log, 0)
    assert follower.look() == []
    add(log, "c\n")
    assert follower.look() == [b"c"]
    assert [note for note in follower.notes if "emptied" in note]


def test_a_file_emptied_and_refilled_between_two_looks_is_noticed(log: Path, follower: Follower) -> None:
    add(log, "first\n")
    follower.look()
    os.truncate(log, 0)
    add(log, "other\nand more\n")
    assert follower.look() == [b"other", b"and more"]


def test_copytruncate_with_unread_lines_is_read_from_the_copy(log: Path, follower: Follower) -> None:
    add(log, "a line that is long enough to tell one file from another, as lines are\n")
    follower.look()
    add(log, "unread\n")
    shutil.copy(log, log.with_name("app.log.1"))
    os.truncate(log, 0)
    add(log, "next\n")
    assert follower.look() == [b"unread"]
    follower.clock.advance("1s")
    assert follower.look() == [b"next"]
    assert follower.notes == []


def test_a_deleted_file_is_let_go_and_its_successor_read_from_the_start(log: Path, follower: Follower) -> None:
    add(log, "a\nrest")
    follower.look()
    log.unlink()
    follower.look()
    follower.clock.advance("1s")
    assert follower.look() == [b"rest"]
    assert not follower.tail.open  # the disk space is free again
    add(log, "b\n")
    assert follower.look() == [b"b"]
    assert follower.notes == []


def test_runs_of_nul_are_left_out(log: Path, follower: Follower) -> None:
    add(log, b"\0" * 1000 + b"a\n" + b"\0" * 50 + b"\n")
    assert follower.look() == [b"a"]


def test_bytes_that_are_no_text_are_kept(log: Path, follower: Follower) -> None:
    add(log, b"\xfd\xfc caf\xe9\x0b\x0c\x85 \n")
    assert follower.look() == [b"\xfd\xfc caf\xe9\x0b\x0c\x85 "]


def test_a_very_long_line_comes_in_pieces_and_nothing_of_it_is_lost(log: Path, follower: Follower) -> None:
    line = random.Random(1).randbytes(3 * LINE_BYTES_MAX).replace(b"\n", b" ").replace(b"\r", b" ").replace(b"\0", b" ")
    add(log, b"before\n" + line[: LINE_BYTES_MAX + 10])
    pieces = follower.look()
    add(log, line[LINE_BYTES_MAX + 10 :] + b"\nafter\n")
    pieces += follower.look()
    assert [len(p) for p in pieces] == [6, LINE_BYTES_MAX, LINE_BYTES_MAX, LINE_BYTES_MAX, 5]
    assert b"".join(pieces[1:-1]) == line


def test_one_reading_is_bounded(log: Path, follower: Follower) -> None:
    follower.lines_first = None
    follower.restart()
    add(log, b"x\n" * (READ_LINES_MAX * 2 + 5))
    sizes = []
    while (reading := follower.tail.read()) is not None:
        sizes.append(len(reading.lines))
    assert sizes == [READ_LINES_MAX, READ_LINES_MAX, 5]


def test_a_file_that_may_not_be_read_is_said_and_read_once_it_may(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add(log, "a\n")
    if os.geteuid() == 0:
        # The super-user may read everything; so the operating system's refusal is put in by hand.
        def refuse(path: Path, flags: int) -> int:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(os, "open", refuse)
    else:
        log.chmod(0)
    follower = Follower(log)
    assert follower.look() == []
    assert follower.notes == [f"{log} may not be read by this user"]
    monkeypatch.undo()
    log.chmod(0o600)
    assert follower.look() == [b"a"]


def test_what_is_not_a_file_is_said_and_does_not_block(tmp_path: Path) -> None:
    path = tmp_path / "pipe.log"
    os.mkfifo(path)
    follower = Follower(path)
    assert follower.look() == []
    assert follower.notes == [f"{path} is not a file"]


def test_a_position_of_another_version_counts_as_none(log: Path) -> None:
    add(log, "a\nb\n")
    follower = Follower(log, lines_first=1)
    follower.position = b"\xc1 not one of ours"
    follower.restart()
    assert follower.look() == [b"b"]


@pytest.mark.parametrize("seed", range(20))
def test_every_line_comes_once_and_in_order_through_any_history(seed: int, tmp_path: Path) -> None:
    """A writer that adds, flushes parts of lines and rotates; a reader that looks and is killed; at random."""
    choose = random.Random(seed)
    log = tmp_path / "app.log"
    log.write_bytes(b"")
    follower = Follower(log, lines_first=None)
    add(log, "first\n")
    follower.look()  # from here on there is a position
    written = [b"first"]
    unfinished = b""
    rotations = 0
    for step in range(300):
        action = choose.choices(["add", "part", "look", "kill", "rotate", "pass time"], [6, 3, 6, 2, 1, 3])[0]
        if action == "add":
            line = unfinished + b"line %d of %d" % (step, seed)
            add(log, line[len(unfinished) :] + b"\n")
            written.append(line)
            unfinished = b""
        elif action == "part" and not unfinished:
            unfinished = b"part %d " % step
            add(log, unfinished)
        elif action == "look":
            follower.look()
        elif action == "kill":
            follower.restart()
        elif action == "rotate" and not unfinished:
            rotate(log)
            rotations += 1
        elif action == "pass time":
            follower.clock.advance("600ms")
    for _ in range(rotations * 2 + 2):
        follower.look()
        follower.clock.advance("1s")
    assert rotations > 0
    assert follower.lines == written


def test_split_cuts_at_the_same_places_however_the_bytes_come() -> None:
    choose = random.Random(2)
    data = b"".join(
        bytes(choose.choices(b"ab \r", k=choose.choice([0, 1, 5, LINE_BYTES_MAX, LINE_BYTES_MAX + 1]))) + b"\n"
        for _ in range(8)
    )
    whole, consumed = split(data)
    assert consumed == len(data)
    pieces: list[bytes] = []
    start = end = 0
    while start < len(data):
        end = min(len(data), end + choose.randrange(1, LINE_BYTES_MAX))
        lines, used = split(data[start:end])
        pieces += lines
        start += used
    assert pieces == whole
