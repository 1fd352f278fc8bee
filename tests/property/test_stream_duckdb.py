"""Streams through the public interface, cut up, crashed and restarted at random, against one query of DuckDB."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final

import duckdb
import msgspec
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millstream import App, table
from millstream.stream import (
    StreamReader,
    arg_max,
    count,
    first,
    global_window,
    hopping,
    last,
    max_,
    mean,
    min_,
    n_unique,
    quantile,
    session,
    sliding,
    std,
    sum_,
    tumbling,
)
from millstream.testing import CRASH, StreamTest

BEGIN: Final = datetime(2024, 5, 1, 12, 0, tzinfo=UTC)
DELAY: Final = "1000s"
"""More than the records are out of order: none is late, so that one query over all of them has the answer."""

FLUSH: Final = "flush"


class Left(msgspec.Struct, frozen=True):
    i: int
    k: str
    v: int | None
    at: datetime


class Right(msgspec.Struct, frozen=True):
    j: int
    k: str
    at: datetime


AGGREGATES: Final = {
    "n": count(),
    "n_v": count("v"),
    "total": sum_("v"),
    "least": min_("v"),
    "most": max_("v"),
    "average": mean("v"),
    "middle": quantile("v", 0.5),
    "kinds": n_unique("v"),
    "spread": std("v"),
    "earliest": first("v"),
    "latest": last("v"),
    "best": arg_max("i", by="v"),
}
SELECTED: Final = """count(*), count(r.v), coalesce(sum(r.v), 0)::bigint, min(r.v), max(r.v), avg(r.v),
    quantile_cont(r.v::double, 0.5), count(DISTINCT r.v), stddev_samp(r.v),
    first(r.v ORDER BY r.t, r.i) FILTER (r.v IS NOT NULL), last(r.v ORDER BY r.t, r.i) FILTER (r.v IS NOT NULL),
    first(r.i ORDER BY r.v DESC, r.t, r.i) FILTER (r.v IS NOT NULL)"""

WINDOWS: Final[dict[str, tuple[Any, str]]] = {
    "tumbling": (tumbling("10s"), f"SELECT r.k, {SELECTED} FROM rows r GROUP BY r.k, r.t // 10"),
    "hopping": (
        hopping("10s", "4s"),
        f"""SELECT r.k, {SELECTED} FROM rows r, range(-12, 100, 4) starts(s)
            WHERE r.t >= s AND r.t < s + 10 GROUP BY r.k, s""",
    ),
    "session": (
        session("5s"),
        f"""WITH marked AS (SELECT *, t - lag(t, 1, -100) OVER (PARTITION BY k ORDER BY t, i) >= 5 AS opens FROM rows),
            r AS (SELECT *, sum(opens::int) OVER (PARTITION BY k ORDER BY t, i ROWS UNBOUNDED PRECEDING) AS visit
                  FROM marked)
            SELECT r.k, {SELECTED} FROM r GROUP BY r.k, r.visit""",
    ),
    "sliding": (
        sliding("7s"),
        f"""SELECT one.k, {SELECTED} FROM rows one JOIN rows r ON r.k = one.k AND r.t > one.t - 7 AND r.t <= one.t
            GROUP BY one.k, one.i""",
    ),
    "global": (
        global_window(3),
        f"""WITH r AS (SELECT *, row_number() OVER (PARTITION BY k ORDER BY i) AS nth FROM rows)
            SELECT r.k, {SELECTED} FROM r ends JOIN r ON r.k = ends.k AND r.nth <= ends.nth
            WHERE ends.nth % 3 = 0 GROUP BY r.k, ends.nth""",
    ),
}
"""Tumbling and hopping windows are counted from 1970; the beginning is a multiple of their sizes."""

JOINS: Final[dict[str, tuple[dict[str, Any], str]]] = {
    **{
        f"{how} within": (
            {"how": how, "within": ("-3s", "5s")},
            f"SELECT l.i, r.j FROM rows l {how} JOIN others r ON l.k = r.k AND r.t - l.t BETWEEN -3 AND 5",
        )
        for how in ("inner", "left", "outer")
    },
    **{
        f"{how} window": (
            {"how": how, "window": tumbling("10s")},
            f"SELECT l.i, r.j FROM rows l {how} JOIN others r ON l.k = r.k AND r.t // 10 = l.t // 10",
        )
        for how in ("inner", "left", "outer")
    },
}
AS_OF: Final = "SELECT l.i, r.j FROM rows l ASOF LEFT JOIN others r ON l.k = r.k AND l.t >= r.t"

keys = st.sampled_from("ab")
lefts = st.lists(
    st.tuples(st.integers(0, 60), keys, st.one_of(st.none(), st.integers(-5, 20))), min_size=1, max_size=30
)
rights = st.lists(st.tuples(st.integers(0, 60), keys), max_size=20, unique=True)
batches = st.sampled_from([1, 2, 7, 1000])
faults = st.lists(st.sampled_from(["go", "go", "crash", "restart"]), min_size=1, max_size=8)


def left_rows(rows: list[Any]) -> list[Left]:
    return [Left(i, k, v, BEGIN + timedelta(seconds=t)) for i, (t, k, v) in enumerate(rows)]


def right_rows(rows: list[Any]) -> list[Right]:
    return [Right(j, k, BEGIN + timedelta(seconds=t)) for j, (t, k) in enumerate(rows)]


def asked(query: str, rows: list[Any], others: list[Any] = []) -> list[tuple[Any, ...]]:  # noqa: B006 - never changed
    """Return the rows of a query over the records."""
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE rows (i BIGINT, t BIGINT, k VARCHAR, v BIGINT)")
        connection.execute("CREATE TABLE others (j BIGINT, t BIGINT, k VARCHAR)")
        connection.executemany("INSERT INTO rows VALUES (?, ?, ?, ?)", [(i, *row) for i, row in enumerate(rows)])
        if others:
            connection.executemany("INSERT INTO others VALUES (?, ?, ?)", [(j, *row) for j, row in enumerate(others)])
        # OUTER alone is no word of SQL's for it.
        return connection.execute(query.replace("outer JOIN", "FULL JOIN")).fetchall()


def streamed(stream: StreamReader, batch: int, acts: list[str], values: list[tuple[str, Any]]) -> list[Any]:
    """Return what a stream puts out of records, disturbed between them."""
    end = BEGIN + timedelta(days=1)
    with StreamTest(stream, now=BEGIN, batch=batch) as test:
        for place, (topic, value) in enumerate(values):
            act = acts[place % len(acts)]
            if act == "restart":
                test.restart()
            test.push(*([value, CRASH] if act == "crash" else [value]), topic=topic)
        test.push(Left(-1, FLUSH, None, end), topic="lefts")
        if "rights" in {topic for topic, _ in values} or len(stream.sources) > 1:
            test.push(Right(-1, FLUSH + "2", end), topic="rights")
        assert test.info().late == 0
        return [value for value in test.outputs("out") if not str(value.get("k")).startswith(FLUSH)]


def same(found: list[tuple[Any, ...]], wanted: list[tuple[Any, ...]]) -> None:
    """Compare rows in any order, floats as nearly equal."""
    assert len(found) == len(wanted)
    for one, other in zip(sorted(found, key=_order), sorted(wanted, key=_order), strict=True):
        assert [value is None for value in one] == [value is None for value in other]
        for mine, right in zip(one, other, strict=True):
            assert mine == (pytest.approx(right, rel=1e-9, abs=1e-9) if isinstance(right, float) else right)


def _order(row: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(
        (value is None, round(value, 6) if isinstance(value, float) else value or 0)
        if not isinstance(value, str)
        else (False, value)
        for value in row
    )


@pytest.mark.parametrize("kind", WINDOWS)
@settings(max_examples=15)
@given(rows=lefts, batch=batches, acts=faults)
def test_windows_are_those_of_one_query(kind: str, rows: list[Any], batch: int, acts: list[str]) -> None:
    window, query = WINDOWS[kind]
    with App("memory://") as app:
        stream = app.stream(app.topic("lefts", Left, time="at"), name="s", delay=DELAY)(
            lambda s: s.window(window, by="k").agg(**AGGREGATES).to("out")
        )
        made = streamed(stream, batch, acts, [("lefts", row) for row in left_rows(rows)])
    same([tuple(row[name] for name in ("k", *AGGREGATES)) for row in made], asked(query, rows))


def pushed(rows: list[Any], others: list[Any], *, others_first: bool) -> list[tuple[str, Any]]:
    some = [("lefts", row) for row in left_rows(rows)]
    more = [("rights", row) for row in right_rows(others)]
    if others_first:
        return more + some
    both = [pair for couple in zip(some, more, strict=False) for pair in couple]
    return both + some[len(more) :] + more[len(some) :]


@pytest.mark.parametrize("kind", [*JOINS, "as of", "table"])
@settings(max_examples=12)
@given(rows=lefts, others=rights, batch=batches, acts=faults)
def test_joins_are_those_of_one_query(
    kind: str, rows: list[Any], others: list[Any], batch: int, acts: list[str]
) -> None:
    settings, query = JOINS.get(kind, ({}, AS_OF))

    def joined(s: Any, other: Any) -> None:
        if kind == "as of":
            made = s.join_asof(other, on="k")
        elif kind == "table":
            made = s.join(other, on="k", how="left")
        else:
            made = s.join(other, on="k", **settings)
        made.filter(pl.coalesce("i", "j") >= 0).select("k", "i", "j").to("out")

    with App("memory://") as app:
        right = app.topic("rights", Right, time="at")
        sources = [app.topic("lefts", Left, time="at"), table(right, key="k") if kind == "table" else right]
        stream = app.stream(*sources, name="s", delay=DELAY)(joined)
        made = streamed(stream, batch, acts, pushed(rows, others, others_first=kind == "table"))
    same([(row["i"], row["j"]) for row in made], asked(query, rows, others))
