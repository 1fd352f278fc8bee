"""Records as rows: what is accepted, what is refused and how, and one bad record among good ones."""

from __future__ import annotations

import enum
from datetime import UTC, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID

import msgspec
import pytest

from millstream.engines.joining import join_meta, join_rows
from millstream.errors import SchemaError, StorageCorruptError, UsageError
from millstream.log.batches import BadRecord, RecordCoding
from millstream.log.rows import array_header, decode_meta, encode_meta, split
from millstream.log.schema import Schema
from millstream.log.types import schema_of
from millstream.records import ENCODINGS, Coding, EncodedBatch, Record, StoredBatch

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


class Colour(enum.Enum):
    RED = "red"


class Click(msgspec.Struct):
    visitor: str
    load_ms: int
    moment: datetime
    price: Decimal = Decimal("1.50")
    note: str | None = None


class Special(Click):
    pass


GOOD = [Click(f"v{i}", i, NOON + timedelta(seconds=i)) for i in range(3)]


def clicks(type: Any = Click, **roles: str) -> RecordCoding[Any]:
    return RecordCoding(schema_of(Click, **roles), type, topic="clicks", schema_id=1)


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


@pytest.mark.parametrize("count", [0, 1, 15, 16, 65_535, 65_536])
def test_rows_are_a_msgpack_array_without_its_header(count: int) -> None:
    whole = msgspec.msgpack.encode([7] * count)
    assert array_header(count) + b"\x07" * count == whole
    assert split(b"\x07" * count, count) == [b"\x07"] * count


def test_a_record_reads_as_it_was_written_with_its_place_and_times() -> None:
    coding = clicks(key="visitor", time="moment")
    batch = coding.encode(GOOD)
    assert (batch.coding, batch.count, batch.schema_id, batch.meta) == (Coding.ROWS, 3, 1, None)
    moment_us = int(NOON.timestamp()) * 1_000_000
    assert (batch.event_time_min_us, batch.event_time_max_us) == (moment_us, moment_us + 2_000_000)
    records = coding.records(stored(batch, offset=40), coding.schema)
    assert records[1] == Record("clicks", 2, 41, GOOD[1], b"v1", {}, moment_us + 1_000_000, 7)


def test_without_key_and_time_fields_there_is_no_key_and_the_event_time_is_the_append_time() -> None:
    coding = clicks()
    batch = coding.encode(GOOD)
    assert (batch.event_time_min_us, batch.event_time_max_us) == (None, None)
    record = coding.records(stored(batch, append_time_us=99), coding.schema)[0]
    assert (record.key, record.headers, record.event_time_us, record.append_time_us) == (None, {}, 99, 99)


def test_what_is_given_with_a_record_wins_over_its_fields() -> None:
    coding = clicks(key="visitor", time="moment")
    batch = coding.encode(GOOD, keys=[b"mine", None, None], times=[5, None, None], headers=[None, {"h": b"1"}, None])
    first, second, third = coding.records(stored(batch), coding.schema)
    assert (first.key, first.event_time_us, first.headers) == (b"mine", 5, {})
    assert (second.key, second.event_time_us, second.headers) == (b"v1", third.event_time_us - 1_000_000, {"h": b"1"})
    assert batch.event_time_min_us == 5


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (Click("v", "slow", NOON), r"field 'load_ms': Expected `int`, got `str`"),  # type: ignore[arg-type]
        (Click("v", 2**63, NOON), r"field 'load_ms': Expected `int` <= 9223372036854775807"),
        (Click("v", -(2**70), NOON), r"can't serialize ints < -2\*\*63"),
        (Click("v", True, NOON), r"field 'load_ms': Expected `int`, got `bool`"),
        (Click("v", 1, NOON.replace(tzinfo=None)), r"field 'moment': Expected `datetime` with a timezone component"),
        (Click(None, 1, NOON), r"field 'visitor': Expected `str`, got `None`"),  # type: ignore[arg-type]
        (Click("\ud800", 1, NOON), r"surrogates not allowed"),
        (Click("v", 1, NOON, note=object()), r"Encoding objects of type object is unsupported"),  # type: ignore[arg-type]
        (Special("v", 1, NOON), r"is of type Special, and the topic takes Click; a subclass may have other fields"),
        (
            {"visitor": "v"},
            r"is of type dict, and the topic takes Click; make it one with msgspec.convert\(value, Click\)",
        ),
        ("v", r"is of type str, and the topic takes Click"),
    ],
)
@pytest.mark.parametrize("how", ENCODINGS)
def test_a_bad_value_is_refused_with_its_place_and_field(bad: Any, message: str, how: Coding) -> None:
    with pytest.raises(SchemaError, match=rf"topic 'clicks': record 2 of 4 .*{message}") as caught:
        clicks().encode([*GOOD[:2], bad, GOOD[2]], coding=how)
    assert caught.value.index == 2
    with pytest.raises(SchemaError, match="topic 'clicks': the record "):
        clicks().encode([bad], coding=how)


def test_a_number_too_large_for_a_duration_is_refused_in_both_codings() -> None:
    coding: RecordCoding[Any] = RecordCoding(schema_of(cls := msgspec.defstruct("Event", [("took", timedelta)])), cls)
    for how in ENCODINGS:
        kept = coding.encode([cls(timedelta(days=-99_999_999)), cls(timedelta(days=99_999_999))], coding=how)
        assert len(coding.records(stored(kept), coding.schema)) == 2
        with pytest.raises(SchemaError, match="field 'took'"):
            coding.encode([cls(timedelta.max)], coding=how)
        with pytest.raises(SchemaError, match="field 'took'"):
            coding.encode([cls(timedelta(days=100_000_000))], coding=how)


def test_a_time_of_day_with_a_zone_is_refused_in_both_codings() -> None:
    coding: RecordCoding[Any] = RecordCoding(schema_of(cls := msgspec.defstruct("Event", [("at", time)])), cls)
    for how in ENCODINGS:
        with pytest.raises(SchemaError, match="field 'at'"):
            coding.encode([cls(time(1, 2, tzinfo=UTC))], coding=how)


def test_what_an_inner_dict_or_union_takes_is_checked_against_the_class() -> None:
    class Event(msgspec.Struct):
        counts: dict[str, int]
        either: int | str = 0

    coding: RecordCoding[Any] = RecordCoding(schema_of(Event), Event)
    for how in ENCODINGS:
        with pytest.raises(SchemaError, match=r"field 'counts\[...\]': Expected `int`, got `str`"):
            coding.encode([Event({"a": "b"})], coding=how)  # type: ignore[dict-item]
        with pytest.raises(SchemaError, match=r"field 'either': Expected `int \| str`, got `float`"):
            coding.encode([Event({}, 1.5)], coding=how)  # type: ignore[arg-type]


def test_dicts_are_taken_where_the_topic_has_a_schema_and_no_class() -> None:
    coding = clicks(None, key="visitor", time="moment")
    written = {"visitor": "v", "load_ms": 1, "moment": "2026-01-02T12:00:00+02:00", "price": "2.50"}
    for how in ENCODINGS:
        record = coding.records(stored(coding.encode([written], coding=how)), coding.schema)[0]
        moment = datetime(2026, 1, 2, 10, tzinfo=UTC)
        assert record.value == {
            "visitor": "v",
            "load_ms": 1,
            "moment": moment,
            "price": Decimal("2.50"),
            "note": None,
        }
        assert (record.key, record.event_time) == (b"v", moment)


@pytest.mark.parametrize("how", ENCODINGS)
def test_dicts_are_stored_in_the_one_spelling_of_each_type(how: Coding) -> None:
    cls = msgspec.defstruct("Event", [("id", UUID), ("price", Decimal), ("share", float)])
    coding: RecordCoding[Any] = RecordCoding(schema_of(cls, key="id"))
    batch = coding.encode([{"id": "00000000-0000-0000-0000-00000000ABCD", "price": 2, "share": 1}], coding=how)
    frame = coding.frame(stored(batch), coding.schema, ["id", "price", "share", "_key"])
    assert frame.rows() == [("00000000-0000-0000-0000-00000000abcd", "2", 1.0, b"00000000-0000-0000-0000-00000000abcd")]
    record = coding.records(stored(batch), coding.schema)[0]
    assert record.value == {"id": UUID(int=0xABCD), "price": Decimal(2), "share": 1.0}


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"load_ms": 1, "moment": NOON}, r"the record does not fit: Object missing required field `visitor`"),
        ({"visitor": "v", "load_ms": 1, "moment": NOON, "vistor": 1}, r"Object contains unknown field `vistor`"),
        ({"visitor": "v", "load_ms": 1.5, "moment": NOON}, r"field 'load_ms': Expected `int`, got `float`"),
        (GOOD[0], r"is of type Click, and the topic takes dict"),
    ],
)
@pytest.mark.parametrize("how", ENCODINGS)
def test_dicts_that_do_not_fit_are_refused(bad: Any, message: str, how: Coding) -> None:
    with pytest.raises(SchemaError, match=message):
        clicks(None).encode([bad], coding=how)


def test_keys_are_spelled_the_same_in_rows_and_columns() -> None:
    spelled: list[tuple[Any, Any, bytes | None]] = [
        (str, "käse", "käse".encode()),
        (int, -12, b"-12"),
        (bytes, b"\xff\x00", b"\xff\x00"),
        (UUID, UUID(int=5), b"00000000-0000-0000-0000-000000000005"),
        (Colour, Colour.RED, b"red"),
        (str | None, None, None),
    ]
    for annotation, key, wanted in spelled:
        cls = msgspec.defstruct("Event", [("key", annotation)])
        coding: RecordCoding[Any] = RecordCoding(schema_of(cls, key="key"), cls)
        by_schema: RecordCoding[Any] = RecordCoding(coding.schema)
        assert coding.keys([cls(key)]) == [wanted]
        for how in ENCODINGS:
            batch = stored(coding.encode([cls(key)], coding=how))
            assert coding.records(batch, coding.schema)[0].key == wanted
            assert by_schema.records(batch, coding.schema)[0].key == wanted
            assert coding.frame(batch, coding.schema)["_key"].to_list() == [wanted]


def test_event_times_are_exact_whatever_the_zone() -> None:
    coding = clicks(time="moment")
    moments = [
        datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
        datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=5, minutes=45))),
        datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
    ]
    values = [Click("v", 1, moment) for moment in moments]
    assert coding.event_times(values) == [-1, 1767204900000000, 253402300799999999]
    assert [record.event_time for record in coding.records(stored(coding.encode(values)), coding.schema)] == moments


def test_keys_and_times_of_what_lacks_them_are_errors_with_the_place() -> None:
    coding = clicks(None, key="visitor", time="moment")
    with pytest.raises(SchemaError, match=r"record 1 of 2 has no field 'visitor'") as caught:
        coding.keys([{"visitor": "v"}, {}])
    assert caught.value.index == 1
    with pytest.raises(
        SchemaError, match=r"the event time 'moment' must be a datetime with a time zone, .* and is 'soon'"
    ):
        coding.event_times([{"moment": "soon"}])


class Picky(msgspec.Struct):
    number: Annotated[int, msgspec.Meta(le=10)]

    def __post_init__(self) -> None:
        if self.number == 5:
            raise LookupError("five is not in the table")


@pytest.mark.parametrize("how", ENCODINGS)
def test_a_record_that_the_class_refuses_does_not_hide_the_others(how: Coding) -> None:
    schema = schema_of(cls := msgspec.defstruct("Any", [("number", int)]), key="number")
    writer: RecordCoding[Any] = RecordCoding(schema, cls)
    reader: RecordCoding[Picky] = RecordCoding(schema, Picky, topic="numbers")
    batch = stored(writer.encode([cls(1), cls(5), cls(11), cls(2)], coding=how, headers=[{"h": b"1"}] * 4), offset=10)
    first, second, third, fourth = reader.records_each(batch, schema)
    assert isinstance(first, Record)
    assert (first.value, first.offset, first.key, first.headers) == (Picky(1), 10, b"1", {"h": b"1"})
    assert isinstance(fourth, Record)
    assert (fourth.value, fourth.offset) == (Picky(2), 13)
    assert isinstance(second, BadRecord)
    assert second.error == "topic 'numbers': cannot be read: five is not in the table"
    assert isinstance(third, BadRecord)
    assert "Expected `int` <= 10" in third.error
    assert (third.record.offset, third.record.key) == (12, b"11")
    assert msgspec.msgpack.decode(third.record.value) == {"number": 11}


@pytest.mark.parametrize("how", ENCODINGS)
def test_reading_a_record_that_the_class_refuses_is_a_schema_error(how: Coding) -> None:
    schema = schema_of(cls := msgspec.defstruct("Any", [("number", int)]))
    batch = stored(RecordCoding[Any](schema, cls).encode([cls(1), cls(11)], coding=how))
    with pytest.raises(SchemaError, match=r"topic 'numbers': .*cannot be read: field 'number': Expected `int` <= 10"):
        RecordCoding[Picky](schema, Picky, topic="numbers").records(batch, schema)


@pytest.mark.parametrize("how", ENCODINGS)
def test_a_class_that_forbids_unknown_fields_reads_records_that_have_removed_ones(how: Coding) -> None:
    class Strict(msgspec.Struct, forbid_unknown_fields=True):
        visitor: str

    coding: RecordCoding[Strict] = RecordCoding(schema_of(Strict), Strict)
    written = schema_of(Click)
    batch = stored(clicks().encode(GOOD, coding=how))
    assert [record.value for record in coding.records(batch, written)] == [Strict(f"v{i}") for i in range(3)]
    assert coding.records_each(batch, written) == coding.records(batch, written)


@pytest.mark.parametrize("how", ENCODINGS)
def test_a_class_that_leaves_out_defaults_is_read_with_them(how: Coding) -> None:
    class Sparse(msgspec.Struct, omit_defaults=True):
        number: int = 5
        names: list[str] = []
        note: str | None = None

    schema = schema_of(Sparse)
    coding: RecordCoding[Sparse] = RecordCoding(schema, Sparse)
    batch = stored(coding.encode([Sparse(), Sparse(6, ["a"], "b")], coding=how))
    assert [record.value for record in coding.records(batch, schema)] == [Sparse(), Sparse(6, ["a"], "b")]
    dicts = [record.value for record in RecordCoding[Any](schema).records(batch, schema)]
    assert dicts == [{"number": 5, "names": [], "note": None}, {"number": 6, "names": ["a"], "note": "b"}]
    assert coding.frame(batch, schema, ["number", "names"]).rows() == [(5, []), (6, ["a"])]


def test_meta_is_absent_where_nothing_was_given_and_filled_where_batches_join() -> None:
    assert encode_meta(2, None, [None, None], None) is None
    given = encode_meta(2, [b"k", None], None, [None, {"h": b"v"}])
    assert join_meta([(None, 3), (None, 1)]) is None
    joined = join_meta([(None, 1), (given, 2), (None, 1)])
    assert joined is not None
    nothing = (None, None, None)
    assert decode_meta(joined, 4) == [nothing, (b"k", None, None), (None, None, {"h": b"v"}), nothing]
    with pytest.raises(UsageError, match="2 values came with 3 keys, times or headers; give one for each value"):
        encode_meta(2, [None] * 3, None, None)


def test_joined_rows_are_one_batch() -> None:
    coding = clicks(time="moment")
    parts = [coding.encode(GOOD[:1]), coding.encode(GOOD[1:], keys=[b"k", None])]
    joined = join_rows(parts, now_us=7)
    assert joined.count == 3
    assert joined.event_time_min_us == parts[0].event_time_min_us
    assert joined.event_time_max_us == parts[1].event_time_max_us
    records = coding.records(stored(joined), coding.schema)
    assert [record.value for record in records] == GOOD
    assert [record.key for record in records] == [None, b"k", None]


def test_joined_rows_without_an_event_time_count_as_appended_now() -> None:
    coding = clicks()
    joined = join_rows([coding.encode(GOOD[:1], times=[3]), coding.encode(GOOD[1:])], now_us=7)
    assert (joined.event_time_min_us, joined.event_time_max_us) == (3, 7)
    assert join_rows([coding.encode(GOOD), coding.encode(GOOD)], now_us=7).event_time_min_us is None


def test_raw_topics_take_bytes_and_say_so() -> None:
    coding: RecordCoding[Any] = RecordCoding(schema_of(None), topic="pings")
    batch = coding.encode([b"", b"\xff"])
    assert [record.value for record in coding.records(stored(batch), coding.schema)] == [b"", b"\xff"]
    for how in ENCODINGS:
        with pytest.raises(
            SchemaError, match="the record is of type str, and the topic takes bytes; encode the text, or"
        ):
            coding.encode(["text"], coding=how)


def test_damaged_rows_are_a_storage_error_that_names_the_doctor() -> None:
    coding = clicks()
    batch = coding.encode(GOOD)
    torn = stored(msgspec.structs.replace(batch, data=batch.data[:-3]))
    with pytest.raises(StorageCorruptError, match=r"topic 'clicks': a batch of 3 records .*run `millstream doctor`"):
        coding.records(torn, coding.schema)
    with pytest.raises(StorageCorruptError, match="a batch of 3 records cannot be decoded"):
        coding.frame(torn, coding.schema)


def test_large_calls_are_columns_and_small_ones_rows() -> None:
    class Tick(msgspec.Struct):
        n: int

    coding: RecordCoding[Tick] = RecordCoding(schema_of(Tick), Tick)
    assert coding.encode([Tick(i) for i in range(4095)]).coding is Coding.ROWS
    large = coding.encode([Tick(i) for i in range(4096)])
    assert large.coding is Coding.COLUMNS
    assert [record.value.n for record in coding.records(stored(large), coding.schema)] == list(range(4096))
    assert isinstance(coding.schema, Schema)
