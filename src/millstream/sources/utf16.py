r"""Text in UTF-16, as programs of Windows write it: PowerShell's `>`, SQL Server's ERRORLOG, exports of many tools.

Positions stay those of the bytes in the file: its text is cut into lines in UTF-8, and what the lines take of that is
counted in units of two bytes. Half a unit, or half of a character of two units, is left where it is until the rest
comes.

| a file begins with | it is |
|---|---|
| `ff fe`, `fe ff` (a byte order mark) | UTF-16, the low, the high byte first |
| four signs of ASCII with a zero byte behind, before each | the same without a mark; no text in another encoding does |
| anything else | UTF-8, or what has its line ends |
"""

from __future__ import annotations

import re
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from typing import BinaryIO, Final

import msgspec

from millstream.sources.line_split import Split

HEAD_BYTES: Final = 8
"""So much of the beginning of a file decides; of a shorter one, what there is of it."""
_UNIT_BYTES: Final = 2
_LITTLE: Final = re.compile(rb"(?:[\t\n\r\x1b -~]\0){1,4}[\t\n\r\x1b -~]?")
_BIG: Final = re.compile(rb"(?:\0[\t\n\r\x1b -~]){1,4}\0?")
_HIGH: Final = range(0xD800, 0xDC00)
"""The first units of characters of two."""


class Utf16(msgspec.Struct, frozen=True):
    """One of the two orders of bytes."""

    codec: str
    mark: bytes

    def text_of(self, data: bytes, *, final: bool = False) -> bytes:
        """Return the characters that are complete, as UTF-8.

        A unit that is no character by itself becomes three bytes that are no UTF-8, so that nothing is lost.

        Args:
            final: Nothing more comes: half of a character is one.
        """
        return self._read(data[: len(self._whole(data, final))]).encode("utf-8", "surrogatepass")

    def size_of(self, text: bytes) -> int:
        """Return how many bytes a text of `text_of` takes in the file."""
        return len(text.decode("utf-8", "surrogatepass").encode(self.codec, "surrogatepass"))

    def split(self, inner: Split) -> Split:
        """Return a `Split` of bytes of this encoding, into lines of UTF-8."""

        def cut(data: bytes, final: bool = False) -> tuple[list[bytes], int]:
            text = self.text_of(data, final=final)
            lines, consumed = inner(text, final)
            return lines, self.size_of(text[:consumed])

        return cut

    def ended(self, data: bytes) -> bytes:
        """Return the text of a file that ends, with a line end; half a unit at its end is left out."""
        return data[: len(data) // _UNIT_BYTES * _UNIT_BYTES] + "\n".encode(self.codec)

    def line_ends(self, data: bytes) -> list[int]:
        """Return the places behind each line end of a piece that begins with a whole unit."""
        text, end = self._read(self._whole(data, True)), "\n"
        if text.isascii():
            return [_UNIT_BYTES * (match.end()) for match in re.finditer(end, text)]
        lines = text.split(end)
        places, place = [], 0
        for line in lines[:-1]:
            place += len(line.encode(self.codec, "surrogatepass")) + _UNIT_BYTES
            places.append(place)
        return places

    def _read(self, data: bytes) -> str:
        return data.decode(self.codec, "surrogatepass")

    def _whole(self, data: bytes, final: bool) -> bytes:
        end = len(data) // _UNIT_BYTES * _UNIT_BYTES
        if end and not final and int.from_bytes(data[end - 2 : end], "little" if self is LITTLE else "big") in _HIGH:
            end -= _UNIT_BYTES
        return data[:end]


class Utf16Reader:
    """Reads a stream of UTF-16 as UTF-8."""

    def __init__(self, stream: BinaryIO, utf16: Utf16) -> None:
        self._stream = stream
        self._utf16 = utf16
        self._rest = b""
        """Half of a character."""

    def read(self, size: int, /) -> bytes:
        """Return the text of up to `size` bytes, and none at the end."""
        text = b""
        while not text:
            more = self._stream.read(size)
            data = self._rest + more
            text = self._utf16.text_of(data, final=not more)
            self._rest = b"" if not more else data[self._utf16.size_of(text) :]
            if not more:
                break
        return text


LITTLE: Final = Utf16("utf-16-le", BOM_UTF16_LE)
BIG: Final = Utf16("utf-16-be", BOM_UTF16_BE)


def utf16_of(head: bytes) -> Utf16 | None:
    """Return the order of bytes of a text that begins so; None where it is not UTF-16."""
    head = head[:HEAD_BYTES]
    for coding, shape in ((LITTLE, _LITTLE), (BIG, _BIG)):
        if head.startswith(coding.mark) or shape.fullmatch(head):
            return coding
    return None
