"""The newest row of a key that is not newer than a time, for many keys and times at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from millstream.stream.joining.steps import FOREVER_US

if TYPE_CHECKING:
    import polars as pl

FEW: Final = 8
"""Rows are filtered by key first when what is asked of them has so many times fewer rows."""


class Newest:
    """Rows prepared to be asked.

    Args:
        rows: Have `_t`, their event time in us, and `_id`: of the same key and time, the one with the highest counts.
        key: Makes the columns of their key.
        asked: What is going to be asked, where that is little; None: anything.
        timeless: The first row of a key counts for all earlier times.
    """

    def __init__(
        self, rows: pl.DataFrame, key: list[pl.Expr], asked: pl.DataFrame | None, *, timeless: bool = False
    ) -> None:
        import polars as pl

        self._rows = rows
        self._keys = [expr.meta.output_name() for expr in key]
        places = rows.select(*key, "_t", "_id", pl.int_range(pl.len(), dtype=pl.UInt32).alias("_r"))
        self.types = places.select(self._keys).schema
        self._single = False
        key_of = pl.col(self._keys[0]) if len(self._keys) == 1 else pl.struct(self._keys)
        if asked is not None:
            if asked.height * FEW < places.height:
                places = places.join(asked, on=self._keys, how="semi")
        else:
            # As for most tables most of the time; then a plain join by key finds what there is.
            self._single = places.select(key_of.n_unique()).item() == places.height
        if not self._single:
            places = places.sort("_t", "_id")
        if timeless:
            first = pl.lit(value=True) if self._single else key_of.is_first_distinct()
            places = places.with_columns(pl.when(first).then(-FOREVER_US).otherwise("_t").alias("_t"))
            places = places if self._single else places.sort("_t", maintain_order=True)
        self._places = places.drop("_id")

    def of(self, asked: pl.DataFrame, tolerance_us: int | None) -> tuple[pl.Series, pl.DataFrame]:
        """Return the places in `asked` for which there is a row, ascending, and those rows.

        Args:
            asked: The key's columns, not null, `_t`, and `_l`, its places.
            tolerance_us: The row is at most so much older.
        """
        import polars as pl

        if self._single:
            pairs = asked.join(self._places.rename({"_t": "_u"}), on=self._keys)
            near = pl.col("_u") <= pl.col("_t")
            pairs = pairs.filter(near if tolerance_us is None else near & (pl.col("_t") - pl.col("_u") <= tolerance_us))
        else:
            pairs = asked.sort("_t").join_asof(
                self._places, on="_t", by=self._keys, tolerance=tolerance_us, check_sortedness=False
            )
            pairs = pairs.filter(pl.col("_r").is_not_null())
        pairs = pairs.select("_l", "_r").sort("_l")
        return pairs["_l"], self._rows[pairs["_r"]]
