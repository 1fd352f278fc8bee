"""From columns back to the values a program works with: its own classes, or dicts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar
from uuid import UUID

import msgspec

from millstream.errors import SchemaError
from millstream.log.columns import items_of
from millstream.log.rows import PYTHON_TYPES, explain
from millstream.log.schema import Field, FieldType, Kind, Schema, in_topic
from millstream.log.storage import Form, storage_type
from millstream.log.values import EPOCH, ValueType

if TYPE_CHECKING:
    import polars as pl

T = TypeVar("T")


class ObjectCoding(Generic[T]):
    """Values of one topic from stored frames. Safe to use from many threads."""

    def __init__(self, values: ValueType[T]) -> None:
        self.schema = values.schema
        self._values = values
        self._whole = _deeply_whole(values.schema.fields)

    def decode(self, frame: pl.DataFrame, written: Schema) -> list[T]:
        """Return the value of each row.

        Args:
            frame: A stored frame; columns that are not fields are left alone.
            written: Its schema, from which this topic's evolved.

        Raises:
            SchemaError: The user's type refuses a record.
        """
        try:
            return self._decode(frame, written)
        except (msgspec.ValidationError, TypeError, ValueError):
            for index, value in enumerate(self.decode_each(frame, written)):
                if isinstance(value, SchemaError):
                    value.index = index
                    raise value from None
            raise

    def decode_each(self, frame: pl.DataFrame, written: Schema) -> list[T | SchemaError]:
        """Return a value or an error for each row: one that the user's type refuses does not hide the others."""
        try:
            return list(self._decode(frame, written))
        except Exception:  # noqa: BLE001 - a __post_init__ of the user's may raise anything; found one by one below
            each: list[T | SchemaError] = []
        fields = tuple(field for field in written.fields if field.name in self.schema.by_name)
        for row in dicts_of(frame, fields):
            try:
                each.append(msgspec.convert(row, self._values.type))
            except Exception as error:  # noqa: BLE001 - as above; it is reported
                each.append(SchemaError(f"{in_topic(self._values.topic)}cannot be read: {explain(error)}"))
        return each

    def _decode(self, frame: pl.DataFrame, written: Schema) -> list[T]:
        if self.schema.raw:
            return frame.get_column("value").to_list()
        if self._values.of_class:
            return self._objects(frame, written)
        dicts: list[Any] = dicts_of(frame, written.fields, open=self.schema.open)
        if not self.schema.open and (written.fields != self.schema.fields or not self._whole):
            record: Any = storage_type(self.schema, Form.VALUES)
            dicts = msgspec.to_builtins(msgspec.convert(dicts, list[record]), builtin_types=PYTHON_TYPES)
        return dicts

    def _objects(self, frame: pl.DataFrame, written: Schema) -> list[T]:
        kind = self._values
        there = [field for field in written.fields if field.name in self.schema.by_name]
        if not kind.annotations or any(_has_holes(field, frame) for field in there):
            return msgspec.convert(dicts_of(frame, tuple(there)), list[kind.type])  # type: ignore[name-defined]
        columns = []
        for field in there:
            column = objects_of(frame.get_column(field.name), field.type)
            columns.append(_as_annotated(column, field.type, kind.annotations[field.name]))
        make: Callable[..., T] = kind.cls
        if not columns:
            return [make() for _ in range(frame.height)]
        if kind.positional and [field.name for field in there] == list(self.schema.names):
            return list(map(make, *columns))
        names = [kind.attributes[field.name] for field in there]
        if issubclass(kind.cls, msgspec.Struct):
            return [make(**dict(zip(names, row, strict=True))) for row in zip(*columns, strict=True)]
        stored = [field.name for field in there]
        rows = [dict(zip(stored, row, strict=True)) for row in zip(*columns, strict=True)]
        return msgspec.convert(rows, list[kind.type])  # type: ignore[name-defined]


def _has_holes(field: Field, frame: pl.DataFrame) -> bool:
    """Whether some records lack the field (null stands for that where null itself is not allowed)."""
    return _may_have_holes(field) and frame.get_column(field.name).null_count() > 0


def _may_have_holes(field: Field) -> bool:
    return not field.required and not field.type.nullable


def _deeply_whole(fields: tuple[Field, ...]) -> bool:
    """Whether no record can lack a field, at any depth."""
    return all(
        not _may_have_holes(field)
        and _deeply_whole(field.type.fields)
        and (field.type.item is None or _deeply_whole(field.type.item.fields))
        for field in fields
    )


def _as_annotated(column: list[Any], type: FieldType, annotation: Any) -> list[Any]:
    """Return a column of plain values as what the class says: enums, sets, nested classes, wider numbers."""
    inner = annotation
    if type.nullable:
        args = [arg for arg in getattr(annotation, "__args__", ()) if arg is not _NONE]
        inner = args[0] if len(args) == 1 else annotation
    if isinstance(inner, _CLASS) and (inner is _PYTHON.get(type.kind)):
        return column
    if isinstance(inner, _CLASS) and issubclass(inner, Enum) and type.kind is Kind.ENUM:
        members: dict[Any, Any] = {member.value: member for member in inner}
        if type.nullable:
            members[None] = None
        return list(map(members.__getitem__, column))
    return msgspec.convert(column, list[annotation])


_CLASS: Final = type
_NONE: Final = type(None)


def dicts_of(frame: pl.DataFrame, fields: tuple[Field, ...], *, open: bool = False) -> list[dict[str, Any]]:
    """Return each row as a dict of Python values, nested ones too; fields that a record lacks are not in it.

    Args:
        open: Also leave out fields that are null and may be absent: the two are one in a column.
    """
    if not fields:
        return [{} for _ in range(frame.height)]
    columns = [objects_of(frame.get_column(field.name), field.type, open=open) for field in fields]
    return _zip(fields, columns, open)


def _zip(fields: tuple[Field, ...], columns: list[list[Any]], open: bool) -> list[dict[str, Any]]:
    names = [field.name for field in fields]
    dicts = [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]
    for field, column in zip(fields, columns, strict=True):
        if (_may_have_holes(field) or (open and not field.required)) and any(value is None for value in column):
            for made, value in zip(dicts, column, strict=True):
                if value is None:
                    del made[field.name]
    return dicts


def objects_of(column: pl.Series, type: FieldType, *, open: bool = False) -> list[Any]:
    """Return the Python values of a stored column."""
    match type.kind:
        case Kind.DATETIME:
            return _datetimes(column)
        case Kind.DECIMAL:
            return [None if text is None else Decimal(text) for text in column.to_list()]
        case Kind.UUID:
            return [None if text is None else UUID(text) for text in column.to_list()]
        case Kind.JSON:
            decode = msgspec.msgpack.Decoder().decode
            return [None if data is None else decode(data) for data in column.to_list()]
        case Kind.STRUCT:
            if column.len() == 0:
                return []
            inner = column.struct.unnest()
            members = [objects_of(inner.get_column(field.name), field.type, open=open) for field in type.fields]
            dicts: list[Any] = _zip(type.fields, members, open)
            if column.null_count():
                dicts = [made if there else None for made, there in zip(dicts, column.is_not_null(), strict=True)]
            return dicts
        case Kind.LIST:
            assert type.item is not None
            lengths = column.list.len().to_list()
            items = objects_of(items_of(column), type.item, open=open)
            ends = accumulate((length or 0 for length in lengths), initial=0)
            return [
                None if length is None else items[start:end]
                for length, (start, end) in zip(lengths, pairwise(ends), strict=True)
            ]
        case _:
            return column.to_list()


_DATETIMES_FEW: Final = 64


def _datetimes(column: pl.Series) -> list[datetime | None]:
    """Return datetimes in UTC; over text, which is three times as fast as Polars with a time zone.

    A few are made one by one: to set Polars to work takes as long as 60 of them.
    """
    if column.len() <= _DATETIMES_FEW:
        moments = column.to_physical().to_list()
        return [None if moment is None else EPOCH + timedelta(microseconds=moment) for moment in moments]
    texts = column.dt.strftime('"%Y-%m-%dT%H:%M:%S%.6fZ"').fill_null("null")
    return msgspec.json.decode(f"[{','.join(texts)}]", type=list[datetime | None])


_PYTHON: Final[Mapping[Kind, Any]] = {
    Kind.BOOL: bool,
    Kind.INT: int,
    Kind.FLOAT: float,
    Kind.STR: str,
    Kind.BYTES: bytes,
    Kind.DATETIME: datetime,
    Kind.DATE: date,
    Kind.TIME: time,
    Kind.DURATION: timedelta,
    Kind.DECIMAL: Decimal,
    Kind.UUID: UUID,
}
"""The class whose instances `objects_of` gives already."""
