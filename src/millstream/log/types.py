"""From a Python type to a `Schema`.

| Python                                          | column                                                  |
|-------------------------------------------------|---------------------------------------------------------|
| bool, int, float, str, bytes                    | the same; int is 64 bits                                |
| datetime (with a time zone), date, time, timedelta | instant in UTC, date, time of day, duration; microseconds |
| Decimal, UUID                                   | exact text                                              |
| Enum, Literal (all str or all int)              | the value                                               |
| msgspec.Struct, dataclass                       | a struct                                                |
| list, set, frozenset, tuple[T, ...]             | a list                                                  |
| X | None                                        | X or null                                               |
| dict, Any, unions, other tuples, recursive types | JSON                                                   |
"""

from __future__ import annotations

import dataclasses
import enum
import math
from typing import Any

import msgspec
from msgspec import inspect

from millstream.errors import SchemaError
from millstream.log.schema import (
    FIELD_NAME_RULE,
    KEY_KINDS,
    METADATA_COLUMNS,
    RAW,
    Field,
    FieldType,
    Kind,
    Schema,
    describe,
    in_topic,
    is_field_name,
)
from millstream.log.storage import Form, storage_type

_JSON = FieldType(Kind.JSON)

_SCALARS: dict[type[inspect.Type], Kind] = {
    inspect.BoolType: Kind.BOOL,
    inspect.IntType: Kind.INT,
    inspect.FloatType: Kind.FLOAT,
    inspect.StrType: Kind.STR,
    inspect.BytesType: Kind.BYTES,
    inspect.DateType: Kind.DATE,
    inspect.TimeDeltaType: Kind.DURATION,
    inspect.DecimalType: Kind.DECIMAL,
    inspect.UUIDType: Kind.UUID,
}

_JSON_TYPES = (
    inspect.TypedDictType,
    inspect.NamedTupleType,
    inspect.RawType,
)

_CONTAINERS = (list, dict, set, frozenset, tuple)


def schema_of(type: Any, *, key: str | None = None, time: str | None = None, topic: str = "") -> Schema:
    """Return the schema of a `msgspec.Struct` or dataclass; of `dict` (open, no fields yet); of None (raw bytes).

    Args:
        key: Field whose value is the record's key: str, int, bytes, UUID or enum.
        time: Field whose value is the event time: a datetime.
        topic: For messages.

    Raises:
        SchemaError: A type that cannot be stored, or no such field; says what to use instead.
    """
    if type is None:
        if key or time:
            raise SchemaError(
                f"{in_topic(topic)}raw bytes have no fields, so key= and time= cannot name one; "
                "give them with each append, or give the topic a type"
            )
        return RAW
    if type is dict:
        return Schema(fields=(), key=key, time=time, open=True)
    info = _info(type, topic)
    fields = _Translation(topic).fields(info, ())
    for field in fields:
        if field.name in METADATA_COLUMNS:
            raise SchemaError(
                f"{in_topic(topic)}{info.cls.__name__}.{field.name}: {field.name!r} is a column that every topic has; "
                "choose another name"
            )
    wire = {field.name: field.encode_name for field in info.fields}
    return Schema(
        fields=fields,
        key=_role("key", key, fields, wire, info.cls, KEY_KINDS, topic),
        time=_role("time", time, fields, wire, info.cls, (Kind.DATETIME,), topic),
    )


def _info(type: Any, topic: str) -> inspect.StructType | inspect.DataclassType:
    name = getattr(type, "__name__", repr(type))
    try:
        info = inspect.type_info(type)
    except (TypeError, NameError) as error:
        raise SchemaError(f"{in_topic(topic)}{name} cannot be a topic's type: {error}") from error
    if not isinstance(info, (inspect.StructType, inspect.DataclassType)):
        raise SchemaError(
            f"{in_topic(topic)}{name} cannot be a topic's type; use a msgspec.Struct or a dataclass, "
            "dict for JSON objects, or None for raw bytes"
        )
    if isinstance(info, inspect.StructType) and info.array_like:
        raise SchemaError(
            f"{in_topic(topic)}{name} is array_like, so its records would lose the names of their fields and could not "
            "change later; remove array_like=True"
        )
    return info


def _role(
    use: str,
    name: str | None,
    fields: tuple[Field, ...],
    wire: dict[str, str],
    cls: type,
    kinds: tuple[Kind, ...],
    topic: str,
) -> str | None:
    """Return the stored name of the field that gives the key or the time."""
    if name is None:
        return None
    by_name = {field.name: field for field in fields}
    field = by_name.get(wire.get(name, name))
    if field is None:
        raise SchemaError(
            f"{in_topic(topic)}{use}={name!r} is not a field of {cls.__name__}; its fields are "
            f"{', '.join(wire) or 'none'}"
        )
    if field.type.kind not in kinds:
        raise SchemaError(
            f"{in_topic(topic)}{use}={name!r} is {describe(field.type)}, and a {use} must be "
            f"{' or '.join(', '.join(kinds).rsplit(', ', 1))}"
        )
    return field.name


class _Translation:
    """One walk down a type."""

    def __init__(self, topic: str) -> None:
        self.topic = topic

    def fields(self, info: inspect.StructType | inspect.DataclassType, outer: tuple[type, ...]) -> tuple[Field, ...]:
        return tuple(self._field(info.cls, field, (*outer, info.cls)) for field in info.fields)

    def _field(self, cls: type, field: inspect.Field, outer: tuple[type, ...]) -> Field:
        where = f"{cls.__name__}.{field.name}"
        if not is_field_name(field.encode_name):
            raise SchemaError(f"{in_topic(self.topic)}{where} is stored as {field.encode_name!r}; {FIELD_NAME_RULE}")
        if field.required:
            return Field(field.encode_name, self._type(field.type, where, outer))
        if field.default is msgspec.NODEFAULT and field.default_factory is msgspec.NODEFAULT:
            raise self._refused(where, "UNSET", "`| None = None` for a value that may be absent")
        made = Field(field.encode_name, self._type(field.type, where, outer), required=False, default=_default(field))
        try:
            storage_type(Schema(fields=(made,)), Form.COLUMNS)
        except msgspec.ValidationError as error:
            raise SchemaError(
                f"{in_topic(self.topic)}the default of {where}, {made.default!r}, could not be stored: {error}"
            ) from error
        return made

    def _type(self, info: inspect.Type, where: str, outer: tuple[type, ...]) -> FieldType:
        if isinstance(info, inspect.Metadata):
            return self._type(info.type, where, outer)
        if isinstance(info, inspect.UnionType):
            return self._union(info, where, outer)
        if isinstance(info, (inspect.EnumType, inspect.LiteralType)):
            return self._choice(info)
        if kind := _SCALARS.get(type(info)):
            return FieldType(kind)
        if isinstance(info, (inspect.StructType, inspect.DataclassType)):
            return self._struct(info, outer)
        if isinstance(info, (inspect.CollectionType, inspect.VarTupleType)):
            item = self._type(info.item_type, where, outer)
            # A list of JSON texts helps nobody: the whole list is one JSON value.
            return FieldType(Kind.LIST, item=item) if item.kind is not Kind.JSON else _JSON
        return self._rest(info, where, outer)

    def _rest(self, info: inspect.Type, where: str, outer: tuple[type, ...]) -> FieldType:
        match info:
            case inspect.AnyType():
                return FieldType(Kind.JSON, nullable=True)
            case inspect.NoneType():
                return FieldType(Kind.NULL, nullable=True)
            case inspect.DateTimeType():
                if info.tz is False:
                    raise self._refused(where, "a datetime without a time zone", "datetime with a time zone")
                return FieldType(Kind.DATETIME)
            case inspect.TimeType():
                if info.tz is True:
                    raise self._refused(where, "a time with a time zone", "datetime, or time without a zone")
                return FieldType(Kind.TIME)
            case inspect.TupleType():
                for item in info.item_types:
                    self._type(item, where, outer)
                return _JSON
            case inspect.DictType():
                self._type(info.key_type, where, outer)
                self._type(info.value_type, where, outer)
                return _JSON
            case inspect.TypedDictType() | inspect.NamedTupleType() if info.cls not in outer:
                for field in info.fields:
                    self._type(field.type, f"{info.cls.__name__}.{field.name}", (*outer, info.cls))
                return _JSON
        if isinstance(info, _JSON_TYPES):
            return _JSON
        if isinstance(info, (inspect.ByteArrayType, inspect.MemoryViewType)):
            raise self._refused(where, "a mutable buffer", "bytes")
        if isinstance(info, inspect.ExtType):
            raise self._refused(where, "msgpack Ext", "bytes")
        name = getattr(getattr(info, "cls", None), "__name__", type(info).__name__)
        raise self._refused(where, name, "a msgspec.Struct or dataclass, str, bytes or dict")

    def _struct(self, info: inspect.StructType | inspect.DataclassType, outer: tuple[type, ...]) -> FieldType:
        if info.cls in outer:
            return _JSON
        fields = self.fields(info, outer)
        if not fields or (isinstance(info, inspect.StructType) and info.array_like):
            return _JSON
        return FieldType(Kind.STRUCT, fields=fields)

    def _union(self, info: inspect.UnionType, where: str, outer: tuple[type, ...]) -> FieldType:
        types = [item for item in info.types if not isinstance(item, inspect.NoneType)]
        if len(types) == 1:
            return _nullable(self._type(types[0], where, outer))
        for item in types:
            self._type(item, where, outer)
        return msgspec.structs.replace(_JSON, nullable=len(types) < len(info.types))

    def _choice(self, info: inspect.EnumType | inspect.LiteralType) -> FieldType:
        if isinstance(info, inspect.LiteralType):
            values, nullable = {value for value in info.values if value is not None}, None in info.values
        else:
            if issubclass(info.cls, enum.Flag):
                return FieldType(Kind.INT)
            values, nullable = {member.value for member in info.cls}, False
        if values and (all(type(v) is str for v in values) or all(type(v) is int for v in values)):
            return FieldType(Kind.ENUM, nullable=nullable, values=tuple(sorted(values)))
        return FieldType(Kind.JSON, nullable=nullable)

    def _refused(self, where: str, found: str, instead: str) -> SchemaError:
        return SchemaError(f"{in_topic(self.topic)}{where} is {found}, which cannot be stored; use {instead}")


def _nullable(type: FieldType) -> FieldType:
    return msgspec.structs.replace(type, nullable=True)


def _default(field: inspect.Field) -> Any:
    """Return a field's default as JSON-able value, None where there is none that is the same at every call."""
    value = field.default
    factory = field.default_factory
    if value is msgspec.NODEFAULT:
        # Only what is known to give the same again: an id or a time made by the call must not end up in the schema.
        plain = isinstance(factory, type) and (
            factory in _CONTAINERS or issubclass(factory, msgspec.Struct) or dataclasses.is_dataclass(factory)
        )
        if not plain:
            return None
        value = factory()
        if value != factory():
            return None
    if isinstance(value, float) and not math.isfinite(value):
        return None
    try:
        return msgspec.json.decode(msgspec.json.encode(value))
    except TypeError:
        return None
