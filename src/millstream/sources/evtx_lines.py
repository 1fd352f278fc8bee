"""A whole .evtx file as lines of JSON, for `millstream put`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from millstream.errors import UsageError
from millstream.sources.evtx_file import CHUNK_BYTES, HEAD_BYTES, EvtxFile, is_evtx

READ_BYTES: Final = 1024 * 1024
"""Of one read at least, but at the end: JSON of some chunks."""


class EvtxLines:
    """Reads the records of a file as lines, oldest first; knows how far it is."""

    def __init__(self, file: EvtxFile) -> None:
        self._file = file
        self._chunks = file.chunks()
        self._done = 0

    @property
    def size_bytes(self) -> int:
        return HEAD_BYTES + len(self._chunks) * CHUNK_BYTES

    @property
    def done_bytes(self) -> int:
        return HEAD_BYTES + self._done * CHUNK_BYTES

    def read(self, size: int, /) -> bytes:
        """Return some lines, about a megabyte of them; nothing at the end."""
        lines: list[bytes] = []
        held = 0
        while self._done < len(self._chunks) and held < min(size, READ_BYTES):
            found = [record.data for record in self._file.records(self._chunks[self._done])]
            held += sum(map(len, found))
            lines += found
            self._done += 1
        return b"".join(line + b"\n" for line in lines)


def is_evtx_file(path: Path) -> bool:
    """Return whether a file is one of the Windows event log.

    Raises:
        OSError: It does not exist or may not be read.
    """
    with path.open("rb") as file:
        return is_evtx(file.read(8))


@contextmanager
def open_evtx(path: Path, notes: list[str]) -> Iterator[EvtxLines]:
    """Open a file; what cannot be read of it is added to `notes`.

    Raises:
        OSError: It does not exist or may not be read.
        UsageError: It is none, or the package `evtx` is missing.
    """
    with path.open("rb") as file:
        if not is_evtx(file.read(8)):
            raise UsageError(f"{path} is no .evtx file of the Windows event log: it does not begin as one")
        yield EvtxLines(EvtxFile(file, str(path), notes.append))
