"""Tumbling and hopping windows: records are combined in panes, panes in windows when these close.

A pane is as long as the greatest common divisor of a window's size and advance, so each window is made of whole ones. A
record out of order can be too late for the first of the windows of its pane and in time for the others: such records
have a pane of their own, with the first window that they count for.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import msgspec

from millstream.stream.aggregates.plan import Plan
from millstream.stream.aggregates.table import TIME
from millstream.stream.runs import Bytes, Changes, State
from millstream.stream.windowing.kind import END, PASSED, START
from millstream.stream.windowing.store import LEAVE, Frames, Store
from millstream.stream.windows import Hopping, Tumbling

if TYPE_CHECKING:
    import polars as pl

PANE: Final = "_pane"
FROM: Final = "_from"
"""Start of the first window that a pane's records count for."""

ROWS_APART: Final = 2048
"""Records a window, from which on each window of a micro-batch is grouped by itself: a column less to group by is worth
the call."""

WINDOWS_AT_ONCE: Final = 32
"""Windows that close at once from which on all are grouped together, and not each by itself."""


class TumblingWindows:
    """Windows side by side: each is one pane."""

    def __init__(self, window: Tumbling, lateness_us: int, by: Sequence[str], prefix: Bytes) -> None:
        self._size_us = window.size_us
        self._lateness_us = lateness_us
        self._by = list(by)
        self._store = Store(prefix, [START, *by], self._leaving)

    def bind(self, plan: Plan) -> None:
        self._store.bind(plan)

    def late(self) -> pl.Expr:
        import polars as pl

        return self._start(pl.col(TIME)) + (self._size_us + self._lateness_us) <= pl.col(PASSED)

    def add(self, records: pl.DataFrame) -> list[pl.DataFrame]:
        import polars as pl

        records = self._store.plan.prepared(records)
        parts = by_window(records, self._size_us)
        if parts is None:
            self._store.add(records.with_columns(self._start(pl.col(TIME)).alias(START)))
            return []
        for start_us, part in parts:
            self._store.add(part, {START: start_us})
        return []

    def close(self, time_us: int) -> list[pl.DataFrame]:
        frames = self._store.take(time_us)
        if frames[self._store.plan.main.name] is None:
            return []
        return [self._result(frames)]

    def touched(self, records: pl.DataFrame) -> pl.DataFrame:
        import polars as pl

        start = self._start(pl.col(TIME)).alias(START)
        windows = records.select(start, *self._by).unique()
        return windows.with_columns((pl.col(START) + self._size_us).alias(END))

    def current(self, touched: pl.DataFrame) -> pl.DataFrame | None:
        first: Any = touched.get_column(END).min()
        last: Any = touched.get_column(END).max()
        found = self._store.between(first, last)
        group = self._store.group
        frames: Frames = {}
        for name, rows in found.items():
            mine = None if rows is None else rows.join(touched, on=group, how="semi", nulls_equal=True)
            frames[name] = (
                None if mine is None or not mine.height else self._store.merged(name, mine.drop(LEAVE), group)
            )
        return None if frames[self._store.plan.main.name] is None else self._result(frames)

    def due_us(self) -> int | None:
        return self._store.main.first_us()

    def end_us(self) -> int | None:
        return self._store.main.last_us()

    def out_us(self, time_us: int) -> int:
        return time_us // self._size_us * self._size_us

    @property
    def open(self) -> int:
        return self._store.groups

    @property
    def height(self) -> int:
        return self._store.height

    @property
    def bytes(self) -> int:
        return self._store.bytes

    def load(self, state: State) -> None:
        self._store.load(state)

    def changes(self) -> Changes:
        return self._store.changes()

    def _start(self, time: pl.Expr) -> pl.Expr:
        return time // self._size_us * self._size_us

    def _leaving(self, rows: pl.DataFrame) -> pl.DataFrame:
        leave = (rows.get_column(START) + self._size_us).alias(LEAVE)
        # A micro-batch leaves few rows, for which a query costs more than they do.
        return rows.with_columns(leave) if LEAVE in rows.columns else rows.hstack([leave])

    def _result(self, frames: Frames) -> pl.DataFrame:
        made = self._store.plan.finished(frames, self._store.group)
        return made.hstack([(made.get_column(START) + self._size_us).alias(END)])


class HoppingWindows:
    """Windows that overlap."""

    def __init__(self, window: Hopping, lateness_us: int, by: Sequence[str], prefix: Bytes) -> None:
        self._size_us = window.size_us
        self._advance_us = window.advance_us
        self._pane_us = window.pane_us
        self._lateness_us = lateness_us
        self._by = list(by)
        self._info_key = prefix + b"closed"
        self._closed_us: int | None = None
        """Windows that end at this time or before have come out."""
        self._closed_changed = False
        self._store = Store(prefix, [PANE, FROM, *by], self._leaving)

    def bind(self, plan: Plan) -> None:
        self._store.bind(plan)

    def late(self) -> pl.Expr:
        import polars as pl

        return self._last_start(pl.col(TIME)) + (self._size_us + self._lateness_us) <= pl.col(PASSED)

    def add(self, records: pl.DataFrame) -> list[pl.DataFrame]:
        import polars as pl

        records = self._store.plan.prepared(records)
        all_in_time = PASSED not in records.columns
        if all_in_time and (parts := by_window(records, self._pane_us)) is not None:
            for pane_us, part in parts:
                self._store.add(part, {PANE: pane_us, FROM: self._start_after(pane_us - self._size_us)})
            return []
        placed = records.with_columns((pl.col(TIME) // self._pane_us * self._pane_us).alias(PANE))
        first = self._first_start_after(pl.col(PANE) - self._size_us)
        if not all_in_time:
            first = pl.max_horizontal(
                first, self._first_start_after(pl.col(PASSED) - (self._size_us + self._lateness_us))
            )
        self._store.add(placed.with_columns(first.alias(FROM)))
        return []

    def close(self, time_us: int) -> list[pl.DataFrame]:
        before = self._closed_us
        if before is not None and time_us <= before:
            return []
        self._closed_us = time_us
        self._closed_changed = True
        last_us = (time_us - self._size_us) // self._advance_us * self._advance_us
        if before is not None and last_us + self._size_us <= before:
            return []
        made = self._windows(before, last_us)
        self._store.discard(time_us)
        return made

    def touched(self, records: pl.DataFrame) -> pl.DataFrame:
        import polars as pl

        panes = records.select((pl.col(TIME) // self._pane_us * self._pane_us).alias(PANE), *self._by).unique()
        first = self._first_start_after(pl.col(PANE) - self._size_us)
        starts = pl.int_ranges(first, self._last_start(pl.col(PANE)) + 1, self._advance_us, dtype=pl.Int64)
        windows = panes.select(starts.alias(START), *self._by).explode(START).unique()
        windows = windows.with_columns((pl.col(START) + self._size_us).alias(END))
        return windows if self._closed_us is None else windows.filter(pl.col(END) > self._closed_us)

    def current(self, touched: pl.DataFrame) -> pl.DataFrame | None:
        first: Any = touched.get_column(START).min()
        last: Any = touched.get_column(START).max()
        found = self._store.between(first + 1, last + 2 * self._size_us)
        frames = {name: self._spread(name, rows, first, last, touched) for name, rows in found.items()}
        return None if frames[self._store.plan.main.name] is None else self._result(frames)

    def due_us(self) -> int | None:
        """Return the end of the first window that is open: that of the first pane's first window."""
        first_us = self._store.main.first_us()
        if first_us is None:
            return None
        # A pane leaves with the last of its windows; the first of them ends up to a size earlier.
        last_start = first_us - self._size_us
        earliest = (last_start - self._size_us) // self._advance_us * self._advance_us + self._advance_us
        ends = earliest + self._size_us
        if self._closed_us is None:
            return ends
        after = (self._closed_us - self._size_us) // self._advance_us * self._advance_us + self._advance_us
        return max(ends, after + self._size_us)

    def end_us(self) -> int | None:
        return self._store.main.last_us()

    def out_us(self, time_us: int) -> int:
        return (time_us - self._size_us) // self._advance_us * self._advance_us + self._advance_us

    @property
    def open(self) -> int:
        return self._store.main.height

    @property
    def height(self) -> int:
        return self._store.height

    @property
    def bytes(self) -> int:
        return self._store.bytes

    def load(self, state: State) -> None:
        self._store.load(state)
        if (stored := state.get(self._info_key)) is not None:
            self._closed_us = msgspec.msgpack.decode(stored, type=int)

    def changes(self) -> Changes:
        changes = self._store.changes()
        if self._closed_changed:
            changes.append((self._info_key, msgspec.msgpack.encode(self._closed_us)))
            self._closed_changed = False
        return changes

    # --- inside -----------------------------------------------------------------------------------------------------

    def _last_start(self, time: pl.Expr) -> pl.Expr:
        return time // self._advance_us * self._advance_us

    def _first_start_after(self, time: pl.Expr) -> pl.Expr:
        return time // self._advance_us * self._advance_us + self._advance_us

    def _leaving(self, rows: pl.DataFrame) -> pl.DataFrame:
        import polars as pl

        return rows.with_columns((self._last_start(pl.col(PANE)) + self._size_us).alias(LEAVE))

    def _start_after(self, time_us: int) -> int:
        return time_us // self._advance_us * self._advance_us + self._advance_us

    def _windows(self, closed_us: int | None, last_us: int) -> list[pl.DataFrame]:
        """Return the results of the windows that end after `closed_us` and start at `last_us` or before."""
        first_end = self._store.main.first_us()
        if first_end is None:
            return []
        # A pane leaves with the last of its windows, so the first window of the first pane ends within a size before.
        first_us = self._start_after(first_end - 2 * self._size_us)
        if closed_us is not None:
            first_us = max(first_us, self._start_after(closed_us - self._size_us))
        if first_us > last_us:
            return []
        # A pane of a window that closes begins before its end, and leaves a size later at the latest.
        found = self._store.between(first_us + 1, last_us + 2 * self._size_us)
        if (last_us - first_us) // self._advance_us < WINDOWS_AT_ONCE:
            starts = range(first_us, last_us + 1, self._advance_us)
            made = [self._window(found, start_us) for start_us in starts]
            return [frame for frame in made if frame is not None]
        frames = {name: self._spread(name, rows, first_us, last_us) for name, rows in found.items()}
        return [] if frames[self._store.plan.main.name] is None else [self._result(frames)]

    def _window(self, found: Frames, start_us: int) -> pl.DataFrame | None:
        """Return the results of one window."""
        import polars as pl

        frames: Frames = {}
        inside = pl.col(PANE).is_between(start_us, start_us + self._size_us, closed="left") & (pl.col(FROM) <= start_us)
        for name, rows in found.items():
            mine = None if rows is None else rows.filter(inside).drop(PANE, FROM, LEAVE)
            if mine is None or not mine.height:
                frames[name] = None
                continue
            placed = mine.with_columns(pl.lit(start_us, dtype=pl.Int64).alias(START))
            frames[name] = self._store.merged(name, placed, [START, *self._by])
        return None if frames[self._store.plan.main.name] is None else self._result(frames)

    def _spread(
        self, name: str, rows: pl.DataFrame | None, first_us: int, last_us: int, only: pl.DataFrame | None = None
    ) -> pl.DataFrame | None:
        """Return the rows of a table, each in all of its windows between two, or in those of `only`."""
        import polars as pl

        if rows is None:
            return None
        first = pl.max_horizontal(pl.col(FROM), pl.lit(first_us, dtype=pl.Int64))
        last = pl.min_horizontal(self._last_start(pl.col(PANE)), pl.lit(last_us, dtype=pl.Int64))
        # The upper end is the start of the last window that begins with or before a pane, plus one.
        starts = pl.int_ranges(first, last + 1, self._advance_us, dtype=pl.Int64).alias(START)
        placed = rows.with_columns(starts).explode(START).filter(pl.col(START).is_not_null())
        if only is not None:
            placed = placed.join(only, on=[START, *self._by], how="semi", nulls_equal=True)
        placed = placed.drop(PANE, FROM, LEAVE)
        return self._store.merged(name, placed, [START, *self._by]) if placed.height else None

    def _result(self, frames: Frames) -> pl.DataFrame:
        made = self._store.plan.finished(frames, [START, *self._by])
        return made.hstack([(made.get_column(START) + self._size_us).alias(END)])


def by_window(records: pl.DataFrame, size_us: int) -> list[tuple[int, pl.DataFrame]] | None:
    """Return records by the window, of those side by side, that they are in; None where these are too many."""
    import polars as pl

    time = records.get_column(TIME)
    first: Any = time.min()
    last: Any = time.max()
    starts = range(first // size_us * size_us, last + 1, size_us)
    if len(starts) > max(1, records.height // ROWS_APART):
        return None
    if len(starts) == 1:
        return [(starts[0], records)]
    if time.is_sorted():
        places = [int(time.search_sorted(start, side="left")) for start in starts] + [records.height]
        parts = [records.slice(place, end - place) for place, end in pairwise(places)]
    else:
        parts = [records.filter(pl.col(TIME).is_between(us, us + size_us, closed="left")) for us in starts]
    return [(start, part) for start, part in zip(starts, parts, strict=True) if part.height]
