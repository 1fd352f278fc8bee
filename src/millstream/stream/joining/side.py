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

    A row has its columns and `_key`; `_t`, its event time in us; `_id`, its place among the rows of this input that
    are there; `_leave`, the watermark at which it leaves.

    Args:
        alone: Rows that met nothing come out when they leave, so it is kept which ones did.
    """

    def __init__(self, prefix: bytes, *, alone: bool) -> None:
        self._rows = KeyedRows(prefix + b"r")
        self._met = Runs(prefix + b"m", leave="_leave", merge=_once) if alone else None
        self._next = 0

    @property
    def height(self) -> int:
        return self._rows.runs.height

    @property
    def size_bytes(self) -> int:
        return self._rows.runs.bytes + (self._met.bytes if self._met else 0)

    def due_us(self) -> int | None:
        """Return the watermark at which a row may come out because it met nothing; None: none will."""
        return None if self._met is None else self._rows.runs.first_us()

    def end_us(self) -> int | None:
        """Return the watermark at which the last such row leaves."""
        return None if self._met is None else self._rows.runs.last_us()

    def add(self, rows: pl.DataFrame, leave_us: pl.Expr) -> pl.DataFrame:
        """Keep rows; return them with `_id`, and `_leave` as the expression says."""
        import polars as pl

        first = self._next
        self._next += rows.height
        ids = pl.int_range(first, self._next, dtype=pl.Int64)
        rows = rows.with_columns(ids.alias("_id"), leave_us.alias("_leave"))
        self._rows.add(rows)
        return rows

    def near(
        self, asked: pl.DataFrame, asked_key: list[pl.Expr], key: list[pl.Expr], first_us: int, last_us: int
    ) -> pl.DataFrame | None:
        """Return the rows that leave within these watermarks and have a key asked for, and maybe others."""
        return self._rows.near(asked, asked_key, key, first_us, last_us)

    def note_met(self, rows: pl.DataFrame) -> None:
        """Keep in mind that rows met something; only `_id` and `_leave` of them are needed."""
        if self._met is not None and rows.height:
            self._met.add(_once(rows.select("_id", "_leave")))

    def leave(self, watermark_us: int) -> pl.DataFrame | None:
        """Remove the rows that leave; return those that met nothing, where they are wanted."""
        if self._met is None:
            self._rows.runs.discard(watermark_us)
            return None
        rows = self._rows.runs.take(watermark_us)
        met = self._met.take(watermark_us)
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
