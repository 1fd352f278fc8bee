"""Which records come too late: counted, left out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    import polars as pl

    from millstream.stream.operators import StateWrite
    from millstream.stream.piece import Piece


class Passed(msgspec.Struct, frozen=True, array_like=True):
    """How far event time has come, and how many records came too late for it."""

    late: int = 0
    watermark_us: int | None = None


class Lateness:
    """The late records of one step, counted since the stream began.

    A record is late by the watermark of its own partition just before it: that does not depend on where a micro-batch
    ended. The step's own watermark, up to which state has been given up, is the least of all partitions', so it decides
    only where a record has none.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._passed = Passed()
        self._changed = False

    @property
    def count(self) -> int:
        return self._passed.late

    @property
    def watermark_us(self) -> int | None:
        """Return how far event time had come when state was given up last."""
        return self._passed.watermark_us

    def advance(self, watermark_us: int) -> None:
        """Note that state up to a watermark has been given up."""
        self._note(self.count, watermark_us)

    def times(self, piece: Piece, late_us: Callable[[pl.Expr], pl.Expr]) -> pl.DataFrame:
        """Return, for each record, its event time in us as `_t`, and whether it is in time as `_in_time`.

        Those that are not are counted.

        Args:
            late_us: Returns the watermark from which a record is late, of its event time in us.
        """
        import polars as pl

        time = pl.col("_event_time").to_physical().cast(pl.Int64)
        mark = pl.col("_watermark")
        if self.watermark_us is not None:
            mark = pl.max_horizontal(mark, pl.lit(self.watermark_us, dtype=pl.Int64))
        in_time = (late_us(time) > mark).fill_null(value=True)
        times = piece.carried.select(time.alias("_t"), in_time.alias("_in_time"))
        if late := times.height - int(times.get_column("_in_time").sum()):
            self._note(self.count + late, self.watermark_us)
        return times

    def rows(self, piece: Piece, late_us: Callable[[pl.Expr], pl.Expr]) -> pl.DataFrame:
        """Return the records that are not late, as rows: their columns, `_key`, and `_t`."""
        times = self.times(piece, late_us)
        rows = piece.columns().hstack([piece.carried.get_column("_key"), times.get_column("_t")])
        in_time = times.get_column("_in_time")
        return rows if in_time.all() else rows.filter(in_time)

    def _note(self, late: int, watermark_us: int | None) -> None:
        passed = Passed(late, watermark_us)
        if passed != self._passed:
            self._passed = passed
            self._changed = True

    def load(self, state: Mapping[bytes, bytes]) -> None:
        if (stored := state.get(self._key)) is not None:
            self._passed = msgspec.msgpack.decode(stored, type=Passed)

    def changes(self) -> list[StateWrite]:
        """Return what must be stored since the last call."""
        if not self._changed:
            return []
        self._changed = False
        return [(self._key, msgspec.msgpack.encode(self._passed))]


def event_times(piece: Piece) -> pl.Series:
    """Return the event times of records in us, as `_t`."""
    import polars as pl

    return piece.carried.get_column("_event_time").to_physical().cast(pl.Int64).alias("_t")
