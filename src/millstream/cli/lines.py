"""A stream of bytes, cut into blocks of whole lines."""

from __future__ import annotations

import gzip
import io
import os
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple, Protocol

from millstream import limits
from millstream.sources.journal_export import START, ExportReader
from millstream.sources.utf16 import Utf16Reader, utf16_of
from millstream.sources.xml_events import EventLines, begins_as_events

BLOCK_BYTES: Final = 8 * 1024 * 1024
"""About 50,000 lines of a typical event: enough for columns at full speed, little enough to hold a few of."""

_HEAD_BYTES: Final = 512


class Block(NamedTuple):
    """Whole lines that follow one another."""

    line: int
    """Number of the first, counted from 1."""
    data: bytes
    """The lines with their ends; the last line of a stream may lack one."""
    too_long: bool = False
    """One line larger than a record may be; `data` is its beginning."""

    @property
    def lines(self) -> int:
        return self.data.count(b"\n") + (not self.data.endswith(b"\n")) if not self.too_long else 1


class Reader(Protocol):
    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes, and none at the end."""
        ...


def blocks(
    reader: Reader, *, block_bytes: int = BLOCK_BYTES, line_bytes_max: int = limits.RECORD_BYTES_MAX
) -> Iterator[Block]:
    """Yield the lines of a stream in blocks, as soon as the reader gives them.

    Holds one block and one line; a line above `line_bytes_max` is passed on as its beginning, marked, and its rest is
    read past.
    """
    line = 1
    rest: list[bytes] = []
    rest_bytes = 0
    while chunk := reader.read(block_bytes):
        end = chunk.rfind(b"\n") + 1
        if not end:
            rest.append(chunk)
            rest_bytes += len(chunk)
            if rest_bytes > line_bytes_max:
                yield Block(line, b"".join(rest)[:line_bytes_max], too_long=True)
                line += 1
                rest, rest_bytes = [_read_past_line(reader, block_bytes)], 0
                rest_bytes = len(rest[0])
            continue
        block = Block(line, b"".join([*rest, chunk[:end]]))
        yield block
        line += block.lines
        rest, rest_bytes = ([chunk[end:]], len(chunk) - end) if end < len(chunk) else ([], 0)
    if rest_bytes:
        yield Block(line, b"".join(rest))


def without_first(lines: int, found: Iterator[Block]) -> Iterator[Block]:
    """Leave out the first lines of a stream; the others keep their numbers."""
    for block in found:
        if block.line > lines:
            yield block
        elif block.line + block.lines > lines + 1:
            start = 0
            for _ in range(lines + 1 - block.line):
                start = block.data.index(b"\n", start) + 1
            yield Block(lines + 1, block.data[start:])


def _read_past_line(reader: Reader, block_bytes: int) -> bytes:
    """Read to the end of a line; return what was read of the next."""
    while chunk := reader.read(block_bytes):
        end = chunk.find(b"\n") + 1
        if end:
            return chunk[end:]
    return b""


class FileReader:
    """A file that knows how far it is; its first bytes, not its name, say whether it is plain, gzip, UTF-16, an export.

    An export of the journal is read as lines of JSON, as journalctl writes them; UTF-16 as UTF-8; events of Windows in
    XML as a line each.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.size_bytes = os.fstat(file.fileno()).st_size
        is_events = begins_as_events(_text_of(file).read(_HEAD_BYTES))
        self._lines = EventLines(_text_of(file)) if is_events else _text_of(file)

    def read(self, size: int, /) -> bytes:
        return self._lines.read(size)

    @property
    def done_bytes(self) -> int:
        """Bytes of the file that were read; of the compressed ones where it is compressed."""
        return self._file.tell()


def _text_of(file: BinaryIO) -> Reader:
    """Return what reads the text of a file from its start."""
    file.seek(0)
    start = file.read(len(START))
    file.seek(0)
    if start.startswith(b"\x1f\x8b"):
        return gzip.GzipFile(fileobj=file)
    if start == START:
        return ExportReader(file)
    if utf16 := utf16_of(start):
        file.seek(len(utf16.mark) if start.startswith(utf16.mark) else 0)
        return Utf16Reader(file, utf16)
    return file


@contextmanager
def open_file(path: Path) -> Iterator[FileReader]:
    """Open a file of lines.

    Raises:
        OSError: It does not exist or may not be read.
    """
    with path.open("rb") as file:
        yield FileReader(file)


class PipeReader:
    """Standard input: gives what is there at once, and joins what comes quickly to larger pieces."""

    size_bytes = 0
    done_bytes = 0

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = io.BufferedReader(io.FileIO(stream.fileno(), closefd=False), 1024 * 1024)

    def read(self, size: int, /) -> bytes:
        pieces = [self._stream.read1(size)]
        got = len(pieces[0])
        while pieces[-1] and got < size and self._more_is_there():
            pieces.append(self._stream.read1(size - got))
            got += len(pieces[-1])
        return b"".join(pieces)

    def _more_is_there(self) -> bool:
        # Windows cannot ask a pipe; pieces stay as small as the writer makes them there.
        return sys.platform != "win32" and bool(select.select([self._stream], [], [], 0)[0])
