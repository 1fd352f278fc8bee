"""Files of Windows event logs (.evtx), on any system: exported logs, and copies that grow.

The position of a file is the last record that was stored: its number, and when it was written. A file that has that
record is read on behind it, wherever the chunks are by now. One that has another record of that number, or none so
high, is another log (cleared, or another file in its place) and is read from its first record. One in which all are
higher has gone round, and what was not read in time is gone; that is said.
"""

from __future__ import annotations

import glob
import threading
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from millstream.parsers.event_parser import EventParser, LogEventParser
from millstream.parsers.windows import windows_reader
from millstream.sources.evtx_file import Chunk, EvtxFile, evtx_parser, is_evtx
from millstream.sources.log_file import is_missing
from millstream.sources.source import Line, Note, Reading
from millstream.sources.troubles import Troubles

READING_RECORDS: Final = 1000
"""Of one reading, which is stored as one."""
LOOK_S: Final = 1.0
"""Between two looks at the files: a log is not written line by line, and not every file system announces changes."""


class _Position(msgspec.Struct, frozen=True):
    number: int
    written: int


class EvtxSource:
    """Files of Windows event logs, which may or may not exist yet."""

    def __init__(self, paths: Sequence[Path | str], *, follow: bool = True) -> None:
        """Read files, each from its first record.

        Args:
            paths: Paths or patterns (`logs/*.evtx`).
            follow: Go on with what is added; False: end with what there is.

        Raises:
            UsageError: The package `evtx` is missing.
        """
        evtx_parser()  # said at once where it is missing
        self._patterns = tuple(map(str, paths))
        self._follow = follow
        self._reading: tuple[str, ...] = ()
        self._troubles = Troubles()

    @property
    def name(self) -> str:
        return "evtx files"

    def following(self) -> Sequence[str]:
        return self._reading

    def troubles(self) -> Sequence[str]:
        return self._troubles.sentences()

    def parser(self, origin: str) -> LogEventParser:
        return EventParser(origin, windows_reader(), format="windows")

    def read(
        self, positions: Mapping[bytes, bytes], stop: threading.Event, note: Note
    ) -> Generator[Reading, None, None]:
        logs: dict[str, _Log] = {}
        try:
            while True:
                for path in self._paths(note):
                    if path not in logs:
                        logs[path] = _Log(path, positions.get(_key(path)), note, self._troubles)
                    for reading in logs[path].readings():
                        yield reading
                        if stop.is_set():
                            return
                self._reading = tuple(path for path, log in logs.items() if log.is_there)
                if not self._follow or stop.wait(LOOK_S):
                    return
        finally:
            self._reading = ()

    def _paths(self, note: Note) -> list[str]:
        found: list[str] = []
        for pattern in self._patterns:
            matches = sorted(glob.glob(pattern, recursive=True)) if glob.has_magic(pattern) else [pattern]
            if not matches or (not glob.has_magic(pattern) and is_missing(Path(pattern))):
                then = ", and read once it is" if self._follow else ""
                self._troubles.have(f"not on this machine{then}: {pattern}", pattern)
                note(f"not on this machine{then}: {pattern}")
            elif glob.has_magic(pattern):
                self._troubles.over(pattern)
            found += [path for path in matches if path not in found]
        return found


class _Log:
    """One file, and how far it is read."""

    def __init__(self, path: str, position: bytes | None, note: Note, troubles: Troubles) -> None:
        self.is_there = False
        self._path = path
        self._note = note
        self._troubles = troubles
        self._position = None if position is None else msgspec.msgpack.decode(position, type=_Position)
        self._seen: tuple[int, int] | None = None

    def readings(self) -> Generator[Reading, None, None]:
        """Yield what was added since the last time."""
        try:
            stat = Path(self._path).stat()
            if (stat.st_size, stat.st_mtime_ns) == self._seen:
                return
            with open(self._path, "rb", buffering=0) as file:
                self.is_there = True
                if not is_evtx(file.read(8)):
                    if stat.st_size >= 8:
                        self._trouble(f"{self._path} is no .evtx file of the Windows event log; it is not read")
                    return
                self._troubles.over(self._path)
                yield from self._new(EvtxFile(file, self._path, self._note))
        except OSError as error:
            self.is_there = False
            if not isinstance(error, FileNotFoundError):
                self._trouble(f"{self._path} cannot be read: {error.strerror or error}")
            return
        self._seen = (stat.st_size, stat.st_mtime_ns)

    def _trouble(self, sentence: str) -> None:
        self._troubles.have(sentence, self._path)
        self._note(sentence)

    def _new(self, file: EvtxFile) -> Generator[Reading, None, None]:
        chunks = file.chunks()
        after = self._after(file, chunks)
        lines: list[Line] = []
        for chunk in chunks:
            for record in file.records(chunk, after=after):
                lines.append(Line(self._path, record.data))
                self._position = _Position(record.number, record.written)
                if len(lines) >= READING_RECORDS:
                    yield self._reading_of(lines)
                    lines = []
        if lines:
            yield self._reading_of(lines)

    def _reading_of(self, lines: list[Line]) -> Reading:
        assert self._position is not None
        return Reading(lines, {_key(self._path): msgspec.msgpack.encode(self._position)})

    def _after(self, file: EvtxFile, chunks: Sequence[Chunk]) -> int:
        """Return the number of the record behind which reading goes on."""
        if self._position is None or not chunks:
            return -1
        number = self._position.number
        before = [chunk for chunk in chunks if chunk.first <= number]
        if not before:
            lost = chunks[0].first - number - 1
            if lost:
                self._note(f"{self._path}: {lost:,} records were written over before they were read")
            return number
        written = file.written(before[-1], number)
        # Of a chunk that is damaged, what was read before it was may not be found.
        if written == self._position.written or (written is None and number <= before[-1].last):
            return number
        self._note(f"{self._path} is another log than before, or was cleared; it is read from its first record")
        return -1


def _key(path: str) -> bytes:
    return b"evtx:" + path.encode(errors="surrogateescape")
