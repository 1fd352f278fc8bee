"""Tumbling and hopping windows: records are combined in panes, panes in windows when these close.

A pane is as long as the greatest common divisor of a window's size and advance, so each window is made of whole ones. A
record out of order can be too late for the first of the windows of its pane and in time for the others: such records
have a pane of their own, with the first window that they count for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import msgspec

from millstream.stream.aggregates.plan import Plan
from millstream.stream.runs import Bytes, Changes, State
from millstream.stream.windowing.kind import END, PASSED, START
from millstream.stream.windowing.store import LEAVE, Frames, Store
from millstream.stream.windows import Hopping, Tumbling

if TYPE_CHECKING:
    import polars as pl

PANE: Final = "_pane"
FROM: Final = "_from"
"""Start of the first window that a pane's records count for."""


class TumblingWindows:
    """Windows side by side: each is one pane."""

    def __init__(self, window: Tumbling, lateness_us: int, by: Sequence[str], prefix: Bytes) -> None:
        self._size_us = window.size_us
        self._lateness_us = lateness_us
        self._by = list(by)
        self._store = Store(prefix, [START, *by], self._leaving)

    def bind(self, plan: Plan) -> None:
        self._store.bind(plan)

    def late_below_us(self, passed_us: int) -> int:
        return (passed_us - self._lateness_us) // self._size_us * self._size_us

    def late(self) -> pl.Expr:
        import polars as pl

        return self._start(pl.col("_time")) + (self._size_us + self._lateness_us) <= pl.col(PASSED)

    def add(self, records: pl.DataFrame) -> list[pl.DataFrame]:
        import polars as pl

        self._store.add(records.with_columns(self._start(pl.col("_time")).alias(START)))
        return []

    def close(self, time_us: int) -> list[pl.DataFrame]:
        frames = self._store.take(time_us)
        if frames[self._store.plan.main.name] is None:
            return []
        return [self._result(frames)]

    def open_windows(self) -> pl.DataFrame | None:
        """Return the results of open windows as of now."""
        frames = self._store.frames()
        return None if frames[self._store.plan.main.name] is None else self._result(frames)

    def due_us(self) -> int | None:
        return self._store.main.first_us()

    def end_us(self) -> int | None:
        return self._store.main.last_us()

    def out_us(self, time_us: int) -> int:
        return time_us // self._size_us * self._size_us

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

    def changes(self) -> Changes:
        return self._store.changes()

    def _start(self, time: pl.Expr) -> pl.Expr:
        return time // self._size_us * self._size_us

    def _leaving(self, rows: pl.DataFrame) -> pl.DataFrame:
        import polars as pl

        return rows.with_columns((pl.col(START) + self._size_us).alias(LEAVE))

    def _result(self, frames: Frames) -> pl.DataFrame:
        import polars as pl

        made = self._store.plan.finished(frames, self._store.group)
        return made.with_columns((pl.col(START) + self._size_us).alias(END))


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

    def late_below_us(self, passed_us: int) -> int:
        # Above it records are in time for all of their windows.
        return passed_us - self._lateness_us

    def late(self) -> pl.Expr:
        import polars as pl

        return self._last_start(pl.col("_time")) + (self._size_us + self._lateness_us) <= pl.col(PASSED)

    def add(self, records: pl.DataFrame) -> list[pl.DataFrame]:
        import polars as pl

        pane = (pl.col("_time") // self._pane_us * self._pane_us).alias(PANE)
        first = self._first_start_after(pl.col(PANE) - self._size_us)
        in_time = self._first_start_after(pl.col(PASSED) - (self._size_us + self._lateness_us))
        self._store.add(
            records.with_columns(pane).with_columns(pl.max_horizontal(first, in_time).alias(FROM)),
        )
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
        return [] if made is None else [made]

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

    def _windows(self, closed_us: int | None, last_us: int) -> pl.DataFrame | None:
        """Return the results of the windows that end after `closed_us` and start at `last_us` or before."""
        import polars as pl

        first = pl.col(FROM)
        if closed_us is not None:
            after = (closed_us - self._size_us) // self._advance_us * self._advance_us + self._advance_us
            first = pl.max_horizontal(first, pl.lit(after, dtype=pl.Int64))
        # The upper end is the start of the last window that begins with or before a pane, plus one.
        last = pl.min_horizontal(self._last_start(pl.col(PANE)), pl.lit(last_us, dtype=pl.Int64))
        starts = pl.int_ranges(first, last + 1, self._advance_us, dtype=pl.Int64).alias(START)
        group = [START, *self._by]
        frames: Frames = {}
        # A pane of a window that closes begins before its end, and leaves a size later at the latest.
        found = self._store.between((closed_us or -(2**62)) + 1, last_us + 2 * self._size_us)
        for name, rows in found.items():
            if rows is None:
                frames[name] = None
                continue
            placed = rows.with_columns(starts).explode(START).filter(pl.col(START).is_not_null())
            frames[name] = self._store.plan.tables[name].merge(placed, group) if placed.height else None
        if frames[self._store.plan.main.name] is None:
            return None
        made = self._store.plan.finished(frames, group)
        return made.with_columns((pl.col(START) + self._size_us).alias(END))
