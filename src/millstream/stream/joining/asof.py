"""A stream joined with the newest record of another that is not newer, at work.

A record of the left input waits until the watermark has passed it: then all that is not newer has come.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from millstream.stream.joining.columns import JoinedColumns
from millstream.stream.joining.join import derived_piece
from millstream.stream.joining.lateness import Lateness
from millstream.stream.joining.side import Side
from millstream.stream.joining.steps import AsOfStep
from millstream.stream.joining.versions import Versions
from millstream.stream.operators import OperatorStatus
from millstream.stream.piece import Piece

if TYPE_CHECKING:
    import polars as pl

    from millstream.stream.operators import StateWrite


class AsOfOperator:
    """An `AsOfStep` at work. Port 0 is the left input, port 1 the right one."""

    def __init__(self, step: AsOfStep, prefix: bytes) -> None:
        self.prefix = prefix
        self._step = step
        self._passed_us = step.lateness_us + 1
        """How much further the watermark is when all that is not newer than a record has come."""
        self._columns = JoinedColumns(step.name, step.on_left, step.on_right, step.suffix, prefix + b"s")
        self._lateness = Lateness(prefix + b"t")
        self._waiting = Side(prefix + b"l", alone=True)
        self._versions = Versions(prefix + b"r", step.on_right, stay_us=step.tolerance_us, lateness_us=step.lateness_us)

    def bind(self, port: int, schema: pl.Schema) -> pl.Schema | None:
        return self._columns.bind(port, schema)

    # --- records --------------------------------------------------------------------------------------------------

    def process(self, port: int, piece: Piece) -> list[Piece]:
        """Keep records; what comes out waits for the watermark."""
        piece = self._columns.see(port, piece)
        rows = self._lateness.rows(piece, lambda time_us: time_us + self._passed_us)
        if not rows.height:
            return []
        if port == 0:
            self._waiting.add(rows)
        else:
            self._versions.add(rows)
        return []

    def advance(self, watermark_us: int) -> list[Piece]:
        """Join the records that the watermark has passed."""
        rows = self._waiting.leave(watermark_us - self._passed_us)
        pieces = [] if rows is None or not rows.height else [self._joined(rows.sort("_t", "_id"))]
        self._versions.advance(watermark_us)
        self._lateness.advance(watermark_us)
        return pieces

    def _joined(self, left: pl.DataFrame) -> Piece:
        asked = left.select(*self._columns.key(0), "_t")
        found = self._versions.as_of(asked, self._columns.key(1), self._step.tolerance_us)
        return derived_piece(self._columns.joined_where(left, found), left["_key"], left["_t"])

    # --- times ----------------------------------------------------------------------------------------------------

    def due_us(self) -> int | None:
        waiting_us = self._waiting.waiting_us()
        return None if waiting_us is None else waiting_us[0] + self._passed_us

    def end_us(self) -> int | None:
        waiting_us = self._waiting.waiting_us()
        return None if waiting_us is None else waiting_us[1] + self._passed_us

    def out_us(self, watermark_us: int) -> int:
        return watermark_us - self._step.lateness_us

    # --- state ----------------------------------------------------------------------------------------------------

    def load(self, state: Mapping[bytes, bytes]) -> None:
        for part in (self._columns, self._lateness, self._waiting, self._versions):
            part.load(state)

    def changes(self) -> list[StateWrite]:
        parts = (self._columns, self._lateness, self._waiting, self._versions)
        return [write for part in parts for write in part.changes()]

    def status(self) -> OperatorStatus:
        waiting, versions = self._waiting, self._versions
        return OperatorStatus(
            late=self._lateness.count,
            open=waiting.height,
            rows=waiting.height + versions.height,
            bytes=waiting.size_bytes + versions.size_bytes,
        )
