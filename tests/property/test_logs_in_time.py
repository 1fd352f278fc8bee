"""Records in the order of their time are a sorted list, whatever fits into memory."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millstream import App
from millstream.errors import StorageError
from millstream.logs.in_time import in_order_of_time

BEGIN = datetime(2026, 3, 1, tzinfo=UTC)


class Tick(msgspec.Struct, frozen=True):
    time: datetime
    text: str


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 20), st.text(max_size=5)), max_size=60),
    st.integers(1, 7),
    st.integers(2, 4),
    st.data(),
)
def test_rows_are_those_of_a_sorted_list(
    ticks: list[tuple[int, str]], run_records: int, runs_max: int, data: st.DataObject
) -> None:
    with App("memory://") as app:
        topic = app.topic("ticks", Tick, time="time")
        for second, text in ticks:
            topic.append(Tick(BEGIN + timedelta(seconds=second), text))
        start = data.draw(st.integers(0, len(ticks)))
        wanted = pl.col("time") != BEGIN
        looked: list[int] = []
        found = in_order_of_time(
            topic,
            start,
            len(ticks),
            wanted,
            run_records=run_records,
            runs_max=runs_max,
            read_records=3,
            looked=looked.append,
        )
        said = [((row["time"] - BEGIN).seconds, row["_offset"], row["text"]) for row in found]
    assert said == sorted((second, n, text) for n, (second, text) in enumerate(ticks) if n >= start and second)
    assert looked == sorted(looked)
    assert looked[-1:] == [len(ticks)][: len(ticks) - start]


def test_a_run_that_cannot_be_written_says_where_and_what_to_do() -> None:
    resource = pytest.importorskip("resource", reason="only POSIX bounds the size of files")
    with App("memory://") as app:
        topic = app.topic("ticks", Tick, time="time")
        topic.extend([Tick(BEGIN + timedelta(seconds=n), "x" * 100) for n in range(300)])
        bounds = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (5000, bounds[1]))
        try:
            with pytest.raises(StorageError, match=r"cannot be sorted by time in .*TMPDIR"):
                list(in_order_of_time(topic, 0, 300, pl.lit(True), run_records=100, read_records=100))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, bounds)
