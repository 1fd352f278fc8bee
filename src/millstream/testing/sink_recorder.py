"""What stands in for a stream's sinks in a test: it keeps rows in memory, and the promise of the sink it stands for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from millstream.errors import UsageError
from millstream.sinks.protocol import Guarantee, Patience, Sink, SinkPlace, SinkWriter
from millstream.sinks.rows import Rows
from millstream.stream.graph import Graph, ToSink

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True, eq=False)
class SinkRecorder(Sink):
    """Stands for a sink: its name, its promise, its objections to columns, and nothing of what it does.

    Rows of a sink that is exactly once show after the commit; what a crash leaves uncommitted never shows. Those of any
    other show as they are written, before the commit: again, where a crash makes the stream write them again.
    """

    sink: Sink
    rows: list[Any] = field(default_factory=list)
    """What can be seen: a dict each, or the value itself where it is a JSON object."""
    _staged: dict[int, list[Any]] = field(default_factory=dict)
    """Written and not seen yet, by the number of its commit."""

    @property
    def guarantee(self) -> Guarantee:
        return self.sink.guarantee

    @property
    def patience(self) -> Patience:
        return self.sink.patience

    def __str__(self) -> str:
        return str(self.sink)

    def check(self, schema: pl.Schema) -> None:
        self.sink.check(schema)

    def open(self, place: SinkPlace, stored: bytes | None) -> SinkWriter:
        if self.guarantee is not Guarantee.EXACTLY_ONCE:
            return _SeenAtOnce(self.rows)
        return _SeenWhenCommitted(self.rows, self._staged, stored)


class _SeenAtOnce(SinkWriter):
    def __init__(self, rows: list[Any]) -> None:
        self._rows = rows

    def write(self, rows: Rows) -> None:
        self._rows += rows.values()


class _SeenWhenCommitted(SinkWriter):
    def __init__(self, rows: list[Any], staged: dict[int, list[Any]], stored: bytes | None) -> None:
        self._rows = rows
        self._staged = staged
        self._prepared = 0 if stored is None else msgspec.msgpack.decode(stored, type=int)
        """The number of the last commit that brought rows."""
        self._written: list[Any] = []
        self.publish()
        staged.clear()

    def write(self, rows: Rows) -> None:
        self._written += rows.values()

    def prepare(self) -> bytes:
        if self._written:
            self._prepared += 1
            self._staged[self._prepared], self._written = self._written, []
        return msgspec.msgpack.encode(self._prepared)

    def publish(self) -> None:
        self._rows += self._staged.pop(self._prepared, [])


def record_sinks(graph: Graph) -> list[SinkRecorder]:
    """Put a recorder in the place of each sink of a graph; return them in the order of the description."""
    recorders: list[SinkRecorder] = []
    for node in graph.nodes:
        if isinstance(node.step, ToSink):
            recorders.append(SinkRecorder(node.step.sink))
            node.step = ToSink(recorders[-1])
    return recorders


def recorder_of(recorders: list[SinkRecorder], which: str | int) -> SinkRecorder:
    """Return the one with a number, or the only one whose name contains a text.

    Raises:
        UsageError: There is none, or there are several.
    """
    if isinstance(which, int):
        found = recorders[which : which + 1] if which >= 0 else []
    else:
        found = [recorder for recorder in recorders if which in str(recorder)]
    if len(found) != 1:
        there = "; ".join(f"{number}: {recorder}" for number, recorder in enumerate(recorders)) or "none"
        several = f"{len(found)} sinks of the stream are" if found else "no sink of the stream is"
        raise UsageError(f"{several} {which!r}; give its number, or a part of its name that no other has: {there}")
    return found[0]
