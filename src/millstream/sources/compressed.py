"""A compressed log file, read as if it were the text in it.

| written by | told by its first bytes | read with |
|---|---|---|
| gzip | `1f 8b` | the standard library |
| xz | `fd 37 7a 58 5a 00` | the standard library |
| bzip2 | `BZh` | the standard library |
| zstd | `28 b5 2f fd` | the standard library of Python 3.14, or the package backports.zstd |

Offsets are those of the text. Decompression goes forward only: memory is bounded by one piece, and going back means
beginning again. A file whose end is missing is one that is still being compressed, or that never will be whole.
"""

from __future__ import annotations

import bz2
import hashlib
import importlib
import lzma
import os
import zlib
from collections.abc import Callable
from typing import Final, Protocol

from millstream.errors import SettingsError

MAGIC_BYTES: Final = 6
SUFFIXES: Final = (".gz", ".xz", ".bz2", ".zst")
HEAD_BYTES: Final = 1024
"""Of a file's text, that identify it; kept, so that looking at them again does not mean beginning again."""
_STEP_BYTES: Final = 256 * 1024
"""Read, and decompressed, at once."""
_SMALL_STEP_BYTES: Final = 256
_MEMORY_MAX: Final = 256 * 1024 * 1024
"""Of xz, whose files say themselves how much they need; `xz -9` needs 65 MB."""

_DAMAGED: Final = (zlib.error, lzma.LZMAError, OSError, EOFError, ValueError)
"""What decompressors raise for bytes that are not theirs; bz2 raises OSError."""


class Decompressor(Protocol):
    """As those of the modules bz2, lzma and compression.zstd are."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


class _Gzip:
    """zlib's decompressor behind the interface of the others."""

    def __init__(self) -> None:
        self._zlib = zlib.decompressobj(31)  # 31: with gzip's header and check sum
        self.needs_input = True

    @property
    def eof(self) -> bool:
        return self._zlib.eof

    @property
    def unused_data(self) -> bytes:
        return self._zlib.unused_data

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        found = self._zlib.decompress(self._zlib.unconsumed_tail + data, max(max_length, 0))
        self.needs_input = not self._zlib.unconsumed_tail and len(found) < max_length
        return found


def _zstd() -> Decompressor:
    for name in ("compression.zstd", "backports.zstd"):
        try:
            module = importlib.import_module(name)
        except ImportError:
            continue
        made: Decompressor = module.ZstdDecompressor()
        return made
    raise SettingsError(
        "a log file is compressed with zstd, which needs Python 3.14 or a package: pip install 'millstream[zstd]'"
    )


_KINDS: Final[tuple[tuple[bytes, Callable[[], Decompressor]], ...]] = (
    (b"\x1f\x8b", _Gzip),
    (b"\xfd7zXZ\0", lambda: lzma.LZMADecompressor(memlimit=_MEMORY_MAX)),
    (b"BZh", bz2.BZ2Decompressor),
    (b"\x28\xb5\x2f\xfd", _zstd),
)


def decompressor_of(start: bytes) -> Callable[[], Decompressor] | None:
    """Return what makes a decompressor for a file that begins so; None for one that is not compressed."""
    return next((make for magic, make in _KINDS if start.startswith(magic)), None)


class CompressedText:
    """The text of an open compressed file. Reads forward; a step back begins again."""

    def __init__(self, descriptor: int, make: Callable[[], Decompressor]) -> None:
        """Read an open file, which stays the caller's.

        Raises:
            SettingsError: What reads this compression is not installed.
        """
        self._descriptor = descriptor
        self._make = make
        self._head = b""
        self._step_bytes = _STEP_BYTES
        self.damage: Exception | None = None
        """Why there is no more text than `read` returned."""
        self._start()

    def _start(self) -> None:
        self._decompressor = self._make()
        self._raw_offset = 0
        self._text = bytearray()
        """Of the text from `_offset` on, what is decompressed."""
        self._offset = 0
        self._between = False
        """At the end of one of several streams that were put together (`cat a.gz b.gz`), or of the last."""

    @property
    def complete(self) -> bool:
        """Whether nothing is missing: what was decompressed so far ended with the end of a stream, or never will."""
        return self._between or self.damage is not None

    def read(self, size: int, offset: int) -> bytes:
        """Return up to `size` bytes of the text from an offset on.

        Fewer where it ends, where it is not there yet, and where the file is damaged: then `damage` says how.
        """
        if offset < self._offset:
            self._start()
        while self._offset + len(self._text) < offset + size:
            skip = min(len(self._text), offset - self._offset)
            if skip:
                del self._text[:skip]
                self._offset += skip
            try:
                if self.damage or not self._step():
                    break
            except _DAMAGED as error:
                self._retreat(error)
        begin = offset - self._offset
        return bytes(self._text[begin : begin + size]) if begin <= len(self._text) else b""

    def _retreat(self, damage: Exception) -> None:
        """Begin again in small pieces, as a decompressor keeps to itself what is whole of the piece that is damaged."""
        if self._step_bytes == _SMALL_STEP_BYTES:
            self.damage = damage
        else:
            self._step_bytes = _SMALL_STEP_BYTES
            self._start()

    def head(self, size: int) -> bytes:
        """Return the first `size` bytes, or what there is of them."""
        if len(self._head) < size:
            self._head = self.read(max(size, HEAD_BYTES), 0)
        return self._head[:size]

    def digest(self, size: int) -> bytes | None:
        """Return a digest of the first `size` bytes; None where there are fewer."""
        head = self.head(size)
        return hashlib.blake2b(head, digest_size=16).digest() if len(head) == size else None

    def _step(self) -> bool:
        """Decompress a piece; False where there is nothing more (yet)."""
        data = b""
        if self._decompressor.eof or self._decompressor.needs_input:
            data = os.pread(self._descriptor, self._step_bytes, self._raw_offset)
            self._raw_offset += len(data)
            if self._decompressor.eof:
                data = data.lstrip(b"\0")  # padding, which tapes and xz have between streams
            if not data:
                return False
            if self._decompressor.eof:
                self._decompressor = self._make()
        self._text += self._decompressor.decompress(data, self._step_bytes)
        self._between = self._decompressor.eof
        if self._between and (rest := self._decompressor.unused_data):
            self._raw_offset -= len(rest)
        return True
