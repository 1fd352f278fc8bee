"""Bytes that come through a pipe, as lines: read by a thread of its own, with a bound on what waits."""

from __future__ import annotations

import os
import queue
import threading
import time
from codecs import BOM_UTF8
from collections.abc import Callable
from typing import Final

from millstream.sources.batches import BATCH_BYTES_MAX
from millstream.sources.line_split import Split
from millstream.sources.source import Line
from millstream.sources.utf16 import HEAD_BYTES, Utf16, utf16_of

READ_BYTES: Final = 64 * 1024
WAITING_MAX: Final = 16
"""Pieces that wait for their lines to be stored; then the writer of the pipe waits."""
READING_LINES: Final = 5000
READING_S: Final = 0.05
"""How long a reading that is not full is waited for more."""


class Pipes:
    """Some pipes, read together in the order in which their data comes."""

    def __init__(self) -> None:
        self._pieces: queue.Queue[tuple[StreamLines, bytes]] = queue.Queue(WAITING_MAX)
        self._streams: list[StreamLines] = []

    def add(self, descriptor: int, lines: StreamLines) -> None:
        """Read a pipe to its end, in the background; it stays the caller's."""

        def work() -> None:
            while True:
                try:
                    data = os.read(descriptor, READ_BYTES)
                except OSError:
                    data = b""  # closed under our hands
                self._pieces.put((lines, data))
                if not data:
                    return

        self._streams.append(lines)
        # A daemon: nothing wakes a thread that waits for input but input.
        threading.Thread(target=work, name=f"millstream-{lines.origin}", daemon=True).start()

    @property
    def ended(self) -> bool:
        """Whether all pipes are at their ends, and their lines were returned."""
        return not self._streams

    def read(self, patience_s: float) -> list[Line]:
        """Return the lines that come within a moment, once some came; none after `patience_s`."""
        found: list[Line] = []
        until = time.monotonic() + patience_s
        while self._streams and len(found) < READING_LINES:
            try:
                lines, data = self._pieces.get(timeout=max(until - time.monotonic(), 0.001))
            except queue.Empty:
                break
            before = len(found)
            if data:
                found += lines.add(data)
            else:
                found += lines.end()
                self._streams.remove(lines)
            if found and not before:
                until = min(until, time.monotonic() + READING_S)
        for lines in self._streams:
            found += lines.quiet()
        return found


class StreamLines:
    """The lines, or events, of one stream, as its bytes come."""

    def __init__(self, origin: str, split: Split, *, quiet_us: int | None, now_us: Callable[[], int]) -> None:
        """Take bytes.

        Args:
            split: Cuts bytes into lines or events.
            quiet_us: What `split` holds back is complete when nothing came for this long.
            now_us: A clock that only goes forward.
        """
        self.origin = origin
        self._split = split
        self._quiet_us = quiet_us
        self._now_us = now_us
        self._data = b""
        self._begun = False
        self._utf16: Utf16 | None = None
        self._came_us = now_us()

    def add(self, data: bytes) -> list[Line]:
        """Return what is complete with some more bytes."""
        self._came_us = self._now_us()
        self._data += data
        if not self._begun and (len(self._data) >= HEAD_BYTES or b"\n" in self._data):
            self._begin()
        found: list[Line] = []
        while self._data:
            pieces, consumed = self._split(self._data, False)
            self._data = self._data[consumed:]
            found += self._lines(pieces)
            if not consumed:
                break
        assert len(self._data) <= 2 * BATCH_BYTES_MAX, "what is held back is bounded"
        return found

    def quiet(self) -> list[Line]:
        """Return what was held back, if nothing came for long enough."""
        if self._quiet_us is None or not self._data or self._now_us() - self._came_us < self._quiet_us:
            return []
        pieces, consumed = self._split(self._data, True)
        self._data = self._data[consumed:]
        return self._lines(pieces)

    def end(self) -> list[Line]:
        """Return the rest, with a last line that has no end."""
        if not self._begun:
            self._begin()
        data, self._data = self._data, b""
        if not data:
            return []
        if self._utf16 is not None:
            return self._lines(self._split(self._utf16.ended(data), True)[0])
        return self._lines(self._split(data if data.endswith(b"\n") else data + b"\n", True)[0])

    def _begin(self) -> None:
        """Look at how the text is encoded, and leave out its mark."""
        self._begun = True
        self._utf16 = utf16_of(self._data)
        if self._utf16 is not None:
            self._split = self._utf16.split(self._split)
        self._data = self._data.removeprefix(BOM_UTF8 if self._utf16 is None else self._utf16.mark)

    def _lines(self, pieces: list[bytes]) -> list[Line]:
        return [Line(self.origin, line) for piece in pieces if (line := piece.rstrip(b"\r"))]
