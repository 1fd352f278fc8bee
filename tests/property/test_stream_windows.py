"""Windows of the operator against brute force: whatever the micro-batches, the disorder and the restarts."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from millstream.stream.aggregates import (
    Aggregate,
    agg_expr,
    aggregator,
    arg_max,
    arg_min,
    collect,
    count,
    first,
    last,
    max_,
    mean,
    min_,
    n_unique,
    quantile,
    std,
    sum_,
    top_k,
)
from millstream.stream.piece import Piece
from millstream.stream.windowing import WindowOperator, WindowStep
from millstream.stream.windows import GlobalWindow, Hopping, Session, Sliding, Tumbling, Window

_spec = importlib.util.spec_from_file_location("window_oracle", Path(__file__).parent / "window_oracle.py")
assert _spec is not None
assert _spec.loader is not None
oracle: Any = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(oracle)

PREFIX = b"w-test"
FAR = 10**9

times = st.one_of(st.integers(0, 8), st.integers(0, 60))
numbers = st.one_of(st.none(), st.integers(-5, 5), st.just(2**57))
floats = st.one_of(
    st.none(),
    st.sampled_from([0.1, 0.2, -0.3, 1e16, -1e16, 1.5, 2.5]),
    st.floats(-1e6, 1e6),
    st.floats(allow_nan=True, allow_infinity=True, width=64),
)
values = st.tuples(st.integers(0, 1), st.sampled_from(["a", "a", "b", None]), numbers, floats)
anyhow = st.lists(st.tuples(times, values), min_size=1, max_size=30)


def _running(steps: list[tuple[int, int, Any]]) -> list[tuple[int, Any]]:
    """Return records as a stream brings them: time goes on, some come out of order."""
    time = 0
    made = []
    for step, back, value in steps:
        time += step
        made.append((max(0, time - back), value))
    return made


steps = st.tuples(st.integers(0, 3), st.sampled_from([0, 0, 0, 1, 2, 9]), values)
rows = st.one_of(anyhow, st.lists(steps, min_size=8, max_size=50).map(_running)).map(
    lambda found: [oracle.Row(partition, time, key, n, x) for time, (partition, key, n, x) in found]
)
cuts = st.lists(st.sampled_from(["go", "cut", "advance", "save", "restart"]), min_size=1, max_size=12)
lateness = st.sampled_from([0, 3, 20])


def _x(rows: list[Any]) -> list[float]:
    return [row.x for row in rows if row.x is not None]


def _n(rows: list[Any]) -> list[int]:
    return [row.n for row in rows if row.n is not None]


SQUARES = aggregator(
    "n",
    init=lambda: [0, 0],
    add=lambda state, n: [state[0] + 1, state[1] + (n % 1000) ** 2],
    merge=lambda one, other: [one[0] + other[0], one[1] + other[1]],
    finish=lambda state: state[1],
    type=int,
)

AGGREGATES: dict[str, tuple[Aggregate, Callable[[list[Any]], Any]]] = {
    "n": (count(), len),
    "ns": (count("n"), lambda rows: sum(row.n is not None for row in rows)),
    "x_sum": (sum_("x"), lambda rows: oracle.total(_x(rows))),
    "x_mean": (mean("x"), lambda rows: oracle.total(_x(rows)) / len(_x(rows)) if _x(rows) else None),
    "n_min": (min_("n"), lambda rows: min(_n(rows), default=None)),
    "n_max": (max_("n"), lambda rows: max(_n(rows), default=None)),
    "x_min": (min_("x"), lambda rows: oracle.largest(_x(rows), min)),
    "x_max": (max_("x"), lambda rows: oracle.largest(_x(rows), max)),
    "x_median": (quantile("x", 0.5), lambda rows: oracle.quantile(_x(rows), 0.5)),
    "x_90": (quantile("x", 0.9), lambda rows: oracle.quantile(_x(rows), 0.9)),
    "keys": (n_unique("k"), lambda rows: len({row.key for row in rows} - {None})),
    "n_sum": (sum_("n"), lambda rows: sum(_n(rows))),
    "n_mean": (mean("n"), lambda rows: sum(_n(rows)) / len(_n(rows)) if _n(rows) else None),
    "x_std": (std("x"), lambda rows: oracle.deviation(_x(rows))),
    "n_std": (std("n"), lambda rows: oracle.deviation([float(n) for n in _n(rows)])),
    "n_first": (first("n"), lambda rows: next(iter(_n(rows)), None)),
    "n_last": (last("n"), lambda rows: next(reversed(_n(rows)), None)),
    "k_last": (last("k"), lambda rows: next((row.key for row in reversed(rows) if row.key), None)),
    "xs": (collect("x"), _x),
    "x_top": (top_k("x", 2), lambda rows: sorted((x for x in _x(rows) if x == x), reverse=True)[:2]),
    "n_arg_max": (arg_max("n", by="x"), lambda rows: oracle.compared(rows, 1)),
    "n_arg_min": (arg_min("n", by="x"), lambda rows: oracle.compared(rows, -1)),
    "spread": (
        agg_expr(pl.col("n").max() - pl.col("n").min()),
        lambda rows: max(_n(rows)) - min(_n(rows)) if _n(rows) else None,
    ),
    "keys_in_order": (agg_expr(pl.col("k")), lambda rows: [row.key for row in rows]),
    "own": (SQUARES, lambda rows: sum((n % 1000) ** 2 for n in _n(rows)) if _n(rows) else None),
    "ns_unique": (n_unique("n"), lambda rows: len(set(_n(rows)))),
}


def piece_of(records: Sequence[Any]) -> Piece:
    """Return records as a piece."""
    frame = pl.DataFrame(
        {
            "k": pl.Series([row.key for row, _ in records], dtype=pl.String),
            "n": pl.Series([row.n for row, _ in records], dtype=pl.Int64),
            "x": pl.Series([row.x for row, _ in records], dtype=pl.Float64),
            "_key": pl.Series([row.key and row.key.encode() for row, _ in records], dtype=pl.Binary),
            "_event_time": pl.Series([row.time for row, _ in records], dtype=pl.Int64).cast(pl.Datetime("us", "UTC")),
            "_watermark": pl.Series([before for _, before in records], dtype=pl.Int64),
        }
    )
    return Piece.of(frame)


def run(step: WindowStep, records: Sequence[Any], acts: Sequence[str]) -> tuple[pl.DataFrame, int]:
    """Put records through an operator, cut and restarted as told; return what was committed in the end."""
    state: dict[bytes, bytes] = {}
    operator = WindowOperator(step, PREFIX)
    made: list[pl.DataFrame] = []
    saved: tuple[int, int] = (0, 0)
    newest: dict[int, int] = {}
    saved_newest: dict[int, int] = {}
    done = waiting = 0

    def hand_over(upto: int) -> None:
        nonlocal waiting
        if upto > waiting:
            made.extend(piece.frame() for piece in operator.process(0, piece_of(records[waiting:upto])))
            for row, _ in records[waiting:upto]:
                newest[row.partition] = max(newest.get(row.partition, row.time), row.time)
            waiting = upto

    def advance() -> None:
        if len(newest) == 2:
            made.extend(piece.frame() for piece in operator.advance(min(newest.values())))

    turn = 0
    while done < len(records):
        act = acts[turn % len(acts)] if turn < 3 * len(acts) else "go"
        turn += 1
        if act == "restart":
            operator = WindowOperator(step, PREFIX)
            operator.load(dict(state))
            done = waiting = saved[0]
            del made[saved[1] :]
            newest.clear()
            newest.update(saved_newest)
            continue
        done += 1
        if act == "go":
            continue
        hand_over(done)
        if act in ("advance", "save"):
            advance()
        if act == "save":
            for key, value in operator.changes():
                assert key.startswith(PREFIX)
                if value is None:
                    del state[key]
                else:
                    state[key] = value
            saved, saved_newest = (done, len(made)), dict(newest)
    hand_over(len(records))
    made.extend(piece.frame() for piece in operator.advance(FAR))
    assert operator.due_us() is None
    status = operator.status()
    assert isinstance(step.window, GlobalWindow) or (status.open, status.rows) == (0, 0)
    return (pl.concat(made) if made else pl.DataFrame()), status.late


def check(
    window: Window, lateness_us: int, records: Sequence[Any], acts: Sequence[str], names: Sequence[str], keyed: bool
) -> None:
    step = WindowStep(window, ("k",) if keyed else (), {name: AGGREGATES[name][0] for name in names}, lateness_us)
    given_records = oracle.placed(records)
    expected, late = oracle.windows(window, lateness_us, given_records, keyed)
    frame, late_found = run(step, given_records, acts)
    assert late_found == late
    found: dict[Any, list[dict[str, Any]]] = {}
    for row in frame.iter_rows(named=True):
        start, end = (int(row[name].timestamp() * 1e6) for name in ("window_start", "window_end"))
        group = oracle.Group(row["k"] if keyed else None, start, end)
        if isinstance(window, GlobalWindow):
            group = oracle.numbered(group, found)
        found.setdefault(group, []).append(row)
        at_end = isinstance(window, Sliding | GlobalWindow)
        assert row["_event_time"] == row["window_end" if at_end else "window_start"]
        assert row["_key"] == (row["k"].encode() if keyed and row["k"] is not None else None)
    assert set(found) == set(expected)
    for group, group_rows in expected.items():
        # In a sliding window each record of a moment has a result.
        once = sum(row.time == group.end for row in group_rows) if isinstance(window, Sliding) else 1
        assert len(found[group]) == once, "a result is missing, or came twice"
        for name in names:
            right = AGGREGATES[name][1](group_rows)
            for row in found[group]:
                assert oracle.same(row[name], right), (group, name, row[name], right)


def check_revised(step: WindowStep, records: Sequence[Any], acts: Sequence[str], same_bounds: bool) -> None:
    """Compare final results with brute force; those before must count up to them."""
    given_records = oracle.placed(records)
    expected, _ = oracle.windows(step.window, step.lateness_us, given_records, True)
    frame, _ = run(step, given_records, acts)
    if isinstance(step.window, Sliding | GlobalWindow):
        check_revised_ends(expected, frame, records_at_end=isinstance(step.window, Sliding))
        return
    found: dict[Any, list[dict[str, Any]]] = {}
    for row in frame.iter_rows(named=True):
        start, end = (int(row[name].timestamp() * 1e6) for name in ("window_start", "window_end"))
        found.setdefault(oracle.Group(row["k"], start, end), []).append(row)
    final = {group: rows[-1] for group, rows in found.items() if rows[-1]["final"]}
    assert set(final) == set(expected)
    assert all(not row["final"] for rows in found.values() for row in rows[:-1])
    for group, row in final.items():
        assert row["n"] == len(expected[group])
    if same_bounds:
        assert set(found) == set(expected)
        for rows in found.values():
            assert [row["revision"] for row in rows] == list(range(len(rows)))
            assert sorted(row["n"] for row in rows) == [row["n"] for row in rows]


def check_revised_ends(expected: dict[Any, list[Any]], frame: pl.DataFrame, *, records_at_end: bool) -> None:
    """Compare windows that are told apart by their ends, and of which a revision may be a row a record."""
    by_end = {(group.key, group.end): (group.start, rows) for group, rows in expected.items()}
    found: dict[Any, list[dict[str, Any]]] = {}
    for row in frame.iter_rows(named=True):
        found.setdefault((row["k"], int(row["window_end"].timestamp() * 1e6)), []).append(row)
    assert set(found) == set(by_end)
    for (key, end), rows in found.items():
        start, records = by_end[key, end]
        revisions = [row["revision"] for row in rows]
        assert revisions == sorted(revisions)
        assert set(revisions) == set(range(revisions[-1] + 1)), "each revision comes, and none twice"
        final = [row for row in rows if row["revision"] == revisions[-1]]
        assert [row["final"] for row in rows] == [row["revision"] == revisions[-1] for row in rows]
        assert len(final) == (sum(record.time == end for record in records) if records_at_end else 1)
        for row in final:
            assert int(row["window_start"].timestamp() * 1e6) == start
            for name in ("n", "keys", "xs"):
                assert oracle.same(row[name], AGGREGATES[name][1](records)), (key, end, name)
        # An early result holds nothing that the final one does not.
        assert [row["n"] for row in rows] == sorted(row["n"] for row in rows)


some_names = st.lists(st.sampled_from(sorted(AGGREGATES)), min_size=1, max_size=4, unique=True)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from([1, 7, 10]), lateness, rows, cuts, some_names, st.booleans())
def test_tumbling_windows(
    size: int, late: int, records: list[Any], acts: list[str], names: list[str], keyed: bool
) -> None:
    check(Tumbling(size), late, records, acts, names, keyed)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from([(10, 5), (10, 4), (9, 2), (7, 7), (20, 1)]), lateness, rows, cuts, some_names, st.booleans())
def test_hopping_windows(
    sizes: tuple[int, int], late: int, records: list[Any], acts: list[str], names: list[str], keyed: bool
) -> None:
    check(Hopping(*sizes), late, records, acts, names, keyed)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from([(3, 3), (5, 0), (8, 20), (1, 1)]), lateness, rows, cuts, some_names, st.booleans())
def test_session_windows(
    sizes: tuple[int, int], late: int, records: list[Any], acts: list[str], names: list[str], keyed: bool
) -> None:
    check(Session(*sizes), late, records, acts, names, keyed)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from([1, 7, 20]), lateness, rows, cuts, some_names, st.booleans())
def test_sliding_windows(
    size: int, late: int, records: list[Any], acts: list[str], names: list[str], keyed: bool
) -> None:
    check(Sliding(size), late, records, acts, names, keyed)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from([(None, 10), (None, 1), (3, None), (1, None)]), lateness, rows, cuts, some_names, st.booleans())
def test_global_windows(
    every: tuple[int | None, int | None],
    late: int,
    records: list[Any],
    acts: list[str],
    names: list[str],
    keyed: bool,
) -> None:
    check(GlobalWindow(*every), late, records, acts, names, keyed)


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(
        [
            Tumbling(7),
            Hopping(10, 4),
            Hopping(7, 7),
            Session(3, 3),
            Session(5, 0),
            Sliding(1),
            Sliding(7),
            GlobalWindow(None, 10),
            GlobalWindow(None, 1),
        ]
    ),
    lateness,
    rows,
    cuts,
    st.booleans(),
    st.sampled_from([None, 1, 5]),
)
def test_revised_windows(
    window: Window, late: int, records: list[Any], acts: list[str], corrections: bool, early: int | None
) -> None:
    aggregates = {"n": count(), "keys": n_unique("k"), "xs": collect("x")}
    step = WindowStep(window, ("k",), aggregates, late, corrections, early)
    if step.revised:
        check_revised(step, records, acts, same_bounds=not isinstance(window, Session))


def test_early_results_and_corrections_come_when_they_should() -> None:
    operator = WindowOperator(WindowStep(Tumbling(10), (), {"n": count()}, 5, True, 4), PREFIX)

    def told(watermark: int) -> list[tuple[Any, ...]]:
        return [
            (int(row[0].timestamp() * 1e6), *row[2:])
            for piece in operator.advance(watermark)
            for row in piece.columns().rows()
        ]

    def came(*times: int) -> None:
        operator.process(0, piece_of([oracle.Placed(oracle.Row(0, time, None, None, None), None) for time in times]))

    came(1, 2)
    assert operator.due_us() == 10
    assert told(3) == []
    assert operator.due_us() == 4
    assert told(5) == [(0, 2, 0, False)]
    came(9)
    assert told(7) == []
    assert told(10) == [(0, 3, 1, False)]
    assert told(11) == []
    came(8)
    assert told(12) == [(0, 4, 2, False)]
    assert operator.due_us() == 15
    assert told(15) == [(0, 4, 3, True)]
    assert operator.due_us() is None


def test_the_oracle_is_not_empty() -> None:
    row = oracle.Row(0, 5, "a", 1, 1.0)
    found, late = oracle.windows(Tumbling(10), 0, oracle.placed([row]), True)
    assert (list(found), late) == ([oracle.Group("a", 0, 10)], 0)
    assert math.isnan(oracle.total([math.nan, 1.0]))
