"""Frames of exactly the records asked for, however they were appended and wherever the pieces are cut."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import msgspec
import polars as pl
import pytest

from millstream.clock import SystemClock
from millstream.engines.connect import connect
from millstream.log.log import Log
from millstream.log.topic import Topic

START = datetime(2026, 3, 1, tzinfo=UTC)


class Reading(msgspec.Struct):
    sensor: str
    at: datetime | None
    value: float
    count: int = 0


@pytest.fixture(params=["memory", "sqlite"])
def log(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Log]:
    url = "memory://" if request.param == "memory" else f"sqlite:///{tmp_path / 'frames.db'}"
    made = Log(connect(url, clock=SystemClock()), housekeeping=False)
    yield made
    made.close()


def reading(i: int) -> Reading:
    at = None if i % 7 == 0 else START + timedelta(seconds=i)
    return Reading(f"s{i % 5}", at, i / 4, i)


def filled(log: Log) -> Topic[Reading]:
    """A topic with single appends, small ones and large ones beside one another; some keys, times and headers given."""
    topic = log.topic("readings", Reading, key="sensor", time="at")
    done = 0

    def some(count: int) -> list[Reading]:
        nonlocal done
        done += count
        return [reading(i) for i in range(done - count, done)]

    for _ in range(40):
        topic.append(some(1)[0])
    topic.append(some(1)[0], key="other", headers={"a": b"b"}, time=START)
    topic.extend(some(5000))
    topic.append(some(1)[0], headers={"c": b"d"})
    for count in (3, 200, 1, 900):
        topic.extend(some(count))
    topic.extend(some(80_000))
    for _ in range(10):
        topic.append(some(1)[0], time=START - timedelta(days=1))
    return topic


def truth(topic: Topic[Reading], start: int, end: int) -> list[tuple[object, ...]]:
    found = []
    while start < end:
        records = topic.read(start, records_max=end - start)
        found += [
            (r.value.sensor, r.value.at, r.value.value, r.value.count, r.offset, r.key, r.event_time, r.append_time)
            for r in records
        ]
        start = records[-1].offset + 1
    return found


COLUMNS = ["sensor", "at", "value", "count", "_offset", "_key", "_event_time", "_append_time"]


def test_a_frame_over_rows_and_columns_has_what_read_has(log: Log) -> None:
    topic = filled(log)
    end = topic.end_offsets()[0]
    assert topic.read_frame(0, end, columns=COLUMNS).rows() == truth(topic, 0, end)
    assert topic.read_frame(0, 47, columns=COLUMNS).rows() == truth(topic, 0, 47)


def test_headers_of_single_appends_stay_with_their_records(log: Log) -> None:
    topic = filled(log)
    headers = topic.read_frame(0, 6000, columns=["_headers"]).get_column("_headers")
    given = {i: msgspec.msgpack.decode(entry) for i, entry in enumerate(headers) if entry is not None}
    assert given == {40: {"a": b"b"}, 5041: {"c": b"d"}}


@pytest.mark.parametrize("seed", range(4))
def test_pieces_cut_anywhere_are_the_whole(log: Log, seed: int) -> None:
    topic = filled(log)
    end = topic.end_offsets()[0]
    whole = topic.read_frame(0, end)
    chosen = random.Random(seed)
    cuts = sorted({0, end, *(chosen.randrange(end) for _ in range(60)), *(chosen.randrange(100) for _ in range(20))})
    pieces = [topic.read_frame(a, b) for a, b in pairwise(cuts)]
    assert [piece.height for piece in pieces] == [b - a for a, b in pairwise(cuts)]
    assert pl.concat(pieces).equals(whole)


def test_a_batch_cut_for_some_columns_is_read_anew_for_others(log: Log) -> None:
    topic = filled(log)
    assert topic.read_frame(10_000, 10_010, columns=["count"]).columns == ["count"]
    assert topic.read_frame(10_010, 10_020, columns=["value", "_offset"]).columns == ["value", "_offset"]
    assert topic.read_frame(10_010, 10_012, columns=["count"]).get_column("count").to_list() == [10_010, 10_011]


def test_a_frame_given_up_halfway_leaves_no_thread_behind(log: Log) -> None:
    topic = filled(log)
    frames = topic._reader.frames(0, 0, 80_000, ["count"])
    assert next(frames).height
    frames.close()  # type: ignore[attr-defined]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("millstream-decode")]


def test_an_empty_range_has_the_columns(log: Log) -> None:
    topic = filled(log)
    assert topic.read_frame(10, 10, columns=["count"]).schema == {"count": pl.Int64()}
    assert topic.read_frame(70_000, 70_000).height == 0


@pytest.mark.parametrize("seed", range(3))
def test_values_come_with_what_the_log_knows_of_them(log: Log, seed: int) -> None:
    topic = filled(log)
    end = topic.end_offsets()[0]
    chosen = random.Random(seed)
    found: list[tuple[object, ...]] = []
    for a, b in pairwise(sorted({0, end, *(chosen.randrange(end) for _ in range(25))})):
        for values, beside in topic.read_values(a, b):
            assert len(values) == beside.height
            rows = beside.select("_offset", "_key", "_event_time", "_append_time").iter_rows()
            found += [(v.sensor, v.at, v.value, v.count, *row) for v, row in zip(values, rows, strict=True)]
    assert found == truth(topic, 0, end)


def test_nobody_gets_a_value_that_another_reader_may_have_changed(log: Log) -> None:
    topic = filled(log)
    [(values, _)] = topic.read_values(10_000, 10_010)
    values[0].count = -1
    [(rest, _)] = topic.read_values(10_010, 10_012)
    [(again, _)] = topic.read_values(10_000, 10_010)
    assert [value.count for value in rest] == [10_010, 10_011]
    assert again[0].count == 10_000


def test_values_are_appended_with_keys_and_times_as_columns(log: Log) -> None:
    topic = log.topic("plain", Reading)
    keys = pl.Series("_key", [b"a", None], dtype=pl.Binary)
    times = pl.Series("_event_time", [START, None], dtype=pl.Datetime("us", "UTC"))
    log.engine.append(topic.encode_with([reading(1), reading(2)], keys=keys, times=times))
    first, second = topic.read()
    assert (first.key, first.event_time) == (b"a", START)
    assert (second.key, second.event_time) == (None, second.append_time)
