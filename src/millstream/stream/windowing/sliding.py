"""Sliding windows: for each record, what its key had in the time up to it.

The records themselves are kept for the size of the window. A result comes when event time has passed the record's own
moment: records of the same moment count for each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from millstream.stream.aggregates.plan import Plan
from millstream.stream.aggregates.table import ORDER, TIME
from millstream.stream.runs import Bytes, Changes, Runs, State
from millstream.stream.windowing.kind import AT, END, PASSED, START
from millstream.stream.windowing.store import LEAVE
from millstream.stream.windows import Sliding

if TYPE_CHECKING:
    import polars as pl


class SlidingWindows:
    """Records of the last `size_us`, and those whose result has not come yet."""

    def __init__(self, window: Sliding, lateness_us: int, by: Sequence[str], prefix: Bytes) -> None:
        self._size_us = window.size_us
        self._lateness_us = lateness_us
        self._by = list(by)
        self._runs = Runs(prefix + b"records\0", leave=LEAVE)
        self._closed_key = prefix + b"closed"
        self._closed_us: int | None = None
        """Results of the records before this time have come out."""
        self._closed_changed = False
        self._plan: Plan | None = None

    def bind(self, plan: Plan) -> None:
        self._plan = plan

    def late(self) -> pl.Expr:
        import polars as pl

        return pl.col(TIME) + (1 + self._lateness_us) <= pl.col(PASSED)

    def add(self, records: pl.DataFrame) -> list[pl.DataFrame]:
        import polars as pl

        self._runs.add(records.drop(PASSED, strict=False).with_columns((pl.col(TIME) + self._size_us).alias(LEAVE)))
        return []

    def close(self, time_us: int) -> list[pl.DataFrame]:
        before = self._closed_us
        if before is not None and time_us <= before:
            return []
        self._closed_us, self._closed_changed = time_us, True
        # Results are due for the records from `before` on and before `time_us`; windows reach a size back from there.
        kept = self._runs.leaving(-(2**63) if before is None else before + 1, time_us - 1 + self._size_us)
        made = None if kept is None else self._results_since(kept, before)
        self._runs.discard(time_us)
        return [] if made is None else [made]

    def touched(self, records: pl.DataFrame) -> pl.DataFrame:
        """Return the windows of records whose result has not come yet: a size from these on, these included."""
        import polars as pl

        first_us = -(2**63) if self._closed_us is None else self._closed_us + self._size_us
        waiting = self._runs.leaving(first_us, 2**63 - 1)
        assert waiting is not None, "the records were just added"
        moments = [
            rows.select(*self._by, TIME, pl.lit(new).alias("_new")).unique()
            for rows, new in ((records, True), (waiting, False))
        ]
        # Of a moment, what is new comes first; so the newest new moment up to each one is known.
        both = pl.concat(moments, how="vertical_relaxed").sort(*self._by, TIME, pl.col("_new").not_())
        since = pl.when("_new").then(TIME).forward_fill()
        reached = pl.col(TIME) - (since.over(self._by) if self._by else since) < self._size_us
        hit = both.filter(reached.fill_null(value=False) & ~pl.col("_new"))
        return hit.select(*self._by, (pl.col(TIME) - self._size_us).alias(START), pl.col(TIME).alias(END))

    def current(self, touched: pl.DataFrame) -> pl.DataFrame | None:
        first: Any = touched.get_column(END).min()
        last: Any = touched.get_column(END).max()
        kept = self._runs.leaving(first + 1, last + self._size_us)
        if kept is not None and self._by:
            kept = kept.join(touched, on=self._by, how="semi", nulls_equal=True)
        if kept is None or not kept.height:
            return None
        return self._results(kept, None).join(touched, on=[START, *self._by], how="semi", nulls_equal=True)

    def due_us(self) -> int | None:
        due = [found for run in self._runs.frames() if (found := self._first_after(run)) is not None]
        return min(due, default=None)

    def end_us(self) -> int | None:
        """Return when all results have come and all records have left."""
        return self._runs.last_us()

    def out_us(self, time_us: int) -> int:
        return time_us

    @property
    def open(self) -> int:
        return self._runs.height

    @property
    def height(self) -> int:
        return self._runs.height

    @property
    def bytes(self) -> int:
        return self._runs.bytes

    def load(self, state: State) -> None:
        self._runs.load(state)
        if (stored := state.get(self._closed_key)) is not None:
            self._closed_us = msgspec.msgpack.decode(stored, type=int)

    def changes(self) -> Changes:
        changes = self._runs.changes()
        if self._closed_changed:
            changes.append((self._closed_key, msgspec.msgpack.encode(self._closed_us)))
            self._closed_changed = False
        return changes

    # --- inside -----------------------------------------------------------------------------------------------------

    def _first_after(self, run: pl.DataFrame) -> int | None:
        """Return when the first result of a run's records is due."""
        leave = run.get_column(LEAVE)
        if self._closed_us is None:
            return int(leave[0]) - self._size_us + 1
        place = int(leave.search_sorted(self._closed_us + self._size_us, side="left"))
        return None if place == leave.len() else int(leave[place]) - self._size_us + 1

    def _results_since(self, kept: pl.DataFrame, before: int | None) -> pl.DataFrame | None:
        if before is not None and kept.get_column(TIME).max() < before:  # type: ignore[operator]
            return None
        return self._results(kept, before)

    def _results(self, kept: pl.DataFrame, before: int | None) -> pl.DataFrame:
        """Return a result for each record, of those from a moment on."""
        import polars as pl

        plan = self._plan
        assert plan is not None
        order = [column for column in ORDER if column in kept.columns]
        ordered = plan.lifted(kept.sort(*order, nulls_last=True))
        windows = ordered.rolling(TIME, period=f"{self._size_us}i", closed="right", group_by=self._by or None)
        made = windows.agg(plan.over_records())
        if before is not None:
            made = made.filter(pl.col(TIME) >= before)
        results = plan.made(plan.read(made))
        start = (pl.col(TIME) - self._size_us).alias(START)
        return made.select(*self._by, start, pl.col(TIME).alias(END), pl.col(TIME).alias(AT)).hstack(results)
