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

from collections.abc import Callable, Iterable, Sequence
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

    @property
    def has_own_columns(self) -> bool:
        """Whether the columns are there, and need not be made of the values."""
        return self._columns is not None

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

    def with_keys(self, keys: pl.Series) -> Piece:
        """Return the records with other keys."""
        carried = self.carried.with_columns(keys.alias("_key"))
        return Piece(carried, columns=self._columns, values=self._values, type=self.type)

    def map(self, function: Callable[[Any], Any], type: type | None) -> Piece:
        """Return the records with what a function makes of each value, without those it makes None of."""
        import polars as pl

        results = [function(value) for value in self.values()]
        values = [result for result in results if result is not None]
        if type is None and values:
            type = values[0].__class__
        if len(values) == len(results):
            return Piece(self.carried, values=values, type=type)
        kept = pl.Series([result is not None for result in results], dtype=pl.Boolean)
        return Piece(self.carried.filter(kept), values=values, type=type)

    def flat_map(self, function: Callable[[Any], Iterable[Any]], type: type | None) -> Piece:
        """Return a record for each of the values that a function makes of one."""
        import polars as pl

        values: list[Any] = []
        places: list[int] = []
        for place, value in enumerate(self.values()):
            made = list(function(value))
            values += made
            places += [place] * len(made)
        if type is None and values:
            type = values[0].__class__
        return Piece(self.carried[pl.Series(places, dtype=pl.UInt32)], values=values, type=type)

    @classmethod
    def of(cls, frame: pl.DataFrame) -> Piece:
        """Return the records of a frame that has `_event_time`; other columns that begin with `_` are left out."""
        import polars as pl

        missing = {"_key": pl.lit(None, dtype=pl.Binary), "_watermark": pl.lit(None, dtype=pl.Int64)}
        carried = frame.select(pl.col(name) if name in frame.columns else missing[name].alias(name) for name in CARRIED)
        return cls(carried, columns=frame.drop([name for name in frame.columns if name.startswith("_")]))


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
    )


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
