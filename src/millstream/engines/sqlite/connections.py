"""The connections of one engine: some for readers, one for the writer, none across a fork.

SQLite keeps its locks in the memory of the process, so a connection that is open while the process forks corrupts the
file from the child (sqlite.org/howtocorrupt.html, 2.6). Therefore all connections are closed before a fork and opened
anew by whoever needs one after it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from millstream.engines.sqlite.driver import LogConnection
from millstream.errors import ClosedError

_IDLE_MAX = 8
"""Readers kept open for the next call; more than this many at the same moment are closed after use."""


class Connections:
    """Hands out connections and can take them all back."""

    def __init__(self, opens: Callable[[], LogConnection]) -> None:
        self._opens = opens
        self._closed = False
        self._reset()

    def _reset(self) -> None:
        self._mutex = threading.Lock()
        self._changed = threading.Condition(self._mutex)
        self._idle: list[LogConnection] = []
        self._writer: LogConnection | None = None
        self._out = 0
        self._frozen = False

    @contextmanager
    def reader(self) -> Iterator[LogConnection]:
        """Lend a connection to one caller at a time."""
        self._enter()
        connection: LogConnection | None = None
        try:
            with self._mutex:
                connection = self._idle.pop() if self._idle else None
            if connection is None:
                connection = self._opens()
            yield connection
        finally:
            self._leave(connection)

    def lend_writer(self) -> LogConnection:
        """Lend the writer's connection until `return_writer`; callers take turns by the group commit."""
        self._enter()
        if self._writer is None:
            try:
                self._writer = self._opens()
            except BaseException:
                self._leave(None)
                raise
        return self._writer

    def return_writer(self) -> None:
        """Take it back."""
        self._leave(None)

    @contextmanager
    def writer(self) -> Iterator[LogConnection]:
        """Lend the writer's connection for a block."""
        connection = self.lend_writer()
        try:
            yield connection
        finally:
            self.return_writer()

    def drop_writer(self) -> None:
        """Close the writer's connection after an error that it may not get over; called by its borrower."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def freeze(self) -> None:
        """Wait until every connection is back, close all, and lend none until `thaw`."""
        with self._changed:
            self._frozen = True
            while self._out:
                self._changed.wait()
            self._close_all()

    def thaw(self) -> None:
        """Lend connections again."""
        with self._changed:
            self._frozen = False
            self._changed.notify_all()

    def thaw_in_child(self) -> None:
        """The same in a forked child, whose locks belonged to threads that do not exist here."""
        self._reset()

    def close(self) -> None:
        """Close all for good."""
        self.freeze()
        with self._changed:
            self._closed = True
            self._frozen = False
            self._changed.notify_all()

    def _close_all(self) -> None:
        for connection in self._idle:
            connection.close()
        self._idle.clear()
        self.drop_writer()

    def _enter(self) -> None:
        with self._mutex:
            while self._frozen:
                self._changed.wait()
            if self._closed:
                raise ClosedError("this log was closed")
            self._out += 1

    def _leave(self, connection: LogConnection | None) -> None:
        with self._mutex:
            if connection is not None:
                if len(self._idle) < _IDLE_MAX:
                    self._idle.append(connection)
                else:
                    connection.close()
            self._out -= 1
            if self._frozen:
                self._changed.notify_all()
