"""Streams of bytes, cut into blocks of whole lines."""

from __future__ import annotations

import gzip
import io
import os
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millstream.cli.lines import Block, PipeReader, blocks, open_file, without_first

LINES = st.lists(st.binary(max_size=30).map(lambda line: line.replace(b"\n", b"")), max_size=30)


@given(lines=LINES, block_bytes=st.integers(1, 50), ended=st.booleans())
def test_blocks_hold_every_line_once_in_order_with_its_number(
    lines: list[bytes], block_bytes: int, ended: bool
) -> None:
    data = b"\n".join(lines) + (b"\n" if ended and lines else b"")
    found = list(blocks(io.BytesIO(data), block_bytes=block_bytes))
    assert b"".join(block.data for block in found) == data
    number = 1
    for block in found:
        assert block.line == number
        assert block.data
        number += block.lines
    for block in found[:-1]:
        assert block.data.endswith(b"\n")


@given(lines=LINES, block_bytes=st.integers(1, 50), skip=st.integers(0, 40))
def test_skipped_lines_are_left_out_and_the_others_keep_their_numbers(
    lines: list[bytes], block_bytes: int, skip: int
) -> None:
    data = b"".join(line + b"\n" for line in lines)
    found = list(without_first(skip, blocks(io.BytesIO(data), block_bytes=block_bytes)))
    assert b"".join(block.data for block in found) == b"".join(line + b"\n" for line in lines[skip:])
    assert [block.line for block in found][:1] == ([skip + 1] if skip < len(lines) else [])


def test_a_line_above_the_limit_is_passed_on_as_its_beginning_and_the_rest_goes_on() -> None:
    data = b"first\n" + b"x" * 100 + b"\nlast\n"
    found = list(blocks(io.BytesIO(data), block_bytes=8, line_bytes_max=20))
    assert [(block.line, block.too_long) for block in found] == [(1, False), (2, True), (3, False)]
    assert found[1].data == b"x" * 20
    assert found[2] == Block(3, b"last\n")


def test_a_line_above_the_limit_may_be_the_last() -> None:
    found = list(blocks(io.BytesIO(b"x" * 100), block_bytes=8, line_bytes_max=20))
    assert [(block.line, block.lines, block.too_long) for block in found] == [(1, 1, True)]


@pytest.mark.parametrize("compressed", [False, True])
def test_a_file_is_read_plain_or_gzip_whatever_its_name(tmp_path: Path, compressed: bool) -> None:
    path = tmp_path / "events.ndjson"
    data = b'{"a": 1}\n' * 1000
    path.write_bytes(gzip.compress(data) if compressed else data)
    with open_file(path) as reader:
        assert b"".join(block.data for block in blocks(reader, block_bytes=100)) == data
        assert reader.done_bytes == reader.size_bytes == path.stat().st_size


def test_an_empty_file_has_no_blocks(tmp_path: Path) -> None:
    path = tmp_path / "empty"
    path.touch()
    with open_file(path) as reader:
        assert list(blocks(reader)) == []


def test_a_line_in_a_pipe_is_given_before_the_next_is_written() -> None:
    out, into = os.pipe()
    with open(out, "rb") as stream, open(into, "wb", buffering=0) as writer:
        found = blocks(PipeReader(stream))
        for number in (1, 2, 3):
            writer.write(b"line %d\n" % number)
            assert next(found) == Block(number, b"line %d\n" % number)
        writer.close()
        assert list(found) == []


def test_what_a_pipe_already_holds_is_joined_to_one_block() -> None:
    out, into = os.pipe()
    with open(out, "rb") as stream:
        data = b"line\n" * 100_000

        def write() -> None:
            with open(into, "wb") as writer:
                writer.write(data)

        thread = threading.Thread(target=write)
        thread.start()
        found = list(blocks(PipeReader(stream)))
        thread.join()
    assert b"".join(block.data for block in found) == data
    assert max(len(block.data) for block in found) > 1000
