"""Aggregates over records that are kept: the first, the largest ones, all of them.

Records of a group have an order; a table keeps as many of the first of them as its aggregate can still need.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from millstream.stream.aggregates.table import ORDER

if TYPE_CHECKING:
    import polars as pl


class Descending(msgspec.Struct, frozen=True):
    """A column to sort by, the largest first."""

    column: str


class KeptTable:
    """Group, the columns of `ORDER`, and those that one aggregate needs."""

    ordered = True

    def __init__(
        self,
        name: str,
        columns: Sequence[str],
        result: pl.Expr,
        *,
        order: Sequence[str | Descending] = ORDER,
        rows_max: int | None = None,
        where: pl.Expr | None = None,
    ) -> None:
        """Make a table.

        Args:
            name: Of the result.
            columns: Of the records, to be kept.
            result: An aggregation over the kept records of a group, in their order.
            order: Which records come first; ties go by `ORDER`.
            rows_max: How many of a group are kept; None: all.
            where: Which records are kept at all.
        """
        self._result_name = name
        self._columns = list(dict.fromkeys(columns))
        self._result = result
        columns_in_order = [by if isinstance(by, str) else by.column for by in order]
        descending = [isinstance(by, Descending) for by in order]
        ties = [column for column in ORDER if column not in columns_in_order]
        self._order = columns_in_order + ties
        self._descending = descending + [False] * len(ties)
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
        ordered = self._sorted(rows)
        if self._rows_max == 1:
            return ordered.unique(subset=list(group), keep="first")
        return ordered.group_by(group).head(self._rows_max).select(rows.columns)

    def finish(self, rows: pl.DataFrame, group: Sequence[str]) -> pl.DataFrame:
        return self._sorted(rows).group_by(group).agg(self._result.alias(self._result_name))

    def _sorted(self, rows: pl.DataFrame) -> pl.DataFrame:
        # Nulls last: where the largest is first, a null is not it; NaN is the largest in Polars' order.
        return rows.sort(self._order, descending=self._descending, nulls_last=True)
