"""Rows of state that are looked up by key.

What looks into them is either large, and then a hash join over all of them is the fastest there is; or it is a few
records of a quiet stream, and then looking at all rows for each few would cost more than anything else. For those, the
rows are indexed: the hashes of their keys, sorted, beside the rows that they were made of. Rows added later are looked
at one by one until there are enough for an index of their own; of several, one is made anew.

What is returned may be of other keys and times than those asked for, and may have left: it is to be joined by both.
Nothing that is in time meets a row that has left, so there is no harm in one that is still found.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from millstream.stream.runs import Runs

if TYPE_CHECKING:
    import polars as pl

    from millstream.stream.operators import StateWrite

INDEXED_ROWS_MIN: Final = 50_000
"""Fewer rows are joined in 0.2 ms, no slower than by an index."""

FEW: Final = 32
"""An index is worth it for something with so many times fewer rows."""

RECENT_ROWS_MAX: Final = 16_384
"""Rows added since, before they get an index of their own."""

SPARE_ROWS: Final = 1024
"""So many rows that have left cost less than putting the runs together anew."""

CHUNKS_MAX: Final = 64
"""Pieces of memory of the rows together, before they are put together anew."""

INDEXES_MAX: Final = 4
"""Each is looked into for each lookup."""


class KeyedRows:
    """Rows in `Runs`, found by key.

    Args:
        leave: The column by which rows leave.
    """

    def __init__(self, prefix: bytes, *, leave: str) -> None:
        self._runs = Runs(prefix, leave=leave)
        self._leave = leave
        self._indexes: list[_Index] = []
        self._recent: list[pl.DataFrame] = []
        self._whole: pl.DataFrame | None = None
        """All rows while they are few, and some that have left: to put the runs together for each lookup is dear."""

    @property
    def runs(self) -> Runs:
        """The rows; add to them by `add` only, and clear them by `replace`."""
        return self._runs

    def add(self, rows: pl.DataFrame) -> None:
        """Add rows."""
        self._runs.add(rows)
        if self._indexes:
            self._recent.append(rows)
        if self._whole is not None:
            same = self._whole.schema == rows.schema and self._whole.n_chunks() < CHUNKS_MAX
            self._whole = self._whole.vstack(rows) if same else None

    def replace(self, *rows: pl.DataFrame) -> None:
        """Put other rows in place of all."""
        self._forget()
        self._runs.clear()
        for frame in rows:
            self._runs.add(frame)

    def near(
        self, asked: pl.DataFrame, asked_key: list[pl.Expr], key: list[pl.Expr], first_us: int, last_us: int
    ) -> pl.DataFrame | None:
        """Return the rows of which `leave` is in a range and that have a key asked for, and maybe others.

        Args:
            asked_key: Makes the columns of the key of the rows asked for.
            key: Makes the same columns, of the same types, of the rows here.
        """
        import polars as pl

        height = self._runs.height
        if asked.height * FEW > height:
            return self._runs.leaving(first_us, last_us)
        if height < INDEXED_ROWS_MIN:
            return self._all()
        self._whole = None
        asked = asked.select(asked_key)
        self._index(key, asked.schema)
        hashes = _hashes(asked, [pl.col(name) for name in asked.columns], asked.schema).unique()
        found = [rows for index in self._indexes if (rows := index.rows(hashes)) is not None] + self._recent
        if not found:
            return None
        rows = pl.concat(found, how="vertical" if _same(found) else "diagonal_relaxed")
        return rows.filter(pl.col(self._leave).is_between(first_us, last_us))

    def _all(self) -> pl.DataFrame | None:
        if self._whole is None or self._whole.height > 2 * self._runs.height + SPARE_ROWS:
            rows = self._runs.frame()
            self._whole = None if rows is None else rows.rechunk()
        return self._whole

    def _index(self, key: list[pl.Expr], types: pl.Schema) -> None:
        """See to it that there is an index of all rows but some recent ones."""
        import polars as pl

        indexed = sum(index.height for index in self._indexes)
        if not self._indexes or self._indexes[0].types != types or indexed > 2 * self._runs.height:
            self._forget()
        elif sum(rows.height for rows in self._recent) > RECENT_ROWS_MAX:
            if len(self._indexes) < INDEXES_MAX:
                self._indexes.append(_Index(pl.concat(self._recent, how="diagonal_relaxed"), key, types))
                self._recent = []
            else:
                self._forget()
        if not self._indexes and (rows := self._runs.frame()) is not None:
            self._indexes.append(_Index(rows if rows.n_chunks() < CHUNKS_MAX else rows.rechunk(), key, types))

    def _forget(self) -> None:
        self._indexes, self._recent, self._whole = [], [], None

    def load(self, state: Mapping[bytes, bytes]) -> None:
        self._runs.load(state)

    def changes(self) -> list[StateWrite]:
        return self._runs.changes()


class _Index:
    """Rows by the hash of their keys."""

    def __init__(self, rows: pl.DataFrame, key: list[pl.Expr], types: pl.Schema) -> None:
        hashes = _hashes(rows, key, types)
        self.types = types
        self.height = rows.height
        self._rows = rows
        self._places = hashes.arg_sort()
        self._hashes = hashes.gather(self._places).set_sorted()

    def rows(self, hashes: pl.Series) -> pl.DataFrame | None:
        """Return the rows with any of these hashes, which differ; None: there are none."""
        import polars as pl

        ends = pl.DataFrame(
            [
                self._hashes.search_sorted(hashes, side="left").alias("first"),
                self._hashes.search_sorted(hashes, side="right").alias("end"),
            ]
        ).filter(pl.col("end") > pl.col("first"))
        if not ends.height:
            return None
        places = ends.select(pl.int_ranges("first", "end").explode()).to_series()
        return self._rows[self._places.gather(places)]


def _hashes(rows: pl.DataFrame, key: list[pl.Expr], types: pl.Schema) -> pl.Series:
    """Return the hashes of rows' keys. The same in this process only, so they are never stored."""
    import polars as pl

    plain = [_plain(expr, types[expr.meta.output_name()]) for expr in key]
    return rows.select((plain[0] if len(plain) == 1 else pl.struct(plain)).hash()).to_series()


def _plain(key: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """Return a key whose hash depends on its value alone: that of a category is of its number."""
    import polars as pl

    return key.cast(pl.String) if dtype in (pl.Categorical, pl.Enum) else key


def _same(frames: list[pl.DataFrame]) -> bool:
    return all(frame.schema == frames[0].schema for frame in frames[1:])
