"""The records of one micro-batch between two steps of a stream.

Columns and Python values are two views of the same records. A step asks for the one it works on; a step that makes one
of them anew drops the other. Beside both goes what belongs to the record and not to its value:

| column | type | |
|---|---|---|
| `_key` | binary or null | |
| `_event_time` | timestamp[us, UTC] | |
| `_watermark` | int64 or null | the watermark of the partition just before this record, in us; null: none yet |
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import msgspec

from millstream.errors import SchemaError, UsageError
from millstream.log.columns import NotDirect, direct_frame
from millstream.log.schema import NO_JSON, FieldType, Kind
from millstream.log.storage import dtypes
from millstream.log.topic import Topic
from millstream.log.types import schema_of
from millstream.log.values import ValueType
from millstream.stream.row_types import row_type, rows_of

if TYPE_CHECKING:
    import polars as pl

CARRIED = ("_key", "_event_time", "_watermark")

ORIGIN = ("_source", "_partition", "_offset")
"""Which record of the log it is, where a step may have to name it: the number of the source's node, and its place.
Carried beside the others; what steps make of several records has none."""

_COLUMN_TYPES = (bytes, datetime, date, time, timedelta)
"""What columns hold as it is; the rest becomes text, numbers, lists and dicts."""


class Piece:
    """Records of a micro-batch: `carried` and, of their values, columns, Python values or both.

    Args:
        json: Those of the columns that hold JSON as text, or have such text somewhere inside; of each the type.
    """

    def __init__(
        self,
        carried: pl.DataFrame,
        *,
        columns: pl.DataFrame | None = None,
        values: Sequence[Any] | None = None,
        type: type | None = None,
        json: Mapping[str, FieldType] = NO_JSON,
    ) -> None:
        self.carried = carried
        self.type = type
        """Of the values, where it is known."""
        self._columns = columns
        self._values = values
        self._json = json

    @property
    def height(self) -> int:
        return self.carried.height

    @property
    def has_values(self) -> bool:
        return self._values is not None

    @property
    def has_type(self) -> bool:
        """Whether it is known what a topic of the values would hold, without looking at one."""
        return self._values is None or self.type is not None

    @property
    def has_columns(self) -> bool:
        """Whether the columns are known without looking at a value."""
        return self._columns is not None or (self.type is not None and not issubclass(self.type, dict | bytes))

    @property
    def has_own_columns(self) -> bool:
        """Whether the columns are there, and need not be made of the values."""
        return self._columns is not None

    def columns(self) -> pl.DataFrame:
        """Return the values as columns, one a field."""
        if self._columns is None:
            self._json = self.json
            self._columns = columns_of(self._values or [], self.type)
        return self._columns

    @property
    def json(self) -> Mapping[str, FieldType]:
        """Which columns hold JSON as text: as the log or a Python value had it, and no step made them anew."""
        return _json_of(self.type) if self._columns is None and self.type is not None else self._json

    def frame(self) -> pl.DataFrame:
        """Return the columns and what is carried beside them."""
        return self.columns().hstack(self.carried)

    def values(self) -> Sequence[Any]:
        """Return the Python values; of columns, structs of them."""
        if self._values is None:
            columns = self.columns()
            self.type = row_type(columns.schema)
            self._values = rows_of(columns, self.type)
        return self._values

    def where(self, mask: pl.Series) -> Piece:
        """Return the records for which the mask is true."""
        if mask.all(ignore_nulls=False):
            return self
        if not mask.any():
            return self.slice(0, 0)
        values = self._values
        if values is not None:
            values = [value for value, keep in zip(values, mask, strict=True) if keep]
        columns = self._columns.filter(mask) if self._columns is not None else None
        return Piece(self.carried.filter(mask), columns=columns, values=values, type=self.type, json=self._json)

    def with_keys(self, keys: pl.Series) -> Piece:
        """Return the records with other keys."""
        carried = self.carried.with_columns(keys.alias("_key"))
        return Piece(carried, columns=self._columns, values=self._values, type=self.type, json=self._json)

    def mapped(self, results: Sequence[Any], type: type | None) -> Piece:
        """Return the records with what became of each value, without those of which nothing did (None)."""
        import polars as pl

        values = [result for result in results if result is not None]
        if type is None and values:
            type = values[0].__class__
        if len(values) == len(results):
            return Piece(self.carried, values=values, type=type)
        kept = pl.Series([result is not None for result in results], dtype=pl.Boolean)
        return Piece(self.carried.filter(kept), values=values, type=type)

    def flat_mapped(self, results: Sequence[Sequence[Any] | None], type: type | None) -> Piece:
        """Return a record for each of the values that became of one."""
        import polars as pl

        values = [value for made in results if made for value in made]
        places = [place for place, made in enumerate(results) if made for _ in made]
        if type is None and values:
            type = values[0].__class__
        return Piece(self.carried[pl.Series(places, dtype=pl.UInt32)], values=values, type=type)

    @classmethod
    def of(cls, frame: pl.DataFrame, json: Mapping[str, FieldType] = NO_JSON) -> Piece:
        """Return the records of a frame that has `_event_time`; other columns that begin with `_` are left out."""
        import polars as pl

        carried = [
            frame.get_column(name) if name in frame.columns else _nothing(name, frame.height) for name in CARRIED
        ]
        carried += [frame.get_column(name) for name in ORIGIN if name in frame.columns]
        return cls(pl.DataFrame(carried), columns=own_columns(frame), json=json)

    def slice(self, start: int, count: int) -> Piece:
        """Return some records in a row."""
        return Piece(
            self.carried.slice(start, count),
            columns=None if self._columns is None else self._columns.slice(start, count),
            values=None if self._values is None else self._values[start : start + count],
            type=self.type,
            json=self._json,
        )

    def origin(self, place: int) -> tuple[int, int, int] | None:
        """Return node, partition and offset of the record that became this one; None where it is made of several."""
        if ORIGIN[0] not in self.carried.columns:
            return None
        found = [self.carried.get_column(name)[place] for name in ORIGIN]
        return None if found[0] is None else (found[0], found[1], found[2])


def _nothing(name: str, height: int) -> pl.Series:
    import polars as pl

    dtype = pl.Binary() if name == "_key" else pl.Int64()
    return pl.Series(name, [None], dtype=dtype).new_from_index(0, height)


def own_columns(frame: pl.DataFrame) -> pl.DataFrame:
    """Return the columns that are fields of the value; made of series, because to drop the others would be a query."""
    import polars as pl

    fields = [column for column in frame if not column.name.startswith("_")]
    # A frame without columns has a height all the same, if it is made of one that has.
    return pl.DataFrame(fields) if fields else frame.drop(frame.columns)


def concat(pieces: Sequence[Piece]) -> Piece:
    """Return the records of several pieces (at least one), in order."""
    import polars as pl

    if len(pieces) == 1:
        return pieces[0]
    carried = pl.concat([piece.carried for piece in pieces])
    with_values = all(piece.has_values for piece in pieces)
    with_columns = all(piece.has_own_columns for piece in pieces) or not with_values
    return Piece(
        carried,
        columns=pl.concat([piece.columns() for piece in pieces], how="vertical_relaxed") if with_columns else None,
        values=[value for piece in pieces for value in piece.values()] if with_values else None,
        type=pieces[0].type if with_values else None,
        json=_same(piece.json for piece in pieces) if with_columns else NO_JSON,
    )


def _same(json: Iterable[Mapping[str, FieldType]]) -> Mapping[str, FieldType]:
    """Return the columns that are JSON in all pieces, in the same place."""
    first, *others = json
    if all(other is first or other == first for other in others):
        return first
    return {name: type for name, type in first.items() if all(other.get(name) == type for other in others)}


def empty_piece(topic: Topic[Any]) -> Piece:
    """Return no records of a topic, which tell what steps make of some."""
    import polars as pl

    moment = pl.Datetime("us", "UTC")
    carried = pl.DataFrame(schema=dict(zip(CARRIED, (pl.Binary(), moment, pl.Int64()), strict=True)))
    columns = pl.DataFrame(schema=dtypes(topic.schema))
    return Piece(carried, columns=columns, values=[], type=topic.type, json=topic.schema.json_types)


def columns_of(values: Sequence[Any], type: type | None) -> pl.DataFrame:
    """Return values as columns of the types that a topic of them has; those of dicts are inferred.

    Raises:
        UsageError: A value is neither a Struct nor a dataclass nor a dict.
    """
    import polars as pl

    if type is None or issubclass(type, dict):
        return pl.DataFrame([fields_of(value) for value in values], infer_schema_length=None)
    if all(value.__class__ is type for value in values) and not issubclass(type, bytes):
        try:
            known: Any = type
            return direct_frame(values, _value_type(known))
        except NotDirect:
            pass  # Nested fields, or values that are not exactly what their field says.
    schema = schema_of(type)
    rows = [fields_of(value) for value in values]
    columns: dict[str, list[Any]] = {field.name: [row.get(field.name) for row in rows] for field in schema.fields}
    for name, json in schema.json_types.items():
        columns[name] = [_as_text(value, json) for value in columns[name]]
    return pl.DataFrame(columns, schema=dtypes(schema))


def _as_text(value: Any, type: FieldType) -> Any:
    """Return a value with texts in place of its JSON; null stays null, as in the log."""
    if value is None:
        return None
    if type.kind is Kind.JSON:
        return msgspec.json.encode(value).decode()
    if type.item is not None:
        return [_as_text(one, type.item) for one in value]
    if type.fields:
        return {field.name: _as_text(value.get(field.name), field.type) for field in type.fields}
    return value


@lru_cache(maxsize=256)  # As below.
def _json_of(type: Any) -> Mapping[str, FieldType]:
    try:
        return NO_JSON if issubclass(type, dict | bytes) else schema_of(type).json_types
    except SchemaError:
        return NO_JSON  # It has no columns either: whoever asks for them is told.


@lru_cache(maxsize=256)  # Asked for by every micro-batch.
def _value_type(type: Any) -> ValueType[Any]:
    return ValueType(schema_of(type), type)


def fields_of(value: Any) -> dict[str, Any]:
    """Return a value's fields as what columns and JSON objects hold.

    Raises:
        UsageError: It is neither a Struct nor a dataclass nor a dict.
    """
    fields = msgspec.to_builtins(value, builtin_types=_COLUMN_TYPES, str_keys=True)
    if isinstance(fields, dict):
        return fields
    raise UsageError(
        f"a step on columns needs records with fields, and got {type(value).__name__}; "
        "let the map before it return a Struct, a dataclass or a dict"
    )
