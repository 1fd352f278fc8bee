"""What the records of a topic look like, without the class they were written from.

A `Schema` is stored beside the log and travels with every batch, so that a reader without the user's program (SQL, the
merge of old batches, another language) knows each field. `schema_of` makes one from a `msgspec.Struct` or a dataclass;
`check_evolution` says whether records of an older one can be read as a newer one.

What has no column type of its own (dict, Any, unions, recursive types) is a JSON column.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from enum import StrEnum
from functools import cached_property
from types import MappingProxyType
from typing import Any, Final

import msgspec

from millstream.errors import SchemaError

METADATA_COLUMNS: Final = ("_partition", "_offset", "_key", "_event_time", "_append_time", "_headers")
"""The columns that every frame of a topic has after the fields of its schema."""


FIELD_NAME_RULE: Final = (
    "a field's name is text without quotes, backslashes, control characters, and no pattern (*, ^...$)"
)

_NOT_A_NAME: Final = re.compile(r'[\x00-\x1f"\\]|^$|^\*$|^\^.*\$$')
"""msgspec cannot rename a field to the first ones; Polars takes the last ones for patterns of column names."""


def is_field_name(name: object) -> bool:
    """Return whether a field, and so a column, can have this name."""
    return type(name) is str and not _NOT_A_NAME.search(name)


class Kind(StrEnum):
    """The type of a field, as far as storage is concerned."""

    BOOL = "bool"
    INT = "int"
    """64 bits, signed."""
    FLOAT = "float"
    STR = "str"
    BYTES = "bytes"
    DATETIME = "datetime"
    """An instant: microseconds, UTC."""
    DATE = "date"
    TIME = "time"
    """Of a day, without a zone."""
    DURATION = "duration"
    DECIMAL = "decimal"
    UUID = "uuid"
    ENUM = "enum"
    """One of `values`: an Enum or a Literal, by its value."""
    STRUCT = "struct"
    LIST = "list"
    JSON = "json"
    """Anything else."""
    NULL = "null"
    """Nothing but null was seen yet (or the type is None); widens to every other kind."""


KEY_KINDS: Final = (Kind.STR, Kind.INT, Kind.BYTES, Kind.UUID, Kind.ENUM)
"""Kinds with one obvious spelling as bytes."""


class FieldType(msgspec.Struct, frozen=True, omit_defaults=True):
    """A type: its kind, whether null is allowed, and what belongs to the kind."""

    kind: Kind
    nullable: bool = False
    item: FieldType | None = None
    """LIST: the type of its items."""
    fields: tuple[Field, ...] = ()
    """STRUCT: its fields."""
    values: tuple[str | int, ...] = ()
    """ENUM: the values allowed, sorted; all str or all int."""

    def __str__(self) -> str:
        return describe(self)


class Field(msgspec.Struct, frozen=True, omit_defaults=True):
    """A named type, and what stands in where a record has none of that name."""

    name: str
    type: FieldType
    required: bool = True
    """False: a record may lack it."""
    default: Any = None
    """What a record that lacks it has, as JSON-able value; None is null, also where the default changes by the call."""


class Schema(msgspec.Struct, frozen=True, omit_defaults=True, dict=True):
    """The fields of a topic's records, and which of them gives the key and the event time."""

    fields: tuple[Field, ...]
    key: str | None = None
    time: str | None = None
    raw: bool = False
    """Values are bytes that nobody looks into."""
    open: bool = False
    """Values are JSON objects whose fields were inferred; new ones widen the schema."""

    def encode(self) -> bytes:
        """Return the stored form; equal schemas give equal bytes."""
        return self._encoded

    @cached_property
    def _encoded(self) -> bytes:
        return msgspec.json.encode(self)

    @staticmethod
    def decode(data: bytes) -> Schema:
        """Return the schema that `encode` wrote.

        Raises:
            SchemaError: These bytes are not a schema, or one of a newer Millstream.
        """
        try:
            return msgspec.json.decode(data, type=Schema)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise SchemaError(
                f"a stored schema cannot be read: {error}; the log was written by a newer Millstream, or is damaged"
            ) from error

    @cached_property
    def names(self) -> tuple[str, ...]:
        return tuple(field.name for field in self.fields)

    @cached_property
    def by_name(self) -> dict[str, Field]:
        return {field.name: field for field in self.fields}

    @cached_property
    def json_types(self) -> Mapping[str, FieldType]:
        """The fields that are JSON, or hold some; of each the type. Their columns have it as text."""
        return MappingProxyType({field.name: field.type for field in self.fields if has_json(field.type)})

    def field(self, name: str) -> Field:
        """Return the field of a name.

        Raises:
            SchemaError: There is none; the message lists those there are.
        """
        try:
            return self.by_name[name]
        except KeyError:
            raise SchemaError(f"there is no field {name!r}; the fields are {', '.join(self.names) or 'none'}") from None

    def describe(self) -> str:
        """Return one line for people: `visitor: str, page: str, load_ms: int | None`."""
        return ", ".join(f"{field.name}: {field.type}" for field in self.fields)


RAW: Final = Schema(fields=(Field("value", FieldType(Kind.BYTES)),), raw=True)
"""The schema of every topic without a type."""


NO_JSON: Final[Mapping[str, FieldType]] = MappingProxyType({})
"""The `Schema.json_types` of most topics."""


def has_json(type: FieldType) -> bool:
    """Whether there is JSON somewhere in a type."""
    if type.item is not None:
        return has_json(type.item)
    return type.kind is Kind.JSON or any(has_json(field.type) for field in type.fields)


def describe(type: FieldType) -> str:
    """Return a type as one would write it in Python, as far as possible."""
    match type.kind:
        case Kind.LIST if type.item is not None:
            text = f"list[{describe(type.item)}]"
        case Kind.STRUCT:
            text = "{" + ", ".join(f"{field.name}: {describe(field.type)}" for field in type.fields) + "}"
        case Kind.ENUM:
            shown = [repr(value) for value in type.values[:6]] + (["..."] if len(type.values) > 6 else [])
            text = f"one of {', '.join(shown)}"
        case Kind.NULL:
            return "null"
        case _:
            text = str(type.kind)
    return f"{text} | None" if type.nullable else text


def in_topic(topic: str) -> str:
    """Return the start of a message about a topic, empty where the name is not known yet."""
    return f"topic {topic!r}: " if topic else ""


def check_evolution(old: Schema, new: Schema, topic: str) -> None:
    """Check that records written with `old` can be read as `new`.

    Allowed: fields added with a default or optional, fields removed, int to float, required to optional, more values of
    an enum, an enum to its plain type, the same inside structs and lists.

    Raises:
        SchemaError: Anything else; names the field, both types and what to do.
    """
    if old.raw != new.raw:
        kinds = {True: "raw bytes", False: "typed records"}
        raise SchemaError(
            f"{in_topic(topic)}holds {kinds[old.raw]} and cannot take {kinds[new.raw]}; write those to a new topic"
        )
    for problem in _problems(old.fields, new.fields, ""):
        raise SchemaError(f"{in_topic(topic)}{problem}")
    for use, before, after in (("key", old.key, new.key), ("time", old.time, new.time)):
        if before is not None and after is not None and before != after and before in new.by_name:
            raise SchemaError(
                f"{in_topic(topic)}its {use} is the field {before!r} and cannot become {after!r} while {before!r} "
                f"exists; use {use}={before!r}, or write to a new topic"
            )


def _problems(old: tuple[Field, ...], new: tuple[Field, ...], path: str) -> Iterator[str]:
    before = {field.name: field for field in old}
    for field in new:
        name = path + field.name
        was = before.get(field.name)
        if was is None:
            if field.required and not field.type.nullable:
                yield (
                    f"the new field {name!r} ({field.type}) has no default, and older records lack it; "
                    f"give it a default, or make it `| None`"
                )
            continue
        if not was.required and field.required and not field.type.nullable and was.default is None:
            yield (
                f"the field {name!r} may be missing in older records ({was.type}) and is now required ({field.type}); "
                f"give it a default, or make it `| None`"
            )
        yield from _type_problems(was.type, field.type, name)


def _type_problems(old: FieldType, new: FieldType, name: str) -> Iterator[str]:
    if old == new or (old.kind is Kind.NULL and new.nullable):
        return
    if old.nullable and not new.nullable:
        yield (
            f"the field {name!r} was {old} and cannot become {new}: older records hold null; "
            f"keep `| None`, or write to a new topic"
        )
    elif old.kind is Kind.STRUCT and new.kind is Kind.STRUCT:
        yield from _problems(old.fields, new.fields, name + ".")
    elif old.item is not None and new.item is not None:
        yield from _type_problems(old.item, new.item, name + "[]")
    elif not _widens(old, new):
        yield (
            f"the field {name!r} was {old} and cannot become {new}; "
            f"use a new name with a default for the new field, or write to a new topic"
        )


def _widens(old: FieldType, new: FieldType) -> bool:
    if old.kind is Kind.ENUM and new.kind is Kind.ENUM:
        return set(old.values) <= set(new.values)
    if old.kind is Kind.ENUM:
        return new.kind is (Kind.INT if isinstance(old.values[0], int) else Kind.STR)
    return old.kind is new.kind or (old.kind is Kind.INT and new.kind is Kind.FLOAT)
