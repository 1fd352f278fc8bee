"""An open log file, plain or compressed, whose text is read at offsets."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path
from typing import Final

import msgspec

from millstream.errors import SettingsError
from millstream.sources.compressed import HEAD_BYTES, MAGIC_BYTES, SUFFIXES, CompressedText, decompressor_of
from millstream.sources.source import Note
from millstream.sources.utf16 import HEAD_BYTES as UTF16_HEAD_BYTES
from millstream.sources.utf16 import Utf16, utf16_of

FIRST_BYTES_MAX: Final = 1024**3
"""How far back the first lines are looked for."""
_BLOCK_BYTES: Final = 1024 * 1024
"""So much at once."""


class LogFile:
    """One open file.

    A compressed one is read as its text. Damage is said once, and the text ends there.
    """

    def __init__(self, path: Path, descriptor: int, note: Note) -> None:
        self.path = path
        self._descriptor = descriptor
        self._note = note
        self._text: CompressedText | None = None
        self._trouble = ""
        """Why the text cannot be read, said when it is wanted."""
        self._begun = True
        """False while a file that is to be compressed has nothing in it yet."""
        self._utf16: Utf16 | None = None
        self._is_encoding_sure = False
        start = os.pread(descriptor, MAGIC_BYTES, 0)
        make = decompressor_of(start)
        if make is not None:
            try:
                self._text = CompressedText(descriptor, make)
            except SettingsError as error:
                self._trouble = f"{path} is not read: {error}"
        elif path.suffix in SUFFIXES:
            self._begun = len(start) == MAGIC_BYTES
            self._trouble = f"{path} is not read: it is not compressed as its name says"

    @property
    def is_compressed(self) -> bool:
        return self._text is not None

    @property
    def utf16(self) -> Utf16 | None:
        """How the text is encoded where it is UTF-16; None: UTF-8, or what has its line ends."""
        if not self._is_encoding_sure and not self._trouble:
            size = UTF16_HEAD_BYTES
            head = os.pread(self._descriptor, size, 0) if self._text is None else self._text.head(size)
            self._utf16, self._is_encoding_sure = utf16_of(head), len(head) == size
        return self._utf16

    @property
    def status(self) -> os.stat_result:
        return os.fstat(self._descriptor)

    @property
    def complete(self) -> bool:
        """False while a compressed file has no end: it is still being written, or was cut off."""
        if self._trouble:
            return self._begun
        return self._text is None or self._text.complete

    def read(self, size: int, offset: int) -> bytes:
        """Return up to `size` bytes of the text from an offset on; none at its end."""
        if self._trouble:
            if self._begun:
                self._note(self._trouble)
            return b""
        if self._text is None:
            return os.pread(self._descriptor, size, offset)
        found = self._text.read(size, offset)
        if self._text.damage is not None:
            self._note(f"{self.path} is damaged, and read as far as it is not: {self._text.damage}")
        return found

    def digest(self, size: int) -> bytes | None:
        """Return a digest of the first `size` bytes of the text; None where there are fewer, or it is none."""
        if self._text is not None:
            return self._text.digest(size)
        if self._trouble:
            return None
        head = os.pread(self._descriptor, size, 0)
        return hashlib.blake2b(head, digest_size=16).digest() if len(head) == size else None

    def reaches(self, offset: int) -> bool:
        """Return whether the text has at least so many bytes."""
        if self._text is None:
            return self.status.st_size >= offset
        return offset == 0 or len(self._text.read(1, offset - 1)) == 1

    def look(self) -> tuple[int, int]:
        """Return time of change and size: other ones where the file may have changed."""
        status = self.status
        return status.st_mtime_ns, status.st_size

    def close(self) -> None:
        os.close(self._descriptor)


def open_log_file(path: Path, note: Note) -> LogFile | None:
    """Open a file; None where it does not exist. What may not be read is said."""
    try:
        # Non-blocking: opening a pipe of that name must not wait for its writer.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    except FileNotFoundError:
        return None
    except PermissionError:
        note(f"{path} may not be read by this user")
        return None
    except OSError as error:
        note(f"{path} cannot be opened: {error.strerror}")
        return None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        note(f"{path} is not a file")
        return None
    return LogFile(path, descriptor, note)


def is_missing(path: Path) -> bool:
    """Return whether there is no such file; False where that cannot be told, as in a directory that may not be entered.

    `Path.exists` and `Path.is_dir` raise PermissionError there, in versions of Python before 3.14.
    """
    try:
        path.stat()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return False


class FilePosition(msgspec.Struct, frozen=True, array_like=True):
    """Which file, and how much of it is stored."""

    inode: int
    offset: int
    """The next line begins here; of a compressed file, in its text."""
    head_size: int
    head: bytes
    """Digest of the first `head_size` bytes, all of them before `offset`."""
    changed_ns: int = 0
    """When the file was last changed, as far as it was read; 0: not known (0.1.0 before compressed files)."""

    def encode(self) -> bytes:
        return _ENCODER.encode(self)

    def begins(self, file: LogFile) -> bool:
        """Return whether a file begins as the one of this position did."""
        return file.digest(self.head_size) == self.head


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(FilePosition)


def position_in(file: LogFile, offset: int) -> FilePosition:
    """Return the position of an offset in an open file."""
    status = file.status
    size = min(offset, HEAD_BYTES)
    return FilePosition(status.st_ino, offset, size, file.digest(size) or b"", status.st_mtime_ns)


def decode_position(data: bytes | None) -> FilePosition | None:
    """Return a stored position; None where there is none, or it is of another version."""
    try:
        return None if data is None else _DECODER.decode(data)
    except msgspec.DecodeError:
        return None


def last_lines(file: LogFile, count: int) -> int:
    """Return the offset at which the last `count` lines begin, looking back `FIRST_BYTES_MAX` at most."""
    end = size = file.look()[1] // 2 * 2 if file.utf16 else file.look()[1]
    floor = max(0, size - FIRST_BYTES_MAX)
    ends = count + 1  # a last line without an end is one of the lines to come
    while end > floor:
        start = max(end - _BLOCK_BYTES, floor)
        block = file.read(end - start, start)
        place, found = _line_end(block, ends, file.utf16)
        if found == ends:
            return start + place
        ends, end = ends - found, start
    if floor == 0:
        return 0
    block = file.read(_BLOCK_BYTES, floor)  # not inside a line
    return floor + (block.find(b"\n") + 1 if file.utf16 is None else [*file.utf16.line_ends(block), 0][0])


def _line_end(block: bytes, count: int, utf16: Utf16 | None) -> tuple[int, int]:
    """Return the place behind the line end that is the `count`-th from behind, and `count`; or how many there are."""
    if utf16 is not None:
        places = utf16.line_ends(block)
        return (places[-count], count) if len(places) >= count else (0, len(places))
    found = block.count(b"\n")
    if found < count:
        return 0, found
    place = len(block)
    for _ in range(count):
        place = block.rfind(b"\n", 0, place)
    return place + 1, count
