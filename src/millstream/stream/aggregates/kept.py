"""Aggregates over records that are kept: the first, the largest ones, all of them.

Records of a group have an order; a table keeps as many of the first of them as its aggregate can still need.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

import msgspec

from millstream.stream.aggregates.table import ORDER, TIME

if TYPE_CHECKING:
    import polars as pl


_SORTED_AT_ONCE: Final = 1000
"""So few rows are sorted as fast as they are looked through."""


class Descending(msgspec.Struct, frozen=True):
    """A column to sort by, the largest first."""

    column: str


class KeptTable:
    """Group, the columns of `ORDER`, and those that one aggregate needs."""

    ordered = True

    def __init__(
        self,
        name: str,
        column: str | None,
        others: Sequence[str],
        result: Callable[[pl.Expr], pl.Expr],
        *,
        order: Sequence[str | Descending] = ORDER,
        rows_max: int | None = None,
        where: pl.Expr | None = None,
    ) -> None:
        """Make a table.

        Args:
            name: Of the result.
            column: Of the records, whose values the result is made of. None: of all that are kept.
            others: Columns that are kept beside it.
            result: Returns the aggregation over a group's values in their order.
            order: Which records come first; ties go by `ORDER`.
            rows_max: How many of a group are kept; None: all.
            where: Which records are kept at all.
        """
        self._result_name = name
        self._column = column
        self._columns = list(dict.fromkeys((*([] if column is None else [column]), *others)))
        self._result = result
        columns_in_order = [by if isinstance(by, str) else by.column for by in order]
        descending = [isinstance(by, Descending) for by in order]
        ties = [column for column in ORDER if column not in columns_in_order]
        self._order = columns_in_order + ties
        self._descending = descending + [False] * len(ties)
        # Backwards is the very order from its other end.
        self._nulls_last = [not backwards for backwards in self._descending]
        self._rows_max = rows_max
        self._where = where

    @property
    def name(self) -> str:
        return f"k:{self._result_name}"

    def rows(self, records: pl.DataFrame, group: Sequence[str]) -> pl.DataFrame:
        if self._where is not None:
            records = records.filter(self._where)
        return self.merge(records.select(*group, *ORDER, *self._columns), group)

    def merge(self, rows: pl.DataFrame, group: Sequence[str]) -> pl.DataFrame:
        if self._rows_max is None:
            return rows
        if self._rows_max == 1:
            return self._sorted(self._leading(rows, group)).unique(subset=list(group), keep="first")
        ordered = self._sorted(rows)
        return ordered.group_by(group).head(self._rows_max).select(rows.columns)

    def finish(self, rows: pl.DataFrame, group: Sequence[str]) -> pl.DataFrame:
        import polars as pl

        result = self._result(pl.col(self._column or TIME)).alias(self._result_name)
        return self._sorted(rows).group_by(group).agg(result)

    def over_records(self) -> dict[str, pl.Expr]:
        import polars as pl

        if self._column is None:
            # Records come in the order of `ORDER`, all of them.
            return {self._result_name: self._result(pl.col(TIME))}
        value, order = pl.col(self._column), [pl.col(column) for column in self._order]
        if self._where is not None:
            value, order = value.filter(self._where), [by.filter(self._where) for by in order]
        ordered = value.sort_by(order, descending=self._descending, nulls_last=self._nulls_last)
        return {self._result_name: self._result(ordered)}

    def read(self, frame: pl.DataFrame) -> pl.DataFrame:
        return frame

    def _leading(self, rows: pl.DataFrame, group: Sequence[str]) -> pl.DataFrame:
        """Return the rows that the first column of the order puts first in their group: few are left to be sorted."""
        import polars as pl

        column, dtype = pl.col(self._order[0]), rows.schema[self._order[0]]
        if rows.height < _SORTED_AT_ONCE or not (dtype.is_numeric() or dtype.is_temporal()):
            return rows
        if rows.get_column(self._order[0]).null_count():
            return rows
        if not self._descending[0]:
            best = column.min()
        else:  # NaN is the largest, as in a sort
            best = column.nan_max() if dtype.is_float() else column.max()
        return rows.filter(column == (best.over(group) if group else best))

    def _sorted(self, rows: pl.DataFrame) -> pl.DataFrame:
        return rows.sort(self._order, descending=self._descending, nulls_last=self._nulls_last)
