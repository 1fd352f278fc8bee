"""Files in UTF-16, as Windows writes them: read as lines across restarts, whatever piece of them is there."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millstream.clock import SystemClock
from millstream.sources.heads import head_of
from millstream.sources.line_split import LINE_BYTES_MAX, split
from millstream.sources.multiline import Multiline
from millstream.sources.stream_lines import StreamLines
from millstream.sources.tail import FileTail
from millstream.sources.utf16 import BIG, LITTLE, Utf16, utf16_of

BOTH = pytest.mark.parametrize("order", [LITTLE, BIG], ids=lambda order: order.codec)
# What looks like a line end in one byte of it, what takes two units, half of such a one.
characters = st.sampled_from("ab 0\täЖ\u010a\u0a0a\u0a05\u2028😀𐀊\ud83d\ude00\0")
texts = st.lists(st.text(characters, max_size=6), max_size=8)


def tail_of(path: Path, position: bytes | None = None, *, lines_first: int | None = None) -> FileTail:
    return FileTail(path, position, lines_first=lines_first, clock=SystemClock(), note=lambda sentence: None)


def read_all(tail: FileTail) -> list[bytes]:
    found: list[bytes] = []
    while (reading := tail.read()) is not None:
        found += [line.data for line in reading.lines]
    return found


def as_utf8(text: str) -> bytes:
    """Halves that stand side by side are one character, in UTF-16 as well."""
    whole = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
    return whole.encode("utf-8", "surrogatepass")


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from([LITTLE, BIG]),
    texts,
    st.lists(st.tuples(st.integers(0, 60), st.booleans()), max_size=12),
    st.sampled_from(["\n", "\r\n"]),
)
def test_each_line_comes_once_however_its_bytes_come(
    tmp_path_factory: pytest.TempPathFactory, order: Utf16, lines: list[str], steps: list[tuple[int, bool]], end: str
) -> None:
    path = tmp_path_factory.mktemp("utf16") / "a.log"
    data = order.mark + "".join(line + end for line in lines).encode(order.codec, "surrogatepass")
    tail, found, place = tail_of(path), [], 0
    for size, restarts in [*steps, (len(data), False)]:
        with path.open("ab") as file:
            file.write(data[place : place + size])
        place += size
        found += read_all(tail)
        if restarts:
            position = None if tail.position is None else tail.position.encode()
            tail.close()
            tail = tail_of(path, position)
    tail.close()
    wanted = [as_utf8(line).lstrip(b"\0") for line in lines]
    assert found == [line for line in wanted if line]


@BOTH
@settings(max_examples=100, deadline=None)
@given(lines=texts, count=st.integers(0, 9), half=st.booleans())
def test_the_last_lines_are_found(
    tmp_path_factory: pytest.TempPathFactory, order: Utf16, lines: list[str], count: int, half: bool
) -> None:
    path = tmp_path_factory.mktemp("utf16") / "a.log"
    whole = ["first", *lines]
    path.write_bytes(
        order.mark + "".join(f"{line}\n" for line in whole).encode(order.codec, "surrogatepass") + b"x" * half
    )
    tail = tail_of(path, lines_first=count)
    wanted = [as_utf8(line).lstrip(b"\0") for line in whole[max(0, len(whole) - count) :]]
    assert read_all(tail) == [line for line in wanted if line]
    tail.close()


@BOTH
def test_a_file_without_a_mark_is_known_by_its_first_signs(tmp_path: Path, order: Utf16) -> None:
    path = tmp_path / "ERRORLOG"
    path.write_bytes("2026-03-01 10:00:00.12 Server  Größe\r\nЖ\r\nno end".encode(order.codec))
    tail = tail_of(path)
    assert read_all(tail) == ["2026-03-01 10:00:00.12 Server  Größe".encode(), "Ж".encode()]
    path.unlink()
    last = tail.read(final=True)
    assert last is not None
    assert [line.data for line in last.lines] == [b"no end"]


def test_other_files_are_not_taken_for_utf16() -> None:
    heads = [
        b"",
        b"a",
        b"a\n",
        bytes(8),
        b"ab\0c\0d\0e",
        "äöü\n".encode(),
        b"a\0\0\0b\0\0\0",
        b"\xefa",
        b"1\x002\x003\x004x",
    ]
    assert [head for head in heads if utf16_of(head) is not None] == []


def test_a_compressed_file_is_read_too(tmp_path: Path) -> None:
    path = tmp_path / "a.log.gz"
    path.write_bytes(gzip.compress("\ufeffone\r\nЖ\r\nlast".encode("utf-16-le")))
    tail = tail_of(path)
    assert read_all(tail) == [b"one", "Ж".encode(), b"last"]
    tail.close()


@BOTH
def test_a_long_line_is_cut_between_characters(tmp_path: Path, order: Utf16) -> None:
    path = tmp_path / "a.log"
    text = "x" + "Ж" * LINE_BYTES_MAX + "😀" * 10
    path.write_bytes(order.mark + f"{text}\nlast\n".encode(order.codec))
    tail = tail_of(path)
    lines = [line.decode() for line in read_all(tail)]
    assert "".join(lines) == f"{text}last"
    assert len(lines) == 4
    tail.close()


def test_a_long_line_of_utf8_is_cut_between_characters() -> None:
    data = ("x" + "Ж" * LINE_BYTES_MAX).encode()
    pieces, consumed = split(data)
    assert "".join(piece.decode() for piece in pieces) == data[:consumed].decode()
    bad = b"\x80" * (LINE_BYTES_MAX + 1)
    assert split(bad) == ([bad[:-1]], LINE_BYTES_MAX)


def test_events_of_several_lines_are_put_together() -> None:
    cut = LITTLE.split(Multiline(preset="indented").splitter())
    data = "one\n  more\ntwo\n".encode("utf-16-le")
    events, consumed = cut(data, False)
    assert (events, consumed) == ([b"one\n  more"], len("one\n  more\n") * 2)
    assert cut(data[consumed:], True) == ([b"two"], 8)


def test_the_head_of_a_table_is_known_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes("time,message\r\n2026-03-01T10:00:00Z,Ж\r\n".encode("utf-16"))
    assert head_of(path, os.stat(path).st_size) == [b"time,message", "2026-03-01T10:00:00Z,Ж".encode()]


@BOTH
@pytest.mark.parametrize("size", [1, 3, 1000])
def test_a_pipe_is_read_too(order: Utf16, size: int) -> None:
    lines = StreamLines("stdin", split, quiet_us=None, now_us=lambda: 0)
    data = order.mark + "one Ж😀\r\ntwo".encode(order.codec)
    found = [line.data for place in range(0, len(data), size) for line in lines.add(data[place : place + size])]
    assert found == ["one Ж😀".encode()]
    assert [line.data for line in lines.end()] == [b"two"]
