"""The readers of one process: a thread each, restarted when they fail, stopped softly together."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from datetime import timedelta
from enum import StrEnum
from types import TracebackType
from typing import Final, Self

import msgspec

from millstream.durations import duration
from millstream.errors import ClosedError, CommitConflictError, MillstreamError
from millstream.run.reader import Abortable, Reader

_log = logging.getLogger("millstream.run")

RESTART_DELAY_S: Final = 0.5
"""Before the first restart; doubled by each failure in a row. A cause that passes by itself is usually gone by then."""

RESTART_DELAY_MAX_S: Final = 30.0
"""A reader whose cause was removed is back within this time."""

ABORT_S: Final = 5.0
"""After a hard stop, a reader that has not ended by then is left behind."""

HEALTHY_S: Final = 60.0
"""A reader that ran this long starts anew with the shortest delay."""


class ReaderStatus(StrEnum):
    RUNNING = "running"
    FAILED = "failed"
    """It raised, and waits to be started again."""
    STOPPED = "stopped"


class ReaderState(msgspec.Struct, frozen=True):
    """How a reader fares."""

    kind: str
    name: str
    state: ReaderStatus
    failures: int = 0
    """Since the supervisor was started."""
    error: str | None = None
    """The last one."""


class Running:
    """Readers at work in background threads. Stop it, or use it in a `with`, which stops it at the end."""

    def __init__(self, readers: Sequence[Reader]) -> None:
        self._stop = threading.Event()
        self._watched = [_Watched(reader, self._stop) for reader in readers]
        for watched in self._watched:
            watched.start()

    def readers(self) -> list[ReaderState]:
        return [watched.state for watched in self._watched]

    def stop(self, grace: timedelta | str | float | None = None) -> bool:
        """Let every reader finish what it is at, and end; return whether all did.

        Args:
            grace: Give up waiting after this time; the threads go on and end with the process. None waits as long as
                the longest handler takes.
        """
        self._stop.set()
        deadline = None if grace is None else time.monotonic() + duration(grace).total_seconds()
        for watched in self._watched:
            watched.join(None if deadline is None else max(0.0, deadline - time.monotonic()))
        return not any(watched.is_alive() for watched in self._watched)

    def abort(self) -> None:
        """Stop hard: what handlers of queues are at is given back at once, and worker processes are ended.

        Handlers in threads cannot be ended: they go on until the process ends, and what they return does not count.
        """
        self._stop.set()
        for watched in self._watched:
            watched.abort()
        for watched in self._watched:
            watched.join(ABORT_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()


class _Watched(threading.Thread):
    """One reader's thread."""

    def __init__(self, reader: Reader, stop: threading.Event) -> None:
        super().__init__(name=f"{reader.kind}-{reader.name}", daemon=True)
        self._reader = reader
        self._stop_event = stop
        self.state = ReaderState(kind=reader.kind, name=reader.name, state=ReaderStatus.RUNNING)

    def run(self) -> None:
        delay_s = RESTART_DELAY_S
        while not self._stop_event.is_set():
            begun = time.monotonic()
            try:
                self._reader.run(self._stop_event)
            except ClosedError:
                break
            except KeyboardInterrupt:
                # Polars ends a query when Ctrl-C is pressed, in whatever thread it runs. What was not committed is done
                # again, by this reader unless the program stops, which the main thread is told by itself.
                self._stop_event.wait(delay_s)
            except CommitConflictError as error:
                # Another process runs the same reader: nothing is lost, one of the two is always ahead.
                _log.info("%s %s: %s", self._reader.kind, self._reader.name, error)
                self._stop_event.wait(delay_s)
            except Exception as error:  # noqa: BLE001 - whatever it was is logged, counted, shown, and tried again
                if time.monotonic() - begun > HEALTHY_S:
                    delay_s = RESTART_DELAY_S
                self._failed(error, delay_s)
                self._stop_event.wait(delay_s)
                delay_s = min(delay_s * 2, RESTART_DELAY_MAX_S)
                self._note(ReaderStatus.RUNNING)
        self._note(ReaderStatus.STOPPED)

    def abort(self) -> None:
        if isinstance(self._reader, Abortable):
            self._reader.abort()

    def _failed(self, error: Exception, delay_s: float) -> None:
        _log.error(
            "%s %s failed, started again in %.1f s: %s",
            self._reader.kind,
            self._reader.name,
            delay_s,
            error,
            # A receiver that is away, or a full disk, is no defect: the message says all there is.
            exc_info=None if isinstance(error.__cause__, (MillstreamError, OSError)) else error,
        )
        self.state = ReaderState(
            kind=self.state.kind,
            name=self.state.name,
            state=ReaderStatus.FAILED,
            failures=self.state.failures + 1,
            error=f"{type(error).__name__}: {error}",
        )

    def _note(self, state: ReaderStatus) -> None:
        self.state = msgspec.structs.replace(self.state, state=state)
