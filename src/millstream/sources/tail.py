"""One text file, read as it grows.

| what happens to the file | what is done |
|---|---|
| a line is not complete yet | it waits; its beginning is read again with its end |
| it is renamed and a new one begun (logrotate) | the old one is read to its end, a second longer, then the new one |
| that happened while nobody read | the old one is found beside it by what it begins with (if not compressed yet) |
| it is emptied, or written anew (copytruncate) | reading begins at its start |
| it is deleted | what is left of it is read; a new one of that name is read from its start |

A file is known by its inode and by a digest of its first bytes: inodes are given to new files again. Its device is not
looked at: that number changes with a reboot on some file systems.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import stat
from pathlib import Path
from typing import Final

import msgspec

from millstream.clock import Clock
from millstream.sources.rotation import generations
from millstream.sources.source import Line, Note, Reading

LINE_BYTES_MAX: Final = 256 * 1024
"""A longer line becomes several."""
READ_BYTES: Final = 1024 * 1024
READ_LINES_MAX: Final = 5000
"""Bounds of one reading: what is held in memory, and stored in one transaction."""
FIRST_BYTES_MAX: Final = 1024 * 1024
"""How far back the first lines are looked for."""
HEAD_BYTES: Final = 1024
"""Of the file's beginning, that identify it."""
HEAD_BYTES_SURE: Final = 64
"""From this many equal bytes on, a file with another inode is the copy that copytruncate made."""
ROTATION_QUIET_US: Final = 1_000_000
"""A renamed file is left when nothing was added for this long: its writer may not have turned to the new one yet."""


class FilePosition(msgspec.Struct, frozen=True, array_like=True):
    """Which file, and how much of it is stored."""

    inode: int
    offset: int
    """The next line begins here."""
    head_size: int
    head: bytes
    """Digest of the first `head_size` bytes, all of them before `offset`."""


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(FilePosition)


class FileTail:
    """Reads one file on from a position, a piece at a time."""

    def __init__(
        self, path: Path, position: bytes | None, *, lines_first: int | None, clock: Clock, note: Note
    ) -> None:
        """Follow a file, which need not exist yet.

        Args:
            position: As given by a `Reading`; None where there is none.
            lines_first: Without a position, begin with this many of its last lines; None: with its first.
        """
        self.path = path
        self.key = self.key_of(path)
        self._clock = clock
        self._note = note
        self._lines_first = lines_first
        self._position = _decode(position)
        self._descriptor: int | None = None
        self._seen = (0, 0)
        """Time of change and size at the last look."""
        self._quiet_since_us: int | None = None
        """Since when a file that is no longer at `path` has not grown."""
        self._next: Path | None = None
        """What to read from its start, now that the file of `_position` is read to its end and gone."""

    @staticmethod
    def key_of(path: Path) -> bytes:
        """Return the key of a file's position."""
        return b"file:" + os.fsencode(path)

    @property
    def open(self) -> bool:
        return self._descriptor is not None

    def read(self) -> Reading | None:
        """Return the next piece, at most `READ_BYTES` and `READ_LINES_MAX`; None when there is nothing (yet)."""
        try:
            was_open = self.open
            reading = self._read_open()
            if reading is None and was_open and not self.open:
                reading = self._read_open()  # the file was left or emptied; the next may have something already
            return reading
        except OSError as error:  # a disk or a mount that fails; the file is opened again at the next look
            self._note(f"{self.path} could not be read on: {error.strerror}")
            self.close()
            return None

    def _read_open(self) -> Reading | None:
        if self._descriptor is None and not self._open():
            return None
        descriptor, position = self._descriptor, self._position
        assert descriptor is not None
        assert position is not None
        if self._is_other(descriptor, position):
            self.close()
            return None
        data = os.pread(descriptor, READ_BYTES, position.offset)
        pieces, consumed = split(data)
        left = not pieces and self._is_left(descriptor)
        if left:
            pieces, consumed = [data], len(data)  # its last line, which has no end
        position = _position(descriptor, position.offset + consumed)
        if left:
            self._next = _younger(descriptor, self.path)
            self.close()
        if not consumed:
            return None
        self._position = position
        # A file whose machine crashed, or that was emptied under its writer, has runs of NUL in it.
        lines = [Line(str(self.path), line) for piece in pieces if (line := piece.lstrip(b"\0").rstrip(b"\r"))]
        return Reading(lines, {self.key: _ENCODER.encode(position)})

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
        self._quiet_since_us = None

    def _open(self) -> bool:
        """Open the file that the position is in, or the one at `path`; False when there is none that may be read."""
        descriptor = self._open_path(self._next or self.path)
        if descriptor is None and self._next not in (None, self.path):
            self._next = self.path  # rotated out of sight, or compressed, in this moment
            descriptor = self._open_path(self.path)
        if descriptor is None:
            if self._position is None and not self.path.exists():
                self._lines_first = None  # it will be new when it appears
            return False
        position = self._position
        if position is None:
            offset = 0 if self._lines_first is None else _last_lines(descriptor, self._lines_first)
        elif self._next is not None:
            offset = 0
        elif (found := self._find(descriptor, position)) is not None:
            descriptor, offset = found, position.offset
        else:
            offset = 0
            if position.inode == os.fstat(descriptor).st_ino:
                self._note(f"{self.path} was emptied by its writer; it is read from its start again")
            else:
                self._note(f"{self.path} was begun anew while nothing read it; the lines between are not known")
        self._descriptor, self._next = descriptor, None
        self._position = _position(descriptor, offset)
        self._seen = _look(descriptor)
        return True

    def _find(self, descriptor: int, position: FilePosition) -> int | None:
        """Return the open file that the position is in: the given one, or one beside it (`x.log.1`, `x.log-20260212`).

        Closes the given one where it is not the answer.
        """
        for inode in (True, False):
            if _same(descriptor, position, inode=inode):
                return descriptor
            for path in generations(self.path)[:-1]:
                beside = self._open_path(path)
                if beside is not None:
                    if _same(beside, position, inode=inode):
                        os.close(descriptor)
                        return beside
                    os.close(beside)
        return None

    def _open_path(self, path: Path) -> int | None:
        try:
            # Non-blocking: opening a pipe of that name must not wait for its writer.
            descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
        except FileNotFoundError:
            return None
        except PermissionError:
            self._note(f"{path} may not be read by this user")
            return None
        except OSError as error:
            self._note(f"{path} cannot be opened: {error.strerror}")
            return None
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            self._note(f"{path} is not a file")
            return None
        return descriptor

    def _is_other(self, descriptor: int, position: FilePosition) -> bool:
        """Return whether the open file changed other than by growing: it was emptied, or written anew."""
        seen, self._seen = self._seen, _look(descriptor)
        if seen == self._seen:
            return False
        self._quiet_since_us = None
        return not _same(descriptor, position, inode=True)

    def _is_left(self, descriptor: int) -> bool:
        """Return whether the open file is no longer the one at `path` and has been quiet for long enough."""
        opened = os.fstat(descriptor)
        try:
            there = os.stat(self.path)
        except FileNotFoundError:
            pass
        else:
            if (there.st_dev, there.st_ino) == (opened.st_dev, opened.st_ino):
                self._quiet_since_us = None
                return False
        now_us = self._clock.monotonic_us()
        if self._quiet_since_us is None:
            self._quiet_since_us = now_us
        return now_us - self._quiet_since_us >= ROTATION_QUIET_US


def split(data: bytes) -> tuple[list[bytes], int]:
    """Return the complete lines at the start of `data`, without `\\n`, and how many bytes they take.

    At most `READ_LINES_MAX`. A line of more than `LINE_BYTES_MAX` is returned in pieces of that size, whether its end
    has come or not, so that it is cut at the same places however it comes.
    """
    lines: list[bytes] = []
    start = 0
    while len(lines) < READ_LINES_MAX:
        end = data.find(b"\n", start, start + LINE_BYTES_MAX + 1)
        if end >= 0:
            lines.append(data[start:end])
            start = end + 1
        elif len(data) - start > LINE_BYTES_MAX:
            lines.append(data[start : start + LINE_BYTES_MAX])
            start += LINE_BYTES_MAX
        else:
            break
    return lines, start


def _decode(position: bytes | None) -> FilePosition | None:
    try:
        return None if position is None else _DECODER.decode(position)
    except msgspec.DecodeError:
        return None  # of another version: as if it were not there


def _position(descriptor: int, offset: int) -> FilePosition:
    status = os.fstat(descriptor)
    size = min(offset, HEAD_BYTES)
    return FilePosition(status.st_ino, offset, size, _digest(descriptor, size))


def _younger(descriptor: int, path: Path) -> Path:
    """Return the next file of a rotated log after the given one."""
    opened = os.fstat(descriptor)
    files = generations(path)
    for file, younger in itertools.pairwise(files):
        try:
            status = file.stat()
        except OSError:
            continue
        if (status.st_dev, status.st_ino) == (opened.st_dev, opened.st_ino):
            return younger
    return path


def _look(descriptor: int) -> tuple[int, int]:
    status = os.fstat(descriptor)
    return status.st_mtime_ns, status.st_size


def _digest(descriptor: int, size: int) -> bytes:
    return hashlib.blake2b(os.pread(descriptor, size, 0), digest_size=16).digest()


def _same(descriptor: int, position: FilePosition, *, inode: bool) -> bool:
    """Return whether an open file is the one of a position; without `inode`, whether it is a copy of it."""
    status = os.fstat(descriptor)
    if inode and status.st_ino != position.inode:
        return False
    if not inode and position.head_size < HEAD_BYTES_SURE:
        return False
    return status.st_size >= position.offset and _digest(descriptor, position.head_size) == position.head


def _last_lines(descriptor: int, count: int) -> int:
    """Return the offset at which the last `count` lines begin, looking back `FIRST_BYTES_MAX` at most."""
    size = os.fstat(descriptor).st_size
    floor = max(0, size - FIRST_BYTES_MAX)
    tail = os.pread(descriptor, size - floor, floor)
    end = tail.rfind(b"\n")  # a last line without an end is one of the lines to come
    for _ in range(count):
        if end < 0:
            break
        end = tail.rfind(b"\n", 0, end)
    if end >= 0:
        return floor + end + 1
    if floor == 0:
        return 0
    return floor + tail.find(b"\n") + 1  # not inside a line
