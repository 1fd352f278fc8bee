"""Two streams joined by key and time, at work.

A record is joined with the rows of the other input that are there, and kept for those to come. Pairs come out when the
second of both is there, whichever it is; rows that met nothing come out when the watermark says that nothing can meet
them any more. So what comes out in the end depends neither on how the inputs are interleaved nor on where micro-batches
end.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from millstream.stream.joining.columns import JoinedColumns
from millstream.stream.joining.lateness import Lateness
from millstream.stream.joining.meeting import meetings
from millstream.stream.joining.reach import first_and_last_us, reach_of
from millstream.stream.joining.side import Side
from millstream.stream.joining.steps import JoinStep
from millstream.stream.operators import OperatorStatus
from millstream.stream.piece import Piece

if TYPE_CHECKING:
    import polars as pl

    from millstream.stream.operators import StateWrite


class JoinOperator:
    """A `JoinStep` at work. Port 0 is the left input, port 1 the right one."""

    def __init__(self, step: JoinStep, prefix: bytes) -> None:
        self.prefix = prefix
        self._step = step
        self._reach = reach_of(step)
        self._columns = JoinedColumns(
            step.name, step.on_left, step.on_right, step.suffix, prefix + b"s", outer=step.how == "outer"
        )
        self._lateness = Lateness(prefix + b"t")
        self._sides = (
            Side(prefix + b"l", alone=step.how != "inner"),
            Side(prefix + b"r", alone=step.how == "outer"),
        )

    def bind(self, port: int, schema: pl.Schema) -> pl.Schema | None:
        return self._columns.bind(port, schema)

    # --- records --------------------------------------------------------------------------------------------------

    def process(self, port: int, piece: Piece) -> list[Piece]:
        """Join records with what the other input has left behind, and keep them."""
        side, other = self._sides[port], self._sides[1 - port]
        piece = self._columns.see(port, piece)
        rows = self._lateness.rows(piece, lambda time_us: self._reach.late_us(port, time_us))
        if not rows.height:
            return []
        fresh = side.add(rows)
        met_us = self._reach.met_us(port, *first_and_last_us(fresh["_t"]))
        there = other.near(fresh, self._columns.key(port), self._columns.key(1 - port), *met_us)
        if there is None:
            return []
        return self._met(fresh, there) if port == 0 else self._met(there, fresh)

    def _met(self, left: pl.DataFrame, right: pl.DataFrame) -> list[Piece]:
        pairs = meetings(left, self._columns.key(0), right, self._columns.key(1), self._reach)
        if not pairs.height:
            return []
        left, right = left[pairs["_l"]], right[pairs["_r"]]
        self._sides[0].note_met(left)
        self._sides[1].note_met(right)
        return [derived_piece(self._columns.joined(left, right), left["_key"], pairs["_t"])]

    def advance(self, watermark_us: int) -> list[Piece]:
        """Let go of the rows that nothing can meet any more; those that met nothing come out."""
        left, right = (side.leave(self._reach.left_us(port, watermark_us)) for port, side in enumerate(self._sides))
        self._lateness.advance(watermark_us)
        pieces: list[Piece] = []
        if left is not None and left.height:
            left = left.sort("_t", "_id")
            pieces.append(derived_piece(self._columns.left_alone(left), left["_key"], left["_t"]))
        if right is not None and right.height:
            right = right.sort("_t", "_id")
            pieces.append(derived_piece(self._columns.right_alone(right), right["_key"], right["_t"]))
        return pieces

    # --- times ----------------------------------------------------------------------------------------------------

    def due_us(self) -> int | None:
        """Return the watermark at which a row comes out alone; rows that never do wait for nothing."""
        return min((first_us for first_us, _ in self._leave_us()), default=None)

    def end_us(self) -> int | None:
        return max((last_us for _, last_us in self._leave_us()), default=None)

    def _leave_us(self) -> list[tuple[int, int]]:
        """Return the first and last watermark at which rows of an input leave that may come out then."""
        waiting = [(port, us) for port, side in enumerate(self._sides) if (us := side.waiting_us()) is not None]
        return [
            (self._reach.leave_us(port, first_us), self._reach.leave_us(port, last_us))
            for port, (first_us, last_us) in waiting
        ]

    def out_us(self, watermark_us: int) -> int:
        return self._reach.out_us(watermark_us, self._step.how)

    # --- state ----------------------------------------------------------------------------------------------------

    def load(self, state: Mapping[bytes, bytes]) -> None:
        self._columns.load(state)
        self._lateness.load(state)
        for side in self._sides:
            side.load(state)

    def changes(self) -> list[StateWrite]:
        changed = self._columns.changes() + self._lateness.changes()
        return changed + self._sides[0].changes() + self._sides[1].changes()

    def status(self) -> OperatorStatus:
        rows = sum(side.height for side in self._sides)
        size = sum(side.size_bytes for side in self._sides)
        return OperatorStatus(late=self._lateness.count, open=rows, rows=rows, bytes=size)


def derived_piece(columns: pl.DataFrame, keys: pl.Series, times_us: pl.Series) -> Piece:
    """Return rows that came out: they have no watermark of their own, as no partition has them."""
    import polars as pl

    carried = pl.DataFrame(
        [
            keys.alias("_key"),
            times_us.cast(pl.Datetime("us", "UTC")).alias("_event_time"),
            pl.Series("_watermark", [None], dtype=pl.Int64).new_from_index(0, columns.height),
        ]
    )
    return Piece(carried, columns=columns)
