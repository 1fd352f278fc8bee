"""The schema of JSON objects, and how it grows."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import polars as pl
import pytest

from millstream.errors import SchemaError
from millstream.log.batches import RecordCoding
from millstream.log.infer import DEPTH_MAX, FIELDS_MAX, NESTED_FIELDS_MAX, infer, widen, widen_frame
from millstream.log.schema import Schema, check_evolution
from millstream.records import ENCODINGS, Coding, StoredBatch


def described(*objects: dict[str, Any]) -> str:
    return infer(objects).describe()


@pytest.mark.parametrize(
    ("objects", "wanted"),
    [
        ([{"a": True}], "a: bool"),
        ([{"a": 1}, {"a": 2}], "a: int"),
        ([{"a": 1}, {"a": 2.5}], "a: float"),
        ([{"a": 2.5}, {"a": 1}], "a: float"),
        ([{"a": "x"}, {"a": None}], "a: str | None"),
        ([{"a": None}], "a: null"),
        ([{"a": 1}, {}], "a: int | None"),
        ([{}, {"a": 1}], "a: int | None"),
        ([{"a": 1}, {"a": "x"}], "a: json | None"),
        ([{"a": 1}, {"a": True}], "a: json | None"),
        ([{"a": [1, 2.5]}], "a: list[float]"),
        ([{"a": []}], "a: list[null]"),
        ([{"a": []}, {"a": [None, 1]}], "a: list[int | None]"),
        ([{"a": [1, "x"]}], "a: json | None"),
        ([{"a": [1]}, {"a": 1}], "a: json | None"),
        ([{"a": {}}], "a: json | None"),
        ([{"a": {}}, {"a": {"b": 1}}], "a: {b: int | None}"),
        ([{"a": {"b": 1}}, {"a": {"c": "x"}}], "a: {b: int | None, c: str | None}"),
        ([{"a": [{"b": 1}, {"b": 2, "c": []}]}], "a: list[{b: int, c: list[null] | None}]"),
        ([{"a": {"b": {"c": 1}}}, {"a": None}], "a: {b: {c: int}} | None"),
        ([{"a": {1: 2}}], "a: json | None"),
        ([{"a": {'with "quotes"': 2}}], "a: json | None"),
        ([{"a": b"x", "b": datetime(2026, 1, 1, tzinfo=UTC), "c": date(2026, 1, 1)}], "a: bytes, b: datetime, c: date"),
        ([{"a": object()}], "a: json | None"),
    ],
)
def test_a_schema_is_what_all_the_objects_have_in_common(objects: list[dict[str, Any]], wanted: str) -> None:
    assert described(*objects) == wanted


def test_fields_are_required_until_an_object_lacks_them() -> None:
    schema = infer([{"a": 1, "b": None, "c": 1}, {"a": 2, "b": 2}])
    assert [(field.name, field.required) for field in schema.fields] == [("a", True), ("b", True), ("c", False)]


def test_a_schema_that_fits_stays_the_same_object() -> None:
    schema = infer([{"a": 1.5, "b": {"c": [1]}, "d": {}}], key="a2")
    assert (
        widen(schema, [{"a": 1, "b": {"c": []}, "d": {"any": "thing"}}, {"a": 2.5, "b": {"c": [2]}, "d": 1}]) is schema
    )
    assert widen(schema, []) is schema


def test_a_wider_schema_reads_what_came_before() -> None:
    schema = infer([{"a": 1, "b": "x", "n": None, "l": []}], key="b")
    wider = widen(schema, [{"a": 1.5, "c": {"x": 1}, "n": 5, "l": [None]}])
    assert wider.describe() == "a: float, b: str | None, n: int | None, l: list[null], c: {x: int} | None"
    assert wider.key == "b"
    assert wider.open
    check_evolution(schema, wider, "events")


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (
            {"a": "x"},
            r"topic 'events': record 2 has str in field 'a', which is int in this topic; convert it, use another",
        ),
        ({"a": True}, r"record 2 has bool in field 'a', which is int"),
        ({"s": {"x": "1"}}, r"record 2 has str in field 's.x', which is int"),
        ({"s": 1}, r"record 2 has int in field 's', which is \{x: int\}"),
        ({"l": ["x"]}, r"record 2 has str in field 'l\[\]', which is int"),
        ({"l": {}}, r"record 2 has struct in field 'l', which is list\[int\]"),
        ({5: 1}, r"record 2 has 5 as a name; a field's name is text without quotes"),
        ({'a"b': 1}, r"record 2 has 'a\"b' as a name; a field's name is text without quotes"),
        ({"s": {"": 1}}, r"record 2 has '' as a name in s; a field's name is text"),
        ([], r"record 2 is of type list, and the topic takes dict"),
    ],
)
def test_what_cannot_be_in_its_column_is_refused_with_its_place(bad: Any, message: str) -> None:
    whole = {"a": 1, "s": {"x": 1}, "l": [1]}
    schema = infer([whole])
    with pytest.raises(SchemaError, match=message) as caught:
        widen(schema, [whole, whole, bad if not isinstance(bad, dict) else {**whole, **bad}], topic="events")
    assert caught.value.index == 2


def test_a_json_column_takes_anything() -> None:
    schema = infer([{"a": 1}, {"a": "x"}])
    assert widen(schema, [{"a": [1, {"b": 2}]}, {"a": {"1": 1}}, {"a": None}]) is schema


def test_names_that_are_data_do_not_become_columns() -> None:
    ids = {f"id{i}": i for i in range(NESTED_FIELDS_MAX + 1)}
    assert described({"counts": ids}) == "counts: json | None"
    assert described(*({"counts": {name: 1}} for name in ids)) == "counts: json | None"
    with pytest.raises(
        SchemaError, match=r"record 63 would give the object 'counts' more than 64 fields; give the topic a t"
    ):
        widen(infer([{"counts": {"x": 1}}]), [{"counts": {name: 1}} for name in ids])
    with pytest.raises(SchemaError, match=r"record 0 would give the topic more than 1,000 fields"):
        infer([{f"id{i}": i for i in range(FIELDS_MAX + 1)}])


def test_very_deep_objects_are_json() -> None:
    deep: dict[str, Any] = {"x": 1}
    for _ in range(DEPTH_MAX + 5):
        deep = {"x": deep}
    text = described(deep)
    assert text.count("{x: ") == DEPTH_MAX - 1
    assert "json" in text


@pytest.mark.parametrize("name", ["_offset", "_key"])
def test_metadata_columns_are_not_taken(name: str) -> None:
    with pytest.raises(
        SchemaError, match=f"topic 'events': '{name}' is a column that every topic has; rename the field"
    ):
        infer([{name: 1}], topic="events")


def test_key_and_time_have_to_be_what_they_can_be() -> None:
    with pytest.raises(
        SchemaError, match=r"the key 'id' is float in these records, and must be str, int, bytes, uuid or en"
    ):
        infer([{"id": 1.5}], key="id")
    with pytest.raises(SchemaError, match=r"the time 'at' is int in these records, and must be datetime or str"):
        infer([{"at": 5}], time="at")


def stored(coding: RecordCoding[Any], objects: list[dict[str, Any]], how: Coding) -> StoredBatch:
    batch = coding.encode(objects, coding=how)
    low, high = batch.event_time_min_us, batch.event_time_max_us
    return StoredBatch(0, 0, batch.coding, batch.count, batch.data, batch.meta, 1, 7, low, high)


@pytest.mark.parametrize("how", ENCODINGS)
def test_the_time_of_json_objects_may_be_text(how: Coding) -> None:
    objects: list[dict[str, Any]] = [{"at": "2026-01-02T12:00:00+02:00"}, {"at": None}, {"at": "2026-01-02T11:00:00Z"}]
    schema = infer(objects, time="at")
    coding: RecordCoding[Any] = RecordCoding(schema, dict, topic="events")
    batch = stored(coding, objects, how)
    ten, eleven = datetime(2026, 1, 2, 10, tzinfo=UTC), datetime(2026, 1, 2, 11, tzinfo=UTC)
    appended = datetime(1970, 1, 1, 0, 0, 0, 7, tzinfo=UTC)
    assert [record.event_time for record in coding.records(batch, schema)] == [ten, appended, eleven]
    assert coding.frame(batch, schema)["_event_time"].to_list() == [ten, appended, eleven]
    assert (batch.event_time_min_us, batch.event_time_max_us) == (
        int(ten.timestamp()) * 1_000_000,
        int(eleven.timestamp()) * 1_000_000,
    )
    with pytest.raises(
        SchemaError, match=r"the record: the event time 'at' must be a datetime with a time zone, .*'noon'"
    ):
        coding.encode([{"at": "noon"}], coding=how)
    checked = coding.check_frame(pl.DataFrame({"at": ["2026-01-02T11:00:00Z", None]}))
    assert checked["_event_time"].to_list() == [eleven, None]


@pytest.mark.parametrize("how", ENCODINGS)
def test_absent_and_null_are_told_apart_where_a_field_is_in_every_object(how: Coding) -> None:
    objects: list[dict[str, Any]] = [{"a": None, "b": 1, "c": {"d": None}}, {"a": 1, "c": {"d": 2, "e": 3}}]
    schema = infer(objects)
    coding: RecordCoding[Any] = RecordCoding(schema, dict)
    assert [record.value for record in coding.records(stored(coding, objects, how), schema)] == objects


def test_a_frame_widens_the_schema_by_its_columns() -> None:
    schema = Schema(fields=(), open=True)
    frame = pl.DataFrame(
        {
            "a": [1, 2],
            "b": [0.5, None],
            "c": [["x"], []],
            "d": [{"e": True}, None],
            "f": [datetime(2026, 1, 1, tzinfo=UTC)] * 2,
            "g": pl.Series(["r", "s"], dtype=pl.Categorical),
            "_key": [b"k", b"l"],
        }
    )
    wider = widen_frame(schema, frame)
    assert wider.describe() == (
        "a: int | None, b: float | None, c: list[str | None] | None, d: {e: bool} | None, f: datetime | None, "
        "g: str | None"
    )
    assert widen_frame(wider, frame) is wider
    coding: RecordCoding[Any] = RecordCoding(wider, dict)
    batch = coding.encode_frame(coding.check_frame(frame))
    record = coding.records(StoredBatch(0, 0, batch.coding, 2, batch.data, batch.meta, 1, 7, None, None), wider)[0]
    assert record.key == b"k"
    assert record.value == {
        "a": 1,
        "b": 0.5,
        "c": ["x"],
        "d": {"e": True},
        "f": datetime(2026, 1, 1, tzinfo=UTC),
        "g": "r",
    }
    with pytest.raises(SchemaError, match=r"topic 'events': record 0 has str in field 'a', which is int \| None"):
        widen_frame(wider, pl.DataFrame({"a": ["x"]}), topic="events")
