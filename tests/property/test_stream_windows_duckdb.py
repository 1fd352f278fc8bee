"""Windows of many records in random micro-batches, against one query of DuckDB over all of them."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest

from millstream.stream.aggregates import count, first, max_, mean, min_, n_unique, quantile, std, sum_
from millstream.stream.piece import Piece
from millstream.stream.windowing import WindowOperator, WindowStep
from millstream.stream.windows import Hopping, Session, Sliding, Tumbling, Window

RECORDS = 6000
DISORDER_US = 40
AGGREGATES = {
    "n": count(),
    "n_a": count("a"),
    "total": sum_("a"),
    "least": min_("a"),
    "most": max_("x"),
    "middle": quantile("a", 0.5),
    "high": quantile("x", 0.9),
    "kinds": n_unique("a"),
    "average": mean("x"),
    "spread": std("x"),
    "begin": first("t"),
}
SELECTED = """count(*) n, count(r.a) n_a, coalesce(sum(r.a), 0) total, min(r.a) least, max(r.x) most,
    quantile_cont(r.a::double, 0.5) middle, quantile_cont(r.x, 0.9) high, count(distinct r.a) kinds, avg(r.x) average,
    stddev_samp(r.x) spread, min(r.t) begin"""
QUERIES: dict[Window, str] = {
    Tumbling(100): f"SELECT r.k, r.t // 100 * 100 AS s, {SELECTED} FROM records r GROUP BY ALL",
    Hopping(100, 30): f"""SELECT r.k, s, {SELECTED} FROM records r, range(-120, 40000, 30) starts(s)
        WHERE r.t >= s AND r.t < s + 100 GROUP BY ALL""",
    Session(15, 40): f"""
        WITH marked AS (
            SELECT *, t - lag(t, 1, -1000) OVER (PARTITION BY k ORDER BY t, i) >= 15 AS opens FROM records
        ), r AS (
            SELECT *, sum(opens::int) OVER (PARTITION BY k ORDER BY t, i ROWS UNBOUNDED PRECEDING) AS session
            FROM marked
        )
        SELECT r.k, min(r.t) AS s, {SELECTED} FROM r GROUP BY r.k, r.session""",
    Sliding(50): f"""SELECT one.k, one.t - 50 AS s, {SELECTED} FROM records one JOIN records r
        ON r.k IS NOT DISTINCT FROM one.k AND r.t > one.t - 50 AND r.t <= one.t GROUP BY one.k, one.t, one.i""",
}


def records(chance: random.Random) -> pl.DataFrame:
    """Return records as they are in a log: out of order by at most DISORDER_US."""
    arrived = sorted(
        (time + chance.randrange(DISORDER_US), time) for time in (chance.randrange(RECORDS * 5) for _ in range(RECORDS))
    )
    return pl.DataFrame(
        {
            "i": range(RECORDS),
            "t": [time for _, time in arrived],
            "k": [chance.choice(["a", "b", "c", None]) for _ in arrived],
            "a": [chance.choice([None, *range(50)]) for _ in arrived],
            "x": [chance.choice([None, round(chance.uniform(-1e3, 1e3), 2)]) for _ in arrived],
        },
        schema={"i": pl.Int64, "t": pl.Int64, "k": pl.String, "a": pl.Int64, "x": pl.Float64},
    )


def streamed(window: Window, frame: pl.DataFrame, chance: random.Random) -> pl.DataFrame:
    """Return what comes out of an operator that is cut, stored and loaded at random."""
    step = WindowStep(window, ("k",), AGGREGATES, DISORDER_US)
    moment = pl.Datetime("us", "UTC")
    before = pl.col("t").cum_max().shift(1).alias("_watermark")
    arrived = frame.with_columns(pl.col("t").cast(moment).alias("_event_time"), before)
    operator, state, made = WindowOperator(step, b"w"), dict[bytes, bytes](), list[pl.DataFrame]()
    place = 0
    while place < frame.height:
        end = place + chance.choice([1, 10, 300, 2000])
        batch = arrived.slice(place, end - place)
        made += [piece.columns() for piece in operator.process(0, Piece.of(batch))]
        made += [piece.columns() for piece in operator.advance(arrived["t"].head(end).max())]  # type: ignore[arg-type]
        for key, value in operator.changes():
            if value is None:
                del state[key]
            else:
                state[key] = value
        if chance.random() < 0.3:
            operator = WindowOperator(step, b"w")
            operator.load(state)
        place = end
    made += [piece.columns() for piece in operator.advance(10**9)]
    assert operator.status().late == 0
    assert operator.status().rows == 0
    return pl.concat(made)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("window", QUERIES, ids=str)
def test_windows_of_many_records_are_those_of_one_query(window: Window, seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    frame = records(chance)
    frame.write_parquet(tmp_path / "records.parquet")
    with duckdb.connect() as connection:
        connection.execute(f"CREATE VIEW records AS SELECT * FROM '{tmp_path / 'records.parquet'}'")
        expected = connection.execute(QUERIES[window]).fetchall()
    found = streamed(window, frame, chance).with_columns(pl.col("window_start").to_physical().alias("s"))
    rows = found.select("k", "s", *AGGREGATES).rows()
    assert len(rows) == len(expected)
    for mine, right in zip(sorted(rows, key=_order), sorted(expected, key=_order), strict=True):
        assert mine[:2] == right[:2]
        assert [value is None for value in mine] == [value is None for value in right]
        numbers = [float(value) for value in right[2:] if value is not None]
        assert [value for value in mine[2:] if value is not None] == pytest.approx(numbers, rel=1e-9)


def _order(row: tuple[Any, ...]) -> tuple[Any, ...]:
    return row[1], row[0] or "", row[2]
