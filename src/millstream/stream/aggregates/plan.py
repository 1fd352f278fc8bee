"""What the aggregates of a window keep and give, once the columns are known: tables, and what is made of their rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from millstream.stream.aggregates.aggregate import Aggregate
from millstream.stream.aggregates.binding import Bound, bind
from millstream.stream.aggregates.counted import CountedTable, OddTable
from millstream.stream.aggregates.folds import Fold, FoldTable, count_of
from millstream.stream.aggregates.table import Table

if TYPE_CHECKING:
    import polars as pl


class Plan:
    """The tables of a step's aggregates and their results."""

    def __init__(self, aggregates: Mapping[str, Aggregate], schema: pl.Schema, more: Sequence[Fold] = ()) -> None:
        """Find how to compute aggregates over records of this schema.

        Args:
            more: Folds that a window needs for itself.

        Raises:
            UsageError: A column is not there, or its type has no such aggregate.
        """
        self._bound: dict[str, Bound] = {name: bind(name, a, schema) for name, a in aggregates.items()}
        folds: dict[str, Fold] = {fold.name: fold for bound in self._bound.values() for fold in bound.folds}
        self._parts = list(dict.fromkeys(part for bound in self._bound.values() for part in bound.parts))
        folds |= {fold.name: fold for fold in more}
        # Something must be folded, for that table tells which groups there are.
        self.main = FoldTable(tuple(folds.values()) or (count_of(None),))
        self.tables: dict[str, Table] = {self.main.name: self.main}
        for part in self._parts:
            self._add(OddTable(part.odd))
        for bound in self._bound.values():
            if bound.table is not None:
                self._add(bound.table)
        self.columns = tuple(dict.fromkeys(column for bound in self._bound.values() for column in bound.columns))
        """Of the records, those that are read."""
        self.ordered = any(table.ordered for table in self.tables.values())

    @property
    def results(self) -> dict[str, pl.DataType]:
        """The columns that come out, with their types."""
        return {name: bound.dtype for name, bound in self._bound.items()}

    def prepared(self, records: pl.DataFrame) -> pl.DataFrame:
        """Return records with the columns that folds read beside their own."""
        if not self._parts:
            return records
        return records.with_columns([column for part in self._parts for column in part.of(records)])

    def finished(self, frames: Mapping[str, pl.DataFrame | None], group: Sequence[str]) -> pl.DataFrame:
        """Return the results, one row a group.

        Args:
            frames: Of each table by name, merged rows by `group`; that of the folds has a row for each group.
        """
        import polars as pl

        frame = frames[self.main.name]
        assert frame is not None
        for name, table in self.tables.items():
            rows = frames.get(name)
            if rows is not None and rows.height and table is not self.main:
                frame = frame.join(table.finish(rows, group), on=list(group), how="left", nulls_equal=True)
        return pl.DataFrame([*map(frame.get_column, group), *self.made(frame)])

    def made(self, frame: pl.DataFrame) -> list[pl.Series]:
        """Return the results of finished groups as columns."""
        return [bound.result(frame).cast(bound.dtype).alias(name) for name, bound in self._bound.items()]

    # --- windows of which the records are kept ------------------------------------------------------------------------

    def lifted(self, records: pl.DataFrame) -> pl.DataFrame:
        """Return records with a column for each fold."""
        import polars as pl

        records = self.prepared(records)
        odd = [
            pl.lit(None, dtype=pl.Float64).alias(part.odd) for part in self._parts if part.odd not in records.columns
        ]
        return records.with_columns(*self.main.lifted(), *odd)

    def over_records(self) -> list[pl.Expr]:
        """Return aggregations over lifted records in the order of time; `read` goes on with what they give."""
        return [expr.alias(name) for table in self.tables.values() for name, expr in table.over_records().items()]

    def read(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return what `over_records` gave as groups for `made`."""
        for table in self.tables.values():
            frame = table.read(frame)
        return frame

    def _add(self, table: Table) -> None:
        there = self.tables.get(table.name)
        if isinstance(there, CountedTable) and isinstance(table, CountedTable):
            table = there.joined(table)
        self.tables[table.name] = table
