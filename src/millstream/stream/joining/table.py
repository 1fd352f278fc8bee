"""A stream joined with a table, at work.

A table is a topic of which, for each key, the newest record counts: its record is the row from its event time on, until
the next one. A record of the stream is joined at once with the row as of its event time. One that is behind the
watermark is joined with the row as of the watermark, since older ones are gone by then.

Where the table's topic has no time field, a record counts from its append time on, but of each key the first one counts
for all earlier times too: reference data that was loaded today says what was so when older records happened.

A record whose columns are all null but for the key deletes the row.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from millstream.stream.joining.columns import JoinedColumns
from millstream.stream.joining.lateness import Lateness, event_times
from millstream.stream.joining.steps import TableStep
from millstream.stream.joining.versions import Versions
from millstream.stream.operators import OperatorStatus
from millstream.stream.piece import Piece

if TYPE_CHECKING:
    import polars as pl

    from millstream.stream.operators import StateWrite


class TableOperator:
    """A `TableStep` at work. Port 0 is the stream, port 1 the table."""

    def __init__(self, step: TableStep, prefix: bytes) -> None:
        self.prefix = prefix
        self._step = step
        self._columns = JoinedColumns(step.name, step.on_left, step.on_right, step.suffix, prefix + b"s")
        self._lateness = Lateness(prefix + b"t")
        self._versions = Versions(prefix + b"r", step.on_right, stay_us=None, lateness_us=0, timeless=step.timeless)

    def bind(self, port: int, schema: pl.Schema) -> pl.Schema | None:
        return self._columns.bind(port, schema)

    # --- records --------------------------------------------------------------------------------------------------

    def process(self, port: int, piece: Piece) -> list[Piece]:
        """Join records of the stream; take rows of the table."""
        piece = self._columns.see(port, piece)
        if port == 1:
            self._take(piece)
            return []
        joined = self._joined(piece) if piece.height else None
        return [] if joined is None or not joined.height else [joined]

    def _take(self, piece: Piece) -> None:
        import polars as pl

        values = [name for name in piece.columns().columns if name not in self._step.on_right]
        deleted = pl.all_horizontal(pl.col(name).is_null() for name in values) if values else pl.lit(value=False)
        rows = piece.columns().hstack([piece.carried["_key"], event_times(piece)])
        self._versions.add(rows.with_columns(deleted.alias("_deleted")))

    def _joined(self, piece: Piece) -> Piece:
        """Return records with their rows; key, event time and watermark stay those of the record."""
        import polars as pl

        carried = piece.carried
        as_of = pl.max_horizontal(
            event_times(piece), carried["_watermark"], pl.lit(self._lateness.watermark_us, pl.Int64)
        )
        left = piece.columns().hstack([carried["_key"]])
        found = self._versions.as_of(left.select(*self._columns.key(0), as_of.alias("_t")), self._columns.key(1))
        if found is not None:
            there = ~found[1]["_deleted"]
            found = found[0].filter(there), found[1].filter(there)
        if self._step.how == "left":
            return Piece(carried, columns=self._columns.joined_where(left, found), json=piece.json)
        if found is None:
            return Piece(carried.clear(), columns=self._columns.left_alone(left.clear()), json=piece.json)
        return Piece(carried[found[0]], columns=self._columns.joined(left[found[0]], found[1]), json=piece.json)

    def advance(self, watermark_us: int) -> list[Piece]:
        """Let go of rows that newer ones have replaced."""
        self._versions.advance(watermark_us)
        self._lateness.advance(watermark_us)
        return []

    # --- times ----------------------------------------------------------------------------------------------------

    def due_us(self) -> int | None:
        return None

    def end_us(self) -> int | None:
        return None

    def out_us(self, watermark_us: int) -> int:
        return watermark_us

    # --- state ----------------------------------------------------------------------------------------------------

    def load(self, state: Mapping[bytes, bytes]) -> None:
        for part in (self._columns, self._lateness, self._versions):
            part.load(state)

    def changes(self) -> list[StateWrite]:
        return [write for part in (self._columns, self._lateness, self._versions) for write in part.changes()]

    def status(self) -> OperatorStatus:
        return OperatorStatus(rows=self._versions.height, bytes=self._versions.size_bytes)
