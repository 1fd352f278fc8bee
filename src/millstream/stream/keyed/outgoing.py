"""What comes out of functions, with the key and event time that belong to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from millstream.records import time_from_us
from millstream.stream.piece import Piece

if TYPE_CHECKING:
    import polars as pl


def timer_piece(key: bytes | None, at_us: int, name: str, *, clock: bool) -> Piece:
    """Return a record that tells of a timer: what is set aside where its function fails."""
    value = {"timer": name, "at": time_from_us(at_us), "clock": clock}
    return Piece(_carried([key], [at_us]), values=[value], type=dict)


class Outgoing:
    """Values of records and of timers, in the order in which they were made."""

    def __init__(self, height: int = 0) -> None:
        self._height = height
        self.values: list[Any] = []
        self.places: list[int] = []
        """Of each value, the place of its record; from `height` on, of its timer."""
        self._timers: list[tuple[bytes | None, int]] = []

    def add(self, place: int, made: Sequence[Any] | None) -> None:
        """Add the values that a record made."""
        if made:
            self.values.extend(made)
            self.places.extend([place] * len(made))

    def timer(self, key: bytes | None, at_us: int, made: Sequence[Any] | None) -> None:
        """Add the values that a timer made."""
        if made:
            self.add(self._height + len(self._timers), made)
            self._timers.append((key, at_us))

    def pieces(self, carried: pl.DataFrame | None, type: type | None) -> list[Piece]:
        """Return the records that come out, if any."""
        import polars as pl

        if not self.values:
            return []
        if type is None:
            type = self.values[0].__class__
        if self._timers:
            keys, times = zip(*self._timers, strict=True)
            made = _carried(keys, times)
            carried = made if carried is None else pl.concat([carried, made], how="diagonal")
        assert carried is not None
        # Most maps make one value of each record.
        if self._timers or len(self.places) != self._height or self.places != list(range(self._height)):
            carried = carried[pl.Series(self.places, dtype=pl.UInt32)]
        return [Piece(carried, values=self.values, type=type)]


def _carried(keys: Sequence[bytes | None], times_us: Sequence[int]) -> pl.DataFrame:
    """Return what is carried beside values of timers."""
    import polars as pl

    return pl.DataFrame(
        {
            "_key": pl.Series(keys, dtype=pl.Binary),
            "_event_time": pl.Series(times_us, dtype=pl.Int64).cast(pl.Datetime("us", "UTC")),
            "_watermark": pl.Series([None] * len(times_us), dtype=pl.Int64),
        }
    )
