"""One sink of a stream at work: calls it, again where it fails, and keeps its note with the stream's state."""

from __future__ import annotations

import logging
import random
import secrets
from collections.abc import Callable
from typing import TypeVar

import msgspec

from millstream.errors import ConflictError, SinkError, UsageError
from millstream.sinks.protocol import Sink, SinkPlace, SinkWriter
from millstream.sinks.rows import Rows

_log = logging.getLogger("millstream.sinks")

T = TypeVar("T")


class Note(msgspec.Struct, frozen=True, array_like=True):
    """What the log keeps of a sink."""

    text: str
    """Which sink it is, for people."""
    incarnation: str
    """See `SinkPlace`."""
    held: bool = False
    """Whether results are committed and not visible yet."""
    data: bytes | None = None
    """What `prepare` returned."""

    @classmethod
    def fresh(cls, sink: Sink) -> Note:
        """Return the note of a sink to which nothing was written yet."""
        return cls(str(sink), secrets.token_hex(4))


class Outlet:
    """A sink at work, from what was committed last.

    Args:
        wait: Waits so many seconds; True when the stream is to stop meanwhile.
        draw: A random number in [0, 1), for the waits.

    Raises:
        SinkError: The sink could not be opened; it names the sink.
        UsageError: It cannot be used as it is described.
    """

    def __init__(
        self,
        sink: Sink,
        place: SinkPlace,
        note: Note,
        wait: Callable[[float], bool],
        *,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._sink = sink
        self._place = place
        self._wait = wait
        self._draw = draw
        self._committed = note
        self._next: Note | None = None
        self._writer: SinkWriter = self._patiently("be opened", lambda: sink.open(place, note.data))

    @property
    def held(self) -> int:
        """Rows that are committed and not visible yet."""
        return self._writer.held

    @property
    def noted(self) -> bool:
        """Whether the last commit says of rows that they are not visible, that may be so by now.

        The next commit takes that back. Without it a sink could not go from the description when all is outside.
        """
        return self._committed.held

    def write(self, rows: Rows) -> None:
        self._patiently(f"take {rows}", lambda: self._writer.write(rows))

    def prepare(self) -> bytes | None:
        """Make safe what was written; return what is to be committed with it, None where that has not changed."""
        data = self._patiently("make results safe", self._writer.prepare)
        self._next = msgspec.structs.replace(self._committed, text=str(self._sink), held=self.held > 0, data=data)
        return None if self._next == self._committed else msgspec.msgpack.encode(self._next)

    def publish(self) -> None:
        """Make visible what was prepared; it is committed."""
        if self._next is not None:
            self._committed, self._next = self._next, None
        self._patiently("publish results that are committed", self._writer.publish)

    def finish(self) -> None:
        """Let all that is held become visible with the next commit."""
        self._writer.finish()

    def due_us(self) -> int | None:
        return self._writer.due_us()

    def close(self) -> None:
        self._writer.close()

    def _patiently(self, what: str, call: Callable[[], T]) -> T:
        """Call until it works, with growing waits, as long as the sink's patience lasts.

        Raises:
            SinkError: It did not work; names the sink and what it should have done.
        """
        attempt = 0
        while True:
            attempt += 1
            try:
                return call()
            except (UsageError, ConflictError) as error:
                error.add_note(f"Sink {self._sink} of {self._place.name} was to {what}.")
                raise
            except Exception as error:  # noqa: BLE001 - sinks call drivers and functions of users; patience decides
                self._pause(what, error, attempt)

    def _pause(self, what: str, error: Exception, attempt: int) -> None:
        """Wait before another attempt, or raise when there is none."""
        delay_s = self._sink.patience.delay_s(attempt, self._draw())
        if isinstance(error, SinkError):
            delay_s = delay_s if error.retryable else None
            if delay_s is not None and error.delay_s is not None:
                delay_s = max(delay_s, min(error.delay_s, self._sink.patience.most_s))
        if delay_s is None or self._wait(delay_s):
            times = "1 attempt" if attempt == 1 else f"{attempt} attempts"
            raise SinkError(
                f"sink {self._sink} of {self._place.name} could not {what}, after {times}: "
                f"{type(error).__name__}: {error}. Nothing is lost: the stream goes on from its last commit",
                retryable=error.retryable if isinstance(error, SinkError) else True,
            ) from error
        _log.warning(
            "sink %s of %s could not %s (%s: %s); attempt %d in %.1f s",
            self._sink,
            self._place.name,
            what,
            type(error).__name__,
            error,
            attempt + 1,
            delay_s,
        )
