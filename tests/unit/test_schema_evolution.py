"""Which changes of a topic's type old records survive, and what is said about the others."""

from __future__ import annotations

import enum
from datetime import datetime
from typing import Any, Literal

import msgspec
import pytest

from millstream.errors import SchemaError
from millstream.log.schema import RAW, check_evolution
from millstream.log.types import schema_of


class Point(msgspec.Struct):
    x: int


class PointWithLabel(msgspec.Struct):
    x: int
    label: str


class PointWithNote(msgspec.Struct):
    x: float
    note: str | None = None


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


def event(*fields: Any) -> Any:
    return schema_of(msgspec.defstruct("Event", [("kept", str), *fields]))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ([], [("a", int, 5)]),
        ([], [("a", int | None)]),
        ([], [("a", list[int], msgspec.field(default_factory=list))]),
        ([("a", int)], []),
        ([("a", int)], [("a", int)]),
        ([("a", int)], [("a", float)]),
        ([("a", int)], [("a", int | None)]),
        ([("a", int)], [("a", float | None)]),
        ([("a", int)], [("a", int, 3)]),
        ([("a", int, 3)], [("a", int)]),
        ([("a", None)], [("a", list[int] | None)]),
        ([("a", Literal["x"])], [("a", Literal["x", "y"])]),
        ([("a", Colour)], [("a", str)]),
        ([("a", Literal[1, 2])], [("a", int)]),
        ([("a", Point)], [("a", PointWithNote)]),
        ([("a", list[Point])], [("a", list[PointWithNote | None] | None)]),
        ([("a", dict[str, int])], [("a", dict[str, float])]),
    ],
)
def test_changes_that_old_records_survive_are_accepted(old: list[Any], new: list[Any]) -> None:
    check_evolution(event(*old), event(*new), "events")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            [],
            [("a", int)],
            r"topic 'events': the new field 'a' \(int\) has no default, and older records lack it; give it",
        ),
        ([("a", int)], [("a", str)], r"the field 'a' was int and cannot become str; .* or write to a new topic"),
        ([("a", float)], [("a", int)], r"the field 'a' was float and cannot become int"),
        (
            [("a", int | None)],
            [("a", int)],
            r"the field 'a' was int \| None and cannot become int: older records hold nu",
        ),
        ([("a", int | None, None)], [("a", int, 3)], r"older records hold null; keep `\| None`"),
        ([("a", Literal["x", "y"])], [("a", Literal["x"])], r"was one of 'x', 'y' and cannot become one of 'x'"),
        ([("a", Colour)], [("a", int)], r"cannot become int"),
        ([("a", Point)], [("a", PointWithLabel)], r"the new field 'a.label' \(str\) has no default"),
        ([("a", list[Point])], [("a", list[PointWithLabel])], r"the new field 'a\[\].label' \(str\) has no default"),
        ([("a", list[int])], [("a", int)], r"was list\[int\] and cannot become int"),
        ([("a", Any)], [("a", int | None)], r"was json \| None and cannot become int \| None"),
    ],
)
def test_other_changes_name_the_field_both_types_and_the_way_out(old: list[Any], new: list[Any], message: str) -> None:
    with pytest.raises(SchemaError, match=message):
        check_evolution(event(*old), event(*new), "events")


def test_a_field_that_may_be_missing_cannot_become_required() -> None:
    old = event(("a", datetime, msgspec.field(default_factory=lambda: datetime.min)))  # noqa: DTZ901 - never stored
    with pytest.raises(SchemaError, match=r"'a' may be missing in older records \(datetime\) and is now required"):
        check_evolution(old, event(("a", datetime)), "events")


def test_raw_and_typed_do_not_mix() -> None:
    with pytest.raises(
        SchemaError, match="topic 'events': holds raw bytes and cannot take typed records; write those to"
    ):
        check_evolution(RAW, event(), "events")
    with pytest.raises(SchemaError, match="holds typed records and cannot take raw bytes"):
        check_evolution(event(), RAW, "events")


def test_the_key_stays_the_same_field_while_that_exists() -> None:
    class Event(msgspec.Struct):
        user: str
        order: str = ""

    class Later(msgspec.Struct):
        order: str = ""

    with pytest.raises(SchemaError, match=r"its key is the field 'user' and cannot become 'order' while 'user' exists"):
        check_evolution(schema_of(Event, key="user"), schema_of(Event, key="order"), "events")
    check_evolution(schema_of(Event, key="user"), schema_of(Event), "events")
    check_evolution(schema_of(Event), schema_of(Event, key="user"), "events")
    check_evolution(schema_of(Event, key="user"), schema_of(Later, key="order"), "events")
