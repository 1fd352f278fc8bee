"""The graph at work: records of a micro-batch and the watermark go through it once, in its order."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypeVar

from millstream import limits
from millstream.stream.failures import GivenUp, blame, given_up
from millstream.stream.graph import Each, Graph, Node, Source, ToSink, ToTopic, is_stateful
from millstream.stream.keyed.failing import Guard
from millstream.stream.operators import LateOutput, Lazy, Operator, OperatorStatus, StateReader, StateWrite, Ticking
from millstream.stream.piece import Piece
from millstream.stream.plan import operators_of
from millstream.stream.source import NEVER_US

T = TypeVar("T")


class Arrival(NamedTuple):
    """Records that reached an output."""

    output: Node
    piece: Piece


class Swept(NamedTuple):
    """What came of a micro-batch."""

    arrivals: list[Arrival]
    failures: list[GivenUp]


class Flow:
    """The steps of a stream and what they hold, from what was committed last.

    Args:
        shared, memory_bytes: See `operators_of`.
    """

    def __init__(
        self, graph: Graph, guard: Guard, *, shared: bool = False, memory_bytes: int = limits.STATE_MEMORY_BYTES
    ) -> None:
        self._graph = graph
        self._guard = guard
        self._operators = operators_of(graph, guard, shared=shared, memory_bytes=memory_bytes)
        self._children = {node: graph.children(node) for node in graph.nodes}
        self._late = {node.late_of: node for node in graph.nodes if node.late_of is not None}
        self.busy_s = dict.fromkeys(graph.nodes, 0.0)
        """Time spent in each node."""
        self.at: tuple[Node, float] | None = None
        """The node that is at work, and since when (`time.monotonic`); safe to read from other threads."""
        self._passed: dict[Node, int] = {}
        """The watermark that each operator was told last: it never goes back."""
        self._lags: dict[Node, int] = {}
        """How far each operator's watermark is behind the sources', as of the last sweep."""

    @property
    def operators(self) -> Mapping[Node, Operator]:
        return self._operators

    def load(self, load: Callable[[bytes], dict[bytes, bytes]], reader: StateReader) -> None:
        """Hand each operator its state.

        Args:
            load: Returns all state whose keys begin with a prefix.
            reader: For operators that read theirs when they need it.
        """
        for operator in self._operators.values():
            if isinstance(operator, Lazy):
                operator.attach(reader)
            else:
                operator.load(load(operator.prefix))

    def sweep(
        self,
        pieces: Mapping[Node, Sequence[Piece]],
        watermarks_us: Mapping[Node, int | None],
        clock_us: int | None = None,
        *,
        refused: Sequence[GivenUp] = (),
    ) -> Swept:
        """Put records through the graph, and the watermark after them.

        Args:
            pieces: Of sources.
            watermarks_us: Of each source, with its records; None: it says nothing yet.
            clock_us: The wall clock, for timers.
            refused: What went no further than its source.
        """
        inbox: dict[Node, list[tuple[int, Piece]]] = {node: [] for node in self._graph.nodes}
        out_us: dict[Node, int | None] = {}
        swept = Swept([], [*refused])
        first_us = min((us for us in watermarks_us.values() if us is not None), default=None)
        for node in self._graph.nodes:
            begun = time.perf_counter()
            arrived = inbox.pop(node)  # what has been handled is let go of, not kept until all steps had their turn
            if isinstance(node.step, Source):
                made = list(pieces.get(node, ()))
                out_us[node] = watermarks_us[node]
            elif isinstance(node.step, ToTopic | ToSink | Each) or not (self._children[node] or is_stateful(node.step)):
                swept.arrivals.extend(Arrival(node, piece) for _, piece in arrived if piece.height)
                continue
            elif (operator := self._operators.get(node)) is not None:
                into_us = self._into_us(node, out_us)
                if into_us is not None and first_us is not None:
                    self._lags[node] = first_us - into_us
                    into_us = self._passed[node] = max(into_us, self._passed.get(node, into_us))
                made = self._operate(node, operator, arrived, inbox, into_us, clock_us, swept)
                out_us[node] = None if into_us is None else operator.out_us(into_us)
            else:
                made = [
                    self.guarded(node, piece, functools.partial(node.step.run, piece, self._guard), swept)
                    for _, piece in arrived
                ]
                out_us[node] = self._into_us(node, out_us)
            self.busy_s[node] += time.perf_counter() - begun
            for child, port in self._children[node]:
                inbox[child] += [(port, piece) for piece in made if piece.height]
        return swept

    def due_us(self) -> int | None:
        """Return the sources' watermark at which something closes next, about; None: nothing waits."""
        return min(self._of_sources(lambda operator: operator.due_us()), default=None)

    def end_us(self) -> int | None:
        """Return the sources' watermark at which all that is open has closed, about."""
        return max(self._of_sources(lambda operator: operator.end_us()), default=None)

    def tick_due_us(self) -> int | None:
        """Return the wall-clock time at which a timer is due; None: there is none."""
        due = [operator.tick_due_us() for operator in self._operators.values() if isinstance(operator, Ticking)]
        return min((at for at in due if at is not None), default=None)

    def changes(self) -> list[StateWrite]:
        """Return what must be stored since the last call."""
        return [write for operator in self._operators.values() for write in operator.changes()]

    def asked_bytes(self) -> int:
        """Return about how much of memory that is what the last micro-batch asked for, and has to stay until it is
        committed."""
        return sum(operator.asked_bytes for operator in self._operators.values() if isinstance(operator, Lazy))

    def statuses(self) -> list[tuple[Node, OperatorStatus]]:
        return [(node, operator.status()) for node, operator in self._operators.items()]

    # --- inside -----------------------------------------------------------------------------------------------------

    def guarded(self, node: Node, piece: Piece | None, run: Callable[[], T], swept: Swept) -> T:
        """Run a step on records (None: on its timers); note those that it gave up, or which one it stops for."""
        self.at = (node, time.monotonic())
        try:
            made = run()
        except Exception as error:
            blame(node, piece, self._guard, error)
            raise
        finally:
            self.at = None
        swept.failures.extend(given_up(node, piece, self._guard))
        return made

    def _operate(
        self,
        node: Node,
        operator: Operator,
        arrived: Sequence[tuple[int, Piece]],
        inbox: dict[Node, list[tuple[int, Piece]]],
        into_us: int | None,
        clock_us: int | None,
        swept: Swept,
    ) -> list[Piece]:
        made: list[Piece] = []
        for port, piece in arrived:
            made += self.guarded(node, piece, functools.partial(operator.process, port, piece), swept)
        if isinstance(operator, LateOutput) and (late := operator.late()) is not None and node in self._late:
            inbox[self._late[node]].append((0, late))
        if into_us is not None:
            made += self.guarded(node, None, functools.partial(operator.advance, into_us), swept)
        if clock_us is not None and isinstance(operator, Ticking):
            made += self.guarded(node, None, functools.partial(operator.tick, clock_us), swept)
        return made

    def _into_us(self, node: Node, out_us: Mapping[Node, int | None]) -> int | None:
        """Return the watermark of all inputs; tables do not hold it back."""
        inputs = [out_us[source] for source in node.inputs if not _is_table(source)]
        known = [us for us in inputs if us is not None]
        return min(known) if known and len(known) == len(inputs) and min(known) < NEVER_US else None

    def _of_sources(self, of: Callable[[Operator], int | None]) -> list[int]:
        times = [(node, of(operator)) for node, operator in self._operators.items()]
        return [us + self._lags.get(node, 0) for node, us in times if us is not None]


def _is_table(node: Node) -> bool:
    return isinstance(node.step, Source) and node.step.table is not None
