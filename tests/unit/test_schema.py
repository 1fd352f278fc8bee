"""From a Python type to a schema, and what is said of types that cannot be one."""

from __future__ import annotations

import dataclasses
import enum
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Annotated, Any, Generic, Literal, TypeVar
from uuid import UUID, uuid4

import msgspec
import pytest

from millstream.errors import SchemaError
from millstream.log.schema import RAW, Field, FieldType, Kind, Schema
from millstream.log.types import schema_of

T = TypeVar("T")


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 9


class Mode(enum.IntFlag):
    READ = 1
    WRITE = 2


class Point(msgspec.Struct, frozen=True):
    x: int
    y: float | None = None


@dataclasses.dataclass
class Place:
    name: str
    at: Point


class Tree(msgspec.Struct):
    value: int
    children: list[Tree] = []


class Box(msgspec.Struct, Generic[T]):
    content: T


class Click(msgspec.Struct):
    visitor: str
    page: str
    load_ms: int
    moment: datetime


def type_of(annotation: Any) -> FieldType:
    return schema_of(msgspec.defstruct("Event", [("field", annotation)])).fields[0].type


@pytest.mark.parametrize(
    ("annotation", "wanted"),
    [
        (bool, "bool"),
        (int, "int"),
        (Annotated[int, msgspec.Meta(ge=1)], "int"),
        (float, "float"),
        (str, "str"),
        (bytes, "bytes"),
        (datetime, "datetime"),
        (date, "date"),
        (time, "time"),
        (timedelta, "duration"),
        (Decimal, "decimal"),
        (UUID, "uuid"),
        (int | None, "int | None"),
        (None, "null"),
        (Colour, "one of 'blue', 'red'"),
        (Level, "one of 1, 9"),
        (Mode, "int"),
        (Literal["b", "a"], "one of 'a', 'b'"),
        (Literal[1, None], "one of 1 | None"),
        (Literal[1, "a"], "json"),
        (Point, "{x: int, y: float | None}"),
        (Place, "{name: str, at: {x: int, y: float | None}}"),
        (list[int], "list[int]"),
        (list[int | None] | None, "list[int | None] | None"),
        (set[str], "list[str]"),
        (frozenset[str], "list[str]"),
        (tuple[int, ...], "list[int]"),
        (list[list[Point]], "list[list[{x: int, y: float | None}]]"),
        (tuple[int, str], "json"),
        (dict[str, int], "json"),
        (dict[str, int] | None, "json | None"),
        (Any, "json | None"),
        (list[Any], "json"),
        (list, "json"),
        (int | str, "json"),
        (int | str | None, "json | None"),
        (Tree, "{value: int, children: json}"),
        (Box[int], "{content: int}"),
    ],
)
def test_each_python_type_has_its_column(annotation: Any, wanted: str) -> None:
    assert str(type_of(annotation)) == wanted


def test_a_schema_is_stored_and_read_without_its_class() -> None:
    class Event(msgspec.Struct, rename="camel"):
        visitor_id: str
        colour: Colour = Colour.RED
        at: Point = Point(3)
        tags: list[str] = []
        since: datetime = datetime(2020, 1, 1, tzinfo=UTC)
        ids: tuple[UUID, ...] = ()
        note: str | None = None

    schema = schema_of(Event, key="visitor_id", time="since")
    assert Schema.decode(schema.encode()) == schema
    assert schema_of(Event, key="visitor_id", time="since").encode() == schema.encode()
    assert schema.key == "visitorId"
    assert schema.names == ("visitorId", "colour", "at", "tags", "since", "ids", "note")
    assert schema.field("colour") == Field("colour", type_of(Colour), required=False, default="red")
    assert schema.field("at").default == {"x": 3, "y": None}
    assert schema.field("tags").default == []
    assert schema.field("since").default == "2020-01-01T00:00:00Z"
    with pytest.raises(SchemaError, match=r"there is no field 'visitor_id'; the fields are visitorId, colour, "):
        schema.field("visitor_id")


def test_a_dataclass_is_a_schema_too() -> None:
    schema = schema_of(Place, key="name")
    assert schema.describe() == "name: str, at: {x: int, y: float | None}"
    assert schema.key == "name"


def test_defaults_made_by_the_call_do_not_change_the_schema() -> None:
    class Event(msgspec.Struct):
        id: UUID = msgspec.field(default_factory=uuid4)
        at: datetime = msgspec.field(default_factory=lambda: datetime.now(UTC))

    schema = schema_of(Event)
    assert schema.encode() == schema_of(Event).encode()
    assert [(field.required, field.default) for field in schema.fields] == [(False, None), (False, None)]


def test_no_type_is_raw_bytes_and_dict_is_open() -> None:
    assert schema_of(None) is RAW
    assert schema_of(dict) == Schema(fields=(), open=True)
    with pytest.raises(SchemaError, match="topic 'pings': raw bytes have no fields, so key= and time= cannot name one"):
        schema_of(None, key="id", topic="pings")


@pytest.mark.parametrize(
    ("roles", "message"),
    [
        (
            {"key": "user"},
            r"topic 'clicks': key='user' is not a field of Click; its fields are visitor, page, load_ms, m",
        ),
        ({"key": "moment"}, r"key='moment' is datetime, and a key must be str, int, bytes, uuid or enum"),
        ({"time": "load_ms"}, r"time='load_ms' is int, and a time must be datetime"),
        ({"time": "when"}, r"time='when' is not a field of Click"),
    ],
)
def test_key_and_time_name_a_field_that_can_be_one(roles: dict[str, str], message: str) -> None:
    with pytest.raises(SchemaError, match=message):
        schema_of(Click, topic="clicks", **roles)


class Opaque:
    pass


@pytest.mark.parametrize(
    ("annotation", "message"),
    [
        (complex, r"topic 't': Event.field is complex, which cannot be stored; use a msgspec.Struct or dataclass"),
        (list[Opaque], r"Event.field is Opaque, which cannot be stored"),
        (dict[str, Opaque], r"Event.field is Opaque, which cannot be stored"),
        (bytearray, r"Event.field is a mutable buffer, which cannot be stored; use bytes"),
        (Annotated[datetime, msgspec.Meta(tz=False)], r"a datetime without a time zone.*use datetime with a time zone"),
        (Annotated[time, msgspec.Meta(tz=True)], r"a time with a time zone"),
        (msgspec.msgpack.Ext, r"msgpack Ext, which cannot be stored; use bytes"),
    ],
)
def test_a_type_that_cannot_be_stored_is_named_with_its_field_and_the_way_out(annotation: Any, message: str) -> None:
    with pytest.raises(SchemaError, match=message):
        schema_of(msgspec.defstruct("Event", [("field", annotation)]), topic="t")


def test_unset_is_refused_with_what_to_write_instead() -> None:
    class Event(msgspec.Struct):
        note: str | msgspec.UnsetType = msgspec.UNSET

    with pytest.raises(SchemaError, match=r"Event\.note is UNSET, .*use `\| None = None`"):
        schema_of(Event)


def test_a_class_that_is_no_record_is_refused() -> None:
    with pytest.raises(
        SchemaError, match=r"int cannot be a topic's type; use a msgspec.Struct or a dataclass, dict for"
    ):
        schema_of(int)
    with pytest.raises(SchemaError, match=r"Flat is array_like, so its records would lose the names"):
        schema_of(msgspec.defstruct("Flat", [("x", int)], array_like=True))


@pytest.mark.parametrize("name", ["_offset", "_key", "_event_time", "_partition", "_append_time", "_headers"])
def test_names_of_metadata_columns_are_taken_and_other_underscores_are_not(name: str) -> None:
    with pytest.raises(SchemaError, match=rf"Event\.{name}: '{name}' is a column that every topic has; choose another"):
        schema_of(msgspec.defstruct("Event", [(name, int)]))
    assert schema_of(msgspec.defstruct("Event", [("_id", int)])).names == ("_id",)


@pytest.mark.parametrize("name", ["*", "^a$", ""])
def test_names_that_no_column_can_have_are_refused(name: str) -> None:
    with pytest.raises(SchemaError, match=r"Event\.field is stored as .* and no pattern"):
        schema_of(msgspec.defstruct("Event", [("field", int)], rename={"field": name}))


def test_bytes_that_are_no_schema_are_an_error_with_its_likely_cause() -> None:
    for data in (b"{}", b"not json", b'{"fields":[{"name":"a","type":{"kind":"quaternion"}}]}'):
        with pytest.raises(SchemaError, match=r"a stored schema cannot be read: .* newer Millstream, or is damaged"):
            Schema.decode(data)


def test_kinds_are_spelled_as_stored_files_have_them() -> None:
    # Every log file has these words in it: a change here is a change of the file format.
    words = "bool int float str bytes datetime date time duration decimal uuid enum struct list json null"
    assert " ".join(Kind) == words


def test_a_default_that_could_not_be_stored_is_refused() -> None:
    class Event(msgspec.Struct):
        at: datetime = datetime(2020, 1, 1)  # noqa: DTZ001 - what the test is about

    with pytest.raises(
        SchemaError, match=r"the default of Event.at, '2020-01-01T00:00:00', could not be stored: Expected"
    ):
        schema_of(Event)
