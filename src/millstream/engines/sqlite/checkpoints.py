"""Checkpoints: copying the write-ahead log back into the file, beside the writers instead of in their way."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable

import apsw

from millstream.engines.sqlite.driver import LogConnection
from millstream.engines.sqlite.wal_room import WalRoom

BACKGROUND_PAGES = 2000
"""16 MB: a thread of our own copies while writers go on. The commit after it syncs the log's new beginning, whatever
its durability: of a hundred jobs a second less than one in two hundred waits for that."""

INLINE_PAGES = 8192
"""64 MB: writers are faster than the copying; the next one copies itself, which bounds the log's size."""

COPIES_MAX = 4
"""Times in a row that the thread copies what came while it copied. Between two commits of a writer that pauses now and
then it is done for a moment, and the log begins anew without anybody having waited."""


class Checkpoints:
    """Decides who copies, and when."""

    def __init__(self, copy: Callable[[], bool], room: WalRoom | None) -> None:
        """Take what copies without waiting for anybody and says whether nothing is left, and what makes room."""
        self._copy = copy
        self._room = room
        self.reset()

    def reset(self) -> None:
        """Start anew in a forked child: the thread is the parent's."""
        self._pages = 0
        self._copied_at = 0
        self._signal = threading.Semaphore(0)
        self._thread: threading.Thread | None = None
        self._closing = False
        self._copying = False
        self._making_room = False
        self._nearly_done = False

    def note_pages(self, connection: apsw.Connection, schema: str, pages: int) -> int:
        """Remember the length of the write-ahead log; SQLite calls it after each commit."""
        self._pages = pages
        return apsw.SQLITE_OK

    def after_commit(self, connection: LogConnection) -> None:
        """Start what is needed; the caller is the writer and still has its lock."""
        if self._pages >= INLINE_PAGES or self._nearly_done:
            # What the thread left is little, and with all of it copied the log begins anew, in the room it has.
            self._nearly_done = False
            self._pages = self._copied_at = 0
            # Where it fails (a full disk), the commit before it holds all the same; the next commit tries again.
            with contextlib.suppress(apsw.Error):
                connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
            return
        if self._closing:
            return
        # Without a sync it is all the same whether the log grows.
        if connection.fsync and self._room is not None and not self._making_room and self._room.is_short(self._pages):
            self._making_room = True
            self._wake()
        if self._pages < self._copied_at:
            self._copied_at = 0  # the log began anew
        # It does not shrink while writers go on: what counts is how much came since the last copying.
        if self._pages - self._copied_at >= BACKGROUND_PAGES and not self._copying:
            self._copying = True
            self._copied_at = self._pages
            self._wake()

    def close(self) -> None:
        """End the thread."""
        self._closing = True
        if self._thread is not None:
            self._signal.release()
            self._thread.join()

    def _wake(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="millstream-checkpoint", daemon=True)
            self._thread.start()
        self._signal.release()

    def _work(self) -> None:
        while True:
            self._signal.acquire()
            if self._closing:
                return
            if self._making_room and self._room is not None:
                self._room.make()
                self._making_room = False
            if self._copying:
                # Whoever writes without a pause finds the rest at its next commit.
                self._nearly_done = not any(self._copy() for _ in range(COPIES_MAX))
                self._copying = False
