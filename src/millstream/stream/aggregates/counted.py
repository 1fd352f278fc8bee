"""Aggregates over the distinct values of a column, each kept once with how often it came: quantiles, exact counts of
different values, and the floats that an exact sum cannot hold as integers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    import polars as pl

VALUE: Final = "_value"
TIMES: Final = "_times"

SAMPLE_ROWS: Final = 1024
"""Rows by which it is judged whether values repeat."""


class Counted(NamedTuple):
    """An aggregate of counted values."""

    counted: pl.Expr
    """An aggregation over a group's VALUE and TIMES, in the order of VALUE."""
    plain: Callable[[pl.Expr], pl.Expr]
    """The same over a group's values, one a record, in any order."""


class CountedTable:
    """Group, value, times. A value may be there several times."""

    ordered = False

    def __init__(self, column: str, results: Mapping[str, Counted], name: str | None = None) -> None:
        self.name = name or f"v:{column}"
        self._column = column
        self._results = results

    def rows(self, records: pl.DataFrame, group: Sequence[str]) -> pl.DataFrame | None:
        import polars as pl

        values = records.select(*group, pl.col(self._column).alias(VALUE), pl.lit(1, dtype=pl.Int64).alias(TIMES))
        if records.get_column(self._column).null_count():
            values = values.filter(pl.col(VALUE).is_not_null())
        return self.merge(values, group)

    def merge(self, rows: pl.DataFrame, group: Sequence[str]) -> pl.DataFrame:
        import polars as pl

        # Where hardly a value comes twice, finding those that do costs more than they take.
        sample = rows.select(*group, VALUE).head(SAMPLE_ROWS)
        if sample.height == SAMPLE_ROWS and sample.n_unique() > SAMPLE_ROWS * 3 // 4:
            return rows
        return rows.group_by(*group, VALUE).agg(pl.col(TIMES).sum())

    def finish(self, rows: pl.DataFrame, group: Sequence[str]) -> pl.DataFrame:
        results = [result.counted.alias(name) for name, result in self._results.items()]
        return rows.sort(VALUE).group_by(group).agg(results)

    def over_records(self) -> dict[str, pl.Expr]:
        import polars as pl

        values = pl.col(self._column).drop_nulls()
        return {name: result.plain(values) for name, result in self._results.items()}

    def read(self, frame: pl.DataFrame) -> pl.DataFrame:
        return frame

    def joined(self, other: CountedTable) -> CountedTable:
        """Return a table with the results of both, of the same column."""
        return CountedTable(self._column, {**self._results, **other._results}, self.name)


class OddTable(CountedTable):
    """The values that an exact sum cannot hold as integers; nearly always without a row."""

    def __init__(self, column: str) -> None:
        import polars as pl

        repeated = pl.col(VALUE).repeat_by(pl.col(TIMES)).explode()
        super().__init__(column, {column: Counted(repeated, lambda values: values.implode())}, f"o:{column}")

    def rows(self, records: pl.DataFrame, group: Sequence[str]) -> pl.DataFrame | None:
        # The column is there only when it has values.
        return super().rows(records, group) if self._column in records.columns else None


def unique() -> Counted:
    """Return the number of different values."""
    import polars as pl

    return Counted(pl.col(VALUE).n_unique().cast(pl.Int64), lambda values: values.n_unique().cast(pl.Int64))


def quantile_of(share: float) -> Counted:
    """Return the quantile of values, linear between two."""
    import polars as pl

    def counted_at(place: pl.Expr) -> pl.Expr:
        return pl.col(VALUE).cast(pl.Float64).filter(pl.col(TIMES).cum_sum() > place).first()

    def plain(values: pl.Expr) -> pl.Expr:
        ordered = values.cast(pl.Float64).sort()
        return _between(lambda place: ordered.slice(place.cast(pl.Int64), 1).first(), ordered.len(), share)

    return Counted(_between(counted_at, pl.col(TIMES).sum(), share), plain)


def _between(at: Callable[[pl.Expr], pl.Expr], values: pl.Expr, share: float) -> pl.Expr:
    import polars as pl

    last = values.cast(pl.Int64) - 1
    place = last * share
    low = place.floor()
    below, above = at(low), at(pl.min_horizontal(low + 1, last))
    return pl.when(place == low).then(below).otherwise(below + (above - below) * (place - low))
