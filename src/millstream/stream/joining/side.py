"""What a join keeps of one input: the rows that something can still meet, and which of them have met something."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from millstream.stream.joining.keyed_rows import KeyedRows
from millstream.stream.runs import Runs

if TYPE_CHECKING:
    import polars as pl

    from millstream.stream.operators import StateWrite


class Side:
    """Rows of one input.

    A row has its columns and `_key`; `_t`, its event time in us, by which it leaves; `_id`, its number in order of
    arrival, for as long as it is there.

    Args:
        alone: Rows that met nothing come out when they leave, so it is kept which ones did.
    """

    def __init__(self, prefix: bytes, *, alone: bool) -> None:
        self._rows = KeyedRows(prefix + b"r", leave="_t")
        self._met = Runs(prefix + b"m", leave="_t", merge=_once) if alone else None
        self._next = 0

    @property
    def height(self) -> int:
        return self._rows.runs.height

    @property
    def size_bytes(self) -> int:
        return self._rows.runs.bytes + (self._met.bytes if self._met else 0)

    def waiting_us(self) -> tuple[int, int] | None:
        """Return the first and last event time of the rows that may come out because they meet nothing."""
        first_us, last_us = self._rows.runs.first_us(), self._rows.runs.last_us()
        return None if self._met is None or first_us is None or last_us is None else (first_us, last_us)

    def add(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Keep rows; return them with `_id`."""
        import polars as pl

        first = self._next
        self._next += rows.height
        rows = rows.with_columns(pl.int_range(first, self._next, dtype=pl.Int64).alias("_id"))
        self._rows.add(rows)
        return rows

    def near(
        self, asked: pl.DataFrame, asked_key: list[pl.Expr], key: list[pl.Expr], first_us: int, last_us: int
    ) -> pl.DataFrame | None:
        """Return the rows between two event times that have a key asked for, and maybe others."""
        return self._rows.near(asked, asked_key, key, first_us, last_us)

    def note_met(self, rows: pl.DataFrame) -> None:
        """Keep in mind that rows met something; only `_id` and `_t` of them are needed."""
        if self._met is not None and rows.height:
            self._met.add(_once(rows.select("_id", "_t")))

    def leave(self, last_us: int) -> pl.DataFrame | None:
        """Remove the rows up to an event time; return those that met nothing, where they are wanted."""
        if self._met is None:
            self._rows.runs.discard(last_us)
            return None
        rows = self._rows.runs.take(last_us)
        met = self._met.take(last_us)
        if rows is None or met is None:
            return rows
        return rows.join(met, on="_id", how="anti")

    def load(self, state: Mapping[bytes, bytes]) -> None:
        self._rows.load(state)
        if self._met is not None:
            self._met.load(state)
        ids = [frame["_id"].max() for frame in self._rows.runs.frames()]
        self._next = max((i for i in ids if isinstance(i, int)), default=-1) + 1

    def changes(self) -> list[StateWrite]:
        return self._rows.changes() + (self._met.changes() if self._met else [])


def _once(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.unique("_id", keep="any")
