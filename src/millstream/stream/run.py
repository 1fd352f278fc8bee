"""A stream at work: micro-batch after micro-batch, each one transaction."""

from __future__ import annotations

import functools
import os
import socket
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final

from millstream import limits
from millstream.engines.protocol import NO_MOVES, Append, OffsetMove, StateChange
from millstream.engines.values import StateRange
from millstream.log.group import Group
from millstream.stream.failures import letters
from millstream.stream.fit import Fit
from millstream.stream.flow import Flow, Swept
from millstream.stream.graph import Each, Graph, Node, Source, ToSink, ToTopic
from millstream.stream.intake import Intake, MicroBatch
from millstream.stream.keyed.failing import Guard, OnError
from millstream.stream.keyed.step import StatefulStep
from millstream.stream.manifest import Manifest, give_up
from millstream.stream.operators import OPERATORS, OperatorStatus, StateWrite
from millstream.stream.options import DEFAULTS, StreamOptions
from millstream.stream.output import Output
from millstream.stream.plan import never_null
from millstream.stream.progress import KEY, Meter, StreamProgress, write
from millstream.stream.sinking import Sinks
from millstream.stream.turns import TURN, claim, next_turn
from millstream.stream.waiting import wait_for_records

RECORDS_MAX: Final = 8 * limits.COLUMNS_RECORDS_MAX
"""Of a micro-batch: whole batches of a merged log, which are then not cut, and so many that what costs the same for
each micro-batch is spread thin. Where records are large, or Python values, their reader takes fewer at once."""

RECORDS_MIN: Final = 1_000
"""The latency wanted never makes a micro-batch smaller than this: it would only be further behind."""

WAIT_US: Final = 5_000_000
"""A stream without input looks again after this time whatever happens; new records wake it before."""

_NOTHING: Final = OperatorStatus()
"""What a step without state holds."""

STATE_PARTITION: Final = 0
"""Windows span the partitions of a topic, so state is kept with the first one of the first topic; that of a run of one
partition is kept with this."""


class StreamRun:
    """The state of one run of a stream, from what was committed last.

    An error leaves the log as the last commit left it, and this object of no use: the next run starts from there.

    Args:
        records_max: Of a micro-batch.
        partition: Read this partition of every topic, as a stream of its own; None: all of them as one. A run of one
            partition, or with sinks, takes over at once: the commits of whoever had it fail from then on. One of all
            takes over with its first commit, which fails if another run has committed meanwhile.

    Raises:
        UsageError: The log holds state of steps that the description does not have any more.
        CommitConflictError: Another process took over at the same moment.
    """

    def __init__(
        self,
        graph: Graph,
        options: StreamOptions = DEFAULTS,
        *,
        records_max: int = RECORDS_MAX,
        partition: int | None = None,
    ) -> None:
        self._records_max = self._size = records_max
        self._latency_s = options.latency_us / 1_000_000
        self._partition = partition
        self._at = STATE_PARTITION if partition is None else partition
        self._live = False
        self._stopped = threading.Event()
        """Set by `run`'s own: what waits before another attempt gives up then."""
        self._guard = Guard(OnError.of(options.on_error), wait=lambda seconds: self._stopped.wait(seconds))
        self._graph = graph
        self._flow = Flow(graph, self._guard, shared=partition is not None, memory_bytes=options.memory_bytes)
        keyed = any(isinstance(node.step, StatefulStep) for node in graph.nodes)
        self._fit = Fit(keyed=keyed, memory_bytes=options.memory_bytes, records_max=RECORDS_MAX)
        first = graph.sources()[0].step.topic
        self._log = first.log
        self._clock = first.log.clock
        self._intake = Intake(graph, options, self._clock, partition)
        self._group: Group[Any] = self._intake.sources[0].group
        self._outputs = {
            node: Output(self._log, node, never_null(node))
            for node in graph.nodes
            if isinstance(node.step, ToTopic | Each)
        }
        self._options = options
        self._titles = {
            node: f"{node.number} {node.step}" for node in graph.nodes if not isinstance(node.step, Source | ToTopic)
        }
        """Of the nodes that do something with records."""
        self._sinks = Sinks(graph, partition, self._clock, lambda seconds: self._stopped.wait(seconds))
        self._manifest = Manifest(graph.name, self._flow)
        self._meter = Meter(worker(), self._clock.now_us())
        self._committing: Future[float] | None = None
        self._load()
        for output in self._outputs.values():
            output.prepare()
        self.progress = self._meter.last
        """As of the last commit; safe to read from other threads."""

    def run(self, stop: threading.Event) -> None:
        """Process records as they come until `stop` is set; what was read is then committed."""
        self.begin(stop, live=True)
        try:
            while not stop.is_set():
                if not self.turn(stop):
                    self.idle()
                    self._wait(stop)
            self.finish()
        finally:
            self.close()

    def run_now(self, stop: threading.Event) -> int:
        """Process what is there; return the number of records. Windows that the watermark has not passed stay open."""
        self.begin(stop, live=False)
        try:
            total = self._catch_up(stop, self._records_max)
            self.finish()
        finally:
            self.close()
        return total

    def begin(self, stop: threading.Event, *, live: bool) -> None:
        """Say how it will run.

        Args:
            stop: What waits in functions of the program gives up when this is set.
            live: Partitions that get nothing do not hold the others back; otherwise only records count.
        """
        self._live, self._stopped = live, stop

    def turn(self, stop: threading.Event, *, within_s: float | None = None) -> int:
        """Process the next micro-batch, and while more is there go on; return the number of offsets read.

        Args:
            within_s: Go on for about so long, as others have their turns too; None: until all is read.
        """
        begun = time.monotonic()
        batch = self._read(self._size)
        if batch is None:
            return 0
        self._process(batch)
        self._size = self._next_size(batch, time.monotonic() - begun)
        if not batch.full:
            return batch.offsets
        return batch.offsets + self._catch_up(stop, self._size, None if within_s is None else begun + within_s)

    def step(self) -> int:
        """Read a micro-batch, process and commit it; return the number of offsets read."""
        batch = self._read(self._records_max)
        if batch is None:
            return 0
        self._process(batch)
        return batch.offsets

    def rehearse(self) -> None:
        """Process what is there up to the commit, and not commit it: of no use afterwards, as after a crash."""
        while (batch := self._read(self._records_max)) is not None:
            swept = self._flow.sweep(batch.pieces, batch.watermarks_us, refused=batch.refused)
            self._call_functions(swept)
            self._changes()
            self._sinks.write(swept)

    def finish(self) -> None:
        """Publish what sinks hold, as nothing comes for now."""
        # The second commit says of what the first has published that it is visible.
        for _ in range(2):
            if self._sinks.finish():
                nothing = Swept([], [])
                self._finish(NO_MOVES, [], nothing, self._note(nothing, self._meter.last.watermark_us))

    def close(self) -> None:
        """Let go of the connections of sinks. It is of no use afterwards."""
        self._sinks.close()

    def idle(self) -> None:
        """Close what is over by the clock while no records come; fire timers of the clock."""
        if self._intake.paused:
            return
        clock_us = self._clock.now_us()
        due_us, end_us, tick_us = self._flow.due_us(), self._flow.end_us(), self._flow.tick_due_us()
        us = self._intake.idle_us(clock_us)
        if us is not None and end_us is not None:
            # Time beyond the last window's end is not known to have passed: a record from there must not be late.
            us = min(us, max(end_us, self._intake.newest_us() or 0))
        closes = us is not None and due_us is not None and us >= due_us
        ticks = tick_us is not None and tick_us <= clock_us
        sinks_us = self._sinks.due_us()
        if not closes and not ticks and (sinks_us is None or sinks_us > clock_us):
            return
        if not closes:
            us = self._intake.watermark_us()
        watermarks: dict[Node, int | None] = {source.node: us for source in self._intake.sources}
        swept = self._flow.sweep({}, watermarks, clock_us if ticks else None)
        self._call_functions(swept)
        self._finish(NO_MOVES, self._changes(), swept, self._note(swept, us))

    @property
    def at(self) -> tuple[str, float] | None:
        """The step that is at work, and since when (`time.monotonic`); safe to read from other threads."""
        at = self._flow.at
        return None if at is None else (f"{at[0].number} {at[0].step}", at[1])

    def seen(self) -> dict[str, Mapping[int, int]]:
        """Return the ends of its topics as of the last look, by topic and partition."""
        return self._intake.seen()

    def wait_us(self) -> int:
        """Return how long there is nothing to do unless records come."""
        left_us = WAIT_US
        clock_us = self._clock.now_us()
        if not self._intake.paused and (due_us := self._flow.due_us()) is not None:
            left_us = min(left_us, self._intake.idle_wait_us(clock_us, due_us) + 1)
        if not self._intake.paused and (tick_us := self._flow.tick_due_us()) is not None:
            left_us = min(left_us, max(0, tick_us - clock_us) + 1)
        if not self._intake.paused and (sinks_us := self._sinks.due_us()) is not None:
            left_us = min(left_us, max(0, sinks_us - clock_us) + 1)
        return left_us

    # --- inside -----------------------------------------------------------------------------------------------------

    def _catch_up(self, stop: threading.Event, size: int, until_s: float | None = None) -> int:
        """Process what is there: while a micro-batch is computed, the next one is read and the last one committed.

        Args:
            until_s: Begin no further one after this moment of `time.monotonic`.
        """
        total = 0
        with ThreadPoolExecutor(2, "millstream-stream") as threads:
            coming: Future[MicroBatch | None] | None = threads.submit(self._read, size)
            while coming is not None and (batch := coming.result()) is not None:
                ends = stop.is_set() or (until_s is not None and time.monotonic() >= until_s)
                coming = threads.submit(self._read, size) if batch.full and not ends else None
                swept = self._flow.sweep(batch.pieces, batch.watermarks_us, refused=batch.refused)
                writes = [*batch.state, *self._changes()]
                appends = self._appends(swept)
                self._await_commit()
                self._call_functions(swept)
                progress = self._note(swept, batch.watermark_us, batch)
                self._committing = threads.submit(self._commit, batch.moves, writes, swept, progress, appends)
                total += batch.offsets
            self._await_commit()
        return total

    def _read(self, size: int) -> MicroBatch | None:
        """Read what comes next, no more at once than what it will ask of keys has room for; None: all is read."""
        return self._intake.next(min(size, self._fit.records), live=self._live)

    def _await_commit(self) -> None:
        """Wait for the commit that is under way."""
        if self._committing is not None:
            self._meter.committed(self._committing.result())
            self._committing = None

    def _process(self, batch: MicroBatch) -> None:
        swept = self._flow.sweep(batch.pieces, batch.watermarks_us, refused=batch.refused)
        self._call_functions(swept)
        writes = [*batch.state, *self._changes()]
        self._finish(batch.moves, writes, swept, self._note(swept, batch.watermark_us, batch))

    def _next_size(self, batch: MicroBatch, took_s: float) -> int:
        """Return how many records to take at once so that they are processed within the latency wanted."""
        if not batch.full:
            return self._records_max
        wanted = int(batch.offsets * self._latency_s / max(took_s, 1e-6))
        return max(min(RECORDS_MIN, self._records_max), min(wanted, 2 * self._size, self._records_max))

    def _load(self) -> None:
        group, at = self._group, self._at
        drop = self._options.changed == "drop"
        if self._partition is None:
            give_up(self._graph.name, self._flow, group, range(1, group.topic.partitions), drop=drop)
        within = StateRange(b"", OPERATORS)
        state = group.state(at, within=within)
        self._manifest.load(state)
        self._manifest.check(drop=drop)
        self._manifest.tell()
        # What is loaded must be what the first commit finds: its expectation sees to that, without a write until then.
        self._expect = [StateChange(at, key, state.get(key)) for key in (TURN, KEY)]
        self._sinks.check(state, drop=drop)
        if self._partition is not None or self._manifest.gone() or self._sinks.need_turn(state):
            self._expect = [claim(group, at, state.get(TURN))]
            self._manifest.forget(group, at, self._expect)
            self._sinks.begin(group, at, state, self._expect)
            state = group.state(at, within=within)
        self._intake.load(state)
        self._meter.load(state)
        self._flow.load(lambda prefix: group.state(at, within=StateRange.of_prefix(prefix)), self._read_state)
        self._sinks.load(state, self._expect[0], drop=drop)

    def _read_state(self, keys: Sequence[bytes] | None = None, within: StateRange | None = None) -> dict[bytes, bytes]:
        """Return state as of the last commit, the one that may be under way included."""
        self._await_commit()
        return self._group.state(self._at, keys, within=within)

    def _changes(self) -> list[StateWrite]:
        return [*self._flow.changes(), *self._manifest.changes()]

    def _call_functions(self, swept: Swept) -> None:
        """Run what is not part of the transaction, in the thread that runs the stream."""
        for node, piece in swept.arrivals:
            if isinstance(node.step, Each):
                begun = time.perf_counter()
                self._flow.guarded(node, piece, functools.partial(self._outputs[node].call, piece, self._guard), swept)
                self._flow.busy_s[node] += time.perf_counter() - begun

    def _finish(
        self,
        moves: Mapping[str, Sequence[OffsetMove]],
        writes: Sequence[StateWrite],
        swept: Swept,
        progress: StreamProgress,
    ) -> None:
        self._meter.committed(self._commit(moves, writes, swept, progress, self._appends(swept)))

    def _appends(self, swept: Swept) -> list[Append]:
        """Return what arrived at topics, encoded."""
        return [
            append
            for node, piece in swept.arrivals
            if isinstance(node.step, ToTopic)
            for append in self._outputs[node].appends(piece)
        ]

    def _commit(
        self,
        moves: Mapping[str, Sequence[OffsetMove]],
        writes: Sequence[StateWrite],
        swept: Swept,
        progress: StreamProgress,
        appends: Sequence[Append],
    ) -> float:
        """Commit a micro-batch; return how many seconds it took."""
        begun = time.perf_counter()
        appends = [*appends]
        appends += letters(swept.failures, self._intake.sources, self._log, stream=self._group.name, worker=worker())
        writes = [*writes, *self._to_sinks(swept, moves), write(progress)]
        state = [StateChange(self._at, key, value) for key, value in writes]
        expect = self._expect
        if len(expect) > 1:
            taken = next_turn(expect[0])
            state.append(taken)
            self._expect = [taken]
        first = self._group.topic.name
        self._group.commit(
            moves.get(first, ()),
            state=state,
            appends=appends,
            others={topic: some for topic, some in moves.items() if topic != first},
            expect=expect,
        )
        self._sinks.publish()
        self.progress = progress
        return time.perf_counter() - begun

    def _to_sinks(self, swept: Swept, moves: Mapping[str, Sequence[OffsetMove]]) -> list[StateWrite]:
        try:
            return self._sinks.write(swept)
        except Exception as error:
            ranges = [f"{name}/{move.partition} [{move.start}, {move.end})" for name in moves for move in moves[name]]
            error.add_note(f"Micro-batch: {', '.join(ranges) or 'no new records'}. Nothing of it was committed.")
            raise

    def _note(self, swept: Swept, watermark_us: int | None, batch: MicroBatch | None = None) -> StreamProgress:
        """Count what is about to be committed, and learn from it how many records to read at once."""
        if batch is not None:
            self._fit.note(batch.offsets, self._flow.asked_bytes())
        busy_s, statuses = self._flow.busy_s, dict(self._flow.statuses())
        return self._meter.note(
            at_us=self._clock.now_us(),
            records_in=batch.offsets if batch else 0,
            records_out=sum(piece.height for node, piece in swept.arrivals if isinstance(node.step, ToTopic | ToSink)),
            skipped=len(swept.failures),
            watermark_us=watermark_us,
            read_us=batch.read_us if batch else self._meter.last.read_us,
            steps=[(title, busy_s[node], statuses.get(node, _NOTHING)) for node, title in self._titles.items()],
        )

    def _wait(self, stop: threading.Event) -> None:
        """Wait for records, at most until idle input closes a window."""
        wait_for_records(self._log.engine, self.seen(), self.wait_us(), stop)


def worker() -> str:
    """Return who this is, for dead letters."""
    return f"{socket.gethostname()}:{os.getpid()}"
