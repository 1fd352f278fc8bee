"""Frames that users append, checked against a schema: what is accepted is stored without loss.

A column may have any type that converts to the field's without loss: narrower numbers, categories, other units of time.
A JSON field takes text with JSON in it, or a column of any other type. `_key`, `_event_time` and `_headers` are taken
as they are read; the other metadata columns of a frame that was read are left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, Final, NoReturn
from uuid import UUID

import msgspec

from millstream.errors import SchemaError
from millstream.log import columns as stored
from millstream.log.frames import metadata_dtypes, stored_default
from millstream.log.schema import METADATA_COLUMNS, Field, FieldType, Kind, Schema, describe, in_topic
from millstream.log.storage import dtype
from millstream.log.values import ValueType

if TYPE_CHECKING:
    import polars as pl

_CARRIED: Final = (stored.KEY, stored.EVENT_TIME, stored.HEADERS)

_US_AT_MOST: Final = 1000
"""Nanoseconds in the unit that is kept."""


def is_frame(values: object) -> bool:
    """True for a Polars frame, told by its class's name: to ask for the class would import Polars for every append."""
    return type(values).__name__ in ("DataFrame", "LazyFrame") and type(values).__module__.startswith("polars")


def check_frame(
    frame: pl.DataFrame, schema: Schema, *, topic: str = "", json_types: Mapping[str, Any] | None = None
) -> pl.DataFrame:
    """Return a user's frame as a stored frame.

    Args:
        json_types: What the values of JSON fields have to be, by field name; others may be anything.

    Raises:
        SchemaError: A column is missing, unknown, of a type that does not convert without loss, or has nulls or values
            that the field does not take; names the column and what was found.
    """
    return _Intake(topic, json_types or {}).frame(frame, schema)


class _Intake:
    """One check of one frame."""

    def __init__(self, topic: str, json_types: Mapping[str, Any]) -> None:
        self.topic = topic
        self.json_types = json_types

    def frame(self, frame: pl.DataFrame, schema: Schema) -> pl.DataFrame:
        import polars as pl

        unknown = [name for name in frame.columns if name not in schema.by_name and name not in METADATA_COLUMNS]
        if unknown:
            raise self._error(
                f"the frame has the column {unknown[0]!r}, which is no field; the fields are {', '.join(schema.names)}"
            )
        made = [self._field(frame, field) for field in schema.fields]
        for name in _CARRIED:
            if name in frame.columns and name not in schema.by_name:
                column = frame.get_column(name)
                if column.null_count() < column.len():
                    made.append(self._metadata(column))
        given = any(column.name == stored.EVENT_TIME for column in made)
        if schema.time is not None and not given and schema.by_name[schema.time].type.kind is Kind.STR:
            made.append(self._time_of_text(frame.get_column(schema.time)))
        return pl.DataFrame(made)

    def _field(self, frame: pl.DataFrame, field: Field) -> pl.Series:
        import polars as pl

        if field.name in frame.columns:
            return self._nulls(self._fit(frame.get_column(field.name), field.type, field.name), field, field.name)
        if field.required:
            raise self._error(
                f"the frame has no column {field.name!r} ({field.type}), which has no default; its columns are "
                f"{', '.join(frame.columns)}"
            )
        value = pl.Series(field.name, [stored_default(field)], dtype=dtype(field.type, stored=True))
        return value.new_from_index(0, frame.height)

    def _metadata(self, column: pl.Series) -> pl.Series:
        wanted = metadata_dtypes()[column.name]
        if column.name == stored.EVENT_TIME:
            return self._time(column, FieldType(Kind.DATETIME), column.name)
        if column.dtype != wanted:
            self._refuse(column, column.name, f"{wanted}, as it is read")
        if column.name == stored.HEADERS:
            for index, entry in enumerate(column):
                try:
                    if entry is not None:
                        msgspec.msgpack.decode(entry, type=dict[str, bytes])
                except msgspec.DecodeError as error:
                    raise self._error(f"row {index} of _headers is no msgpack map of str to bytes: {error}") from error
        return column

    def _time_of_text(self, column: pl.Series) -> pl.Series:
        """Return the event times of an open topic whose time field is text."""
        values: ValueType[Any] = ValueType(
            Schema(fields=(Field(column.name, FieldType(Kind.STR, nullable=True)),), time=column.name),
            None,
            topic=self.topic,
        )
        times = values.event_times([{column.name: text} for text in column])
        return stored.instants(stored.EVENT_TIME, times or [])

    def _nulls(self, column: pl.Series, field: Field, path: str) -> pl.Series:
        """Refuse nulls where the field takes none."""
        if field.type.nullable or not column.null_count():
            return column
        first = column.is_null().arg_max()
        raise SchemaError(
            f"{in_topic(self.topic)}the column {path!r} has {column.null_count():,} nulls, the first in row {first}, "
            f"and the field is {field.type}; fill them, or make the field `| None`",
            index=first,
        )

    def _fit(self, column: pl.Series, type: FieldType, path: str) -> pl.Series:
        """Return a column as the stored one of a type."""
        import polars as pl

        wanted = dtype(type, stored=True)
        if column.dtype == pl.Null():
            return column.cast(wanted) if type.kind is not Kind.STRUCT else pl.Series(column.name, column, wanted)
        match type.kind:
            case Kind.INT | Kind.FLOAT | Kind.ENUM if column.dtype.is_integer() and wanted.is_numeric():
                column = self._cast(column, wanted, path)
            case Kind.FLOAT if column.dtype.is_float():
                column = column.cast(wanted)
            case Kind.STR | Kind.ENUM | Kind.UUID | Kind.DECIMAL if isinstance(column.dtype, (pl.Categorical, pl.Enum)):
                column = column.cast(pl.String())
            case Kind.DECIMAL if isinstance(column.dtype, pl.Decimal):
                column = column.cast(pl.String())
            case Kind.DATETIME | Kind.TIME | Kind.DURATION:
                return self._time(column, type, path)
            case Kind.JSON:
                return self._json(column, path)
            case Kind.STRUCT if isinstance(column.dtype, pl.Struct):
                return self._struct(column, type, path)
            case Kind.LIST if isinstance(column.dtype, (pl.List, pl.Array)):
                return self._list(column, type, path)
        if column.dtype != wanted:
            self._refuse(column, path, str(type))
        return self._values(column, type, path)

    def _cast(self, column: pl.Series, wanted: pl.DataType, path: str) -> pl.Series:
        import polars as pl

        try:
            return column.cast(wanted, strict=True)
        except pl.exceptions.PolarsError as error:
            raise self._error(f"the column {path!r} ({column.dtype}) has values outside {wanted}: {error}") from error

    def _time(self, column: pl.Series, type: FieldType, path: str) -> pl.Series:
        """Return instants, times of day and durations; in microseconds, or not at all."""
        import polars as pl

        found = column.dtype
        if found == dtype(type, stored=True):
            return column
        if type.kind is Kind.DATETIME and isinstance(found, pl.Datetime) and found.time_zone is None:
            self._refuse(
                column, path, "a datetime with a time zone", ": say which it is in, with .dt.replace_time_zone('UTC')"
            )
        same: Any = {Kind.DATETIME: pl.Datetime, Kind.TIME: pl.Time, Kind.DURATION: pl.Duration}[type.kind]
        if not isinstance(found, same):
            self._refuse(column, path, str(type))
        fine = isinstance(found, pl.Time) or getattr(found, "time_unit", "us") == "ns"
        if fine and ((column.to_physical() % _US_AT_MOST) != 0).any():
            raise self._error(
                f"the column {path!r} ({found}) has nanoseconds, and the log keeps microseconds; round them off first"
            )
        if isinstance(found, pl.Datetime):
            return column.dt.convert_time_zone("UTC").cast(dtype(type, stored=True))
        return column.cast(dtype(type, stored=True))

    def _json(self, column: pl.Series, path: str) -> pl.Series:
        import polars as pl

        encode = msgspec.msgpack.encode
        made: list[bytes | None] = []
        text = column.dtype == pl.String()
        wanted = self.json_types.get(path, Any)
        for index, value in enumerate(column.to_list()):
            try:
                if value is not None:
                    value = encode(msgspec.json.decode(value, type=wanted) if text else msgspec.convert(value, wanted))
                made.append(value)
            except (msgspec.DecodeError, TypeError) as error:
                raise SchemaError(
                    f"{in_topic(self.topic)}row {index} of the column {path!r} is not the JSON of this field: {error}",
                    index=index,
                ) from error
        return pl.Series(column.name, made, dtype=pl.Binary())

    def _struct(self, column: pl.Series, type: FieldType, path: str) -> pl.Series:
        import polars as pl

        there = column.is_not_null()
        inner = column.struct.unnest()
        unknown = [name for name in inner.columns if name not in {field.name for field in type.fields}]
        if unknown:
            raise self._error(
                f"the column {path!r} has the field {unknown[0]!r}, which the topic's {describe(type)} lacks"
            )
        members = []
        for field in type.fields:
            name = f"{path}.{field.name}"
            if field.name in inner.columns:
                member = self._fit(inner.get_column(field.name), field.type, name)
                self._nulls(member.filter(there), field, name)
            elif field.required:
                raise self._error(f"the column {path!r} lacks the field {field.name!r} ({field.type})")
            else:
                value = pl.Series(field.name, [stored_default(field)], dtype=dtype(field.type, stored=True))
                member = value.new_from_index(0, column.len())
            members.append(member)
        made = pl.DataFrame(members).to_struct(column.name)
        return made if there.all() else stored.mask(made, there)

    def _list(self, column: pl.Series, type: FieldType, path: str) -> pl.Series:
        import polars as pl

        assert type.item is not None
        if isinstance(column.dtype, pl.Array):
            column = column.arr.to_list()
        items = self._fit(stored.items_of(column), type.item, f"{path}[]")
        self._nulls(items, Field("item", type.item), f"{path}[]")
        return stored.nest(column.name, items, column.list.len().to_list())

    def _values(self, column: pl.Series, type: FieldType, path: str) -> pl.Series:
        """Check what the type of a column does not say."""
        import polars as pl

        match type.kind:
            case Kind.ENUM:
                strange = column.drop_nulls().filter(~column.drop_nulls().is_in(list(type.values)))
                if strange.len():
                    raise self._error(f"the column {path!r} has {strange[0]!r}, and the field is {type}")
            case Kind.UUID:
                texts = [None if text is None else self._parse(UUID, text, path, type) for text in column]
                return pl.Series(column.name, texts, dtype=pl.String())
            case Kind.DECIMAL:
                texts = [None if text is None else self._parse(Decimal, text, path, type) for text in column]
                return pl.Series(column.name, texts, dtype=pl.String())
        return column

    def _parse(self, cls: Any, text: str, path: str, type: FieldType) -> str:
        try:
            return str(cls(text))
        except (ValueError, InvalidOperation) as error:
            raise self._error(f"the column {path!r} has {text!r}, and the field is {type}") from error

    def _refuse(self, column: pl.Series, path: str, wanted: str, hint: str = "") -> NoReturn:
        raise self._error(f"the column {path!r} is {column.dtype}, and must be {wanted}{hint}")

    def _error(self, message: str) -> SchemaError:
        return SchemaError(f"{in_topic(self.topic)}{message}")
