"""Records as columns: frames as readers see them, and frames that users append."""

from __future__ import annotations

import dataclasses
import enum
import io
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Generic, Literal, TypeVar
from uuid import UUID

import msgspec
import polars as pl
import pytest

from millstream.errors import SchemaError, StorageCorruptError
from millstream.log.batches import RecordCoding
from millstream.log.frames import frame_of, frame_schema
from millstream.log.merging import merge
from millstream.log.schema import Schema
from millstream.log.types import schema_of
from millstream.records import ENCODINGS, Coding, EncodedBatch, StoredBatch

T = TypeVar("T")

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Point(msgspec.Struct, frozen=True):
    x: int
    note: str | None = None
    more: dict[str, Any] = {}


class Order(msgspec.Struct):
    id: UUID
    at: datetime
    price: Decimal
    colour: Colour
    day: date
    moment: time
    took: timedelta
    tags: list[str]
    point: Point | None
    points: list[Point]
    extra: dict[str, float]
    anything: Any
    photo: bytes = b""


ORDER = Order(
    id=UUID(int=7),
    at=NOON,
    price=Decimal("1.10"),
    colour=Colour.BLUE,
    day=date(1969, 12, 31),
    moment=time(23, 59, 59, 999_999),
    took=timedelta(days=-1, microseconds=1),
    tags=["a", ""],
    point=None,
    points=[Point(1), Point(2, "n", {"deep": [1]})],
    extra={"inf": float("inf")},
    anything=[NOON, b"\xff", {1: 2}],
)


class Box(msgspec.Struct, Generic[T]):
    content: T
    name: str = "box"


class Event(msgspec.Struct):
    name: str
    number: int = 0
    share: float | None = None


def orders() -> RecordCoding[Order]:
    return RecordCoding(schema_of(Order, key="id", time="at"), Order, topic="orders", schema_id=1)


def events() -> RecordCoding[Event]:
    return RecordCoding(schema_of(Event), Event, topic="events", schema_id=1)


def stored(batch: EncodedBatch, *, offset: int = 0, append_time_us: int = 7) -> StoredBatch:
    return StoredBatch(
        partition=2,
        offset=offset,
        coding=batch.coding,
        count=batch.count,
        data=batch.data,
        meta=batch.meta,
        schema_id=batch.schema_id,
        append_time_us=append_time_us,
        event_time_min_us=batch.event_time_min_us,
        event_time_max_us=batch.event_time_max_us,
    )


@pytest.mark.parametrize("how", ENCODINGS)
def test_readers_see_each_field_in_its_documented_type(how: Coding) -> None:
    coding = orders()
    frame = coding.frame(stored(coding.encode([ORDER], coding=how), offset=5), coding.schema)
    point = pl.Struct({"x": pl.Int64, "note": pl.String, "more": pl.String})
    assert dict(frame.schema) == {
        "id": pl.String,
        "at": pl.Datetime("us", "UTC"),
        "price": pl.String,
        "colour": pl.String,
        "day": pl.Date,
        "moment": pl.Time,
        "took": pl.Duration("us"),
        "tags": pl.List(pl.String),
        "point": point,
        "points": pl.List(point),
        "extra": pl.String,
        "anything": pl.String,
        "photo": pl.Binary,
        "_partition": pl.Int32,
        "_offset": pl.Int64,
        "_key": pl.Binary,
        "_event_time": pl.Datetime("us", "UTC"),
        "_append_time": pl.Datetime("us", "UTC"),
        "_headers": pl.Binary,
    }
    row = frame.row(0, named=True)
    assert row["id"] == "00000000-0000-0000-0000-000000000007"
    assert (row["price"], row["colour"], row["day"], row["took"]) == ("1.10", "blue", ORDER.day, ORDER.took)
    assert row["point"] is None
    assert row["points"] == [{"x": 1, "note": None, "more": "{}"}, {"x": 2, "note": "n", "more": '{"deep":[1]}'}]
    assert row["extra"] == '{"inf":null}'
    assert row["anything"] == '["2026-01-02T12:00:00Z","/w==",{"1":2}]'
    assert (row["_partition"], row["_offset"], row["_key"], row["_event_time"]) == (2, 5, row["id"].encode(), NOON)
    assert row["_append_time"] == datetime(1970, 1, 1, 0, 0, 0, 7, tzinfo=UTC)
    assert row["_headers"] is None


def test_what_json_text_cannot_hold_is_still_there_for_programs() -> None:
    coding = orders()
    batch = stored(coding.encode([ORDER], coding=Coding.COLUMNS))
    assert coding.records(merge([batch], [coding.schema], coding.schema, 1), coding.schema)[0].value == ORDER


def test_json_that_only_python_can_spell_is_text_all_the_same() -> None:
    cls = msgspec.defstruct("Event", [("a", Any)])
    coding: RecordCoding[Any] = RecordCoding(schema_of(cls), cls)
    odd = [cls({(1, 2): "pair"}), cls([msgspec.msgpack.Ext(5, b"x")]), cls(None)]
    frame = coding.frame(stored(coding.encode(odd)), coding.schema)
    assert frame["a"].to_list() == ['{"(1, 2)":"pair"}', '[{"code":5,"data":"eA=="}]', None]


def test_columns_come_in_the_order_asked_for_and_only_they() -> None:
    coding = events()
    batch = coding.encode([Event("a", 1), Event("b", 2)])
    frame = coding.frame(stored(batch), coding.schema, ["_offset", "number", "_key"])
    assert frame.columns == ["_offset", "number", "_key"]
    assert frame.rows() == [(0, 1, None), (1, 2, None)]
    assert coding.frame(stored(batch), coding.schema, []).columns == []
    with pytest.raises(
        SchemaError, match=r"there is no column 'nummer'; the columns are name, number, share, _partition, "
    ):
        coding.frame(stored(batch), coding.schema, ["nummer"])


def test_a_batch_is_an_arrow_file_that_other_programs_read() -> None:
    coding = events()
    batch = coding.encode([Event("a", 1, 0.5)], coding=Coding.COLUMNS, headers=[{"h": b"1"}], keys=[b"k"])
    frame = pl.read_ipc(io.BytesIO(batch.data))
    assert frame.columns == ["name", "number", "share", "_key", "_headers"]
    assert frame.row(0)[:4] == ("a", 1, 0.5, b"k")
    plain = coding.encode([Event("a", 1, 0.5)], coding=Coding.COLUMNS)
    assert pl.read_ipc(io.BytesIO(plain.data)).columns == ["name", "number", "share"]


def test_a_damaged_batch_is_a_storage_error() -> None:
    batch = stored(events().encode([Event("a")], coding=Coding.COLUMNS))
    torn = msgspec.structs.replace(batch, data=batch.data[: len(batch.data) // 2])
    for columns in (None, ["name"]):
        with pytest.raises(StorageCorruptError, match=r"a batch of columns cannot be read .* run `millstream doctor`"):
            frame_of(torn, events().schema, events().schema, columns)


def test_a_merged_batch_keeps_what_its_parts_said_only_where_they_differ() -> None:
    coding = orders()
    parts = [
        stored(coding.encode([ORDER]), offset=10, append_time_us=5),
        stored(coding.encode([ORDER], coding=Coding.COLUMNS), offset=11, append_time_us=5),
    ]
    merged = merge(parts, [coding.schema] * 2, coding.schema, 1)
    assert (merged.partition, merged.offset, merged.count, merged.append_time_us) == (2, 10, 2, 5)
    assert pl.read_ipc(io.BytesIO(merged.data)).columns == list(coding.schema.names)
    later = stored(coding.encode([ORDER], keys=[b"k"], times=[3]), offset=12, append_time_us=9)
    again = merge([merged, later], [coding.schema] * 2, coding.schema, 1)
    extra = [name for name in pl.read_ipc(io.BytesIO(again.data)).columns if name.startswith("_")]
    assert extra == ["_key", "_event_time", "_append_time"]
    records = coding.records(again, coding.schema)
    assert [(record.offset, record.append_time_us) for record in records] == [(10, 5), (11, 5), (12, 9)]
    assert (records[2].key, records[2].event_time_us) == (b"k", 3)
    noon_us = int(NOON.timestamp()) * 1_000_000
    assert (again.event_time_min_us, again.event_time_max_us) == (3, noon_us)


def test_a_merged_batch_without_event_times_says_when_its_appends_were() -> None:
    coding = events()
    parts = [stored(coding.encode([Event("a")]), offset=i, append_time_us=at) for i, at in enumerate([5, 9])]
    merged = merge(parts, [coding.schema] * 2, coding.schema, 1)
    # Its append time is the earliest: the range is what tells a reader of times that there are later ones.
    assert (merged.append_time_us, merged.event_time_min_us, merged.event_time_max_us) == (5, 5, 9)
    same = merge(parts[:1], [coding.schema], coding.schema, 1)
    assert (same.append_time_us, same.event_time_min_us, same.event_time_max_us) == (5, None, None)


def test_merging_under_a_schema_with_another_key_keeps_the_keys() -> None:
    class Later(msgspec.Struct):
        number: int = 0
        share: float | None = None

    old, new = schema_of(Event, key="name"), schema_of(Later)
    batch = stored(RecordCoding[Event](old, Event).encode([Event("a"), Event("b")]))
    merged = merge([batch], [old], new, 2)
    assert [record.key for record in RecordCoding[Later](new, Later).records(merged, new)] == [b"a", b"b"]


@pytest.mark.parametrize("how", ENCODINGS)
def test_a_default_that_came_later_fills_what_records_lacked(how: Coding) -> None:
    def event(**default: Any) -> Any:
        return msgspec.defstruct("Event", [("id", int), ("name", str, msgspec.field(**default))])

    old, new = schema_of(event(default_factory=lambda: "made by the call")), schema_of(event(default="fixed"))
    batch = stored(RecordCoding[Any](old).encode([{"id": 1}, {"id": 2, "name": "own"}], coding=how))
    by_schema: RecordCoding[Any] = RecordCoding(old)
    assert [record.value for record in by_schema.records(batch, old)] == [{"id": 1}, {"id": 2, "name": "own"}]
    assert frame_of(batch, old, old, ["name"])["name"].to_list() == [None, "own"]
    assert frame_of(batch, old, new, ["name"])["name"].to_list() == ["fixed", "own"]
    reader: RecordCoding[Any] = RecordCoding(new, event(default="fixed"))
    assert [record.value.name for record in reader.records(batch, old)] == ["fixed", "own"]


def test_a_frame_of_exact_types_is_accepted_and_read_back() -> None:
    coding = events()
    frame = pl.DataFrame({"share": [0.5, None], "name": ["a", "b"], "number": [1, 2]})
    batch = stored(coding.encode_frame(coding.check_frame(frame)))
    assert [record.value for record in coding.records(batch, coding.schema)] == [Event("a", 1, 0.5), Event("b", 2)]


def test_columns_of_a_frame_that_may_be_missing_have_their_defaults() -> None:
    coding = events()
    checked = coding.check_frame(pl.DataFrame({"name": ["a"]}))
    assert checked.rows() == [("a", 0, None)]
    assert checked.columns == ["name", "number", "share"]


def test_types_that_convert_without_loss_are_converted() -> None:
    coding = orders()
    frame = pl.DataFrame(
        {
            "id": ["00000000-0000-0000-0000-00000000000A"],
            "at": pl.Series([NOON], dtype=pl.Datetime("ns", "Europe/Amsterdam")),
            "price": pl.Series([Decimal("1.10")], dtype=pl.Decimal(10, 2)),
            "colour": pl.Series(["red"], dtype=pl.Categorical),
            "day": [date(2026, 1, 1)],
            "moment": [time(1, 2, 3)],
            "took": pl.Series([timedelta(seconds=1)], dtype=pl.Duration("ms")),
            "tags": pl.Series([["a", "b"]], dtype=pl.Array(pl.String, 2)),
            "point": pl.Series([{"x": 3, "more": '{"a":1}'}], dtype=pl.Struct({"x": pl.Int8, "more": pl.String})),
            "points": [[{"x": 4, "note": "n"}]],
            "extra": ['{"a": 1.5}'],
            "anything": [{"whole": [1, 2]}],
        }
    )
    value = coding.records(stored(coding.encode_frame(coding.check_frame(frame))), coding.schema)[0].value
    assert value == Order(
        id=UUID(int=10),
        at=NOON,
        price=Decimal("1.10"),
        colour=Colour.RED,
        day=date(2026, 1, 1),
        moment=time(1, 2, 3),
        took=timedelta(seconds=1),
        tags=["a", "b"],
        point=Point(3, None, {"a": 1}),
        points=[Point(4, "n")],
        extra={"a": 1.5},
        anything={"whole": [1, 2]},
    )


class Wide(msgspec.Struct):
    number: int = 0
    share: float = 0.0
    name: str = ""
    colour: Literal["red", "blue"] = "red"
    at: datetime = NOON
    price: Decimal = Decimal(0)
    extra: dict[str, int] = {}
    point: Point = Point(1)
    tags: list[str] = []


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (
            {"nummer": [1]},
            r"topic 'wide': the frame has the column 'nummer', which is no field; the fields are number, share",
        ),
        ({"number": [1.5]}, r"the column 'number' is Float64, and must be int"),
        ({"number": ["1"]}, r"the column 'number' is String, and must be int"),
        ({"number": [True]}, r"the column 'number' is Boolean, and must be int"),
        ({"number": pl.Series([2**63], dtype=pl.UInt64)}, r"the column 'number' \(UInt64\) has values outside Int64"),
        (
            {"number": [1, None]},
            r"the column 'number' has 1 nulls, the first in row 1, and the field is int; fill them, or",
        ),
        ({"share": ["x"]}, r"the column 'share' is String, and must be float"),
        ({"name": [b"x"]}, r"the column 'name' is Binary, and must be str"),
        ({"colour": ["red", "green"]}, r"the column 'colour' has 'green', and the field is one of 'blue', 'red'"),
        (
            {"at": [NOON.replace(tzinfo=None)]},
            r"the column 'at' is Datetime.*, and must be a datetime with a time zone: say wh",
        ),
        ({"at": [date(2026, 1, 1)]}, r"the column 'at' is Date, and must be datetime"),
        (
            {"at": pl.Series([1], dtype=pl.Int64).cast(pl.Datetime("ns", "UTC"))},
            r"the column 'at' .* has nanoseconds, and the log keeps microseconds; round them off first",
        ),
        ({"price": ["cheap"]}, r"the column 'price' has 'cheap', and the field is decimal"),
        ({"price": [1.5]}, r"the column 'price' is Float64, and must be decimal"),
        ({"extra": ["{"]}, r"row 0 of the column 'extra' is not the JSON of this field"),
        ({"extra": ['{"a": null}']}, r"is not the JSON of this field: Expected `int`, got `null`"),
        ({"point": [{"note": "n"}]}, r"the column 'point' lacks the field 'x' \(int\)"),
        ({"point": [{"x": 1, "z": 1}]}, r"the column 'point' has the field 'z', which the topic's .* lacks"),
        ({"point": [{"x": None}, {"x": 1}]}, r"the column 'point.x' has 1 nulls"),
        ({"point": [{"x": "1"}]}, r"the column 'point.x' is String, and must be int"),
        ({"point": [1]}, r"the column 'point' is Int64, and must be \{x: int"),
        ({"tags": ["a"]}, r"the column 'tags' is String, and must be list\[str\]"),
        ({"tags": [[1]]}, r"the column 'tags\[\]' is Int64, and must be str"),
        ({"tags": [["a", None]]}, r"the column 'tags\[\]' has 1 nulls"),
        ({"name": ["a"], "_key": ["k"]}, r"the column '_key' is String, and must be Binary"),
        ({"name": ["a"], "_headers": [b"\xc1"]}, r"row 0 of _headers is no msgpack map of str to bytes"),
    ],
)
def test_a_frame_that_does_not_fit_is_refused_with_the_column_and_what_was_found(column: Any, message: str) -> None:
    coding: RecordCoding[Wide] = RecordCoding(schema_of(Wide), Wide, topic="wide")
    with pytest.raises(SchemaError, match=message):
        coding.check_frame(pl.DataFrame(column))


def test_a_frame_without_a_required_column_is_refused() -> None:
    with pytest.raises(
        SchemaError, match=r"topic 'events': the frame has no column 'name' \(str\), which has no default; it"
    ):
        events().check_frame(pl.DataFrame({"number": [1]}))


def test_a_frame_that_was_read_goes_into_another_topic_with_its_keys_times_and_headers() -> None:
    source = orders()
    order = msgspec.structs.replace(ORDER, extra={"a": 1.5}, anything=[1, "x"])
    batch = source.encode([order, order], keys=[b"k", None], headers=[None, {"h": b"1"}])
    read = source.frame(stored(batch, append_time_us=5), source.schema)
    coding: RecordCoding[Order] = RecordCoding(schema_of(Order), Order, schema_id=1)
    checked = coding.check_frame(read)
    keys = coding.frame_key_column(checked)
    assert keys is not None
    assert keys.to_list() == [b"k", b"00000000-0000-0000-0000-000000000007"]
    copy = stored(coding.encode_frame(checked), append_time_us=99)
    records = coding.records(copy, coding.schema)
    assert [record.value for record in records] == [order, order]
    assert [record.key for record in records] == keys.to_list()
    assert [record.headers for record in records] == [{}, {"h": b"1"}]
    assert [record.event_time for record in records] == [NOON, NOON]
    assert [record.append_time_us for record in records] == [99, 99]
    assert copy.event_time_min_us == int(NOON.timestamp()) * 1_000_000


def test_slices_of_a_checked_frame_are_batches() -> None:
    coding = events()
    checked = coding.check_frame(pl.DataFrame({"name": [str(i) for i in range(10)]}))
    batches = [stored(coding.encode_frame(checked.slice(start, 4)), offset=start) for start in (0, 4, 8)]
    read = [record.value.name for batch in batches for record in coding.records(batch, coding.schema)]
    assert read == [str(i) for i in range(10)]


def test_records_without_any_field_keep_their_number() -> None:
    class Tick(msgspec.Struct):
        pass

    schema = schema_of(Tick)
    coding: RecordCoding[Tick] = RecordCoding(schema, Tick)
    for how in ENCODINGS:
        batch = stored(coding.encode([Tick(), Tick()], coding=how))
        assert [record.value for record in coding.records(batch, schema)] == [Tick(), Tick()]
        assert coding.frame(batch, schema)["_offset"].to_list() == [0, 1]
        merged = merge([batch, batch], [schema] * 2, schema, 1)
        assert [record.value for record in coding.records(merged, schema)] == [Tick()] * 4


def test_the_frame_schema_is_known_without_a_record() -> None:
    empty = pl.DataFrame(schema=frame_schema(schema_of(Event)))
    coding = events()
    assert empty.schema == coding.frame(stored(coding.encode([Event("a")])), coding.schema).schema
    assert list(frame_schema(Schema(fields=(), open=True))) == empty.columns[3:]


def test_a_keyword_only_dataclass_and_a_generic_class_come_back_from_columns() -> None:
    @dataclasses.dataclass(kw_only=True)
    class Keyword:
        colour: Colour
        points: tuple[Point, ...] = ()
        computed: int = dataclasses.field(init=False, default=3)

    for type, value in ((Keyword, Keyword(colour=Colour.RED, points=(Point(1),))), (Box[UUID], Box(UUID(int=1)))):
        coding: RecordCoding[Any] = RecordCoding(schema_of(type), type)
        for how in ENCODINGS:
            batch = stored(coding.encode([value], coding=how))
            assert coding.records(batch, coding.schema)[0].value == value
