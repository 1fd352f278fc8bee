"""The schema of JSON objects, found by looking at them.

A field that some object lacks is optional; int and float together are float; an object in an object is a struct;
whatever else is mixed is JSON. `widen` lets the schema of an open topic grow with what comes in.

The time goes into objects of a new shape: a shape (names and classes of the values) seen before is passed over.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import msgspec

from millstream.errors import SchemaError
from millstream.log.schema import (
    FIELD_NAME_RULE,
    KEY_KINDS,
    METADATA_COLUMNS,
    Field,
    FieldType,
    Kind,
    Schema,
    in_topic,
    is_field_name,
)

if TYPE_CHECKING:
    import polars as pl

FIELDS_MAX: Final = 1000
"""Columns of an open topic. More names than this are data (ids, paths) in the place of names."""

NESTED_FIELDS_MAX: Final = 64
"""An inner object with more names than this is taken for a dict with data in the place of names, and is JSON."""

DEPTH_MAX: Final = 8
"""Deeper objects are JSON: nobody selects from the tenth level of a struct."""

_KINDS: Final[Mapping[type, Kind]] = {
    bool: Kind.BOOL,
    int: Kind.INT,
    float: Kind.FLOAT,
    str: Kind.STR,
    bytes: Kind.BYTES,
    datetime: Kind.DATETIME,
    date: Kind.DATE,
    time: Kind.TIME,
    timedelta: Kind.DURATION,
    Decimal: Kind.DECIMAL,
    UUID: Kind.UUID,
    list: Kind.LIST,
    tuple: Kind.LIST,
    dict: Kind.STRUCT,
    type(None): Kind.NULL,
}

_INNER: Final = (dict, list, tuple)

_EXACT_MAX: Final = 2**53
"""Up to here a float holds every integer (IEEE 754 binary64); beyond it some become another number."""


def infer(
    values: Iterable[Mapping[str, Any]], *, key: str | None = None, time: str | None = None, topic: str = ""
) -> Schema:
    """Return the open schema of JSON objects.

    Raises:
        SchemaError: A value is no object, or no column can have such a name; `index` is its place.
    """
    return _look(Schema(fields=(), key=key, time=time, open=True), values, topic, new=True)


def widen(schema: Schema, values: Iterable[Mapping[str, Any]], *, topic: str = "") -> Schema:
    """Return the schema that these objects fit as well: the same object where it fits already.

    Fields that are new are optional. Older records can be read with the result (`check_evolution` passes).

    Raises:
        SchemaError: A value cannot be in its column, which has records of another type; `index` is its place.
    """
    return _look(schema, values, topic, new=False)


def _look(schema: Schema, values: Iterable[Mapping[str, Any]], topic: str, *, new: bool) -> Schema:
    root = _Object(schema.fields, depth=0, fresh=new)
    index = 0
    try:
        for value in values:
            if type(value) is not dict:
                raise _Conflict(f"is of type {type(value).__name__}, and the topic takes dict (JSON objects)")
            root.add(value, "")
            if len(root.fields) > FIELDS_MAX:
                raise _Conflict(
                    f"would give the topic more than {FIELDS_MAX:,} fields; put names that are data into one field, "
                    "and give the topic a type with that field as dict[str, Any]"
                )
            index += 1
    except _Conflict as conflict:
        raise SchemaError(f"{in_topic(topic)}record {index} {conflict}", index=index) from None
    fields = root.described()
    if fields == schema.fields:
        return schema
    made = msgspec.structs.replace(schema, fields=fields)
    _check_roles(made, topic)
    return made


def _check_roles(schema: Schema, topic: str) -> None:
    for field in schema.fields:
        if field.name in METADATA_COLUMNS:
            raise SchemaError(f"{in_topic(topic)}{field.name!r} is a column that every topic has; rename the field")
    for use, name, kinds in (("key", schema.key, KEY_KINDS), ("time", schema.time, (Kind.DATETIME, Kind.STR))):
        named = schema.by_name.get(name or "")
        if named is not None and named.type.kind not in (*kinds, Kind.NULL):
            raise SchemaError(
                f"{in_topic(topic)}the {use} {name!r} is {named.type} in these records, and must be "
                f"{' or '.join(', '.join(kinds).rsplit(', ', 1))}"
            )


def widen_frame(schema: Schema, frame: pl.DataFrame, *, topic: str = "") -> Schema:
    """Return the schema that the rows of a frame fit as well, from the types of its columns; see `widen`."""
    columns = [name for name in frame.columns if name not in METADATA_COLUMNS]
    whole = {name: _sample(frame.schema[name]) for name in columns}
    samples = [whole]
    if any(frame.get_column(name).null_count() for name in columns):
        samples.append({name: None if frame.get_column(name).null_count() else whole[name] for name in columns})
    return widen(schema, samples, topic=topic)


def _sample(dtype: pl.DataType) -> Any:
    """Return a value of a column's type; nested ones with a null beside it, as their nulls are not looked for."""
    import polars as pl

    if isinstance(dtype, pl.Struct):
        return {field.name: _sample(field.dtype) for field in dtype.fields}  # type: ignore[arg-type]
    if isinstance(dtype, (pl.List, pl.Array)):
        return [_sample(dtype.inner), None]  # type: ignore[arg-type]
    if dtype.is_integer():
        return 0
    if dtype.is_float():
        return 0.0
    samples: Mapping[type, Any] = {
        pl.Boolean: False,
        pl.Binary: b"",
        pl.Datetime: datetime(1970, 1, 1, tzinfo=UTC),
        pl.Date: date(1970, 1, 1),
        pl.Time: time(),
        pl.Duration: timedelta(),
        pl.Decimal: Decimal(0),
        pl.Null: None,
    }
    return samples.get(type(dtype), "")


class _Conflict(Exception):  # noqa: N818 - becomes a SchemaError that knows the record
    """A value that its column cannot take."""


class _Object:
    """The fields of objects in one place, as seen so far."""

    def __init__(self, fields: tuple[Field, ...], depth: int, *, fresh: bool) -> None:
        self.fields = {field.name: _Value(field.type, depth) for field in fields}
        self.required = {field.name for field in fields if field.required}
        self.defaults = {field.name: field.default for field in fields}
        self.depth = depth
        self.fresh = fresh
        """No object was seen yet: the fields of the first one are required until one lacks them."""
        self.seen: dict[Any, tuple[str, ...]] = {}
        """By shape: the names whose values have an inside to look at."""

    def add(self, value: dict[str, Any], path: str) -> None:
        shape = (*value, *map(type, value.values()))
        inner = self.seen.get(shape)
        if inner is None:
            inner = self._add_shape(value, path)
            self.seen[shape] = inner
        for name in inner:
            entry = value[name]
            if type(entry) is not int:
                self.fields[name].add_inside(entry, f"{path}{name}")
            elif not -_EXACT_MAX <= entry <= _EXACT_MAX:
                self.fields[name].add_large(entry, f"{path}{name}")

    def _add_shape(self, value: dict[str, Any], path: str) -> tuple[str, ...]:
        self.required &= value.keys()
        for name, entry in value.items():
            if not is_field_name(name):
                raise _Conflict(f"has {name!r} as a name{f' in {path[:-1]}' if path else ''}; {FIELD_NAME_RULE}")
            known = self.fields.get(name)
            if known is None:
                known = self.fields[name] = _Value(None, self.depth)
                if self.fresh:
                    self.required.add(name)
            known.add_kind(_KINDS.get(type(entry), Kind.JSON), f"{path}{name}")
        self.fresh = False
        return tuple(name for name, entry in value.items() if type(entry) in _INNER or type(entry) is int)

    def described(self) -> tuple[Field, ...]:
        fields = []
        for name, value in self.fields.items():
            type = value.described()
            if name in self.required:
                fields.append(Field(name, type))
            else:
                type = msgspec.structs.replace(type, nullable=True)
                fields.append(Field(name, type, required=False, default=self.defaults.get(name)))
        return tuple(fields)


class _Value:
    """What was seen in one place."""

    def __init__(self, type: FieldType | None, depth: int) -> None:
        self.fixed = type
        """The column exists already, with records in it."""
        self.depth = depth + 1
        self.kinds: set[Kind] = set() if type is None or type.kind is Kind.NULL else {type.kind}
        self.nullable = type is not None and type.nullable
        self.inexact = False
        """An integer was seen that a float cannot hold."""
        self.object: _Object | None = None
        self.item: _Value | None = None
        if type is not None and type.kind is Kind.STRUCT:
            self.object = _Object(type.fields, self.depth, fresh=False)
        if type is not None and type.item is not None:
            self.item = _Value(type.item, self.depth)
        if type is not None and type.kind is Kind.NULL:
            self.fixed = None

    def add_kind(self, kind: Kind, path: str) -> None:
        if kind is Kind.NULL:
            self.nullable = True
        elif kind not in self.kinds and self.fixed is not None and self.fixed.kind is not Kind.JSON:
            if {kind, self.fixed.kind} != {Kind.INT, Kind.FLOAT}:
                raise _Conflict(
                    f"has {kind} in field {path!r}, which is {self.fixed} in this topic; convert it, use another "
                    "name, or write to a new topic"
                )
            self.kinds.add(kind)
            self._check_exact(path)
        else:
            self.kinds.add(kind)

    def add_large(self, value: int, path: str) -> None:
        """Look at an integer that may be too large for a float."""
        try:
            self.inexact |= int(float(value)) != value
        except OverflowError:
            self.inexact = True
        self._check_exact(path)

    def _check_exact(self, path: str) -> None:
        numeric = self.fixed is not None and self.fixed.kind in (Kind.INT, Kind.FLOAT)
        if numeric and self.inexact and Kind.FLOAT in self.kinds:
            raise _Conflict(
                f"has an integer beyond 2**53 in field {path!r}, which is float in this topic and would change it; "
                "send it as text, use another name, or write to a new topic"
            )

    def add_inside(self, value: Any, path: str) -> None:
        if self.fixed is not None and self.fixed.kind is Kind.JSON:
            return
        if type(value) is dict:
            self._add_object(value, path)
        elif value:
            if self.item is None:
                self.item = _Value(None, self.depth)
            for kind in set(map(type, value)):
                self.item.add_kind(_KINDS.get(kind, Kind.JSON), f"{path}[]")
            for entry in value:
                if type(entry) in _INNER:
                    self.item.add_inside(entry, f"{path}[]")
                elif type(entry) is int and not -_EXACT_MAX <= entry <= _EXACT_MAX:
                    self.item.add_large(entry, f"{path}[]")
        elif self.item is None:
            self.item = _Value(None, self.depth)

    def _add_object(self, value: dict[Any, Any], path: str) -> None:
        if self.fixed is None and (
            self.depth >= DEPTH_MAX or Kind.JSON in self.kinds or not all(map(is_field_name, value))
        ):
            self.kinds.add(Kind.JSON)
            return
        if self.object is None:
            self.object = _Object((), self.depth, fresh=True)
        self.object.add(value, f"{path}.")
        if len(self.object.fields) > NESTED_FIELDS_MAX:
            if self.fixed is not None:
                raise _Conflict(
                    f"would give the object {path!r} more than {NESTED_FIELDS_MAX} fields; give the topic a type in "
                    "which it is a dict[str, Any]"
                )
            self.kinds.add(Kind.JSON)
            self.object = None

    def described(self) -> FieldType:
        kinds = self.kinds
        if not kinds:
            return FieldType(Kind.NULL, nullable=True)
        if kinds == {Kind.INT, Kind.FLOAT} and not self.inexact:
            return FieldType(Kind.FLOAT, nullable=self.nullable)
        kind = next(iter(kinds))
        if len(kinds) > 1 or kind is Kind.JSON:
            return FieldType(Kind.JSON, nullable=True)
        if kind is Kind.STRUCT:
            fields = self.object.described() if self.object is not None else ()
            if not fields:
                return FieldType(Kind.JSON, nullable=True)
            return FieldType(Kind.STRUCT, nullable=self.nullable, fields=fields)
        if kind is Kind.LIST:
            item = self.item.described() if self.item is not None else FieldType(Kind.NULL, nullable=True)
            if item.kind is Kind.JSON:
                return FieldType(Kind.JSON, nullable=True)
            return FieldType(Kind.LIST, nullable=self.nullable, item=item)
        return FieldType(kind, nullable=self.nullable)
