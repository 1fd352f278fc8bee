"""Event times that a field has as well are kept once in a batch of columns."""

from __future__ import annotations

import io
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from millstream.log import columns

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


def frame_of(event_times: Sequence[datetime | None], at: Sequence[datetime | None]) -> pl.DataFrame:
    moment = pl.Datetime("us", "UTC")
    return pl.DataFrame(
        {"a": range(len(at)), "at": at, "_event_time": event_times},
        schema={"a": pl.Int64, "at": moment, "_event_time": moment},
    )


TIMES = [NOON + timedelta(seconds=i) for i in range(1000)]


def test_equal_times_are_kept_once() -> None:
    data = columns.write(frame_of(TIMES, TIMES))

    assert pl.read_ipc(io.BytesIO(data)).columns == ["a", "at", "_event_time=at"]
    assert columns.read(data).equals(frame_of(TIMES, TIMES))


@pytest.mark.parametrize(
    "asked",
    [[], ["_event_time"], ["at"], ["a"], ["at", "_event_time"], ["a", "_event_time"], ["_event_time", "_append_time"]],
)
def test_only_the_columns_asked_for_are_read(asked: list[str]) -> None:
    whole = frame_of(TIMES, TIMES)

    read = columns.read(columns.write(whole), asked)

    wanted = [name for name in whole.columns if name in asked]
    assert read.columns == wanted
    assert read.equals(whole.select(wanted))


@pytest.mark.parametrize(
    ("event_times", "at"),
    [
        ([NOON, NOON], [NOON, NOON + timedelta(microseconds=1)]),
        ([NOON, None], [NOON, NOON]),
        ([NOON, NOON], [NOON, None]),
        ([NOON, None], [NOON, None]),
        ([None, None], [None, None]),
    ],
)
def test_nulls_and_differences_are_kept(event_times: list[datetime | None], at: list[datetime | None]) -> None:
    whole = frame_of(event_times, at)

    data = columns.write(whole)

    assert columns.read(data).equals(whole)
    assert columns.read(data, ["_event_time"]).equals(whole.select("_event_time"))


def test_a_field_that_only_looks_like_the_times_is_not_taken_for_them() -> None:
    whole = frame_of(TIMES, TIMES).with_columns(pl.col("at").dt.replace_time_zone(None))

    data = columns.write(whole)

    assert pl.read_ipc(io.BytesIO(data)).columns == whole.columns
    assert columns.read(data).equals(whole)
