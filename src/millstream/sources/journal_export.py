r"""Entries of the journal in its export format, as lines of JSON: `journalctl --output=export > file`.

| field | in the file |
|---|---|
| text | `NAME=value`, a line |
| bytes | `NAME`, a line; its size, 8 bytes, the lowest first; the bytes; a line end |

An empty line ends an entry. The JSON is that of `journalctl --output=json`: a field whose bytes are not UTF-8 is a list
of numbers, one that an entry has more than once a list of those.

Source: https://systemd.io/JOURNAL_EXPORT_FORMATS ("Journal Export Format").
"""

from __future__ import annotations

import re
from typing import Any, BinaryIO, Final

import msgspec

from millstream.errors import UsageError

START: Final = b"__CURSOR="
"""What a file in this format begins with."""
VALUE_BYTES_MAX: Final = 1024 * 1024
"""Of a field; a longer one, such as the memory of a program that crashed, is null, as journalctl has it."""
ENTRY_FIELDS_MAX: Final = 1024
_NAME: Final = re.compile(rb"[A-Z_][A-Z0-9_]{0,255}")
_SIZE_MAX: Final = 2**40


class ExportReader:
    """Reads such a file as lines of JSON, one an entry."""

    def __init__(self, file: BinaryIO) -> None:
        """Read on from where a file is, which can tell its place."""
        self._file = file

    def read(self, size: int, /) -> bytes:
        """Return about `size` bytes of whole lines, and none at the end.

        Raises:
            UsageError: The file is damaged; says at which byte.
        """
        parts: list[bytes] = []
        length = 0
        while length < size and (entry := self._entry()) is not None:
            parts.append(msgspec.json.encode(entry) + b"\n")
            length += len(parts[-1])
        return b"".join(parts)

    def _entry(self) -> dict[str, Any] | None:
        """Return the fields of the next entry; None at the end. One that was cut has what is there of it."""
        found: dict[str, Any] = {}
        while line := self._file.readline(VALUE_BYTES_MAX + 256):
            if line == b"\n":
                if found:
                    return found
                continue
            name, equals, value = line.partition(b"=")
            if not _NAME.fullmatch(name.rstrip(b"\n")):
                raise UsageError(
                    f"byte {self._file.tell() - len(line):,} of this export of a journal begins no field, but "
                    f"{line[:40]!r}; "
                    "make it anew with: journalctl --output=export"
                )
            said = self._text(value) if equals else self._bytes()
            if len(found) < ENTRY_FIELDS_MAX:
                _add(found, name.rstrip(b"\n").decode(), said)
        return found or None

    def _text(self, value: bytes) -> bytes | None:
        """Return the value of a line; None for one that is too long, which is read past."""
        if value.endswith(b"\n") or len(value) <= VALUE_BYTES_MAX:
            return value.removesuffix(b"\n")
        while (more := self._file.readline(VALUE_BYTES_MAX)) and not more.endswith(b"\n"):
            pass
        return None

    def _bytes(self) -> bytes | None:
        """Return the value behind a name alone; None for one that is too long, which is read past."""
        size = int.from_bytes(self._file.read(8), "little")
        if size > _SIZE_MAX:
            raise UsageError(
                f"byte {self._file.tell() - 8:,} of this export of a journal says that a field has {size:,} "
                f"bytes, which is "
                "no size; make it anew with: journalctl --output=export"
            )
        if size <= VALUE_BYTES_MAX:
            value = self._file.read(size)
            self._file.read(1)
            return value
        left = size + 1
        while left and (piece := self._file.read(min(left, VALUE_BYTES_MAX))):
            left -= len(piece)
        return None


def _add(found: dict[str, Any], name: str, value: bytes | None) -> None:
    said: Any = None
    if value is not None:
        try:
            said = value.decode()
        except UnicodeDecodeError:
            said = list(value)
    if name not in found:
        found[name] = said
        return
    before = found[name]
    # Several values are a list of values; one that is bytes is a list of numbers.
    several = isinstance(before, list) and bool(before) and not isinstance(before[0], int)
    found[name] = [*before, said] if several else [before, said]
