"""A stream at work: micro-batch after micro-batch, each one transaction."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from millstream.engines.protocol import Append, OffsetMove, StateChange
from millstream.errors import UsageError
from millstream.log.group import Group
from millstream.stream.flow import Arrival, Flow
from millstream.stream.graph import Each, Graph, Node, ToTopic
from millstream.stream.operators import OperatorStatus
from millstream.stream.output import Output
from millstream.stream.piece import Piece
from millstream.stream.plan import PREFIX_BYTES, needs_of, never_null
from millstream.stream.source import NEVER_US, SourceReader
from millstream.stream.watermark import Watermarks

RECORDS_MAX: Final = 50_000
"""Of a micro-batch: Polars is at full speed from here. Under less load a batch is what came during the last commit."""

STOP_US: Final = 200_000
"""A stream without input notices within this time that it should stop."""

WAIT_US: Final = 5_000_000
"""A stream without input looks again after this time whatever happens; new records wake it before."""

STATE_PARTITION: Final = 0
"""Windows span the partitions of a topic, so state is kept with the first one of the first topic."""

_TURN: Final = b"t"
"""The key that counts the runs of a stream: the newest one is the only one that can commit."""


class StreamStatus(NamedTuple):
    """What a run holds."""

    watermark_us: int | None
    late: int
    open_windows: int
    steps: Mapping[str, OperatorStatus]


class StreamRun:
    """The state of one run of a stream, from what was committed last.

    An error leaves the log as the last commit left it, and this object of no use: the next run starts from there.

    Raises:
        UsageError: The log holds open windows that the description does not have any more.
    """

    def __init__(self, graph: Graph, *, records_max: int = RECORDS_MAX) -> None:
        self._graph = graph
        self._records_max = records_max
        self._live = False
        self._flow = Flow(graph)
        needs = needs_of(graph)
        self._sources = [
            SourceReader(graph, node, needs[node], Watermarks(node.step.topic.name)) for node in graph.sources()
        ]
        self._group: Group[Any] = self._sources[0].group
        self._log = self._sources[0].topic.log
        self._clock = self._log.clock
        self._outputs = {
            node: Output(self._log, node, never_null(node))
            for node in graph.nodes
            if isinstance(node.step, ToTopic | Each)
        }
        self._load()
        for output in self._outputs.values():
            output.prepare()
        self.status = self._status_now()
        """As of the last commit; safe to read from other threads."""

    def run(self, stop: threading.Event) -> None:
        """Process records as they come until `stop` is set; what was read is then committed."""
        self._live = True
        while not stop.is_set():
            if not self.step():
                self.idle()
                self._wait(stop)

    def run_now(self, stop: threading.Event) -> int:
        """Process what is there; return the number of records. Windows that the watermark has not passed stay open."""
        total = 0
        while not stop.is_set() and (count := self.step()):
            total += count
        return total

    def step(self) -> int:
        """Read a micro-batch, process and commit it; return the number of offsets read."""
        self._clock_us = self._clock.now_us()
        moves = self._next_moves()
        if not moves:
            return 0
        pieces: dict[Node, list[Piece]] = {}
        for source, some in moves.items():
            piece = source.read(some)
            pieces[source.node] = [] if piece is None else [piece]
        self._commit(moves, self._flow.sweep(pieces, self._watermarks(moves)))
        return sum(move.end - move.start for some in moves.values() for move in some)

    def idle(self) -> None:
        """Close what is over by the clock while no records come; fire timers of the clock."""
        clock_us = self._clock.now_us()
        watermarks: dict[Node, int | None] = {}
        due_us, end_us, tick_us = self._flow.due_us(), self._flow.end_us(), self._flow.tick_due_us()
        ticks = tick_us is not None and tick_us <= clock_us
        moved = [us for source in self._streams() if (us := source.watermarks.idle_us(clock_us)) is not None]
        newest = max((us for source in self._streams() if (us := source.watermarks.newest_us()) is not None), default=0)
        # Time beyond the last window's end is not known to have passed: a record from there must not be late.
        us = min(min(moved), max(end_us, newest)) if moved and end_us is not None else None
        closes = us is not None and due_us is not None and us >= due_us
        if not closes and not ticks:
            return
        for source in self._sources:
            watermarks[source.node] = us if closes else source.watermark_us()
        self._commit({}, self._flow.sweep({}, watermarks, clock_us if ticks else None))

    # --- inside -----------------------------------------------------------------------------------------------------

    def _streams(self) -> list[SourceReader]:
        return [source for source in self._sources if not source.is_table]

    def _next_moves(self) -> dict[SourceReader, list[OffsetMove]]:
        """Choose what to read: tables first, then of several topics the one whose event time is furthest behind."""
        for source in self._sources:
            source.look()
        waiting = [source for source in self._sources if source.unread]
        if tables := [source for source in waiting if source.is_table]:
            waiting = tables
        elif len(waiting) > 1 and sum(source.unread for source in waiting) > self._records_max:
            waiting = [min(waiting, key=_behind)]
        return {source: source.moves(self._records_max // len(waiting)) for source in waiting}

    def _watermarks(self, moves: Mapping[SourceReader, list[OffsetMove]]) -> dict[Node, int | None]:
        """Return the watermark of each source once these moves are made.

        A source without any record does not hold the others back. Nor, in a stream that runs on, does a partition that
        is read to its end and gets nothing: its event time goes on as the clock does, up to the newest of the others.
        """
        clock_us = self._clock_us if self._live else None
        newest_us = max((us for s in self._streams() if (us := s.watermarks.newest_us()) is not None), default=0)
        found: dict[Node, int | None] = {}
        for source in self._sources:
            read = {move.partition: move.end for move in moves.get(source, ())}
            found[source.node] = source.watermark_us_after(read, clock_us, newest_us)
        return found if any(us != NEVER_US for us in found.values()) else dict.fromkeys(found)

    def _load(self) -> None:
        state = self._group.state(STATE_PARTITION)
        self._turn = state.get(_TURN)
        self._begun = False
        for source in self._sources:
            source.watermarks.load(state)
        self._check_known(state)
        self._flow.load(state, lambda keys: self._group.state(STATE_PARTITION, keys))

    def _check_known(self, state: Mapping[bytes, bytes]) -> None:
        """Raise where the log holds something of steps that are not described any more."""
        known = tuple(operator.prefix for operator in self._flow.operators.values())
        if any(
            key.startswith(b"w") and not key.startswith(known) and key[PREFIX_BYTES : PREFIX_BYTES + 1] == b"w"
            for key in state
        ):
            raise UsageError(
                f"stream {self._group.name!r}: the log holds open windows of an earlier description (other windows, "
                "keys or aggregates); describe them again until they have closed, or give the new stream a new name"
            )

    def _commit(self, moves: Mapping[SourceReader, list[OffsetMove]], arrivals: list[Arrival]) -> None:
        appends: list[Append] = []
        for arrival in arrivals:
            appends += self._outputs[arrival.output].send(arrival.piece)
        writes = [write for source in self._sources for write in source.watermarks.changes()] + self._flow.changes()
        turn = StateChange(STATE_PARTITION, _TURN, self._turn)
        if not self._begun:
            self._turn = str(int(self._turn or b"0") + 1).encode()
            writes.append((_TURN, self._turn))
        of_topic = {source.topic.name: some for source, some in moves.items()}
        self._group.commit(
            of_topic.pop(self._group.topic.name, []),
            state=[StateChange(STATE_PARTITION, key, value) for key, value in writes],
            appends=appends,
            others=of_topic,
            expect=[turn],
        )
        self._begun = True
        for source, some in moves.items():
            source.committed.update({move.partition: move.end for move in some})
        self.status = self._status_now()

    def _status_now(self) -> StreamStatus:
        statuses = self._flow.statuses()
        return StreamStatus(
            watermark_us=min((us for s in self._streams() if (us := s.watermark_us()) is not None), default=None),
            late=sum(status.late for _, status in statuses),
            open_windows=sum(status.open for _, status in statuses),
            steps={f"{node.number} {node.step}": status for node, status in statuses},
        )

    def _wait(self, stop: threading.Event) -> None:
        """Wait for records, at most until idle input closes a window, in slices that notice a stop."""
        left_us = WAIT_US
        clock_us = self._clock.now_us()
        if (due_us := self._flow.due_us()) is not None:
            waits = [source.watermarks.idle_wait_us(clock_us, due_us) for source in self._streams()]
            left_us = min(left_us, max(waits, default=0) + 1)
        if (tick_us := self._flow.tick_due_us()) is not None:
            left_us = min(left_us, max(0, tick_us - clock_us) + 1)
        seen = {source.topic.name: source.ends for source in self._sources}
        while left_us > 0 and not stop.is_set():
            slice_us = min(left_us, STOP_US)
            if self._log.engine.wait(seen, slice_us):
                return
            left_us -= slice_us


def _behind(source: SourceReader) -> float:
    us = source.watermark_us()
    return float("-inf") if us is None else us
