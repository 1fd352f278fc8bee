"""Aggregates that add up: a few numbers a group, combined by sum, min or max.

A fold says how a record's value becomes a number and how numbers become one. Sums of integers are kept in 128 bits,
sums of floats as integers too (exact_sum.py), so nothing depends on the order of the records.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple

from millstream.stream import exact_sum

if TYPE_CHECKING:
    import polars as pl


STREAMED_ROWS: Final = 500_000
"""Rows from which on Polars groups by its streaming engine, piece by piece: what no longer fits the processor's cache
takes two to three times as long at once. Fewer do fit, and take longer to begin."""


class How(StrEnum):
    SUM = "sum"
    MIN = "min"
    MAX = "max"

    def over(self, column: pl.Expr) -> pl.Expr:
        """Return the aggregation of a column."""
        match self:
            case How.SUM:
                return column.sum()
            case How.MIN:
                return column.min()
            case How.MAX:
                return column.max()


class Fold(NamedTuple):
    """A column of numbers that are combined."""

    name: str
    how: How
    lift: pl.Expr
    """A record's number."""
    at_once: pl.Expr | None = None
    """The same over a group of records as an aggregation, where that is faster than lift and how."""

    def first(self) -> pl.Expr:
        """Return the aggregation over records."""
        expr = self.how.over(self.lift) if self.at_once is None else self.at_once
        return expr.alias(self.name)

    def again(self) -> pl.Expr:
        """Return the aggregation over numbers."""
        import polars as pl

        return self.how.over(pl.col(self.name))


class Parts(NamedTuple):
    """The floats of a column, or their squares, as integers: two folds, and a table for the values that do not fit."""

    column: str
    squared: bool

    @property
    def whole(self) -> str:
        return f"{'_square' if self.squared else '_sum'}:{self.column}"

    @property
    def fraction(self) -> str:
        return f"{self.whole}:fraction"

    @property
    def odd(self) -> str:
        return f"{self.whole}:odd"

    @property
    def rest(self) -> str:
        return f"{self.whole}:rest"

    def folds(self) -> tuple[Fold, ...]:
        import polars as pl

        names = (self.whole, self.fraction, self.rest) if self.squared else (self.whole, self.fraction)
        return tuple(Fold(name, How.SUM, pl.col(name)) for name in names)

    def of(self, records: pl.DataFrame) -> list[pl.Series]:
        """Return the columns of the folds, and that of the odd values if there are any."""
        import polars as pl

        values = records.get_column(self.column).cast(pl.Float64)
        split = exact_sum.split_squares(values) if self.squared else exact_sum.split(values)
        columns = [split.whole.alias(self.whole), split.fraction.alias(self.fraction)]
        if split.rest is not None:
            columns.append(split.rest.alias(self.rest))
        if split.odd is not None:
            columns.append(split.odd.alias(self.odd))
        return columns


def count_of(column: str | None) -> Fold:
    """Return the number of records, or of values that are not null. Int64."""
    import polars as pl

    if column is None:
        return Fold("_count", How.SUM, pl.lit(1, dtype=pl.Int64), pl.len().cast(pl.Int64))
    there = pl.col(column)
    return Fold(f"_count:{column}", How.SUM, there.is_not_null().cast(pl.Int64), there.count().cast(pl.Int64))


def sum_of(column: str) -> Fold:
    """Return the sum of integers or truth values. Int128: the sum of a window must not wrap around."""
    import polars as pl

    return Fold(Parts(column, squared=False).whole, How.SUM, pl.col(column).cast(pl.Int128))


def extreme_of(column: str, how: How) -> Fold:
    """Return the smallest or largest value."""
    import polars as pl

    return Fold(f"_{how}:{column}", how, pl.col(column))


class FoldTable:
    """The folds of a step; each group has a row. A group may have no columns: then all is one."""

    name = "f"
    ordered = False

    def __init__(self, folds: Sequence[Fold]) -> None:
        self.folds = {fold.name: fold for fold in folds}

    def rows(self, records: pl.DataFrame, group: Sequence[str]) -> pl.DataFrame:
        aggregations = [fold.first() for fold in self.folds.values()]
        return grouped(records, group, aggregations) if group else records.select(aggregations)

    def merge(self, rows: pl.DataFrame, group: Sequence[str]) -> pl.DataFrame:
        return grouped(rows, group, self.again(rows)) if group else rows.select(self.again(rows))

    def finish(self, rows: pl.DataFrame, group: Sequence[str]) -> pl.DataFrame:
        return rows

    def again(self, rows: pl.DataFrame) -> list[pl.Expr]:
        """Return the aggregations over rows; one that rows of an older schema have not is left out."""
        return [fold.again() for name, fold in self.folds.items() if name in rows.columns]

    def lifted(self) -> list[pl.Expr]:
        """Return the numbers of single records."""
        return [fold.lift.alias(name) for name, fold in self.folds.items()]

    def over_records(self) -> dict[str, pl.Expr]:
        return {name: fold.again() for name, fold in self.folds.items()}

    def read(self, frame: pl.DataFrame) -> pl.DataFrame:
        return frame


def grouped(records: pl.DataFrame, group: Sequence[str], aggregations: Sequence[pl.Expr]) -> pl.DataFrame:
    """Return one row a group, in any order. Aggregations must not depend on the order of the records."""
    if records.height < STREAMED_ROWS:
        return records.group_by(group).agg(aggregations)
    return records.lazy().group_by(group).agg(aggregations).collect(engine="streaming")
