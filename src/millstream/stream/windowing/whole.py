"""The global window: one a key, for ever, with a result every so often of all there ever was.

By event time, a period's records are combined like those of a tumbling window, and added to the totals when it is over.
No record is late: one that comes when its period is over counts in the next that is not. By number, a key's records are
cut into blocks in the order they came, and a result comes at once with the last of a block.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from millstream.stream.aggregates.folds import Fold, How, count_of
from millstream.stream.aggregates.plan import Plan
from millstream.stream.aggregates.table import TIME
from millstream.stream.runs import Bytes, Changes, State
from millstream.stream.windowing.kind import AT, END, PASSED, START
from millstream.stream.windowing.store import LEAVE, Frames, Store
from millstream.stream.windows import GlobalWindow

if TYPE_CHECKING:
    import polars as pl

NEVER_US: Final = 2**62
FIRST: Final = "_first"
LAST: Final = "_last"
BLOCK: Final = "_block"
COUNT: Final = "_count"
ALL: Final = "_all"
"""The same in all records: what groups them where there is no key."""


def own_folds() -> tuple[Fold, ...]:
    """Return what the global window needs beside the aggregates: how many records there were, from when to when."""
    import polars as pl

    return count_of(None), Fold(FIRST, How.MIN, pl.col(TIME)), Fold(LAST, How.MAX, pl.col(TIME))


class Totals:
    """What there ever was of each key. `keys` are the columns of a key; at least one, if only a constant."""

    def __init__(self, keys: Sequence[str], prefix: Bytes) -> None:
        self.keys = list(keys)
        self.store = Store(prefix, keys, _for_ever)

    def grown(self, added: Frames, end_us: int | None) -> pl.DataFrame:
        """Add rows of each table; return the results of the keys that have any, as of now, and their counts.

        Args:
            end_us: The end of the window; None: just after the last record.
        """
        keys = added[self.store.plan.main.name]
        assert keys is not None
        for name, rows in added.items():
            if rows is not None and rows.height:
                self.store.put(name, _for_ever(rows))
        frames: Frames = {name: self.of(name, keys) for name in self.store.plan.tables}
        return self.results(frames, self.keys, end_us)

    def results(self, frames: Frames, group: Sequence[str], end_us: int | None) -> pl.DataFrame:
        import polars as pl

        main = frames[self.store.plan.main.name]
        assert main is not None
        end = pl.col(LAST) + 1 if end_us is None else pl.lit(end_us, dtype=pl.Int64)
        bounds = main.select(*group, COUNT, pl.col(FIRST).alias(START), end.alias(END), end.alias(AT))
        made = self.store.plan.finished(frames, group)
        return made.join(bounds, on=list(group), how="left", nulls_equal=True)

    def of(self, name: str, keys: pl.DataFrame) -> pl.DataFrame | None:
        """Return the rows of a table for some keys, merged."""
        import polars as pl

        wanted = keys.select(self.keys).unique()
        found = [
            rows.drop(LEAVE).join(wanted, on=self.keys, how="semi", nulls_equal=True)
            for rows in self.store.runs(name).frames()
        ]
        found = [rows for rows in found if rows.height]
        return self.store.merged(name, pl.concat(found, how="diagonal_relaxed"), self.keys) if found else None


class _Global:
    """What both kinds of triggers share."""

    def __init__(self, by: Sequence[str], prefix: Bytes) -> None:
        self._by = list(by)
        self._keys = [ALL, *by]
        self._totals = Totals(self._keys, prefix + b"total")

    def bind(self, plan: Plan) -> None:
        self._totals.store.bind(plan)

    def late(self) -> pl.Expr:
        import polars as pl

        return pl.lit(False)

    @property
    def open(self) -> int:
        return self._totals.store.main.height

    @property
    def height(self) -> int:
        return self._totals.store.height

    @property
    def bytes(self) -> int:
        return self._totals.store.bytes

    def load(self, state: State) -> None:
        self._totals.store.load(state)

    def changes(self) -> Changes:
        return self._totals.store.changes()


class PeriodicTotals(_Global):
    """A result every so much event time, for keys that had records."""

    def __init__(self, window: GlobalWindow, lateness_us: int, by: Sequence[str], prefix: Bytes) -> None:
        super().__init__(by, prefix)
        assert window.period_us is not None
        self._period_us = window.period_us
        self._lateness_us = lateness_us
        self._store = Store(prefix + b"period", [END, *self._keys], _at_end)

    def bind(self, plan: Plan) -> None:
        super().bind(plan)
        self._store.bind(plan)

    def add(self, records: pl.DataFrame) -> list[pl.DataFrame]:
        import polars as pl

        end = self._end_of(records).alias(END)
        placed = self._store.plan.prepared(records).with_columns(end, pl.lit(0, dtype=pl.Int8).alias(ALL))
        self._store.add(placed)
        return []

    def close(self, time_us: int) -> list[pl.DataFrame]:
        import polars as pl

        taken = self._store.take(time_us)
        main = taken[self._store.plan.main.name]
        if main is None:
            return []
        made = []
        for end_us in main.get_column(END).unique().sort():
            mine: Frames = {
                name: None if rows is None else rows.filter(pl.col(END) == end_us).drop(END, LEAVE)
                for name, rows in taken.items()
            }
            made.append(self._totals.grown(mine, end_us))
        return made

    def touched(self, records: pl.DataFrame) -> pl.DataFrame:
        """Return the periods that records count in, and those after them that wait: they hold all up to their end."""
        import polars as pl

        waiting = [rows.select(END, *self._by) for rows in self._store.main.frames()]
        mine = records.select(self._end_of(records).alias("_since"), *self._by)
        if self._by:
            mine = mine.group_by(self._by).agg(pl.col("_since").min())
            found = pl.concat(waiting, how="vertical_relaxed").unique().join(mine, on=self._by, nulls_equal=True)
        else:
            found = pl.concat(waiting).unique().with_columns(mine.get_column("_since").min())
        return found.filter(pl.col(END) >= pl.col("_since")).drop("_since")

    def current(self, touched: pl.DataFrame) -> pl.DataFrame | None:
        import polars as pl

        waiting = self._store.frames()
        made = []
        for end_us in touched.get_column(END).unique().sort():
            keys = touched.filter(pl.col(END) == end_us).select(pl.lit(0, dtype=pl.Int8).alias(ALL), *self._by)
            frames: Frames = {name: self._so_far(name, rows, keys, end_us) for name, rows in waiting.items()}
            if frames[self._store.plan.main.name] is not None:
                made.append(self._totals.results(frames, self._keys, end_us))
        return pl.concat(made, how="vertical_relaxed") if made else None

    def _so_far(self, name: str, waiting: pl.DataFrame | None, keys: pl.DataFrame, end_us: int) -> pl.DataFrame | None:
        """Return the rows of a table for some keys: the totals, and what waits for a time."""
        import polars as pl

        parts = [self._totals.of(name, keys)]
        if waiting is not None:
            mine = waiting.filter(pl.col(END) <= end_us).drop(END, LEAVE)
            parts.append(mine.join(keys, on=self._keys, how="semi", nulls_equal=True))
        found = [rows for rows in parts if rows is not None and rows.height]
        return self._store.merged(name, pl.concat(found, how="diagonal_relaxed"), self._keys) if found else None

    def due_us(self) -> int | None:
        return self._store.main.first_us()

    def end_us(self) -> int | None:
        return self._store.main.last_us()

    def out_us(self, time_us: int) -> int:
        return time_us // self._period_us * self._period_us + self._period_us

    @property
    def height(self) -> int:
        return super().height + self._store.height

    @property
    def bytes(self) -> int:
        return super().bytes + self._store.bytes

    def load(self, state: State) -> None:
        super().load(state)
        self._store.load(state)

    def changes(self) -> Changes:
        return super().changes() + self._store.changes()

    def _end_of(self, records: pl.DataFrame) -> pl.Expr:
        """Return the end of the period that each record counts in."""
        import polars as pl

        end = self._end_after(pl.col(TIME))
        if PASSED not in records.columns:
            return end
        return pl.max_horizontal(end, self._end_after(pl.col(PASSED) - self._lateness_us))

    def _end_after(self, time: pl.Expr) -> pl.Expr:
        return time // self._period_us * self._period_us + self._period_us


class CountedTotals(_Global):
    """A result every so many records of a key."""

    def __init__(self, window: GlobalWindow, by: Sequence[str], prefix: Bytes) -> None:
        super().__init__(by, prefix)
        assert window.records is not None
        self._records = window.records

    def add(self, records: pl.DataFrame) -> list[pl.DataFrame]:
        import polars as pl

        plan = self._totals.store.plan
        numbered = self._numbered(plan.prepared(records.drop(PASSED, strict=False)))
        if self._only_folds(numbered):
            return self._at_once(numbered)
        turns = numbered.get_column(BLOCK)
        made = []
        for turn in range(int(turns.max()) + 1):  # type: ignore[arg-type]
            mine = numbered.filter(turns == turn)
            rows: Frames = {name: table.rows(mine, self._keys) for name, table in plan.tables.items()}
            made.append(self._totals.grown(rows, None).filter(pl.col(COUNT) % self._records == 0))
        return made

    def close(self, time_us: int) -> list[pl.DataFrame]:
        return []

    def due_us(self) -> int | None:
        return None

    def end_us(self) -> int | None:
        return None

    def out_us(self, time_us: int) -> int:
        return time_us

    def _numbered(self, records: pl.DataFrame) -> pl.DataFrame:
        """Return records with BLOCK: in which block of their key from the first open one on."""
        import polars as pl

        records = records.with_columns(pl.lit(0, dtype=pl.Int8).alias(ALL))
        before = self._totals.of(self._totals.store.plan.main.name, records)
        if before is None:
            records = records.with_columns(pl.lit(0, dtype=pl.Int64).alias("_before"))
        else:
            counts = before.select(*self._keys, (pl.col(COUNT) % self._records).alias("_before"))
            records = records.join(counts, on=self._keys, how="left", nulls_equal=True, maintain_order="left")
        place = pl.col("_before").fill_null(0) + pl.int_range(pl.len()).over(self._keys)
        return records.with_columns((place // self._records).alias(BLOCK)).drop("_before")

    def _only_folds(self, records: pl.DataFrame) -> bool:
        """Return whether all can be had by running sums: nothing but folds of numbers is kept, of these or before."""
        plan = self._totals.store.plan
        others = [name for name in plan.tables if name != plan.main.name]
        odd = any(column.endswith(":odd") for column in records.columns)
        if odd or any(not name.startswith("o:") or self._totals.store.runs(name).height for name in others):
            return False
        return all(plan.main.folds[name].how is How.SUM or name in (FIRST, LAST) for name in plan.main.folds)

    def _at_once(self, records: pl.DataFrame) -> list[pl.DataFrame]:
        """Return the results of all blocks that end, by running totals over the blocks of each key."""
        import polars as pl

        plan, name = self._totals.store.plan, self._totals.store.plan.main.name
        blocks = plan.main.rows(records, [*self._keys, BLOCK])
        before = self._totals.of(name, blocks)
        parts = [blocks] if before is None else [before.with_columns(pl.lit(-1, dtype=pl.Int64).alias(BLOCK)), blocks]
        ordered = pl.concat(parts, how="diagonal_relaxed").sort(*self._keys, BLOCK)
        running = {How.SUM: pl.Expr.cum_sum, How.MIN: pl.Expr.cum_min, How.MAX: pl.Expr.cum_max}
        folds = plan.main.folds.values()
        grown = ordered.with_columns([running[f.how](pl.col(f.name)).over(self._keys) for f in folds])
        whole = grown.filter((pl.col(BLOCK) >= 0) & (pl.col(COUNT) % self._records == 0))
        self._totals.store.put(name, _for_ever(plan.main.merge(blocks, self._keys)))
        return [self._totals.results({name: whole}, [*self._keys, BLOCK], None)] if whole.height else []


def _for_ever(rows: pl.DataFrame) -> pl.DataFrame:
    import polars as pl

    return rows.with_columns(pl.lit(NEVER_US, dtype=pl.Int64).alias(LEAVE))


def _at_end(rows: pl.DataFrame) -> pl.DataFrame:
    import polars as pl

    return rows.with_columns(pl.col(END).alias(LEAVE))
