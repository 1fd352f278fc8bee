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

from collections.abc import Callable, Sequence
from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

import msgspec

from millstream.errors import UsageError
from millstream.log.schema import Kind
from millstream.log.storage import dtypes
from millstream.log.topic import Topic
from millstream.log.types import schema_of
from millstream.stream.row_types import row_type, rows_of

if TYPE_CHECKING:
    import polars as pl

CARRIED = ("_key", "_event_time", "_watermark")

_COLUMN_TYPES = (bytes, datetime, date, time, timedelta)
"""What columns hold as it is; the rest becomes text, numbers, lists and dicts."""


class Piece:
    """Records of a micro-batch: `carried` and, of their values, columns, Python values or both."""

    def __init__(
        self,
        carried: pl.DataFrame,
        *,
        columns: pl.DataFrame | None = None,
        values: Sequence[Any] | None = None,
        type: type | None = None,
    ) -> None:
        self.carried = carried
        self.type = type
        """Of the values, where it is known."""
        self._columns = columns
        self._values = values

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

    def columns(self) -> pl.DataFrame:
        """Return the values as columns, one a field."""
        if self._columns is None:
            self._columns = columns_of(self._values or [], self.type)
        return self._columns

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
        values = self._values
        if values is not None:
            values = [value for value, keep in zip(values, mask, strict=True) if keep]
        columns = self._columns.filter(mask) if self._columns is not None else None
        return Piece(self.carried.filter(mask), columns=columns, values=values, type=self.type)

    def map(self, function: Callable[[Any], Any], type: type | None) -> Piece:
        """Return the records with what a function makes of each value, without those it makes None of."""
        import polars as pl

        results = [function(value) for value in self.values()]
        kept = pl.Series([result is not None for result in results], dtype=pl.Boolean)
        values = [result for result in results if result is not None]
        if type is None and values:
            type = values[0].__class__
        return Piece(self.carried.filter(kept), values=values, type=type)


def empty_piece(topic: Topic[Any]) -> Piece:
    """Return no records of a topic, which tell what steps make of some."""
    import polars as pl

    moment = pl.Datetime("us", "UTC")
    carried = pl.DataFrame(schema=dict(zip(CARRIED, (pl.Binary(), moment, pl.Int64()), strict=True)))
    return Piece(carried, columns=pl.DataFrame(schema=dtypes(topic.schema)), values=[], type=topic.type)


def columns_of(values: Sequence[Any], type: type | None) -> pl.DataFrame:
    """Return values as columns of the types that a topic of them has; those of dicts are inferred.

    Raises:
        UsageError: A value is neither a Struct nor a dataclass nor a dict.
    """
    import polars as pl

    if type is None or issubclass(type, dict):
        return pl.DataFrame([fields_of(value) for value in values], infer_schema_length=None)
    schema = schema_of(type)
    rows = [fields_of(value) for value in values]
    columns: dict[str, list[Any]] = {field.name: [row.get(field.name) for row in rows] for field in schema.fields}
    for field in schema.fields:
        if field.type.kind is Kind.JSON:
            columns[field.name] = [msgspec.json.encode(value).decode() for value in columns[field.name]]
    return pl.DataFrame(columns, schema=dtypes(schema))


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
