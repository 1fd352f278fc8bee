"""Files that were rotated, compressed and copied while nothing read them, or in the middle of it."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import importlib
import lzma
import os
import random
import shutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest
from tests.integration.tail_follower import Follower, add, rotate

from millstream.sources.compressed import CompressedText, decompressor_of
from millstream.sources.lineage import COMPRESSION_QUIET_US
from millstream.sources.rotation import generations, is_generation

COMPRESS: dict[str, Callable[[bytes], bytes]] = {".gz": gzip.compress, ".xz": lzma.compress, ".bz2": bz2.compress}
for name in ("compression.zstd", "backports.zstd"):
    if find_spec(name.partition(".")[0]) is not None:
        with contextlib.suppress(ImportError):
            COMPRESS.setdefault(".zst", importlib.import_module(name).compress)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "app.log"
    path.write_bytes(b"")
    return path


@pytest.fixture
def follower(log: Path) -> Follower:
    return Follower(log, lines_first=None)


def compress(path: Path, suffix: str = ".gz") -> Path:
    """As gzip and its kin do: the compressed one has the time of the other, which is deleted."""
    status = path.stat()
    to = path.with_name(path.name + suffix)
    to.write_bytes(COMPRESS[suffix](path.read_bytes()))
    os.utime(to, ns=(status.st_atime_ns, status.st_mtime_ns))
    path.unlink()
    return to


def read_all(follower: Follower) -> None:
    for _ in range(10):
        follower.look()
        follower.clock.advance("1s")


@pytest.mark.parametrize("suffix", COMPRESS)
@pytest.mark.parametrize("lines", [1, 3, 100])
def test_a_file_rotated_and_compressed_while_nothing_read_it_is_read_on(
    log: Path, follower: Follower, suffix: str, lines: int
) -> None:
    before = [f"before {i}" for i in range(lines)]
    add(log, "".join(f"{line}\n" for line in before))
    follower.look()
    follower.tail.close()
    add(log, "unread\n")
    rotate(log)
    compress(log.with_name("app.log.1"), suffix)
    add(log, "new\n")
    follower.restart()
    read_all(follower)
    assert follower.lines == [line.encode() for line in [*before, "unread", "new"]]
    assert follower.notes == []


def test_all_generations_since_are_read_in_their_order(log: Path, follower: Follower) -> None:
    add(log, "0\n")
    follower.look()
    follower.tail.close()
    for generation in range(1, 6):
        add(log, f"{generation} a\n{generation} b\n")
        for number in range(5, 0, -1):
            for suffix in ("", ".gz"):
                older = log.with_name(f"app.log.{number}{suffix}")
                if older.exists():
                    older.rename(log.with_name(f"app.log.{number + 1}{suffix}"))
        log.rename(log.with_name("app.log.1"))
        log.write_bytes(b"")
        if generation < 5:  # delaycompress: the youngest stays as it is
            compress(log.with_name("app.log.1"))
    add(log, "6\n")
    follower.restart()
    read_all(follower)
    wanted = [b"0", *(f"{g} {part}".encode() for g in range(1, 6) for part in "ab"), b"6"]
    assert follower.lines == wanted
    assert follower.notes == []


@pytest.mark.parametrize(
    "names",
    [
        ["app.log-20260211.gz", "app.log-20260212.gz", "app.log-20260213"],
        ["app.log-1770937261.xz", "app.log-1770937262.xz", "app.log-1770937263.xz"],
        ["app-20260211.log.bz2", "app-20260212.log.gz", "app-20260213.log"],
        ["app-2026-02-11T10-00-00.000.log.gz", "app-2026-02-11T11-00-00.000.log.gz", "app-2026-02-12T10-00-00.1.log"],
        ["app.log.2026-02-11", "app.log.2026-02-12", "app.log.2026-02-13_04"],
        ["old/app.log.3.gz", "old/app.log.2.gz", "old/app.log.1"],
    ],
)
def test_other_names_and_directories_are_known(log: Path, names: list[str]) -> None:
    follower = Follower(log, lines_first=None, directories=[log.parent / "old"])
    (log.parent / "old").mkdir()
    add(log, "begin\n")
    os.utime(log, (1_769_999_999, 1_769_999_999))
    follower.look()
    follower.tail.close()
    for number, name in enumerate(names):
        add(log, f"{name}\n")
        to = log.parent / name
        plain = to.with_suffix("") if to.suffix in COMPRESS else to
        log.rename(plain)
        log.write_bytes(b"")
        os.utime(plain, (1_770_000_000 + number, 1_770_000_000 + number))
        if plain != to:
            compress(plain, to.suffix)
    add(log, "end\n")
    follower.restart()
    read_all(follower)
    assert follower.lines == [line.encode() for line in ["begin", *names, "end"]]


def test_a_file_compressed_while_it_is_read_is_read_on(log: Path, follower: Follower) -> None:
    add(log, "".join(f"line {i}\n" for i in range(12_000)))
    reading = follower.tail.read()
    assert reading is not None
    follower.lines += [line.data for line in reading.lines]
    follower.position = reading.positions[follower.tail.key]
    rotate(log)
    compress(log.with_name("app.log.1"))
    add(log, "new\n")
    follower.restart()
    reading = follower.tail.read()
    assert reading is not None
    follower.lines += [line.data for line in reading.lines]
    follower.position = reading.positions[follower.tail.key]
    log.with_name("app.log.1.gz").rename(log.with_name("app.log.2.gz"))  # and on, in the middle of the compressed one
    follower.restart()
    read_all(follower)
    assert follower.lines == [f"line {i}".encode() for i in range(12_000)] + [b"new"]


def test_compression_that_still_runs_is_waited_for(log: Path, follower: Follower) -> None:
    add(log, "first\n")
    follower.look()
    follower.tail.close()
    choose = random.Random(3)
    rest = [f"{choose.getrandbits(256):x}" for _ in range(3000)]
    add(log, "".join(f"{line}\n" for line in rest))
    whole = gzip.compress(log.read_bytes())
    log.unlink()
    add(log, "new\n")
    target = log.with_name("app.log.1.gz")
    follower.restart()
    follower.to_now()
    for size in (0, 1, 7, 30, len(whole) // 2, len(whole) - 4):
        target.write_bytes(whole[:size])
        for _ in range(3):
            follower.look()
            follower.clock.advance("1s")
        assert b"new" not in follower.lines
        assert len(follower.lines) > 500 or size < 100  # what is there already is read
    target.write_bytes(whole)
    read_all(follower)
    assert follower.lines == [line.encode() for line in ["first", *rest, "new"]]
    assert follower.notes == []


def test_a_compressed_file_that_stays_without_its_end_is_said_and_left(log: Path, follower: Follower) -> None:
    add(log, "first\n")
    follower.look()
    follower.tail.close()
    add(log, "".join(f"{i}\n" for i in range(2000)))
    whole = gzip.compress(log.read_bytes())
    log.with_name("app.log.1.gz").write_bytes(whole[: len(whole) - 8])
    log.unlink()
    add(log, "new\n")
    follower.restart()
    read_all(follower)
    assert follower.lines[-1] == b"1999"
    follower.clock.advance(COMPRESSION_QUIET_US / 1e6)
    read_all(follower)
    assert follower.lines[-1] == b"new"
    assert [note for note in follower.notes if "cut off" in note]


def test_damage_in_a_compressed_file_is_said_and_the_next_one_read(log: Path, follower: Follower) -> None:
    add(log, "first\n")
    follower.look()
    follower.tail.close()
    choose = random.Random(4)
    add(log, "".join(f"{choose.getrandbits(256):x}\n" for _ in range(3000)))
    whole = bytearray(gzip.compress(log.read_bytes()))
    whole[len(whole) // 2 : len(whole) // 2 + 100] = bytes(100)
    log.with_name("app.log.1.gz").write_bytes(whole)
    log.unlink()
    add(log, "new\n")
    follower.restart()
    read_all(follower)
    assert follower.lines[0] == b"first"
    assert len(follower.lines) > 1000
    assert follower.lines[-1] == b"new"
    assert [note for note in follower.notes if "damaged" in note]


def test_both_forms_of_a_file_are_one_while_it_is_compressed(log: Path, follower: Follower) -> None:
    add(log, "a line that was read before\n")
    follower.look()
    follower.tail.close()
    add(log, "unread\n")
    rotate(log)
    old = log.with_name("app.log.1")
    whole = gzip.compress(old.read_bytes())
    old.with_name("app.log.1.gz").write_bytes(whole[:20])
    add(log, "new\n")
    follower.restart()
    follower.look()
    old.with_name("app.log.1.gz").write_bytes(whole)
    old.unlink()
    read_all(follower)
    assert follower.lines == [b"a line that was read before", b"unread", b"new"]


def test_a_copy_that_lacks_what_was_read_already_is_not_read_again(log: Path, follower: Follower) -> None:
    """copytruncate: what is written between copy and truncation is in the file only, and may have been read from it."""
    add(log, "copied\n")
    shutil.copy(log, log.with_name("app.log.1"))
    add(log, "between\n")
    follower.look()
    os.truncate(log, 0)
    add(log, "after\n")
    read_all(follower)
    assert follower.lines == [b"copied", b"between", b"after"]


def test_a_file_deleted_unread_is_said_and_the_next_generation_read(log: Path, follower: Follower) -> None:
    add(log, "read\n")
    os.utime(log, (1_770_000_000, 1_770_000_000))
    follower.look()
    follower.tail.close()
    add(log, "lost\n")
    log.unlink()
    add(log, "next generation\n")
    rotate(log)
    add(log, "now\n")
    follower.restart()
    read_all(follower)
    assert follower.lines == [b"read", b"next generation", b"now"]
    assert len(follower.notes) == 1
    assert "removed before all of it was read" in follower.notes[0]


def test_a_renamed_file_that_was_idle_for_long_is_still_waited_for(log: Path, follower: Follower) -> None:
    add(log, "a\n")
    follower.look()
    follower.clock.advance("1h")
    follower.look()
    log.rename(log.with_name("app.log.1"))
    log.write_bytes(b"new\n")
    assert follower.look() == []
    add(log.with_name("app.log.1"), "its writer has not turned yet\n")
    read_all(follower)
    assert follower.lines == [b"a", b"its writer has not turned yet", b"new"]


def test_an_idle_file_sleeps_and_wakes_when_it_changes(log: Path, follower: Follower) -> None:
    add(log, "a\n")
    follower.look()
    assert follower.tail.sleep()
    assert not follower.tail.open
    assert follower.look() == []
    assert not follower.tail.open
    add(log, "b\n")
    assert follower.look() == [b"b"]
    add(log, "part")
    follower.look()
    assert not follower.tail.sleep()  # there is more to come
    add(log, "\n")
    follower.look()
    assert follower.tail.sleep()
    rotate(log)
    add(log, "c\n")
    read_all(follower)
    assert follower.lines == [b"a", b"b", b"part", b"c"]


def test_generations_are_told_from_other_files(tmp_path: Path) -> None:
    log = tmp_path / "app.log"
    for name in (
        "app.log",
        "app.log.1",
        "app.log.10.gz",
        "app.log.bak",
        "app.log.1.bak",
        "application.log",
        "app-2.log",
    ):
        (tmp_path / name).write_text(name)
    assert [one.path.name for one in generations(log)] == ["app.log.10.gz", "app.log.1", "app.log"]
    assert is_generation(tmp_path / "app.log.1.xz", log)
    assert not is_generation(tmp_path / "app.log.gz", log)
    assert not is_generation(log, log)


@pytest.mark.parametrize("suffix", COMPRESS)
def test_compressed_text_is_read_at_any_offset_with_several_streams(tmp_path: Path, suffix: str) -> None:
    choose = random.Random(9)
    parts = [choose.randbytes(choose.randrange(300_000)) + b"a" * 900_000 for _ in range(3)]
    path = tmp_path / "x"
    path.write_bytes(b"".join(COMPRESS[suffix](part) for part in parts))
    text = b"".join(parts)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        make = decompressor_of(path.read_bytes()[:6])
        assert make is not None
        found = CompressedText(descriptor, make)
        for offset in [0, 10, 5, 700_000, *(choose.randrange(len(text)) for _ in range(10)), len(text), len(text) + 5]:
            assert found.read(100_000, offset) == text[offset : offset + 100_000]
        assert found.read(len(text), 0) == text
        assert found.complete
    finally:
        os.close(descriptor)


@pytest.mark.parametrize("seed", range(25))
def test_every_line_comes_once_whatever_rotates_compresses_and_copies(seed: int, tmp_path: Path) -> None:
    """As the same test of plain rotations; generations are compressed at any time, and some are copies."""
    choose = random.Random(seed)
    copies = seed % 2 == 1
    log = tmp_path / "app.log"
    log.write_bytes(b"")
    follower = Follower(log, lines_first=None)
    follower.to_now()
    add(log, "first\n")
    follower.look()
    written = [b"first"]
    rotations = 0
    for step in range(400):
        action = choose.choices(["add", "look", "kill", "rotate", "compress", "pass time"], [6, 5, 2, 1, 1, 3])[0]
        if action == "add":
            add(log, f"line {step} of {seed}\n")
            written.append(f"line {step} of {seed}".encode())
        elif action == "look":
            follower.look()
        elif action == "kill":
            follower.restart()
        elif action == "rotate" and log.stat().st_size:
            for number in range(rotations, 0, -1):
                for suffix in ("", ".gz"):
                    older = tmp_path / f"app.log.{number}{suffix}"
                    if older.exists():
                        older.rename(tmp_path / f"app.log.{number + 1}{suffix}")
            rotations += 1
            if copies:
                shutil.copy(log, tmp_path / "app.log.1")
                os.truncate(log, 0)
            else:
                log.rename(tmp_path / "app.log.1")
                log.write_bytes(b"")
        elif action == "compress":
            plain = [one.path for one in generations(log)[:-1] if one.path.suffix != ".gz"]
            if plain:
                compress(plain[0])
        elif action == "pass time":
            follower.clock.advance("600ms")
    for _ in range(rotations * 2 + 2):
        follower.look()
        follower.clock.advance("1s")
    assert rotations > 0
    assert follower.lines == written
    assert follower.notes == []


def test_zstd_that_nothing_here_can_read_is_said(
    log: Path, follower: Follower, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(name: str) -> object:
        raise ImportError(name)

    monkeypatch.setattr("millstream.sources.compressed.importlib.import_module", refuse)
    add(log, "1\n")
    follower.look()
    rotate(log)
    follower.look()
    log.with_name("app.log.1").rename(log.with_name("app.log.2"))
    log.with_name("app.log.1.zst").write_bytes(b"\x28\xb5\x2f\xfd" + bytes(20))
    add(log, "new\n")
    follower.clock.advance("2s")
    read_all(follower)
    assert follower.lines == [b"1", b"new"]
    assert [note for note in follower.notes if "pip install 'millstream[zstd]'" in note]
