"""A sink whose calls can be interrupted: by a crash, an error, or by something else that happens in between."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, TypeVar

from millstream.sinks.protocol import Guarantee, Patience, Sink, SinkPlace, SinkWriter
from millstream.sinks.rows import Rows

T = TypeVar("T")


class Crash(BaseException):
    """The process dies here. Not an Exception: nothing of ours may catch it."""


@dataclass
class Interruptions:
    """What happens at the steps of a sink, which are counted from 1 on."""

    at: Callable[[int, str], None] = lambda number, step: None
    """Called with the number and the name of each step; raises what is to go wrong there."""
    count: int = 0
    steps: list[str] = field(default_factory=list)

    def step(self, name: str) -> None:
        self.count += 1
        self.steps.append(name)
        self.at(self.count, name)


SHORT: Final = Patience(attempts=4, first_s=0.001, most_s=0.002)


@dataclass(frozen=True)
class InterruptedSink(Sink):
    """Another sink, with a step before and after each of its calls."""

    sink: Sink
    interruptions: Interruptions
    patience: Patience = SHORT

    @property
    def guarantee(self) -> Guarantee:
        return self.sink.guarantee

    def __str__(self) -> str:
        return str(self.sink)

    def open(self, place: SinkPlace, stored: bytes | None) -> SinkWriter:
        self.interruptions.step("before open")
        writer = self.sink.open(place, stored)
        return _InterruptedWriter(writer, self.interruptions)


class _InterruptedWriter(SinkWriter):
    def __init__(self, writer: SinkWriter, interruptions: Interruptions) -> None:
        self._writer = writer
        self._interruptions = interruptions
        self._around("open", lambda: None)

    @property
    def held(self) -> int:  # type: ignore[override]
        return self._writer.held

    def write(self, rows: Rows) -> None:
        self._around("write", lambda: self._writer.write(rows))

    def prepare(self) -> bytes | None:
        return self._around("prepare", self._writer.prepare)

    def publish(self) -> None:
        self._around("publish", self._writer.publish)

    def finish(self) -> None:
        self._writer.finish()

    def due_us(self) -> int | None:
        return self._writer.due_us()

    def close(self) -> None:
        self._writer.close()

    def _around(self, name: str, call: Callable[[], T]) -> T:
        """Make a call between two steps. A process that dies lets go of its connections, whatever they were at."""
        try:
            self._interruptions.step(f"before {name}")
            made = call()
            # An error after a call would be one of a call that was done: only a crash can come there.
            self._interruptions.step(f"after {name}")
        except Crash:
            self._writer.close()
            raise
        return made
