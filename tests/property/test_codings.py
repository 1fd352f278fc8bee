"""Whatever a topic's type is: what goes in comes out, in rows, in columns, and after a merge."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any, Literal
from uuid import UUID

import msgspec
import polars as pl
from hypothesis import given, note, settings
from hypothesis import strategies as st

from millstream.engines.joining import join_rows
from millstream.log.batches import RecordCoding
from millstream.log.frames import frame_of, frame_schema
from millstream.log.infer import infer, widen
from millstream.log.merging import merge
from millstream.log.schema import Schema, check_evolution
from millstream.log.types import schema_of
from millstream.records import ENCODINGS, Coding, EncodedBatch, StoredBatch


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 9


class Point(msgspec.Struct, frozen=True):
    x: int
    label: str | None = None


@dataclasses.dataclass
class Place:
    name: str
    points: list[Point]
    seen: datetime | None = None


class Tree(msgspec.Struct):
    value: int
    children: list[Tree] = []


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
INTS = st.integers(-(2**63), 2**63 - 1)
FLOATS = st.floats(allow_nan=False)
ZONES = st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30)), timezone(timedelta(hours=-11))])
INSTANTS = st.datetimes(datetime(1, 1, 3), datetime(9999, 12, 29), timezones=ZONES)  # noqa: DTZ001 - the zone is drawn
DURATIONS = st.timedeltas(timedelta(days=-99_999_999), timedelta(days=99_999_999))
DECIMALS = st.decimals(allow_nan=False)
POINTS = st.builds(Point, INTS, st.none() | TEXT)
PLACES = st.builds(Place, TEXT, st.lists(POINTS, max_size=3), st.none() | INSTANTS)
TREES = st.recursive(
    st.builds(Tree, INTS), lambda inner: st.builds(Tree, INTS, st.lists(inner, max_size=2)), max_leaves=5
)
JSON = st.recursive(
    st.none() | st.booleans() | INTS | FLOATS | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)

SCALARS: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (bool, st.booleans()),
    (int, INTS),
    (float, FLOATS),
    (str, TEXT),
    (bytes, st.binary(max_size=12)),
    (datetime, INSTANTS),
    (date, st.dates()),
    (time, st.times()),
    (timedelta, DURATIONS),
    (Decimal, DECIMALS),
    (UUID, st.uuids()),
    (Colour, st.sampled_from(Colour)),
    (Level, st.sampled_from(Level)),
    (Literal["a", "b"], st.sampled_from(["a", "b"])),
    (Point, POINTS),
    (Place, PLACES),
]
HASHABLE = [pair for pair in SCALARS if pair[0] is not Place]
OTHERS: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (Any, JSON),
    (dict[str, int], st.dictionaries(TEXT, INTS, max_size=3)),
    (dict[str, datetime], st.dictionaries(TEXT, INSTANTS, max_size=3)),
    (dict[int, bytes], st.dictionaries(INTS, st.binary(max_size=3), max_size=3)),
    (int | str, INTS | TEXT),
    (tuple[int, str], st.tuples(INTS, TEXT)),
    (Tree, TREES),
]

Typed = tuple[Any, st.SearchStrategy[Any]]


def optional(pair: Typed) -> Typed:
    return pair[0] | None, st.none() | pair[1]


def listed(pair: Typed) -> Typed:
    return list[pair[0]], st.lists(pair[1], max_size=3)  # type: ignore[valid-type]


def tupled(pair: Typed) -> Typed:
    return tuple[pair[0], ...], st.lists(pair[1], max_size=3).map(tuple)  # type: ignore[valid-type]


def frozen(pair: Typed) -> Typed:
    return frozenset[pair[0]], st.frozensets(pair[1], max_size=3)  # type: ignore[valid-type]


PLAIN = st.sampled_from(SCALARS + OTHERS)
TYPES = (
    PLAIN
    | PLAIN.map(optional)
    | PLAIN.map(listed)
    | st.sampled_from(HASHABLE).map(frozen)
    | PLAIN.map(optional).map(listed).map(optional)
    | PLAIN.map(listed).map(tupled)
)


@st.composite
def topics(draw: st.DrawFn) -> tuple[Any, list[Any]]:
    """A class and some values of it."""
    columns = draw(st.lists(TYPES, min_size=1, max_size=4))
    rename: Any = draw(st.sampled_from(["camel", None, "kebab"]))
    cls = msgspec.defstruct(
        "Event",
        [(f"field_{i}", type) for i, (type, _) in enumerate(columns)],
        rename=rename,
        kw_only=draw(st.booleans()),
        omit_defaults=draw(st.booleans()),
    )
    made = st.fixed_dictionaries({f"field_{i}": strategy for i, (_, strategy) in enumerate(columns)})
    values = [cls(**fields) for fields in draw(st.lists(made, min_size=1, max_size=5))]
    return cls, values


def stored(batch: EncodedBatch, *, offset: int = 0, append_time_us: int = 1_000_000) -> StoredBatch:
    return StoredBatch(
        partition=0,
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


def values_of(coding: RecordCoding[Any], batch: StoredBatch, schema: Schema) -> list[Any]:
    return [record.value for record in coding.records(batch, schema)]


@given(topics())
@settings(max_examples=300, deadline=None)
def test_every_type_comes_back_equal_from_rows_columns_and_a_merge(topic: tuple[Any, list[Any]]) -> None:
    cls, values = topic
    schema = schema_of(cls)
    note(schema.describe())
    assert Schema.decode(schema.encode()) == schema
    coding: RecordCoding[Any] = RecordCoding(schema, cls, topic="events", schema_id=1)
    rows = stored(coding.encode(values, coding=Coding.ROWS))
    columns = stored(coding.encode(values, coding=Coding.COLUMNS), offset=len(values), append_time_us=2_000_000)
    merged = merge([rows, columns], [schema, schema], schema, 1)
    assert values_of(coding, rows, schema) == values
    assert values_of(coding, columns, schema) == values
    assert values_of(coding, merged, schema) == values + values
    assert coding.records_each(merged, schema) == coding.records(merged, schema)
    assert coding.records(merged, schema) == coding.records(rows, schema) + coding.records(columns, schema)


@given(topics())
@settings(max_examples=150, deadline=None)
def test_frames_and_dicts_are_the_same_whatever_the_coding(topic: tuple[Any, list[Any]]) -> None:
    cls, values = topic
    schema = schema_of(cls)
    coding: RecordCoding[Any] = RecordCoding(schema, cls)
    by_schema: RecordCoding[Any] = RecordCoding(schema)
    rows = stored(coding.encode(values, coding=Coding.ROWS))
    columns = stored(coding.encode(values, coding=Coding.COLUMNS))
    frame = coding.frame(rows, schema)
    assert frame.schema == pl.Schema(frame_schema(schema))
    assert frame.equals(coding.frame(columns, schema))
    assert by_schema.records(rows, schema) == by_schema.records(columns, schema)
    for name in frame.columns:
        assert coding.frame(columns, schema, [name]).equals(frame.select(name))
        assert coding.frame(rows, schema, [name]).equals(frame.select(name))


@given(topics())
@settings(max_examples=150, deadline=None)
def test_dicts_that_were_read_can_be_appended_again(topic: tuple[Any, list[Any]]) -> None:
    cls, values = topic
    schema = schema_of(cls)
    coding: RecordCoding[Any] = RecordCoding(schema, cls)
    by_schema: RecordCoding[Any] = RecordCoding(schema)
    rows = stored(coding.encode(values, coding=Coding.ROWS))
    for again in ENCODINGS:
        copy = stored(by_schema.encode(values_of(by_schema, rows, schema), coding=again))
        assert values_of(coding, copy, schema) == values


@given(topics())
@settings(max_examples=150, deadline=None)
def test_a_frame_that_was_read_can_be_appended_again(topic: tuple[Any, list[Any]]) -> None:
    cls, values = topic
    schema = schema_of(cls)
    coding: RecordCoding[Any] = RecordCoding(schema, cls)
    frame = coding.frame(stored(coding.encode(values)), schema)
    copy = stored(coding.encode_frame(coding.check_frame(frame)))
    assert coding.frame(copy, schema).equals(frame)


META = st.tuples(
    st.none() | st.binary(max_size=4),
    st.none() | st.integers(-(2**50), 2**50),
    st.none() | st.dictionaries(TEXT, st.binary(max_size=4), min_size=1, max_size=2),
)


class Event(msgspec.Struct):
    name: str | None
    moment: datetime | None
    number: int = 0


class Newer(msgspec.Struct):
    moment: datetime | None
    number: float
    colour: Colour = Colour.RED
    tags: list[str] = msgspec.field(default_factory=lambda: ["new"])
    point: Point = Point(3)
    more: dict[str, int] = {}
    note: str | None = None


EVENTS = st.builds(Event, st.none() | TEXT, st.none() | INSTANTS, INTS)
PARTS = st.lists(st.lists(st.tuples(EVENTS, META), min_size=1, max_size=4), min_size=1, max_size=5)


@given(PARTS, st.lists(st.sampled_from(ENCODINGS), min_size=5, max_size=5), st.booleans())
@settings(max_examples=200, deadline=None)
def test_keys_times_and_headers_survive_joining_and_merging(
    parts: list[list[tuple[Event, Any]]], codings: Sequence[Coding], derived: bool
) -> None:
    schema = schema_of(Event, key="name", time="moment") if derived else schema_of(Event)
    coding: RecordCoding[Event] = RecordCoding(schema, Event, schema_id=1)

    def encode(part: list[tuple[Event, Any]], how: Coding) -> EncodedBatch:
        keys, times, headers = zip(*(meta for _, meta in part), strict=True)
        return coding.encode([event for event, _ in part], keys=keys, times=times, headers=headers, coding=how)

    def expected(event: Event, meta: Any, append_time_us: int) -> tuple[Any, ...]:
        key, moment, headers = meta
        if derived and key is None and event.name is not None:
            key = event.name.encode()
        if derived and moment is None and event.moment is not None:
            moment = (event.moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
        return event, key, append_time_us if moment is None else moment, headers or {}, append_time_us

    def found(batch: StoredBatch) -> list[tuple[Any, ...]]:
        return [
            (record.value, record.key, record.event_time_us, record.headers, record.append_time_us)
            for record in coding.records(batch, schema)
        ]

    joined = stored(join_rows([encode(part, Coding.ROWS) for part in parts], 7), append_time_us=7)
    assert found(joined) == [expected(event, meta, 7) for part in parts for event, meta in part]

    batches, wanted, offset = [], [], 100
    for i, (part, how) in enumerate(zip(parts, codings, strict=False)):
        batches.append(stored(encode(part, how), offset=offset, append_time_us=1000 + i))
        wanted += [expected(event, meta, 1000 + i) for event, meta in part]
        assert found(batches[-1]) == wanted[-len(part) :]
        offset += len(part)
    merged = merge(batches, [schema] * len(batches), schema, 1)
    assert found(merged) == wanted
    assert [record.offset for record in coding.records(merged, schema)] == list(range(100, offset))
    again = merge([merged], [schema], schema, 1)
    assert found(again) == wanted
    whole = pl.concat([frame_of(batch, schema, schema) for batch in batches])
    assert frame_of(merged, schema, schema).equals(whole)
    lowest = min(moment for _, _, moment, _, _ in wanted)
    known = merged.event_time_min_us
    assert lowest == (merged.append_time_us if known is None else known)


@given(st.lists(EVENTS, min_size=1, max_size=4), st.sampled_from(ENCODINGS))
@settings(max_examples=60, deadline=None)
def test_records_of_an_older_type_read_as_the_newer_one(events: list[Event], how: Coding) -> None:
    old, new = schema_of(Event, key="name"), schema_of(Newer)
    check_evolution(old, new, "events")
    writer: RecordCoding[Event] = RecordCoding(old, Event, schema_id=1)
    reader: RecordCoding[Newer] = RecordCoding(new, Newer, schema_id=2)
    batch = stored(writer.encode(events, coding=how))
    wanted = [Newer(event.moment, float(event.number)) for event in events]
    assert values_of(reader, batch, old) == wanted
    merged = merge([batch, stored(reader.encode(wanted), offset=len(events))], [old, new], new, 2)
    assert values_of(reader, merged, new) == wanted + wanted
    keys = [None if event.name is None else event.name.encode() for event in events]
    assert [record.key for record in reader.records(batch, old)] == keys
    assert [record.key for record in reader.records(merged, new)][: len(events)] == keys
    frame = reader.frame(batch, old)
    assert frame.schema == pl.Schema(frame_schema(new))
    there = [name for name in frame.columns if name != "tags"]
    assert frame.select(there).equals(reader.frame(merged, new)[: len(events)].select(there))
    assert frame["tags"].to_list() == [None] * len(events)
    assert frame["point"].to_list() == [{"x": 3, "label": None}] * len(events)
    assert frame["more"].to_list() == ["{}"] * len(events)
    by_schema: RecordCoding[Any] = RecordCoding(new)
    assert values_of(by_schema, batch, old) == values_of(by_schema, merged, new)[: len(events)]


OBJECTS = st.lists(st.dictionaries(st.sampled_from(["a", "b c", "ü"]), JSON, max_size=3), min_size=1, max_size=6)


def without_nulls(value: Any) -> Any:
    """An absent field and a null one are the same in a column, and so are an int and a float that are equal."""
    if isinstance(value, dict):
        return {name: without_nulls(entry) for name, entry in value.items() if entry is not None}
    if isinstance(value, list):
        return [without_nulls(entry) for entry in value]
    return value


@given(OBJECTS)
@settings(max_examples=300, deadline=None)
def test_json_objects_come_back_from_the_schema_inferred_for_them(objects: list[dict[str, Any]]) -> None:
    schema = infer(objects)
    note(schema.describe())
    assert widen(schema, objects) is schema
    coding: RecordCoding[dict[str, Any]] = RecordCoding(schema, dict)
    rows = stored(coding.encode(objects, coding=Coding.ROWS))
    columns = stored(coding.encode(objects, coding=Coding.COLUMNS))
    assert without_nulls(values_of(coding, rows, schema)) == without_nulls(objects)
    assert values_of(coding, columns, schema) == values_of(coding, rows, schema)
    assert coding.frame(rows, schema).equals(coding.frame(columns, schema))


SHAPES: list[Callable[[Any], Any]] = [
    lambda n: {"a": n},
    lambda n: {"a": n, "b": {"x": n}},
    lambda n: {"a": n + 0.5, "b": {"x": n, "y": [str(n)]}, "c": []},
    lambda n: {"c": [{"z": n}, None], "d": None},
    lambda n: {"a": None, "d": True, "b": None},
    lambda n: {"b": {}, "c": None},
]


@given(st.lists(st.lists(st.sampled_from(range(len(SHAPES))), min_size=1, max_size=4), min_size=1, max_size=4))
@settings(max_examples=150, deadline=None)
def test_a_schema_that_was_widened_reads_all_that_came_before(calls: list[list[int]]) -> None:
    schema = Schema(fields=(), open=True)
    batches, schemas, wanted, offset = [], [], [], 0
    for call in calls:
        objects = [SHAPES[shape](offset + i) for i, shape in enumerate(call)]
        wider = widen(schema, objects)
        check_evolution(schema, wider, "events")
        schema = wider
        coding: RecordCoding[Any] = RecordCoding(schema, dict)
        for how in ENCODINGS:
            batches.append(stored(coding.encode(objects, coding=how), offset=offset))
            schemas.append(schema)
            wanted += objects
            offset += len(objects)
    coding = RecordCoding(schema, dict)
    read = [value for batch, at in zip(batches, schemas, strict=True) for value in values_of(coding, batch, at)]
    merged = merge(batches, schemas, schema, 9)
    assert without_nulls(read) == without_nulls(wanted)
    assert without_nulls(values_of(coding, merged, schema)) == without_nulls(wanted)
    frames = [coding.frame(batch, at) for batch, at in zip(batches, schemas, strict=True)]
    assert pl.concat(frames).equals(coding.frame(merged, schema))


@given(st.lists(st.binary(max_size=20), min_size=1, max_size=20))
@settings(deadline=None)
def test_raw_bytes_come_back(values: list[bytes]) -> None:
    schema = schema_of(None)
    coding: RecordCoding[bytes] = RecordCoding(schema)
    batches = [stored(coding.encode(values, coding=how), offset=i * len(values)) for i, how in enumerate(ENCODINGS)]
    merged = merge(batches, [schema] * 2, schema, 0)
    assert values_of(coding, batches[0], schema) == values_of(coding, batches[1], schema) == values
    assert values_of(coding, merged, schema) == values + values
    assert coding.frame(merged, schema)["value"].to_list() == values + values
