"""The records that a sink gets together: columns, and beside them key and event time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from millstream.records import time_from_us

if TYPE_CHECKING:
    import polars as pl

_KEY: Final = "_key"
_EVENT_TIME: Final = "_event_time"


class Rows:
    """Records of one micro-batch, in order; where it ends means nothing.

    Args:
        carried: `_key` (binary or null) and `_event_time` (timestamp[us, UTC]) of each.
        columns: Makes the columns, one a field; it is called once, if at all.
        objects: The values, where they have no fields that are known beforehand (JSON objects); else None.
    """

    def __init__(
        self, carried: pl.DataFrame, columns: Callable[[], pl.DataFrame], objects: Sequence[Any] | None = None
    ) -> None:
        self._carried = carried.select(_KEY, _EVENT_TIME)
        self._make = columns
        self._columns: pl.DataFrame | None = None
        self.objects = objects

    @property
    def height(self) -> int:
        return self._carried.height

    @property
    def keys(self) -> pl.Series:
        """Binary or null."""
        return self._carried.get_column(_KEY)

    @property
    def times(self) -> pl.Series:
        """Event times: timestamp[us, UTC]."""
        return self._carried.get_column(_EVENT_TIME)

    def columns(self) -> pl.DataFrame:
        """Return the values as columns, one a field."""
        if self._columns is None:
            self._columns = self._make()
        return self._columns

    def frame(self) -> pl.DataFrame:
        """Return the columns and, beside them, `_key` and `_event_time`."""
        return self.columns().hstack(self._carried)

    def __str__(self) -> str:
        """Return how many they are and of when, for messages."""
        first, last = (us and time_from_us(us).isoformat() for us in (_us(self.times.min()), _us(self.times.max())))
        when = "" if first is None else f" of event time {first} to {last}" if first != last else f" of {first}"
        return f"{self.height:,} rows{when}" if self.height != 1 else f"1 row{when}"

    @classmethod
    def of(cls, frame: pl.DataFrame) -> Rows:
        """Return the rows of a frame with `_key` and `_event_time`."""
        return cls(frame, lambda: frame.drop(_KEY, _EVENT_TIME))


def _us(moment: Any) -> int | None:
    from millstream.records import time_to_us

    return None if moment is None else time_to_us(moment)
