"""Small frames are kept as rows, large ones as columns, and a reader cannot tell."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import polars as pl
import pytest

from millstream.log.batches import RecordCoding
from millstream.log.types import schema_of
from millstream.records import Coding, EncodedBatch, StoredBatch

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


class Result(msgspec.Struct):
    page: str
    window_start: datetime
    views: int
    slow: float | None = None
    seen: list[str] = []
    more: Any = None


def coding() -> RecordCoding[Result]:
    return RecordCoding(schema_of(Result, key="page", time="window_start"), Result, schema_id=3)


def stored(batch: EncodedBatch) -> StoredBatch:
    return StoredBatch(0, 10, batch.coding, batch.count, batch.data, batch.meta, batch.schema_id, 7, None, None)


def results(count: int) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "page": [f"p{i}" for i in range(count)],
            "window_start": [NOON] * count,
            "views": list(range(count)),
            "slow": [None if i % 2 else i / 3 for i in range(count)],
            "seen": [["a"] * (i % 3) for i in range(count)],
            "more": ['{"a":[1,null]}'] * count,
            "_key": [b"given" if i % 3 == 0 else None for i in range(count)],
            "_event_time": [None if i % 4 else NOON for i in range(count)],
            "_headers": [msgspec.msgpack.encode({"h": b"x"}) if i == 1 else None for i in range(count)],
        },
        schema_overrides={
            "window_start": pl.Datetime("us", "UTC"),
            "_event_time": pl.Datetime("us", "UTC"),
            "_key": pl.Binary(),
            "_headers": pl.Binary(),
        },
    )


@pytest.mark.parametrize("count", [1, 2, 32])
def test_a_small_frame_in_rows_reads_like_the_same_rows_of_a_large_one(count: int) -> None:
    used = coding()
    small = used.encode_frame(used.check_frame(results(count)))
    large = used.encode_frame(used.check_frame(results(100)))
    assert (small.coding, large.coding) == (Coding.ROWS, Coding.COLUMNS)
    assert small.schema_id == large.schema_id == 3
    read = used.frame(stored(small), used.schema)
    assert read.equals(used.frame(stored(large), used.schema).head(count))
    assert used.records(stored(small), used.schema) == used.records(stored(large), used.schema)[:count]


def test_a_small_frame_of_what_python_has_no_value_for_stays_columns() -> None:
    used = coding()
    far = results(2).with_columns(
        pl.Series("window_start", [2**60, 0], dtype=pl.Int64).cast(pl.Datetime("us", "UTC")),
    )
    batch = used.encode_frame(used.check_frame(far))
    assert batch.coding is Coding.COLUMNS
    assert used.frame(stored(batch), used.schema).get_column("window_start").cast(pl.Int64).to_list() == [2**60, 0]


def test_an_open_topic_takes_small_frames_too() -> None:
    schema = schema_of(Result, key="page")
    used: RecordCoding[Any] = RecordCoding(schema, dict, schema_id=1)
    frame = results(3).drop("_key", "_event_time", "_headers")
    batch = used.encode_frame(used.check_frame(frame))
    assert batch.coding is Coding.ROWS
    values = [record.value for record in used.records(stored(batch), schema)]
    assert [value["views"] for value in values] == [0, 1, 2]
    assert values[1]["slow"] is None
    assert used.frame(stored(batch), schema).get_column("_key").to_list() == [b"p0", b"p1", b"p2"]
