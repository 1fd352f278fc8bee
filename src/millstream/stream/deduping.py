"""Only the first record of each key within a time.

| record, `by="id", within="1h"` | 10:00 a | 10:20 b | 10:30 a | 11:00 a | 11:20 a |
|---|---|---|---|---|---|
| | goes on | goes on | left out | goes on | left out |

In the order of the log, a record goes on unless one of its key that went on is less than `within` away in event time,
before or after. Null is no key: records with a null in it all go on.

A record more than `within` behind the watermark is late: what it could repeat is gone. It is counted and left out.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import msgspec

from millstream.errors import UsageError
from millstream.stream.joining.keyed_rows import KeyedRows
from millstream.stream.joining.lateness import Lateness
from millstream.stream.joining.meeting import near_places
from millstream.stream.joining.reach import Within, first_and_last_us
from millstream.stream.needs import Needs, union
from millstream.stream.operators import OperatorStatus
from millstream.stream.piece import Piece

if TYPE_CHECKING:
    import polars as pl

    from millstream.stream.needs import Needs, union
from millstream.stream.operators import StateWrite

ROUNDS: Final = 3
"""Rounds over all keys at once before the rest goes record by record: nearly always nothing is left after two."""


class DedupeStep(msgspec.Struct, frozen=True):
    """Leave out records of a key that came before."""

    by: tuple[str, ...]
    within_us: int
    lateness_us: int = 0
    """How much further than `within_us` behind the watermark a record may be."""
    name: str = "dedupe"
    on_values = False

    def __post_init__(self) -> None:
        if not self.by:
            raise UsageError(f'{self.name} needs a key: dedupe("id", within="1h")')
        if self.within_us <= 0:
            raise UsageError(f'{self.name} needs a time: {self.name}({", ".join(map(repr, self.by))}, within="1h")')

    def needs(self, port: int, out: Needs, schema: pl.Schema | None) -> Needs:
        """Return the columns it needs when those of `out` are wanted of what comes out."""
        return union(out, frozenset(self.by))

    def fingerprint(self) -> str:
        """Return what the meaning of the state depends on."""
        return f"dedupe {self.by} {self.within_us}"

    def __str__(self) -> str:
        return f"{self.name}({', '.join(self.by)}, within_us={self.within_us})"


class DedupeOperator:
    """A `DedupeStep` at work."""

    def __init__(self, step: DedupeStep, prefix: bytes) -> None:
        self.prefix = prefix
        self._step = step
        self._by = list(step.by)
        self._types: dict[str, pl.DataType] = {}
        self._near = Within(1 - step.within_us, step.within_us - 1, 0)
        self._allowed_us = step.within_us + step.lateness_us
        self._lateness = Lateness(prefix + b"t")
        self._rows = KeyedRows(prefix + b"r", leave="_t")

    def bind(self, port: int, schema: pl.Schema) -> pl.Schema | None:
        for name in self._by:
            if name != "_key" and name not in schema:
                raise UsageError(
                    f"{self._step.name}: there is no column {name!r}; there are {', '.join(schema.names()) or 'none'}"
                )
        self._types = {name: schema[name] for name in self._by if name != "_key"}
        return schema

    # --- records --------------------------------------------------------------------------------------------------

    def process(self, port: int, piece: Piece) -> list[Piece]:
        """Let records go on as they came, without those that repeat one."""
        import polars as pl

        if not piece.height:
            return []
        rows = self._rows_of(piece)
        on, rows = self._without_key(rows)
        firsts = self._firsts(rows)
        ids = firsts if on is None else pl.concat([on, firsts])
        if ids.len() == piece.height:
            return [piece]
        mask = pl.int_range(piece.height, dtype=pl.Int64, eager=True).is_in(ids.implode())
        return [piece.where(mask)] if ids.len() else []

    def _rows_of(self, piece: Piece) -> pl.DataFrame:
        """Return the keys of the records in time, `_t` and, as `_id`, their places."""
        import polars as pl

        times = self._lateness.times(piece, lambda time_us: time_us + (self._allowed_us + 1))
        place = pl.int_range(pl.len(), dtype=pl.Int64).alias("_id")
        rows = self._with_key(piece).hstack(times).select(*self._by, "_t", "_in_time", place)
        in_time = rows.get_column("_in_time")
        return rows if in_time.all() else rows.filter(in_time)

    def _with_key(self, piece: Piece) -> pl.DataFrame:
        """Return the records as rows, with a key that none of them has as nulls, where others before them had it."""
        import polars as pl

        rows = piece.frame()
        lost = [name for name in self._by if name not in rows.columns and name in self._types]
        if lost:
            rows = rows.with_columns(pl.lit(None, dtype=self._types[name]).alias(name) for name in lost)
        self.bind(0, rows.schema)
        return rows

    def _without_key(self, rows: pl.DataFrame) -> tuple[pl.Series | None, pl.DataFrame]:
        """Return the `_id` of the rows with a null in the key, and the other rows."""
        import polars as pl

        if not any(rows.get_column(name).null_count() for name in self._by):
            return None, rows
        null = rows.select(pl.any_horizontal(pl.col(self._by).is_null())).to_series()
        return rows.filter(null)["_id"], rows.filter(~null)

    def _firsts(self, rows: pl.DataFrame) -> pl.Series:
        """Return the `_id` of the rows that repeat none, and keep these rows."""
        import polars as pl

        rows = self._without_repeats(rows)
        found: list[pl.DataFrame] = []
        key = pl.col(self._by[0]) if len(self._by) == 1 else pl.struct(self._by)
        for _ in range(ROUNDS):
            if not rows.height:
                break
            is_first = rows.select(key.is_first_distinct()).to_series()
            if is_first.all():
                found.append(rows)
                rows = rows.clear()
                break
            firsts = rows.filter(is_first)
            found.append(firsts)
            rows = _not_near(rows.filter(~is_first), firsts, self._by, self._near)
        if rows.height:
            found.append(self._one_by_one(rows))
        if not found:
            return pl.Series(dtype=pl.Int64)
        firsts = pl.concat(found)
        self._rows.add(firsts.select(*self._by, "_t"))
        return firsts["_id"]

    def _without_repeats(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return rows without those that repeat one of earlier micro-batches."""
        import polars as pl

        if not rows.height:
            return rows
        first_us, last_us = self._near.met_us(0, *first_and_last_us(rows["_t"]))
        there = self._rows.near(rows, [pl.col(name) for name in self._by], self._key_as(rows), first_us, last_us)
        return rows if there is None else _not_near(rows, there, self._by, self._near, self._key_as(rows))

    def _key_as(self, rows: pl.DataFrame) -> list[pl.Expr]:
        """Return the key of rows of state in the types of other rows.

        A number that was widened since compares as what comes now; one that does not fit equals none of them.
        """
        import polars as pl

        return [pl.col(name).cast(rows.schema[name], strict=False) for name in self._by]

    def _one_by_one(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return the first ones of many records of few keys, whose firsts depend on one another."""
        import polars as pl

        times: dict[Any, list[int]] = {}
        firsts: list[bool] = []
        for *key, time_us in rows.select(*self._by, "_t").iter_rows():
            known = times.setdefault(tuple(key), [])
            place = bisect_left(known, time_us - self._near.high_us)
            firsts.append(place == len(known) or known[place] > time_us + self._near.high_us)
            if firsts[-1]:
                insort(known, time_us)
        return rows.filter(pl.Series(firsts, dtype=pl.Boolean))

    def advance(self, watermark_us: int) -> list[Piece]:
        self._rows.runs.discard(watermark_us - self._step.within_us - self._allowed_us)
        self._lateness.advance(watermark_us)
        return []

    # --- times ----------------------------------------------------------------------------------------------------

    def due_us(self) -> int | None:
        return None

    def end_us(self) -> int | None:
        return None

    def out_us(self, watermark_us: int) -> int:
        return watermark_us

    # --- state ----------------------------------------------------------------------------------------------------

    def load(self, state: Mapping[bytes, bytes]) -> None:
        self._lateness.load(state)
        self._rows.load(state)
        for rows in self._rows.runs.frames():
            self._types |= {name: rows.schema[name] for name in self._by if name != "_key"}

    def changes(self) -> list[StateWrite]:
        return self._lateness.changes() + self._rows.changes()

    def status(self) -> OperatorStatus:
        runs = self._rows.runs
        return OperatorStatus(late=self._lateness.count, open=runs.height, rows=runs.height, bytes=runs.bytes)


def _not_near(
    rows: pl.DataFrame, firsts: pl.DataFrame, by: list[str], near: Within, key: list[pl.Expr] | None = None
) -> pl.DataFrame:
    """Return the rows that are of another key or time than all the others.

    Args:
        key: That of the others, where it is not plainly `by`.
    """
    import polars as pl

    if not rows.height or not firsts.height:
        return rows
    own = [pl.col(name) for name in by]
    places = near_places(rows, own, firsts, key or own, near)
    if not places.len():
        return rows
    return rows.filter(~pl.int_range(pl.len(), dtype=pl.UInt32).is_in(places.implode()))
