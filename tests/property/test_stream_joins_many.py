"""Joins of many rows, in micro-batches of one record to twenty thousand, against one query over all of them."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

import polars as pl
import pytest

from millstream.stream.deduping import DedupeOperator, DedupeStep
from millstream.stream.joining import AsOfOperator, AsOfStep, JoinOperator, JoinStep, TableOperator, TableStep
from millstream.stream.operators import Operator
from millstream.stream.piece import Piece
from millstream.stream.windows import Tumbling

ROWS = 90_000
SPAN_US = 1_000_000


def events(name: str, rows: int, keys: int, seed: int) -> pl.DataFrame:
    """Return rows by event time: a key, a number, and the event time as `t`."""
    chance = Random(seed)
    times = sorted(chance.choices(range(SPAN_US), k=rows))
    key = [f"k{chance.randrange(keys)}" for _ in times]
    return pl.DataFrame({"k": key, name: range(rows), "t": times})


def pieces(frame: pl.DataFrame, chance: Random) -> Iterator[tuple[int, Piece]]:
    """Return pieces of a frame with the event time of their last record."""
    moment = pl.col("t").cast(pl.Datetime("us", "UTC")).alias("_event_time")
    carried = frame.select(
        pl.lit(None, dtype=pl.Binary).alias("_key"), moment, pl.col("t").shift(1).alias("_watermark")
    )
    start = 0
    while start < frame.height:
        size = chance.choice([1, 3, 300, 5000, 20_000])
        part = slice(start, start + size)
        yield frame["t"][min(start + size, frame.height) - 1], Piece(carried[part], columns=frame[part].drop("t"))
        start += size


def play(make: Any, *inputs: pl.DataFrame) -> pl.DataFrame:
    """Return what comes out of an operator; it is stored and loaded again now and then."""
    chance = Random(3)
    operator: Operator = make()
    for port, frame in enumerate(inputs):
        operator.bind(port, frame.drop("t").schema)
    feeds = [pieces(frame, chance) for frame in inputs]
    heads = [next(feed, None) for feed in feeds]
    marks = [-1] * len(inputs)
    state: dict[bytes, bytes] = {}
    out: list[Piece] = []
    while any(head is not None for head in heads):
        # The input that is behind comes next, or, now and then, the other one.
        order = sorted(range(len(heads)), key=lambda port: marks[port] + chance.randrange(SPAN_US // 10))
        port = next(port for port in order if heads[port] is not None)
        head = heads[port]
        assert head is not None
        out += operator.process(port, head[1])
        marks[port], heads[port] = head[0], next(feeds[port], None)
        out += operator.advance(min(marks))
        for key, value in operator.changes():
            if value is None:
                del state[key]
            else:
                state[key] = value
        if chance.random() < 0.05:
            operator = make()
            operator.load(dict(state))
            for other, frame in enumerate(inputs):
                operator.bind(other, frame.drop("t").schema)
    out += operator.advance(1 << 60)
    assert operator.status().late == 0
    times = [piece.carried["_event_time"].to_physical().alias("at") for piece in out]
    return pl.concat([piece.columns().hstack([at]) for piece, at in zip(out, times, strict=True)], how="diagonal")


def same(found: pl.DataFrame, wanted: pl.DataFrame) -> bool:
    wanted = wanted.select(found.columns).cast(dict(found.schema))  # type: ignore[arg-type]
    return found.sort(found.columns).equals(wanted.sort(found.columns))


@pytest.mark.parametrize("keys", [60, 20_000])
@pytest.mark.parametrize("how", ["inner", "left", "outer"])
def test_interval_joins(how: Any, keys: int) -> None:
    low, high = (-200, 300) if keys == 60 else (-100_000, 900_000)
    rows = ROWS // 3 if keys == 60 else ROWS
    left, right = events("l", rows, keys, 1), events("r", rows // 2, keys, 2)
    step = JoinStep(("k",), ("k",), how=how, within_us=(low, high))
    found = play(lambda: JoinOperator(step, b"p"), left, right)
    at = pl.max_horizontal("t", "t_right").alias("at")
    both = left.join(right, on="k").filter((pl.col("t_right") - pl.col("t")).is_between(low, high))
    wanted = [both.select("k", "l", "r", at)]
    if how != "inner":
        wanted.append(left.join(both, on="l", how="anti").select("k", "l", pl.col("t").alias("at")))
    if how == "outer":
        wanted.append(right.join(both, on="r", how="anti").select("k", "r", pl.col("t").alias("at")))
    assert same(found, pl.concat(wanted, how="diagonal"))


def test_window_joins() -> None:
    left, right = events("l", ROWS, 2000, 1), events("r", ROWS // 2, 2000, 2)
    step = JoinStep(("k",), ("k",), window=Tumbling(50_000))
    found = play(lambda: JoinOperator(step, b"p"), left, right)
    window = (pl.col("t") // 50_000).alias("w")
    both = left.with_columns(window).join(right.with_columns(window), on=["k", "w"])
    assert same(found, both.select("k", "l", "r", pl.max_horizontal("t", "t_right").alias("at")))


@pytest.mark.parametrize("tolerance", [None, 20_000])
def test_as_of_joins(tolerance: int | None) -> None:
    # Of records with the same key and time the last one counts here; so that it does there too, there is but one.
    left, right = events("l", ROWS, 3000, 1), events("r", ROWS, 3000, 2).unique(["k", "t"]).sort("t")
    step = AsOfStep(("k",), ("k",), tolerance_us=tolerance)
    found = play(lambda: AsOfOperator(step, b"p"), left, right)
    wanted = left.join_asof(right, on="t", by="k", tolerance=tolerance, check_sortedness=False)
    assert same(found, wanted.select("k", "l", "r", pl.col("t").alias("at")))


def test_tables() -> None:
    """All of the table is there before the stream, as when a stream begins."""
    left, right = events("l", ROWS, 40_000, 1), events("r", ROWS, 40_000, 2).unique(["k", "t"]).sort("t")
    operator = TableOperator(TableStep(("k",), ("k",)), b"p")
    operator.bind(1, right.drop("t").schema)
    for _, piece in pieces(right, Random(1)):
        operator.process(1, piece)

    def make() -> TableOperator:
        again = TableOperator(TableStep(("k",), ("k",)), b"p")
        again.load({key: value for key, value in operator.changes() if value is not None})
        again.bind(1, right.drop("t").schema)
        return again

    first = make()
    out: list[pl.DataFrame] = []
    for at, piece in pieces(left, Random(2)):
        first.bind(0, piece.columns().schema)
        out += [one.columns().hstack([one.carried["_event_time"].to_physical().alias("at")])
                for one in first.process(0, piece)]  # fmt: skip
        first.advance(at)
    wanted = left.join_asof(right, on="t", by="k", check_sortedness=False)
    assert same(pl.concat(out), wanted.select("k", "l", "r", pl.col("t").alias("at")))


@pytest.mark.parametrize("keys", [10, 30_000])
def test_dedupe(keys: int) -> None:
    within = 700 if keys == 10 else 400_000
    left = events("l", ROWS, keys, 1)
    found = play(lambda: DedupeOperator(DedupeStep(("k",), within), b"p"), left)
    newest: dict[str, int] = {}
    wanted: list[int] = []
    for key, number, time in left.rows():
        if time - newest.get(key, -within) >= within:
            newest[key] = time
            wanted.append(number)
    assert found["l"].sort().to_list() == wanted
