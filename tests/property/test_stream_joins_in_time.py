"""As-of joins, joins with a table, and dedupe against brute force, however they are chopped and loaded again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millstream.stream import deduping
from millstream.stream.deduping import DedupeOperator, DedupeStep
from millstream.stream.joining import AsOfOperator, AsOfStep, TableOperator, TableStep, keyed_rows, versions
from millstream.stream.joining import newest as newest_row
from millstream.testing.operator_histories import NEVER_US, Event, History, Playing, histories, times_of

SCHEMAS = [pl.Schema({"k": pl.Int64(), side: pl.Int64()}) for side in "lr"]


@pytest.fixture(autouse=True, scope="module", params=["small", "large"])
def thresholds(request: pytest.FixtureRequest) -> Iterator[None]:
    """Few rows take the ways that only many take otherwise."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "small":
            patch.setattr(versions, "SPARE_ROWS", 2)
            patch.setattr(newest_row, "FEW", 1)
            patch.setattr(versions, "FEW", 0)
            patch.setattr(deduping, "ROUNDS", 1)
            patch.setattr(keyed_rows, "INDEXED_ROWS_MIN", 0)
            patch.setattr(keyed_rows, "FEW", 0)
            patch.setattr(keyed_rows, "RECENT_ROWS_MAX", 3)
            patch.setattr(keyed_rows, "INDEXES_MAX", 2)
        yield


def columns_of(events: Sequence[Event]) -> pl.DataFrame:
    rows = [(event.key, event.number) for event in events]
    return pl.DataFrame(rows, schema=SCHEMAS[events[0].port], orient="row")


def as_of_operator(step: AsOfStep) -> AsOfOperator:
    operator = AsOfOperator(step, b"p")
    for port, schema in enumerate(SCHEMAS):
        operator.bind(port, schema)
    return operator


def in_time(events: list[Event], allowed: int) -> list[Event]:
    return [event for event in events if event.watermark is None or event.time + allowed >= event.watermark]


def row_of_table(rows: list[Event], key: int | None, time: int, *, timeless: bool) -> Event | None:
    """Return the row of a table as of a time; `rows` in the order of the log."""
    found = newest(rows[::-1], key, time, -NEVER_US)
    if found is None and timeless and key is not None:
        found = min((row for row in rows if row.key == key), key=lambda row: row.time, default=None)
    return found


def newest(rows: list[Event], key: int | None, time: int, since: int) -> Event | None:
    """Return the newest row of a key from one time to another."""
    found = [row for row in rows if key is not None and row.key == key and since <= row.time <= time]
    return max(found, key=lambda row: row.time, default=None)


@settings(max_examples=200, deadline=None)
@given(histories(ports=(0, 0, 1)), st.sampled_from([None, None, 0, 4, 40]), st.sampled_from([0, 5]))
def test_as_of_joins_equal_brute_force(history: History, tolerance: int | None, lateness: int) -> None:
    step = AsOfStep(("k",), ("k",), tolerance_us=tolerance, lateness_us=lateness)
    playing = Playing(lambda: as_of_operator(step), columns_of)
    playing.play(history)
    good = in_time(history.events, lateness)
    # Of equal times the last one of the log counts: `max` returns the first it sees.
    rights = [event for event in good if event.port == 1][::-1]
    wanted = []
    for left in (event for event in good if event.port == 0):
        right = newest(rights, left.key, left.time, -NEVER_US if tolerance is None else left.time - tolerance)
        wanted.append((left.key, left.number, right.number if right else None, left.time))
    found = [
        (*row, time)
        for piece in playing.out
        for row, time in zip(piece.columns().select("k", "l", "r").rows(), times_of(piece), strict=True)
    ]
    assert Counter(found) == Counter(wanted)
    assert playing.operator.status().late == len(history.events) - len(good)
    if tolerance is not None:
        assert playing.operator.status().rows == 0


@settings(max_examples=200, deadline=None)
@given(histories(ports=(0, 0, 1)), histories(ports=(1,)), st.sampled_from(["inner", "left"]), st.booleans())
def test_table_joins_equal_brute_force(history: History, table: History, how: Any, timeless: bool) -> None:
    """The table is read first, as a stream does, without a watermark; changes follow. Every third row deletes."""
    step = TableStep(("k",), ("k",), how=how, timeless=timeless)

    def make() -> TableOperator:
        operator = TableOperator(step, b"p")
        for port, schema in enumerate(SCHEMAS):
            operator.bind(port, schema)
        return operator

    def columns(events: Sequence[Event]) -> pl.DataFrame:
        kept = pl.Series([event.port == 0 or event.number % 3 > 0 for event in events], dtype=pl.Boolean)
        return columns_of(events).with_columns(pl.when(kept).then(pl.col("lr"[events[0].port])))

    playing = Playing(make, columns)
    playing.read([msgspec.structs.replace(batch, watermark=None) for batch in table.batches])
    playing.play(history)
    found = [
        (*row, time, mark)
        for piece in playing.out
        for row, time, mark in zip(
            piece.columns().select("k", "l", "r").rows(), times_of(piece), piece.carried["_watermark"], strict=True
        )
    ]
    assert Counter(found) == Counter(table_rows(how, table, history, timeless=timeless))


def table_rows(how: str, table: History, history: History, *, timeless: bool) -> list[tuple[Any, ...]]:
    """Return what comes out when each record sees the rows that came before it in the history."""
    rows: list[Event] = [event for batch in table.batches for event in batch.events]
    wanted: list[tuple[Any, ...]] = []
    for batch in history.batches:
        for event in batch.events:
            if event.port == 1:
                rows.append(event)
                continue
            at = event.time if event.watermark is None else max(event.time, event.watermark)
            row = row_of_table(rows, event.key, at, timeless=timeless)
            number = row.number if row is not None and row.number % 3 > 0 else None
            if number is not None or how == "left":
                wanted.append((event.key, event.number, number, event.time, event.watermark))
    return wanted


@settings(max_examples=200, deadline=None)
@given(histories(ports=(0, 0), keys_of_partition=True), st.sampled_from([1, 5, 30]), st.sampled_from([0, 5]))
def test_dedupe_equals_brute_force(history: History, within: int, lateness: int) -> None:
    step = DedupeStep(("k",), within, lateness_us=lateness)
    playing = Playing(lambda: DedupeOperator(step, b"p"), columns_of)
    playing.play(history)
    good = in_time(history.events, within + lateness)
    wanted: list[Event] = []
    for event in good:
        near = [e for e in wanted if e.key == event.key and abs(e.time - event.time) < within]
        if event.key is None or not near:
            wanted.append(event)
    found = [number for piece in playing.out for number in piece.columns()["l"]]
    assert Counter(found) == Counter(event.number for event in wanted)
    assert playing.operator.status().late == len(history.events) - len(good)
    assert playing.operator.status().rows == 0
