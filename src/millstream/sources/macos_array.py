"""A file of `log show --style json`: one array of entries over many lines, as an entry a line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final, Protocol

READ_BYTES: Final = 1024 * 1024
ENTRY_CHARS_MAX: Final = 4 * 1024 * 1024
"""Of one entry; a message has at most 32 KiB, so what is longer is none, and is passed on line by line."""
_BETWEEN: Final = "[], \t\r\n"


class Bytes(Protocol):
    """What the file is read from."""

    def read(self, size: int, /) -> bytes: ...

    @property
    def size_bytes(self) -> int: ...

    @property
    def done_bytes(self) -> int: ...


def is_array_file(path: Path) -> bool:
    """Return whether a file begins as an array of objects; False for one that is compressed.

    Raises:
        OSError: It does not exist or may not be read.
    """
    with path.open("rb") as file:
        return b"".join(file.read(100).split())[:2] == b"[{"


class ArrayLines:
    """Reads the entries of an array as lines of JSON, a piece of the file at a time."""

    def __init__(self, file: Bytes) -> None:
        self._file = file
        self._decoder = json.JSONDecoder()
        self._rest = ""
        self._partial = b""
        self._ended = False

    @property
    def size_bytes(self) -> int:
        return self._file.size_bytes

    @property
    def done_bytes(self) -> int:
        return self._file.done_bytes

    def read(self, size: int, /) -> bytes:
        """Return some lines; nothing at the end. What is no entry is a line as it is."""
        while not self._ended:
            data = self._partial + self._file.read(READ_BYTES)
            self._ended = len(data) == len(self._partial)
            whole = len(data) if self._ended else data.rfind(b"\n") + 1  # no character is cut in two
            self._partial = data[whole:]
            found = self._entries(data[:whole].decode(errors="backslashreplace"))
            if found:
                return found
        return b""

    def _entries(self, text: str) -> bytes:
        text, place = self._rest + text, 0
        lines: list[str] = []
        while True:
            while place < len(text) and text[place] in _BETWEEN:
                place += 1
            try:
                entry, place = self._decoder.raw_decode(text, place)
            except (json.JSONDecodeError, RecursionError):
                break
            lines.append(json.dumps(entry, ensure_ascii=False, separators=(",", ":")))
        self._rest = text[place:]
        if self._rest.strip() and (self._ended or len(self._rest) > ENTRY_CHARS_MAX):
            lines += [line for line in self._rest.splitlines() if line.strip()]
            self._rest = ""
        return "".join(line + "\n" for line in lines).encode("utf-8", "backslashreplace")
