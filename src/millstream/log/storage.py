"""Schemas as the types that read stored records: msgspec types for rows, Polars types for columns.

All from the `Schema` alone, so that whoever has the file can read it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, Union
from uuid import UUID

import msgspec

from millstream.log.schema import Field, FieldType, Kind, Schema

if TYPE_CHECKING:
    import polars as pl


class Form(Enum):
    """What a stored record is decoded for."""

    CHECK = "check"
    """To see at append that every reader will be able to read it."""
    COLUMNS = "columns"
    """To put its fields into columns: what is text there stays text, JSON stays as it was written."""
    VALUES = "values"
    """To give it to a program as a dict."""


_INT64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
_INSTANT = Annotated[datetime, msgspec.Meta(tz=True)]
_TIME_OF_DAY = Annotated[time, msgspec.Meta(tz=False)]

_DURATION_TEXT = Annotated[str, msgspec.Meta(pattern=r"^[-+]?P(\d{1,8}D)?(T([0-9.]{1,19}[HMS])+)?$")]
"""A timedelta can be 2.7 million years; 64 bits of microseconds hold 292,000: at most 8 digits of days."""

_TYPES: Final[Mapping[Kind, Any]] = {
    Kind.BOOL: bool,
    Kind.INT: _INT64,
    Kind.FLOAT: float,
    Kind.STR: str,
    Kind.BYTES: bytes,
    Kind.DATETIME: _INSTANT,
    Kind.DATE: date,
    Kind.TIME: _TIME_OF_DAY,
    Kind.DURATION: timedelta,
    Kind.DECIMAL: Decimal,
    Kind.UUID: UUID,
    Kind.JSON: msgspec.Raw,
    Kind.NULL: None,
}

_TYPES_OF_FORM: Final[Mapping[Form, Mapping[Kind, Any]]] = {
    Form.CHECK: {**_TYPES, Kind.DURATION: _DURATION_TEXT},
    Form.COLUMNS: {**_TYPES, Kind.DECIMAL: str, Kind.UUID: str},
    Form.VALUES: {**_TYPES, Kind.JSON: Any},
}

_NOTHING = msgspec.Raw(b"\xc0")
"""null in msgpack."""


def storage_type(
    schema: Schema, form: Form, *, strict: bool = False, json_types: Mapping[str, Any] | None = None
) -> Any:
    """Return the msgspec type of one stored record: `bytes` for raw topics, else a Struct with attributes f0, f1, ...

    Args:
        strict: Refuse fields that the schema does not have.
        json_types: Types to check JSON fields against, by field name; others may hold anything.
    """
    if schema.raw:
        return bytes
    if json_types:
        return _record(schema, form, strict, json_types)
    return _cached(schema.encode(), form, strict)


@lru_cache(maxsize=512)  # Making a type costs 0.2 ms, and every batch needs one.
def _cached(schema: bytes, form: Form, strict: bool) -> Any:
    return _record(Schema.decode(schema), form, strict, {})


def _record(schema: Schema, form: Form, strict: bool, json_types: Mapping[str, Any]) -> Any:
    return _Storage(form, strict, omit=form is Form.VALUES and schema.open).struct(schema.fields, json_types)


class _Storage:
    """One walk down a schema."""

    def __init__(self, form: Form, strict: bool, omit: bool) -> None:
        self.form = form
        self.strict = strict
        self.omit = omit

    def struct(self, fields: tuple[Field, ...], json_types: Mapping[str, Any]) -> type[msgspec.Struct]:
        members: list[Any] = []
        for i, field in enumerate(fields):
            type = self.type(field.type, json_types.get(field.name))
            if field.required:
                members.append((f"f{i}", type))
            elif self.form is Form.CHECK or (self.form is Form.VALUES and _is_hole(field)):
                # What is checked may be encoded again, and what a record lacks it has to go on lacking.
                members.append((f"f{i}", Union[type, msgspec.UnsetType], msgspec.UNSET))  # noqa: UP007
            else:
                members.append((f"f{i}", type, self._default(field)))
        return msgspec.defstruct(
            "Record",
            members,
            rename={f"f{i}": field.name for i, field in enumerate(fields)},
            kw_only=True,
            # Records are trees: the collector has nothing to find in them, and decoding is a quarter faster without it.
            gc=False,
            forbid_unknown_fields=self.strict,
            omit_defaults=self.omit,
        )

    def type(self, type: FieldType, json_type: Any = None) -> Any:
        if type.kind is Kind.JSON:
            return _TYPES_OF_FORM[self.form][Kind.JSON] if json_type is None else json_type
        if type.kind is Kind.STRUCT:
            made: Any = self.struct(type.fields, {})
        elif type.kind is Kind.LIST:
            assert type.item is not None
            made = list[self.type(type.item)]  # type: ignore[misc]
        elif type.kind is Kind.ENUM:
            made = Literal[type.values]
        else:
            made = _TYPES_OF_FORM[self.form][type.kind]
        return Union[made, None] if type.nullable else made  # noqa: UP007 - `made` is not always a class

    def _default(self, field: Field) -> Any:
        if field.type.kind is Kind.JSON and self.form is not Form.VALUES:
            value = field.default
            return _NOTHING if value is None else msgspec.Raw(msgspec.msgpack.encode(value))
        if field.default is None:
            return None
        encoded = msgspec.json.encode(field.default)
        if field.type.kind in (Kind.LIST, Kind.STRUCT, Kind.JSON):
            decoder = msgspec.json.Decoder(self.type(field.type))
            return msgspec.field(default_factory=lambda: decoder.decode(encoded))
        return msgspec.json.decode(encoded, type=self.type(field.type))


def _is_hole(field: Field) -> bool:
    """Whether nothing can stand in for the field: its default is made by the call, and null is not allowed."""
    return field.default is None and not field.type.nullable


def dtypes(schema: Schema) -> dict[str, pl.DataType]:
    """Return the columns of a schema as readers see them.

    Decimal and UUID are String (exact), enums String or Int64 by their value, JSON is String.
    """
    return {field.name: dtype(field.type) for field in schema.fields}


def dtype(type: FieldType, *, stored: bool = False) -> pl.DataType:
    """Return the column type of one field."""
    import polars as pl

    match type.kind:
        case Kind.BOOL:
            return pl.Boolean()
        case Kind.INT:
            return pl.Int64()
        case Kind.FLOAT:
            return pl.Float64()
        case Kind.BYTES:
            return pl.Binary()
        case Kind.DATETIME:
            return pl.Datetime("us", "UTC")
        case Kind.DATE:
            return pl.Date()
        case Kind.TIME:
            return pl.Time()
        case Kind.DURATION:
            return pl.Duration("us")
        case Kind.STR | Kind.DECIMAL | Kind.UUID:
            return pl.String()
        case Kind.ENUM:
            return pl.Int64() if isinstance(type.values[0], int) else pl.String()
        case Kind.JSON:
            return pl.Binary() if stored else pl.String()
        case Kind.NULL:
            return pl.Null()
        case Kind.STRUCT:
            return pl.Struct({field.name: dtype(field.type, stored=stored) for field in type.fields})
        case Kind.LIST:
            assert type.item is not None
            return pl.List(dtype(type.item, stored=stored))
