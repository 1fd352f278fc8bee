"""Session windows: records of a key that are less than a gap apart.

What is kept are stretches: records of a key that are known to be together, with the end of the last one's gap.
Stretches that overlap are one; they are joined whenever they meet: in a micro-batch, when runs are merged, and when one
of them would leave. A session comes out when no stretch that is still open touches it, `slack` after its end: a record
out of order, or one of another partition, cannot reach it any more.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from millstream.stream.aggregates.plan import Plan
from millstream.stream.aggregates.table import TIME
from millstream.stream.runs import Bytes, Changes, State
from millstream.stream.windowing.kind import END, PASSED, START
from millstream.stream.windowing.store import LEAVE, Frames, Store
from millstream.stream.windows import Session

if TYPE_CHECKING:
    import polars as pl

SESSION: Final = "_session"


class SessionWindows:
    """Open sessions."""

    def __init__(self, window: Session, lateness_us: int, by: Sequence[str], prefix: Bytes) -> None:
        self._gap_us = window.gap_us
        self._slack_us = window.slack_us
        self._lateness_us = lateness_us
        self._by = list(by)
        self._store = Store(prefix, [START, END, LEAVE, *by], _same, self._joined)

    def bind(self, plan: Plan) -> None:
        self._store.bind(plan)

    def late(self) -> pl.Expr:
        import polars as pl

        return pl.col(TIME) + (self._slack_us + self._lateness_us) < pl.col(PASSED)

    # --- records ------------------------------------------------------------------------------------------------

    def add(self, records: pl.DataFrame) -> list[pl.DataFrame]:
        records = self._store.plan.prepared(records).drop(PASSED, strict=False)
        if len(self._store.plan.tables) == 1 and (rows := self._short(records)) is not None:
            self._store.put(self._store.plan.main.name, rows)
        else:
            self._store.add(self._stretches(records))
        return []

    def _short(self, records: pl.DataFrame) -> pl.DataFrame | None:
        """Return one stretch a key, None where a key's records may be further apart than the gap.

        Most micro-batches are shorter than a gap, and then nothing need be sorted.
        """
        import polars as pl

        main = self._store.plan.main
        times = [pl.col(TIME).min().alias(START), (pl.col(TIME).max() + self._gap_us).alias(END)]
        aggregations = [*times, *[fold.first() for fold in main.folds.values()]]
        rows = records.group_by(self._by).agg(aggregations) if self._by else records.select(aggregations)
        longest = rows.select((pl.col(END) - pl.col(START)).max()).item()
        if longest >= 2 * self._gap_us:
            return None
        return rows.with_columns((pl.col(END) + self._slack_us).alias(LEAVE))

    def _stretches(self, records: pl.DataFrame) -> pl.DataFrame:
        """Return records with the stretch that each is in."""
        import polars as pl

        ends = (pl.col(TIME) + self._gap_us).alias(END)
        placed = joined(records.with_columns(pl.col(TIME).alias(START), ends), self._by)
        return placed.with_columns((pl.col(END) + self._slack_us).alias(LEAVE))

    # --- results ------------------------------------------------------------------------------------------------

    def close(self, time_us: int) -> list[pl.DataFrame]:
        taken = self._store.take(time_us)
        main = self._store.plan.main.name
        rows = taken[main]
        sessions: pl.DataFrame | None = None
        if rows is not None:
            rows = self._held_back(rows, time_us)
            frames: Frames = {main: rows}
            sessions = rows
        for name, others in taken.items():
            if name != main and others is not None:
                placed = self._placed(name, others, sessions)
                if sessions is not None:
                    frames[name] = placed
        if sessions is None or not sessions.height:
            return []
        return [self._store.plan.finished(frames, self._store.group)]

    def _held_back(self, rows: pl.DataFrame, time_us: int) -> pl.DataFrame:
        """Return the stretches that are whole sessions; put back those that an open one touches."""
        import polars as pl

        ends_us = rows.get_column(END).max()
        columns = [*self._by, START, END, LEAVE]
        open_rows = [frame.filter(pl.col(START) < ends_us).select(columns) for frame in self._store.main.frames()]
        open_rows = [frame for frame in open_rows if frame.height]
        if not open_rows:
            return rows
        there = pl.concat(open_rows, how="vertical_relaxed")
        if self._by:
            there = there.join(rows.select(self._by), on=self._by, how="semi", nulls_equal=True)
        if not there.height:
            return rows
        place = pl.int_range(pl.len(), dtype=pl.Int64).alias("_place")
        both = pl.concat(
            [
                rows.select(columns).with_columns(place),
                there.with_columns(pl.lit(None, dtype=pl.Int64).alias("_place")),
            ],
            how="vertical_relaxed",
        )
        leaves = joined(both, self._by).filter(pl.col("_place").is_not_null()).sort("_place").get_column(LEAVE)
        back = rows.with_columns(leaves).filter(leaves > time_us)
        if back.height:
            self._store.put(self._store.plan.main.name, back)
        return rows.filter(leaves <= time_us)

    def _placed(self, name: str, rows: pl.DataFrame, sessions: pl.DataFrame | None) -> pl.DataFrame | None:
        """Return the rows of a table that belong to sessions, merged; put back the others, to leave with theirs."""
        import polars as pl

        bounds = [*self._by, START, END, LEAVE]
        known = [sessions.select(bounds).with_columns(pl.lit(True).alias("_closed"))] if sessions is not None else []
        known += [
            frame.select(bounds).with_columns(pl.lit(False).alias("_closed")) for frame in self._store.main.frames()
        ]
        all_sessions = joined(pl.concat(known, how="vertical_relaxed"), self._by, keep=["_closed"])
        found = within(rows, all_sessions, self._by)
        closed = found.filter(pl.col("_closed")).drop("_closed")
        back = found.filter(~pl.col("_closed")).drop("_closed")
        if back.height:
            self._store.put(name, back)
        return self._store.merged(name, closed, self._store.group) if closed.height else None

    def touched(self, records: pl.DataFrame) -> pl.DataFrame:
        stretches = self._stretches(records).select(START, END, *self._by)
        return stretches.unique()

    def current(self, touched: pl.DataFrame) -> pl.DataFrame | None:
        """Return the open sessions that stretches are in."""
        import polars as pl

        found = self._store.frames()
        main = found[self._store.plan.main.name]
        if main is None:
            return None
        bounds = [START, END, LEAVE, *self._by]
        sessions = main.select(bounds).with_columns(pl.lit(True).alias("_closed"))
        mine = touched.with_columns(pl.col(END).alias(LEAVE))
        wanted = within(mine, sessions, self._by).select(bounds).unique()
        frames: Frames = {}
        for name, rows in found.items():
            placed = None if rows is None else within(rows, sessions, self._by).drop("_closed")
            placed = None if placed is None else placed.join(wanted, on=bounds, how="semi", nulls_equal=True)
            if placed is None or not placed.height:
                frames[name] = None
            else:
                frames[name] = self._store.merged(name, placed, self._store.group)
        if frames[self._store.plan.main.name] is None:
            return None
        return self._store.plan.finished(frames, self._store.group).drop(LEAVE)

    # --- time and what is stored ----------------------------------------------------------------------------------

    def due_us(self) -> int | None:
        return self._store.main.first_us()

    def end_us(self) -> int | None:
        return self._store.main.last_us()

    def out_us(self, time_us: int) -> int:
        # A record that is not late may begin a session up to the slack earlier.
        starts = [frame.get_column(START).min() for frame in self._store.main.frames()]
        return min([time_us - self._slack_us, *[start for start in starts if isinstance(start, int)]])

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

    def _joined(self, rows: pl.DataFrame) -> pl.DataFrame:
        return joined(rows, self._by)


def joined(rows: pl.DataFrame, by: Sequence[str], keep: Sequence[str] = ()) -> pl.DataFrame:
    """Return rows with the bounds of the stretch that each is in: those of a key that overlap are one.

    START, END and LEAVE (where it is there) become the least, the greatest, the greatest of the stretch.
    """
    import polars as pl

    ordered = _numbered(rows, by)
    bounds = [pl.col(START).min(), pl.col(END).max()]
    if LEAVE in rows.columns:
        bounds.append(pl.col(LEAVE).max())
    stretches = ordered.group_by(SESSION, maintain_order=True).agg(*bounds)
    if stretches.height == ordered.height:
        return ordered.drop(SESSION)
    places = ordered.get_column(SESSION) - 1
    whole = stretches.select(pl.all().exclude(SESSION).gather(places))
    return ordered.drop(SESSION).with_columns(whole.get_columns())


def _numbered(rows: pl.DataFrame, by: Sequence[str]) -> pl.DataFrame:
    """Return rows by key and time, with the number of the stretch that each is in, from 1 on."""
    import polars as pl

    ordered = rows.sort(*by, START)
    if not by:
        new = pl.col(START) >= pl.col(END).cum_max().shift(1)
        return ordered.with_columns(new.fill_null(True).cum_sum().alias(SESSION))
    # Ends are moved apart by key, so that the greatest end before a row, over all rows, is one of its key or too small.
    # A key's first row is told by the key itself: null equals null there, and the row before the first is none.
    other = pl.any_horizontal([pl.col(name).ne_missing(pl.col(name).shift(1)) for name in by])
    first = pl.int_range(pl.len()) == 0
    ordered = ordered.with_columns((other | first).alias("_first"))
    apart = (pl.col(END).max() - pl.col(START).min() + 1).cast(pl.Int128) * pl.col("_first").cum_sum()
    ends = (pl.col(END).cast(pl.Int128) + apart).cum_max().shift(1)
    new = pl.col("_first") | (pl.col(START) + apart >= ends)
    return ordered.with_columns(new.cum_sum().alias(SESSION)).drop("_first")


def within(rows: pl.DataFrame, sessions: pl.DataFrame, by: Sequence[str]) -> pl.DataFrame:
    """Return rows with START, END, LEAVE and `_closed` of the session of their key that they are in."""
    import polars as pl

    taken = [START, END, LEAVE, "_closed"]
    at = pl.col(START).alias("_at")
    marks = sessions.select(*by, at, pl.lit(0, dtype=pl.Int8).alias("_kind"), pl.struct(taken).alias("_of"))
    mine = rows.drop(START, END, LEAVE).with_columns(rows.get_column(START).alias("_at"))
    mine = mine.with_columns(pl.lit(1, dtype=pl.Int8).alias("_kind"))
    both = pl.concat([marks.unique(subset=[*by, "_at"]), mine], how="diagonal_relaxed").sort(*by, "_at", "_kind")
    both = both.with_columns(pl.col("_of").forward_fill()).filter(pl.col("_kind") == 1)
    return both.drop("_at", "_kind").unnest("_of")


def _same(rows: pl.DataFrame) -> pl.DataFrame:
    return rows
