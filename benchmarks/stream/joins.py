"""Joins of two streams in micro-batches, what they keep stored after each, beside the same join done once by Polars."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Final

import polars as pl

from benchmarks.harness import Options, Report, alternate, seconds
from millstream.stream.joining import JoinOperator, JoinStep, TableOperator, TableStep
from millstream.stream.operators import Operator
from millstream.stream.piece import Piece

LEFT: Final = 1_000_000
BATCH: Final = 50_000
HOUR_US: Final = 3_600_000_000
MINUTE_US: Final = 60_000_000
SLOWER_MAX: Final = 2.0

CASES: Final = (
    ("within 1m, 10,000 keys", 10_000, MINUTE_US, False),
    ("within 1m, 10,000 keys as text", 10_000, MINUTE_US, True),
    ("within 1h, 100,000 keys: all is kept, all of a key meets", 100_000, HOUR_US, False),
)


def measure(options: Options) -> Report:
    rows = options.records(LEFT)
    report = Report(
        "stream_joins",
        "A join of what is near in time, in micro-batches, stored after each, takes at most twice as long as at once.",
        {
            "input": f"{rows:,} records and {rows // 10:,}, spread over an hour of event time; frames in memory",
            "stream": f"the operator alone, micro-batches of {BATCH:,}, with the bytes of its state made after each",
            "Polars": "join and filter of both whole frames; nothing is stored",
            "no claim": "where nothing leaves, all of both inputs is written as state, and looked at each time",
        },
    )
    for name, keys, within_us, as_text in CASES:
        left, right = _events("l", rows, keys, as_text), _events("r", rows // 10, keys, as_text)
        step = JoinStep(("k",), ("k",), within_us=(-within_us, within_us))
        wanted = _once(left, right, within_us).height
        stream, polars = alternate(
            options.runs,
            lambda left=left, right=right, step=step, wanted=wanted: _played(step, left, right, wanted),
            lambda left=left, right=right, within_us=within_us: seconds(lambda: _once(left, right, within_us)),
        )
        row = report.add(f"{name}: stream", stream, "s")
        report.add(f"{name}: Polars", polars, "s", note=f"{wanted:,} pairs")
        if within_us < HOUR_US:
            row.reach = f"at most {SLOWER_MAX:g} times as long"
            row.reached = row.median <= SLOWER_MAX * report.rows[-1].median
        row.note = f"{row.median / report.rows[-1].median:.2f} times as long"
    for keys in (10_000, 1_000_000):
        values = [_looked_up(rows, options.records(keys)) for _ in range(options.runs)]
        report.add(f"table of {keys:,} rows: lookups", values, "records/s")
    return report


def _events(name: str, rows: int, keys: int, as_text: bool) -> pl.DataFrame:
    chance = Random(name)
    times = sorted(chance.choices(range(HOUR_US), k=rows))
    frame = pl.DataFrame({"k": chance.choices(range(keys), k=rows), name: range(rows), "t": times})
    return frame.with_columns(pl.format("user{}", "k").alias("k")) if as_text else frame


def _once(left: pl.DataFrame, right: pl.DataFrame, within_us: int) -> pl.DataFrame:
    near = (pl.col("t_right") - pl.col("t")).is_between(-within_us, within_us)
    return left.join(right, on="k").filter(near)


def _played(step: JoinStep, left: pl.DataFrame, right: pl.DataFrame, wanted: int) -> float:
    feed = sorted(
        ((at, port, piece) for port, frame in enumerate((left, right)) for at, piece in _pieces(frame)),
        key=lambda item: item[:2],
    )
    found = 0

    def play() -> None:
        nonlocal found
        operator: Operator = JoinOperator(step, b"p")
        for port, frame in enumerate((left, right)):
            operator.bind(port, frame.drop("t").schema)
        marks = [-1, -1]
        for at, port, piece in feed:
            found += sum(out.height for out in operator.process(port, piece))
            marks[port] = at
            operator.advance(min(marks))
            operator.changes()

    took = seconds(play)
    assert found == wanted, f"{found:,} pairs, not {wanted:,}"
    return took


def _looked_up(rows: int, keys: int) -> float:
    operator = TableOperator(TableStep(("k",), ("k",)), b"p")
    table = pl.DataFrame({"k": pl.int_range(keys, eager=True).shuffle(seed=1), "r": range(keys), "t": range(keys)})
    left = _events("l", rows, keys, as_text=False).with_columns(pl.col("t") + HOUR_US)
    for port, frame in enumerate((left, table)):
        operator.bind(port, frame.drop("t").schema)
    for _, piece in _pieces(table):
        operator.process(1, piece)
    operator.advance(HOUR_US)
    pieces = list(_pieces(left))
    return rows / seconds(lambda: [operator.process(0, piece) for _, piece in pieces])


def _pieces(frame: pl.DataFrame) -> Iterator[tuple[int, Piece]]:
    """Return the micro-batches of a frame with the event time of their last record."""
    moment = pl.col("t").cast(pl.Datetime("us", "UTC")).alias("_event_time")
    no_key = pl.lit(None, dtype=pl.Binary).alias("_key")
    carried = frame.select(no_key, moment, pl.col("t").shift(1).alias("_watermark"))
    columns = frame.drop("t")
    for start in range(0, frame.height, BATCH):
        at = frame["t"][min(start + BATCH, frame.height) - 1]
        yield at, Piece(carried.slice(start, BATCH), columns=columns.slice(start, BATCH))
