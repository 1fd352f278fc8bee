"""Aggregates over the distinct values of a column, each kept once with how often it came: quantiles, exact counts of
different values, and the floats that an exact sum cannot hold as integers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl

VALUE = "_value"
TIMES = "_times"


class CountedTable:
    """Group, value, times."""

    ordered = False

    def __init__(self, column: str, results: dict[str, pl.Expr], name: str | None = None) -> None:
        self.name = name or f"v:{column}"
        self._column = column
        self._results = results
        """Aggregations over a group's VALUE and TIMES, in the order of VALUE."""

    def rows(self, records: pl.DataFrame, group: Sequence[str]) -> pl.DataFrame:
        import polars as pl

        values = records.select(*group, pl.col(self._column).alias(VALUE)).filter(pl.col(VALUE).is_not_null())
        return values.group_by(*group, VALUE).agg(pl.len().cast(pl.Int64).alias(TIMES))

    def merge(self, rows: pl.DataFrame, group: Sequence[str]) -> pl.DataFrame:
        import polars as pl

        return rows.group_by(*group, VALUE).agg(pl.col(TIMES).sum())

    def finish(self, rows: pl.DataFrame, group: Sequence[str]) -> pl.DataFrame:
        results = [expr.alias(name) for name, expr in self._results.items()]
        return rows.sort(VALUE).group_by(group).agg(results)

    def joined(self, other: CountedTable) -> CountedTable:
        """Return a table with the results of both, of the same column."""
        return CountedTable(self._column, {**self._results, **other._results}, self.name)


class OddTable(CountedTable):
    """The values that an exact sum cannot hold as integers; nearly always without a row."""

    def __init__(self, column: str) -> None:
        import polars as pl

        super().__init__(column, {column: pl.col(VALUE).repeat_by(pl.col(TIMES)).explode()}, f"o:{column}")

    def rows(self, records: pl.DataFrame, group: Sequence[str]) -> pl.DataFrame:
        import polars as pl

        if self._column in records.columns:
            return super().rows(records, group)
        # Counting nothing keeps the types of the group's columns.
        return super().rows(records.clear().with_columns(pl.lit(None, dtype=pl.Float64).alias(self._column)), group)


def quantile_of(share: float) -> pl.Expr:
    """Return the quantile of a group's counted values, linear between two."""
    import polars as pl

    last = pl.col(TIMES).sum() - 1
    place = last * share
    low = place.floor()
    below, above = _at(low), _at(pl.min_horizontal(low + 1, last))
    return pl.when(place == low).then(below).otherwise(below + (above - below) * (place - low))


def _at(place: pl.Expr) -> pl.Expr:
    """Return the value at a place of the sorted values."""
    import polars as pl

    return pl.col(VALUE).cast(pl.Float64).filter(pl.col(TIMES).cum_sum() > place).first()
