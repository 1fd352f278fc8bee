"""Topics on both engines, as a user's program sees them."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pytest

from millstream import limits
from millstream.engines.connect import connect
from millstream.errors import (
    LimitExceededError,
    OffsetOutOfRangeError,
    SchemaError,
    TopicExistsError,
    UsageError,
)
from millstream.log import Log, OffsetRange, Retention
from millstream.records import Position


class Click(msgspec.Struct):
    visitor: str
    page: str
    load_ms: int


class Reading(msgspec.Struct):
    sensor: str
    at: datetime
    value: float


@dataclass
class Order:
    number: int
    items: list[str]
    note: str | None = None


@pytest.fixture(params=["memory", "sqlite"])
def log(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Log]:
    url = "memory://" if request.param == "memory" else str(tmp_path / "log.db")
    made = Log(connect(url))
    yield made
    made.close()


def clicks(count: int) -> list[Click]:
    return [Click(f"v{i % 7}", f"/{i % 3}", i) for i in range(count)]


# --- append and read ----------------------------------------------------------------------------------------------


def test_appended_record_is_read_back_with_key_and_times(log: Log) -> None:
    topic = log.topic("clicks", Click, key="visitor")
    before = datetime.now(UTC)
    assert topic.append(Click("ann", "/", 12)) == Position(0, 0)
    [record] = topic.read()
    assert record.value == Click("ann", "/", 12)
    assert (record.topic, record.partition, record.offset, record.key) == ("clicks", 0, 0, b"ann")
    assert before - timedelta(milliseconds=1) <= record.append_time <= datetime.now(UTC)
    assert record.event_time == record.append_time
    assert dict(record.headers) == {}


def test_given_key_headers_and_time_win_over_the_fields(log: Log) -> None:
    topic = log.topic("clicks", Click, key="visitor")
    moment = datetime(2020, 2, 29, 12, tzinfo=UTC)
    topic.append(Click("ann", "/", 1), key="bob", headers={"trace": "x", "raw": b"\x00"}, time=moment)
    [record] = topic.read()
    assert (record.key, dict(record.headers), record.event_time) == (b"bob", {"trace": b"x", "raw": b"\x00"}, moment)


def test_time_field_is_the_event_time(log: Log) -> None:
    topic = log.topic("readings", Reading, key="sensor", time="at")
    moment = datetime(2021, 1, 2, 3, 4, 5, 678, tzinfo=UTC)
    topic.append(Reading("a", moment, 1.5))
    assert topic.read()[0].event_time == moment


def test_dataclass_with_a_list_and_an_optional_comes_back_equal(log: Log) -> None:
    topic = log.topic("orders", Order)
    orders = [Order(1, ["tea", "milk"]), Order(2, [], "urgent")]
    topic.extend(orders)
    assert [record.value for record in topic.read()] == orders


def test_raw_topic_keeps_any_bytes(log: Log) -> None:
    topic = log.topic("raw")
    payloads = [b"", b"\x00\xff", b"x" * 100_000]
    topic.extend(payloads)
    assert [record.value for record in topic.read()] == payloads
    assert topic.frame().collect().get_column("value").to_list() == payloads


def test_extend_gives_the_range_and_keeps_the_order(log: Log) -> None:
    topic = log.topic("clicks", Click)
    assert topic.extend(clicks(10)) == [OffsetRange(0, 0, 10)]
    assert topic.extend(click for click in clicks(5)) == [OffsetRange(0, 10, 15)]
    assert topic.extend([]) == []
    assert [record.value.load_ms for record in topic.read()] == [*range(10), *range(5)]


@pytest.mark.parametrize(
    "count", [limits.ROWS_RECORDS_MAX - 1, limits.ROWS_RECORDS_MAX, limits.COLUMNS_RECORDS_MAX + 3]
)
def test_large_extend_reads_back_the_same_in_every_coding(log: Log, count: int) -> None:
    topic = log.topic("clicks", Click, key="visitor")
    sent = clicks(count)
    topic.extend(sent)
    read: list[Any] = []
    while records := topic.read(len(read), records_max=50_000):
        assert [record.offset for record in records] == list(range(len(read), len(read) + len(records)))
        read += [record.value for record in records]
    assert read == sent
    assert topic.frame().select("visitor", "page", "load_ms").collect().rows() == [
        (click.visitor, click.page, click.load_ms) for click in sent
    ]


def test_one_bad_value_stores_nothing_and_is_named(log: Log) -> None:
    topic = log.topic("clicks", Click)
    bad: Any = Click("ann", "/", "slow")  # type: ignore[arg-type]
    with pytest.raises(SchemaError, match="load_ms") as caught:
        topic.extend([*clicks(3), bad, *clicks(3)])
    assert caught.value.index == 3
    assert topic.info().records == 0


def test_one_bad_value_of_a_partitioned_topic_is_named_by_its_place(log: Log) -> None:
    topic = log.topic("clicks", Click, key="visitor", partitions=3)
    values = clicks(20)
    values[13] = Click("v6", "/", "slow")  # type: ignore[arg-type]
    with pytest.raises(SchemaError) as caught:
        topic.extend(values)
    assert caught.value.index == 13
    assert topic.info().records == 0


def test_records_of_a_key_stay_in_one_partition_in_order(log: Log) -> None:
    topic = log.topic("clicks", Click, key="visitor", partitions=4)
    topic.extend(clicks(100))
    for click in clicks(30):
        topic.append(click)
    sent = [*clicks(100), *clicks(30)]
    partitions_of: dict[bytes | None, set[int]] = {}
    for partition in range(4):
        read = topic.read(partition=partition)
        for key in {record.key for record in read}:
            partitions_of.setdefault(key, set()).add(partition)
            assert [record.value for record in read if record.key == key] == [
                click for click in sent if click.visitor.encode() == key
            ]
    assert all(len(partitions) == 1 for partitions in partitions_of.values())
    assert len(set.union(*partitions_of.values())) > 1
    assert topic.info().records == 130


FRAME = pl.DataFrame({"visitor": ["ann", "bob"], "page": ["/", "/"], "load_ms": [1, 1], "_key": [b"ann", b"eve"]})


@pytest.mark.parametrize(
    "append",
    [
        lambda topic: topic.extend([Click("ann", "/", 1), Click("bob", "/", 1)], keys=["ann", "eve"]),
        lambda topic: topic.extend(FRAME),
    ],
)
def test_a_key_other_than_the_key_field_is_refused_where_there_are_several_partitions(log: Log, append: Any) -> None:
    """Who takes one partition counts on all records with one value of the field being there."""
    topic = log.topic("clicks", Click, key="visitor", partitions=4)
    message = "key='eve' is not the value of its key field, 'bob'"
    with pytest.raises(SchemaError, match=message) as caught:
        append(topic)
    assert caught.value.index == 1
    with pytest.raises(SchemaError, match=message):
        topic.append(Click("bob", "/", 1), key="eve")
    assert set(topic.end_offsets().values()) == {0}


def test_a_key_that_is_that_of_the_key_field_may_be_given(log: Log) -> None:
    topic = log.topic("clicks", Click, key="visitor", partitions=4)
    topic.extend([Click("ann", "/", 1), Click("bob", "/", 1)], keys=["ann", None])
    assert sum(topic.end_offsets().values()) == 2


def test_records_without_a_key_spread_over_partitions(log: Log) -> None:
    topic = log.topic("clicks", Click, partitions=3)
    for click in clicks(9):
        topic.append(click)
    assert [p.end_offset for p in topic.info().partitions] == [3, 3, 3]


def test_limits_name_what_and_how_much(log: Log) -> None:
    topic = log.topic("raw")
    with pytest.raises(LimitExceededError, match="a record of 'raw' in bytes is 16,777,2"):
        topic.append(b"x" * (limits.RECORD_BYTES_MAX + 1))
    with pytest.raises(LimitExceededError, match="key"):
        topic.append(b"x", key="k" * (limits.KEY_BYTES_MAX + 1))
    with pytest.raises(LimitExceededError, match="headers"):
        topic.append(b"x", headers={"h": b"x" * limits.HEADER_BYTES_MAX})
    with pytest.raises(LimitExceededError, match="name"):
        log.topic("n" * (limits.NAME_CHARACTERS_MAX + 1))
    assert topic.info().records == 0


def test_many_large_records_are_split_into_batches_that_fit(log: Log) -> None:
    topic = log.topic("raw")
    topic.extend([bytes([i]) * 3_000_000 for i in range(20)])
    assert [record.value[0] for record in topic.read(records_max=100)] == list(range(20))


def test_append_async_of_many_tasks_stores_each_once(log: Log) -> None:
    topic = log.topic("clicks", Click)

    async def main() -> list[Position]:
        return await asyncio.gather(*(topic.append_async(click) for click in clicks(200)))

    positions = asyncio.run(main())
    assert sorted(position.offset for position in positions) == list(range(200))
    stored = {record.offset: record.value.load_ms for record in topic.read()}
    assert [stored[position.offset] for position in positions] == list(range(200))


def test_extend_async_reports_a_bad_value(log: Log) -> None:
    topic = log.topic("clicks", Click)
    bad: Any = [Click("a", "/", None)]  # type: ignore[arg-type]
    with pytest.raises(SchemaError):
        asyncio.run(topic.extend_async(bad))


# --- follow -------------------------------------------------------------------------------------------------------


def test_read_waits_for_the_next_record(log: Log) -> None:
    topic = log.topic("clicks", Click)
    ready = threading.Event()

    def write() -> None:
        ready.wait()
        topic.append(Click("ann", "/", 1))

    writer = threading.Thread(target=write)
    writer.start()
    ready.set()
    assert [record.value.load_ms for record in topic.read(wait="30s")] == [1]
    writer.join()
    assert topic.read(1, wait="10ms") == []


def test_tail_follows_what_is_appended_while_it_runs(log: Log) -> None:
    topic = log.topic("clicks", Click, partitions=2)
    topic.extend(clicks(4))
    seen: list[int] = []
    for record in topic.tail("start", wait="30s"):
        seen.append(record.value.load_ms)
        if len(seen) < 8:
            topic.append(Click("x", "/", 100 + len(seen)))
        if len(seen) == 11:
            break
    assert sorted(seen) == [0, 1, 2, 3, *range(101, 108)]


def test_tail_ends_when_nothing_comes_or_when_told(log: Log) -> None:
    topic = log.topic("clicks", Click)
    topic.extend(clicks(3))
    assert [r.offset for r in topic.tail("start", wait="20ms")] == [0, 1, 2]
    assert [r.offset for r in topic.tail(1, wait="20ms")] == [1, 2]
    assert list(topic.tail("end", stop=lambda: True)) == []


def test_tail_from_a_time_begins_with_what_was_appended_since(log: Log) -> None:
    topic = log.topic("clicks", Click)
    topic.extend(clicks(3))
    middle = topic.read(2)[0].append_time + timedelta(microseconds=1)
    while datetime.now(UTC) <= middle:
        pass
    topic.extend(clicks(2))
    assert [record.offset for record in topic.tail(middle, wait="20ms")] == [3, 4]


# --- frames and SQL -----------------------------------------------------------------------------------------------


def test_frame_is_the_log_at_the_moment_it_was_asked_for(log: Log) -> None:
    topic = log.topic("clicks", Click, key="visitor")
    topic.extend(clicks(10))
    frame = topic.frame()
    topic.extend(clicks(10))
    assert frame.collect().height == 10
    assert topic.frame().collect().get_column("_offset").to_list() == list(range(20))


def test_frame_has_the_fields_and_then_what_the_log_knows(log: Log) -> None:
    topic = log.topic("clicks", Click, key="visitor")
    topic.append(Click("ann", "/", 5), headers={"a": "b"})
    frame = topic.frame().collect()
    assert frame.columns == [
        "visitor", "page", "load_ms", "_partition", "_offset", "_key", "_event_time", "_append_time", "_headers",
    ]  # fmt: skip
    row = frame.row(0, named=True)
    assert (row["visitor"], row["_key"], row["_offset"], row["_partition"]) == ("ann", b"ann", 0, 0)
    assert msgspec.msgpack.decode(row["_headers"]) == {"a": b"b"}


def test_frame_over_offsets_and_over_event_times(log: Log) -> None:
    topic = log.topic("readings", Reading, time="at")
    start = datetime(2024, 1, 1, tzinfo=UTC)
    topic.extend([Reading("a", start + timedelta(hours=i), float(i)) for i in range(24)])
    topic.append(Reading("a", start + timedelta(hours=5, minutes=30), 99.0))
    assert topic.frame(3, 6).collect().get_column("value").to_list() == [3.0, 4.0, 5.0]
    day = topic.frame(start + timedelta(hours=5), start + timedelta(hours=7)).collect()
    assert day.get_column("value").to_list() == [5.0, 6.0, 99.0]
    assert topic.frame(100).collect().height == 0


def test_frame_pushes_columns_and_filters_down(log: Log) -> None:
    topic = log.topic("clicks", Click)
    topic.extend(clicks(5000))
    query = topic.frame().filter(pl.col("page") == "/1").select(pl.col("load_ms").sum())
    assert query.collect().item() == sum(click.load_ms for click in clicks(5000) if click.page == "/1")
    assert topic.frame().head(3).collect().height == 3
    assert topic.frame().select(pl.len()).collect().item() == 5000


def test_sql_over_one_topic_and_over_all(log: Log) -> None:
    topic = log.topic("clicks", Click)
    topic.extend(clicks(9))
    log.topic("pages.title").extend([b"x"])
    counted = topic.sql("select page, count(*) as n from clicks group by page order by page")
    assert counted.rows() == [("/0", 3), ("/1", 3), ("/2", 3)]
    assert topic.sql("select max(load_ms) as m from topic").item() == 8
    assert log.sql('select count(*) as n from "pages.title"').item() == 1
    with pytest.raises(UsageError, match=r"clicks, pages\.title"):
        log.sql("select * from nothing")
    with pytest.raises(UsageError, match="load_ms"):
        log.sql("select speed from clicks")
    with pytest.raises(UsageError, match="only queries that read"):
        log.sql("drop table clicks")


@pytest.fixture(params=["UTC", "Asia/Tokyo", "America/Los_Angeles"])
def machine_zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    if not hasattr(time, "tzset"):
        pytest.skip("the zone of a process cannot be changed here")
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("machine_zone")
def test_sql_compares_times_with_now_wherever_the_machine_is(log: Log) -> None:
    class Visit(msgspec.Struct):
        at: datetime
        word: str = "now()"

    now = datetime.now(UTC)
    visits = log.topic("visits", Visit)
    visits.extend([Visit(now - timedelta(hours=hours)) for hours in (1, 5, 50)])

    def count(where: str) -> int:
        return int(log.sql(f"SELECT count(*) FROM visits WHERE {where}").item())

    assert count("at > now() - INTERVAL '1 day'") == 2
    assert count("at > NOW ( ) - interval '3 hours'") == 1
    assert count("at < current_timestamp") == 3
    today = count("at >= current_date")  # midnight may come in between
    assert today in {
        sum((now - timedelta(hours=hours)).date() == day for hours in (1, 5, 50))
        for day in (now.date(), datetime.now(UTC).date())
    }
    assert count("word = 'now()' -- and now() < current_timestamp") == 3
    assert log.sql('SELECT word AS "current_date" FROM visits LIMIT 1').columns == ["current_date"]
    with pytest.raises(UsageError, match="times have a zone here: write TIMESTAMPTZ '2026"):
        count("at > TIMESTAMP '2026-01-01 00:00:00'")
    assert count("at > TIMESTAMPTZ '2026-01-01T00:00:00Z'") == 3


def test_sql_that_is_wrong_is_told_without_a_plan_and_with_what_to_write(log: Log) -> None:
    class Visit(msgspec.Struct):
        user: str

    log.topic("visits", Visit).append(Visit("ann"))
    with pytest.raises(UsageError) as raised:
        log.sql("select user from visits")
    assert str(raised.value).endswith("""the column of that name is meant by "user" in double quotes; tables: visits""")
    assert "plan" not in str(raised.value)
    assert log.sql('select "user" from visits').item() == "ann"
    with pytest.raises(UsageError, match="there is no column 'usr'; there are visits: user, _partition"):
        log.sql("select usr from visits")
    with pytest.raises(UsageError, match=r"unsupported function 'nothing'[^;]*; tables"):
        log.sql("select nothing(1) from visits")


def test_extend_takes_a_frame_and_refuses_one_that_does_not_fit(log: Log) -> None:
    topic = log.topic("clicks", Click)
    topic.extend(pl.DataFrame({"visitor": ["a", "b"], "page": ["/", "/x"], "load_ms": [1, 2]}))
    assert [record.value for record in topic.read()] == [Click("a", "/", 1), Click("b", "/x", 2)]
    with pytest.raises(SchemaError, match="load_ms"):
        topic.extend(pl.DataFrame({"visitor": ["a"], "page": ["/"], "load_ms": ["fast"]}))
    assert topic.info().records == 2


# --- types that change --------------------------------------------------------------------------------------------


def test_added_field_reads_old_records_with_its_default(log: Log) -> None:
    class Wider(msgspec.Struct):
        visitor: str
        page: str
        load_ms: int
        country: str = "?"

    log.topic("clicks", Click).extend(clicks(2))
    topic = log.topic("clicks", Wider)
    topic.append(Wider("z", "/z", 9, "CH"))
    assert [record.value.country for record in topic.read()] == ["?", "?", "CH"]
    assert topic.frame().collect().get_column("country").to_list() == ["?", "?", "CH"]
    # The older program goes on beside the newer one.
    old = log.topic("clicks", Click)
    old.append(Click("y", "/y", 3))
    assert [record.value.visitor for record in old.read()] == ["v0", "v1", "z", "y"]


def test_change_that_old_records_cannot_follow_is_refused(log: Log) -> None:
    class Other(msgspec.Struct):
        visitor: int
        page: str
        load_ms: int

    log.topic("clicks", Click).extend(clicks(2))
    with pytest.raises(SchemaError, match="visitor"):
        log.topic("clicks", Other)


def test_open_topic_learns_its_columns(log: Log) -> None:
    topic = log.topic("events", dict)
    topic.append({"a": 1})
    topic.extend([{"a": 2, "b": "x"}, {"a": 2.5, "c": {"d": [1]}}])
    assert [record.value for record in topic.read()] == [{"a": 1}, {"a": 2, "b": "x"}, {"a": 2.5, "c": {"d": [1]}}]
    frame = topic.frame().collect()
    assert frame.get_column("a").to_list() == [1.0, 2.0, 2.5]
    assert frame.get_column("b").to_list() == [None, "x", None]
    with pytest.raises(SchemaError, match="'a'"):
        topic.append({"a": "not a number"})
    assert log.topic("events").read()[0].value == {"a": 1}


BIG = 2**53 + 1


@pytest.mark.parametrize(
    "values", [[{"a": [BIG, 0.0]}], [{"a": BIG}, {"a": 0.5}], [{"a": {"b": 0.5}}, {"a": {"b": BIG}}]]
)
def test_integers_that_no_float_holds_are_kept_as_they_are(log: Log, values: list[dict[str, Any]]) -> None:
    topic = log.topic("events", dict)
    topic.extend(values)
    assert [record.value for record in topic.read()] == values


@pytest.mark.parametrize("values", [[0.5, BIG], [[0.5], [BIG]], [{"b": 0.5}, {"b": BIG}], [BIG, [0.5, BIG]]])
def test_integers_that_a_float_column_would_change_are_refused(log: Log, values: list[Any]) -> None:
    topic = log.topic("events", dict)
    topic.append({"a": values[0]})
    with pytest.raises(SchemaError):
        topic.append({"a": values[1]})
    assert [record.value for record in topic.read()] == [{"a": values[0]}]


def test_open_topic_widened_by_two_at_once_keeps_both_fields(log: Log) -> None:
    first, second = log.topic("events", dict), log.topic("events", dict)
    first.append({"a": 1})
    second.append({"b": 2})
    first.append({"c": 3})
    assert set(log.topic("events").frame().collect().columns) >= {"a", "b", "c"}


def test_number_of_partitions_cannot_change(log: Log) -> None:
    log.topic("clicks", Click, partitions=2)
    assert log.topic("clicks", Click).partitions == 2
    with pytest.raises(TopicExistsError, match="2 partition"):
        log.topic("clicks", Click, partitions=3)


def test_retention_is_kept_unless_given_anew(log: Log) -> None:
    log.topic("clicks", Click, retention=Retention(age="7d"))
    assert log.topic("clicks", Click).info().spec.retention_age_us == 7 * 86_400 * 1_000_000
    log.topic("clicks", Click, retention=Retention(size_bytes=10))
    spec = log.topic("clicks", Click).info().spec
    assert (spec.retention_age_us, spec.retention_bytes) == (None, 10)


def test_deleted_topic_is_gone_and_its_name_is_free(log: Log) -> None:
    topic = log.topic("clicks", Click)
    topic.extend(clicks(3))
    topic.group("g")
    topic.delete()
    assert log.topics() == []
    fresh = log.topic("clicks", Order)
    fresh.append(Order(1, []))
    assert [record.offset for record in fresh.read()] == [0]


def test_reading_outside_the_log_says_where_it_is(log: Log) -> None:
    topic = log.topic("clicks", Click)
    topic.extend(clicks(3))
    with pytest.raises(OffsetOutOfRangeError, match=r"\[0, 3\)"):
        topic.read(4)


@pytest.mark.parametrize("name", ["", "-a", ".a", "a..b", "a.", "a b", "a/b", "ä"])
def test_names_that_no_engine_could_keep_are_refused(log: Log, name: str) -> None:
    with pytest.raises(UsageError):
        log.topic(name)
