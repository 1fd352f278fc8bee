"""Records in the order of their time are a sorted list, whatever fits into memory."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from millstream import App
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
