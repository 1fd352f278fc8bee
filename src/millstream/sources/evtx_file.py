r"""The file of a Windows event log (.evtx): its chunks, and the records in one as JSON.

A file is a head of 4 KiB and chunks of 64 KiB, each readable by itself. What the file's head says is not believed: of a
log in use it is old (the file is "dirty"). So a chunk is what begins as one, and they follow one another by the numbers
of their records, not by their places: a log that is full goes on at its beginning. A chunk that is damaged, or a file
that ends in the middle of one, loses what is damaged and nothing else.

Chunks are decoded by the package `evtx` (`pip install "millstream[evtx]"`), which is given one at a time: memory is
bounded, and an error is of one chunk.

Source: libyal/libevtx, documentation/Windows XML Event Log (EVTX).asciidoc; MS-EVEN6, 2.2.17 (BinXml).
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, BinaryIO, Final

import msgspec

from millstream.errors import UsageError

FILE_MAGIC: Final = b"ElfFile\0"
CHUNK_MAGIC: Final = b"ElfChnk\0"
HEAD_BYTES: Final = 4096
CHUNK_BYTES: Final = 65536
RECORDS_FROM: Final = 512
"""Where the records of a chunk begin, behind its head and its tables of names and templates."""
RECORD_MAGIC: Final = 0x00002A2A

_FREE_AT: Final = 48
_TABLES_FROM: Final = 128
_NO_TABLES: Final = bytes(RECORDS_FROM - _TABLES_FROM)
_CHUNK_HEAD: Final = struct.Struct("<8sQQQQ")
_RECORD_HEAD: Final = struct.Struct("<IIQQ")
_RECORD_BYTES_LEAST: Final = _RECORD_HEAD.size + 4
_JSON: Final = msgspec.json.Decoder(msgspec.Raw)
"""Looks whether a text is JSON. The package writes names as they are: of a damaged file one may have a quote in it."""

Say = Callable[[str], None]
"""Takes a sentence about what could not be read."""


class Chunk(msgspec.Struct, frozen=True):
    """One chunk, and the records that its own head says it holds; [first, last]."""

    place: int
    """Byte of the file where it begins."""
    first: int
    last: int


class Record(msgspec.Struct, frozen=True):
    """One record of a file."""

    number: int
    """As the file counts; of an exported log it counts anew, and differs from `EventRecordID`."""
    written: int
    """When it was written, as Windows counts: 100 ns since 1601. With the number it is the record's identity."""
    data: bytes
    """JSON: `{"Event": {"System": {...}, "EventData": {...}}}`."""


def is_evtx(start: bytes) -> bool:
    """Return whether a file that begins so is one."""
    return start.startswith(FILE_MAGIC)


def evtx_parser() -> Any:
    """Return what decodes.

    Raises:
        UsageError: It is not installed.
    """
    try:
        import evtx
    except ImportError as error:
        raise UsageError(
            ".evtx files need a package that is not installed here: pip install 'millstream[evtx]'"
        ) from error
    return evtx.PyEvtxParser


class EvtxFile:
    """Reads a file that may grow meanwhile."""

    def __init__(self, file: BinaryIO, name: str, say: Say) -> None:
        """Read from an open file.

        Args:
            file: Opened unbuffered or for this only: it is read anew at each call.
            name: For sentences.
            say: Takes what could not be read, and where.

        Raises:
            UsageError: The package `evtx` is missing.
        """
        self._parser = evtx_parser()
        self._file = file
        self._name = name
        self._say = say

    def chunks(self) -> list[Chunk]:
        """Return the chunks that hold records, in the order of their records."""
        found: list[Chunk] = []
        others: list[int] = []
        size = self._file.seek(0, io.SEEK_END)
        for place in range(HEAD_BYTES, size, CHUNK_BYTES):
            head = self._bytes(place, RECORDS_FROM)
            if len(head) < RECORDS_FROM:
                continue
            magic, _, _, first, last = _CHUNK_HEAD.unpack_from(head)
            if magic != CHUNK_MAGIC:
                # What is not used yet is zero.
                others += [place] if any(self._bytes(place, CHUNK_BYTES)) else []
            elif first <= last < 2**63:
                found.append(Chunk(place, first, last))
        if others:
            more = f" and at {len(others) - 1} other places" if others[1:] else ""
            self._say(f"{self._name}: at byte {others[0]:,}{more} there is no chunk of an event log; it is left out")
        return sorted(found, key=lambda chunk: chunk.first)

    def written(self, chunk: Chunk, number: int) -> int | None:
        """Return when a record was written, as Windows counts; None where the chunk does not have it."""
        return dict(_record_heads(self._bytes(chunk.place, CHUNK_BYTES))).get(number)

    def records(self, chunk: Chunk, *, after: int = -1) -> Iterator[Record]:
        """Yield the records of a chunk with a number above `after`, in their order.

        A record that cannot be read is said and left out.
        """
        data = self._bytes(chunk.place, CHUNK_BYTES)
        times = dict(_record_heads(data))
        if len(data) < CHUNK_BYTES and chunk.last > (had := max(times, default=chunk.first - 1)):
            self._say(
                f"{self._name} ends in the middle of the chunk at byte {chunk.place:,}; "
                f"its records {had + 1} to {chunk.last} are not there, or not yet"
            )
        if all(number <= after for number in times):
            return
        missing = {number for number in times if number > after}
        reasons: list[str] = []
        for number, text in self._decoded(data, reasons):
            missing.discard(number)
            # One that is not there whole may be decoded, from what is not its own.
            if number in times and number > after:
                yield Record(number, times[number], text.encode())
        if missing or (reasons and len(data) == CHUNK_BYTES):
            self._say(_loss(self._name, chunk, missing, reasons))

    def _decoded(self, data: bytes, reasons: list[str]) -> Iterator[tuple[int, str]]:
        # A file of one chunk, with one thread: a pool of them would cost more than the chunk.
        # Its tables of names and templates only save time; where they are damaged, following them may have no end.
        data = (data[:_TABLES_FROM] + _NO_TABLES + data[RECORDS_FROM:]).ljust(CHUNK_BYTES, b"\0")
        one = io.BytesIO(_HEAD + data)
        try:
            records = self._parser(one, number_of_threads=1, indent=False).records_json()
        except (RuntimeError, OSError) as error:
            reasons.append(str(error))
            return
        while True:
            try:
                record = next(records)
            except StopIteration:
                return
            except (RuntimeError, OSError, ValueError) as error:
                reasons.append(str(error))
                if len(reasons) > CHUNK_BYTES // _RECORD_BYTES_LEAST:
                    return  # more than records fit in a chunk: it does not go on
                continue
            try:
                _JSON.decode(record["data"])
            except msgspec.DecodeError:
                reasons.append(f"the name of a value in record {record['event_record_id']} is damaged")
                continue
            yield record["event_record_id"], record["data"]

    def _bytes(self, place: int, size: int) -> bytes:
        self._file.seek(place)
        return self._file.read(size)


def _record_heads(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield number and time of the records that stand whole in the bytes of a chunk, up to where it says it is free."""
    place = RECORDS_FROM
    end = min(len(data), int.from_bytes(data[_FREE_AT : _FREE_AT + 4], "little"))
    while place + _RECORD_BYTES_LEAST <= end:
        magic, size, number, written = _RECORD_HEAD.unpack_from(data, place)
        if magic != RECORD_MAGIC or size < _RECORD_BYTES_LEAST or place + size > end:
            return
        yield number, written
        place += size


def _loss(name: str, chunk: Chunk, missing: set[int], reasons: Sequence[str]) -> str:
    which = f"records {min(missing)} to {max(missing)}" if len(missing) > 1 else f"record {min(missing, default='?')}"
    what = f"{len(missing)} of its records could not be read ({which})" if missing else "something could not be read"
    why = f": {reasons[0][:300]}" if reasons else ""
    return f"{name}: the chunk at byte {chunk.place:,} is damaged; {what}{why}"


def _head() -> bytes:
    """Return the head of a file of one chunk."""
    start = struct.pack("<8sQQQIHHHH", FILE_MAGIC, 0, 0, 1, 128, 1, 3, HEAD_BYTES, 1).ljust(120, b"\0")
    return (start + struct.pack("<II", 0, zlib.crc32(start))).ljust(HEAD_BYTES, b"\0")


_HEAD: Final = _head()
