"""The records that a sink gets together: columns, and beside them key and event time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from millstream.log.schema import NO_JSON, FieldType, Kind
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
        json: The columns that hold JSON as text, or have such text somewhere inside; of each the type.
    """

    def __init__(
        self,
        carried: pl.DataFrame,
        columns: Callable[[], pl.DataFrame],
        objects: Sequence[Any] | None = None,
        json: Mapping[str, FieldType] = NO_JSON,
    ) -> None:
        self._carried = carried.select(_KEY, _EVENT_TIME)
        self._make = columns
        self._columns: pl.DataFrame | None = None
        self.objects = objects
        self.json = json

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

    def values(self, most: int | None = None) -> Sequence[Any]:
        """Return the values as Python has them: dicts of the columns, and what JSON says in place of its text.

        Args:
            most: So many of the first; None: all.
        """
        if self.objects is not None:
            return self.objects if most is None else self.objects[:most]
        columns = self.columns() if most is None else self.columns().head(most)
        return dicts_of(columns, self.json, msgspec.json.decode)

    def __str__(self) -> str:
        """Return how many they are and of when, for messages."""
        first, last = (us and time_from_us(us).isoformat() for us in (_us(self.times.min()), _us(self.times.max())))
        when = "" if first is None else f" of event time {first} to {last}" if first != last else f" of {first}"
        return f"{self.height:,} rows{when}" if self.height != 1 else f"1 row{when}"

    @classmethod
    def of(cls, frame: pl.DataFrame, json: Mapping[str, FieldType] = NO_JSON) -> Rows:
        """Return the rows of a frame with `_key` and `_event_time`."""
        return cls(frame, lambda: frame.drop(_KEY, _EVENT_TIME), json=json)


def dicts_of(frame: pl.DataFrame, json: Mapping[str, FieldType], read: Callable[[str], Any]) -> list[dict[str, Any]]:
    """Return a frame's rows as dicts, with what `read` makes of each text that is JSON in its place."""
    rows = frame.to_dicts()
    for name in json.keys() & set(frame.columns):
        type = json[name]
        for row in rows:
            row[name] = _read(row[name], type, read)
    return rows


def _read(value: Any, type: FieldType, read: Callable[[str], Any]) -> Any:
    if value is None:
        return None
    if type.kind is Kind.JSON:
        return read(value)
    if type.item is not None:
        return [_read(one, type.item, read) for one in value]
    there = [field for field in type.fields if field.name in value]
    return value | {field.name: _read(value[field.name], field.type, read) for field in there} if there else value


def _us(moment: Any) -> int | None:
    from millstream.records import time_to_us

    return None if moment is None else time_to_us(moment)
