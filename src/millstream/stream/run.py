"""A stream at work: micro-batch after micro-batch, each one transaction."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from millstream.engines.protocol import Append, OffsetMove, StateChange
from millstream.errors import UsageError
from millstream.log.group import Group
from millstream.log.topic import Topic
from millstream.records import Record
from millstream.stream.description import Output
from millstream.stream.line import lines_of
from millstream.stream.piece import Piece
from millstream.stream.state import STATE_PARTITION
from millstream.stream.watermark import Watermarks

if TYPE_CHECKING:
    import polars as pl

RECORDS_MAX: Final = 50_000
"""Of a micro-batch: Polars is at full speed from here. Under less load a batch is what came during the last commit."""

STOP_US: Final = 200_000
"""A stream without input notices within this time that it should stop."""

WAIT_US: Final = 5_000_000
"""A stream without input looks again after this time whatever happens; new records wake it before."""


class StreamStatus(NamedTuple):
    """What a run holds."""

    watermark_us: int | None
    late: int
    open_windows: int


class StreamRun:
    """The state of one run of a stream, from what was committed last.

    An error leaves the log as the last commit left it, and this object of no use: the next run starts from there.

    Raises:
        UsageError: The log holds open windows that the description does not have any more.
    """

    def __init__(self, group: Group[Any], outputs: Sequence[Output], *, records_max: int = RECORDS_MAX) -> None:
        self._group = group
        self._topic: Topic[Any] = group.topic
        self._lines = lines_of(self._topic, outputs)
        self._windows = [line.windows for line in self._lines if line.windows is not None]
        self._wants_values = any(line.wants_values for line in self._lines)
        self._wants_columns = any(line.wants_columns for line in self._lines)
        self._records_max = records_max
        self._committed = dict(group.info().committed)
        self._watermarks = Watermarks()
        self._load()
        for line in self._lines:
            line.prepare()
        self.status = self._status_now()
        """As of the last commit; safe to read from other threads."""

    def run(self, stop: threading.Event) -> None:
        """Process records as they come until `stop` is set; what was read is then committed."""
        while not stop.is_set():
            ends = self._topic.end_offsets()
            if not self.step(ends):
                self.idle(self._topic.log.clock.now_us())
                self._wait(ends, stop)

    def run_now(self, stop: threading.Event) -> int:
        """Process what is there; return the number of records. Windows that the watermark has not passed stay open."""
        total = 0
        while not stop.is_set() and (count := self.step(self._topic.end_offsets())):
            total += count
        return total

    def step(self, ends: dict[int, int]) -> int:
        """Read a micro-batch below the given offsets, process and commit it; return the number of offsets read."""
        share = max(1, self._records_max // max(1, len(ends)))
        moves = [
            OffsetMove(p, self._committed[p], min(end, self._committed[p] + share))
            for p, end in sorted(ends.items())
            if end > self._committed[p]
        ]
        if not moves:
            return 0
        appends: list[Append] = []
        for move in moves:
            piece = self._read(move)
            if piece.height:
                for line in self._lines:
                    appends += line.take(piece)
        self._commit(moves, appends + self._close(self._watermarks.now_us()))
        return sum(move.end - move.start for move in moves)

    def idle(self, clock_us: int) -> None:
        """Close windows that are over by the clock while no records come."""
        limit_us = max((end for w in self._windows if (end := w.end_us()) is not None), default=None)
        due_us = self._due_us()
        if limit_us is None or due_us is None:
            return
        watermark_us = self._watermarks.idle_us(clock_us, limit_us)
        if watermark_us is not None and watermark_us >= due_us:
            self._commit([], self._close(watermark_us))

    # --- inside -----------------------------------------------------------------------------------------------------

    def _load(self) -> None:
        state = self._group.state(STATE_PARTITION)
        self._watermarks.load(state)
        for windows in self._windows:
            windows.load(state)
        known = tuple(windows.prefix for windows in self._windows)
        if any(key.startswith(b"w") and not key.startswith(known) and key[10:11] == b"w" for key in state):
            raise UsageError(
                f"stream {self._group.name!r}: the log holds open windows of an earlier description (other windows, "
                "keys or aggregates); describe them again until they have closed, or give the new stream a new name"
            )

    def _read(self, move: OffsetMove) -> Piece:
        import polars as pl

        columns: pl.DataFrame | None = None
        records: list[Record[Any]] | None = None
        if self._wants_columns:
            frame = self._topic.read_frame(move.start, move.end, partition=move.partition)
            carried = frame.select("_key", "_event_time", "_append_time")
            columns = frame.drop([name for name in frame.columns if name.startswith("_")])
        if self._wants_values or columns is None:
            records = self._records(move)
        if columns is None:
            carried = _carried_of(records or [])
        if carried.height and self._windows:
            times = carried["_event_time"]
            before = self._watermarks.before(move.partition, times)
            newest = carried.select(pl.col("_event_time", "_append_time").max().to_physical()).row(0)
            self._watermarks.advance(move.partition, *newest)
        else:
            before = pl.Series("_watermark", [None] * carried.height, dtype=pl.Int64)
        return Piece(
            carried.select("_key", "_event_time", before),
            columns=columns,
            values=[record.value for record in records] if records is not None else None,
            type=self._topic.type if records is not None else None,
        )

    def _records(self, move: OffsetMove) -> list[Record[Any]]:
        records: list[Record[Any]] = []
        start = move.start
        while start < move.end:
            some = self._topic.read(start, partition=move.partition, records_max=move.end - start)
            if not some:
                break
            records += some
            start = some[-1].offset + 1
        return [record for record in records if record.offset < move.end]

    def _close(self, watermark_us: int | None) -> list[Append]:
        return [append for line in self._lines for append in line.close(watermark_us)]

    def _commit(self, moves: list[OffsetMove], appends: list[Append]) -> None:
        state: list[StateChange] = self._watermarks.changes(STATE_PARTITION)
        for windows in self._windows:
            state += windows.changes()
        self._group.commit(moves, state=state, appends=appends)
        for move in moves:
            self._committed[move.partition] = move.end
        self.status = self._status_now()

    def _status_now(self) -> StreamStatus:
        return StreamStatus(
            watermark_us=self._watermarks.now_us(),
            late=sum(windows.late for windows in self._windows),
            open_windows=sum(windows.count for windows in self._windows),
        )

    def _due_us(self) -> int | None:
        return min((due for w in self._windows if (due := w.due_us()) is not None), default=None)

    def _wait(self, ends: dict[int, int], stop: threading.Event) -> None:
        """Wait for records, at most until idle input closes a window, in slices that notice a stop."""
        left_us = WAIT_US
        if (due_us := self._due_us()) is not None:
            left_us = min(left_us, self._watermarks.idle_wait_us(self._topic.log.clock.now_us(), due_us) + 1)
        while left_us > 0 and not stop.is_set():
            slice_us = min(left_us, STOP_US)
            if self._topic.wait(ends, timedelta(microseconds=slice_us)):
                return
            left_us -= slice_us


def _carried_of(records: Sequence[Record[Any]]) -> pl.DataFrame:
    import polars as pl

    moment = pl.Datetime("us", "UTC")
    return pl.DataFrame(
        {
            "_key": pl.Series([record.key for record in records], dtype=pl.Binary),
            "_event_time": pl.Series([record.event_time_us for record in records], dtype=pl.Int64).cast(moment),
            "_append_time": pl.Series([record.append_time_us for record in records], dtype=pl.Int64).cast(moment),
        }
    )
