"""What a stream does, as a graph: sources, steps, outputs.

A node is made by one call of the description; its inputs were made before it, so the order of the nodes is one in which
records can flow. Every node puts no records at all through its step when it is made: a wrong column is found there,
with the line of the program that wrote it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from millstream.errors import UsageError
from millstream.log.topic import Topic
from millstream.sinks.protocol import Sink
from millstream.stream.keyed.failing import Guard, OnError
from millstream.stream.piece import Piece, empty_piece
from millstream.stream.steps import MapBatches

if TYPE_CHECKING:
    import polars as pl

_PACKAGE: Final = str(Path(__file__).parents[1])


class Table(msgspec.Struct, frozen=True):
    """A topic read as a table: of each key the newest record counts."""

    topic: Topic[Any]
    key: tuple[str, ...]
    """The columns that tell its rows apart."""


class Source(msgspec.Struct, frozen=True, eq=False):
    """A topic that a stream reads."""

    topic: Topic[Any]
    table: Table | None = None

    def __str__(self) -> str:
        return f"{'table' if self.table else 'topic'} {self.topic.name!r}"


class ToTopic(msgspec.Struct, frozen=True):
    """Append to a topic."""

    target: str | Topic[Any]

    @property
    def name(self) -> str:
        return self.target if isinstance(self.target, str) else self.target.name

    def __str__(self) -> str:
        return f"to topic {self.name!r}"


class Each(msgspec.Struct, frozen=True):
    """Call a function with each value."""

    function: Callable[[Any], Any]

    def __str__(self) -> str:
        return f"each({getattr(self.function, '__name__', self.function)})"


class ToSink(msgspec.Struct, frozen=True):
    """Write where the log does not reach."""

    sink: Sink

    def __str__(self) -> str:
        return f"to {self.sink}, {self.sink.guarantee}"


class Node:
    """A source, a step or an output of one graph."""

    def __init__(self, number: int, step: Any, inputs: tuple[Node, ...], where: str, empty: Piece | None) -> None:
        self.number = number
        self.step = step
        self.inputs = inputs
        self.where = where
        """File and line of the call that made it."""
        self.empty = empty
        """No records, as they come out; None where only records can tell what they are."""
        self.late_of: Node | None = None
        """Set where it takes what came too late for another node, not what that one makes."""

    @property
    def schema(self) -> pl.Schema | None:
        """The columns that come out, None where only records can tell."""
        return self.empty.columns().schema if self.empty is not None and self.empty.has_columns else None

    def __repr__(self) -> str:
        return f"<{self.number}: {self.step}>"


class Graph:
    """The nodes of one stream, in the order in which they were described."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.nodes: list[Node] = []

    def source(self, source: Source) -> Node:
        """Add a topic to read."""
        empty = None if source.topic.schema.open else empty_piece(source.topic)
        return self._add(source, (), empty)

    def step(self, step: Any, *inputs: Node) -> Node:
        """Add a step.

        Raises:
            UsageError: It cannot work on the columns that come in; the message names the line that described it.
        """
        try:
            empty = _empty_of(step, inputs)
        except UsageError as error:
            raise UsageError(f"stream {self.name!r}, {called_at()}: {error}") from error
        except Exception as error:
            if not type(error).__module__.startswith("polars"):
                raise
            raise UsageError(
                f"stream {self.name!r}, {called_at()}: {step}: {error}; the columns are "
                f"{', '.join(_columns_of(inputs)) or 'not known'}"
            ) from error
        return self._add(step, inputs, empty)

    def output(self, sink: ToTopic | ToSink | Each | Any, node: Node) -> Node:
        """Add where records go."""
        return self._add(sink, (node,), None)

    def late(self, sink: ToTopic, node: Node) -> None:
        """Send what comes too late for a node to a topic."""
        self._add(sink, (node.inputs[0],), None).late_of = node

    def outputs(self) -> Iterator[Node]:
        read = {source for node in self.nodes for source in node.inputs}
        return (node for node in self.nodes if node not in read and not isinstance(node.step, Source))

    def sources(self) -> list[Node]:
        return [node for node in self.nodes if isinstance(node.step, Source)]

    def children(self, node: Node) -> list[tuple[Node, int]]:
        """Return who takes what a node makes, and at which of its inputs."""
        return [
            (other, port)
            for other in self.nodes
            for port, source in enumerate(other.inputs)
            if source is node and other.late_of is None
        ]

    def _add(self, step: Any, inputs: tuple[Node, ...], empty: Piece | None) -> Node:
        node = Node(len(self.nodes), step, inputs, called_at(), empty)
        self.nodes.append(node)
        return node


def is_stateful(step: Any) -> bool:
    return hasattr(step, "fingerprint")


def called_at() -> str:
    """Return file and line of the program's call into this package."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame = frame.f_back
    return f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"


def _empty_of(step: Any, inputs: tuple[Node, ...]) -> Piece | None:
    """Put no records through a step; None where only records can tell what comes out."""
    if is_stateful(step):
        from millstream.stream.plan import operator_of

        operator = operator_of(step, b"")
        schema: pl.Schema | None = None
        for port, node in enumerate(inputs):
            schema = None if node.schema is None else operator.bind(port, node.schema)
        return None if schema is None else Piece.of(_frame_of(schema))
    [first, *others] = [node.empty for node in inputs]
    for other in others:
        if first is not None and other is not None and first.columns().schema != other.columns().schema:
            raise UsageError(
                f"{step}: the columns differ: {_text(first.columns().schema)} and {_text(other.columns().schema)}; "
                "make them the same with select"
            )
    if first is None or not first.has_columns or isinstance(step, MapBatches):
        return None
    made: Piece = step.run(first, Guard(OnError()))
    return made if made.has_type else None


def _text(schema: pl.Schema) -> str:
    return ", ".join(f"{name} {dtype}" for name, dtype in schema.items())


def _columns_of(inputs: tuple[Node, ...]) -> list[str]:
    return [name for node in inputs if node.schema is not None for name in node.schema.names()]


def _frame_of(schema: pl.Schema) -> pl.DataFrame:
    import polars as pl

    return pl.DataFrame(schema={**schema, "_event_time": pl.Datetime("us", "UTC")})
