"""The window operator: what it refuses, what it sets aside, what survives a restart and a changed schema."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from millstream.errors import UsageError
from millstream.stream.aggregates import (
    Aggregate,
    agg_expr,
    aggregator,
    arg_max,
    collect,
    count,
    first,
    max_,
    mean,
    min_,
    quantile,
    std,
    sum_,
    top_k,
)
from millstream.stream.piece import Piece
from millstream.stream.windowing import WindowOperator, WindowStep
from millstream.stream.windows import (
    GlobalWindow,
    Hopping,
    Session,
    Sliding,
    Tumbling,
    Window,
    global_window,
    hopping,
    session,
    sliding,
)

PREFIX = b"w-unit"
MOMENT = pl.Datetime("us", "UTC")
ALL_KINDS = [Tumbling(10), Hopping(10, 5), Sliding(10), Session(5, 5), GlobalWindow(None, 10), GlobalWindow(2, None)]


TUMBLING = Tumbling(10)


def operator(window: Window = TUMBLING, by: tuple[str, ...] = ("k",), **settings: Any) -> WindowOperator:
    lateness_us, early_us = settings.pop("lateness_us", 0), settings.pop("early_us", None)
    aggregates: dict[str, Aggregate] = settings or {"n": count()}
    return WindowOperator(WindowStep(window, by, aggregates, lateness_us, early_us=early_us), PREFIX)


def piece(times: list[int], watermarks: list[int | None] | None = None, **columns: Any) -> Piece:
    frame = pl.DataFrame(columns).with_columns(
        pl.Series("_event_time", times, dtype=pl.Int64).cast(MOMENT),
        pl.Series("_watermark", watermarks or [None] * len(times), dtype=pl.Int64),
    )
    return Piece.of(frame)


def results(pieces: list[Piece]) -> list[tuple[Any, ...]]:
    return [row for made in pieces for row in made.columns().drop("window_start", "window_end").rows()]


def moved(old: WindowOperator, new: WindowOperator) -> WindowOperator:
    """Return a new operator with what the old one stored."""
    state: dict[bytes, bytes] = {}
    for key, value in old.changes():
        assert key.startswith(PREFIX)
        if value is not None:
            state[key] = value
    new.load(state)
    return new


SCHEMA = pl.Schema({"k": pl.String, "n": pl.Int64, "x": pl.Float64, "tags": pl.List(pl.String), "d": pl.Decimal(10, 2)})


@pytest.mark.parametrize(
    ("by", "aggregate", "message"),
    [
        (("other",), count(), "window by 'other': there is no such column; there are k, n, x"),
        (("tags",), count(), "cannot be a key"),
        (("d",), count(), "cannot be a key"),
        (("k",), sum_("other"), "no column 'other'"),
        (("k",), sum_("k"), "the column 'k' is String, which sum_ cannot take"),
        (("k",), mean("k"), "mean cannot take"),
        (("k",), std("k"), "std cannot take"),
        (("k",), quantile("k", 0.5), "quantile cannot take"),
        (("k",), min_("tags"), "min_ cannot take"),
        (("k",), top_k("tags", 2), "top_k cannot take"),
        (("k",), arg_max("k", by="tags"), "arg_max cannot take"),
        (("k",), arg_max("other", by="n"), "no column 'other'"),
        (("k",), collect("other"), "no column 'other'"),
        (("k",), count("other"), "no column 'other'"),
        (("k",), agg_expr(pl.col("other").sum()), "no column 'other'"),
        (("k",), agg_expr(pl.col("k").dt.year()), "agg_expr.*the columns are k, n"),
    ],
    ids=str,
)
def test_what_cannot_be_computed_is_refused_when_the_columns_are_known(
    by: tuple[str, ...], aggregate: Aggregate, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        operator(by=by, result=aggregate).bind(0, SCHEMA)


@pytest.mark.parametrize("window", ALL_KINDS, ids=str)
def test_the_columns_that_come_out_are_those_that_were_told(window: Window) -> None:
    made = operator(
        window,
        n=count(),
        total=sum_("n"),
        mean=mean("x"),
        most=max_("x"),
        median=quantile("n", 0.5),
        some=collect("k"),
        one=first("x"),
        raw=agg_expr(pl.col("n").sum()),
    )
    told = made.bind(0, SCHEMA)
    out = made.process(0, piece([1, 2], k=["a", "a"], n=[1, 2], x=[0.5, 1.5], tags=[["t"], []], d=[None, None]))
    out += made.advance(1000)
    assert {str(one.columns().schema) for one in out} == {str(told)}


@pytest.mark.parametrize("window", ALL_KINDS, ids=str)
def test_an_operator_without_records_has_nothing_to_wait_for(window: Window) -> None:
    made = operator(window)
    assert made.advance(50) == []
    assert (made.due_us(), made.end_us(), made.late()) == (None, None, None)
    assert made.status().rows == 0
    made.bind(0, SCHEMA)
    assert made.advance(60) == []
    assert (made.due_us(), made.end_us()) == (None, None)
    assert made.out_us(60) <= 70


def test_late_records_are_set_aside_as_they_came() -> None:
    made = operator()
    made.process(0, piece([5, 25, 7, 31], [None, 5, 25, 25], k=["a", "a", "b", "a"]))
    late = made.late()
    assert late is not None
    assert late.columns().rows() == [("b",)]
    assert made.late() is None
    assert made.status().late == 1
    assert moved(made, operator()).status().late == 1


def test_windows_close_after_a_restart_before_the_next_record_comes() -> None:
    made = operator(n=count(), xs=collect("x"))
    made.process(0, piece([5, 6], k=["a", None], x=[1.5, 2.5]))
    again = moved(made, operator(n=count(), xs=collect("x")))
    assert (again.due_us(), again.end_us()) == (10, 10)
    assert results(again.advance(10)) == [(None, 1, [2.5]), ("a", 1, [1.5])]


@pytest.mark.parametrize("window", ALL_KINDS, ids=str)
def test_a_column_may_be_widened_while_windows_are_open(window: Window) -> None:
    aggregates = {
        "total": sum_("n"),
        "most": max_("n"),
        "mean": mean("n"),
        "middle": quantile("n", 0.5),
        "of": collect("n"),
    }
    made = operator(window, **aggregates)
    made.process(0, piece([1], k=["a"], n=pl.Series([2], dtype=pl.Int32)))
    again = moved(made, operator(window, **aggregates))
    out = again.process(0, piece([2], k=["a"], n=[0.5])) + again.advance(100)
    last = results(out)[0 if isinstance(window, Hopping) else -1]
    assert last == ("a", 2.5, 2.0, 1.25, 1.25, [2.0, 0.5])


def test_lateness_may_change_while_windows_are_open() -> None:
    made = operator(lateness_us=100)
    made.process(0, piece([5], k=["a"]))
    assert made.advance(20) == []
    again = moved(made, operator(lateness_us=3))
    assert again.due_us() == 13
    assert results(again.advance(21)) == [("a", 1)]


def test_a_sum_beyond_64_bits_is_an_error_and_not_another_number() -> None:
    made = operator(total=sum_("n"))
    made.process(0, piece([1, 2], k=["a", "a"], n=[2**63 - 1, 2**63 - 1]))
    with pytest.raises(UsageError, match="beyond 64 bits; cast the column"):
        made.advance(10)


def test_a_state_that_cannot_be_stored_is_named() -> None:
    own = aggregator("n", init=object, add=lambda s, n: s, merge=lambda a, b: a, finish=lambda s: 0, type=int)
    made = operator(own=own)
    with pytest.raises(UsageError, match="cannot be stored"):
        made.process(0, piece([1], k=["a"], n=[1]))


def test_early_results_are_refused_where_there_are_none() -> None:
    with pytest.raises(UsageError, match=r"by the number of records.* global_window\(\"1h\"\)"):
        operator(GlobalWindow(3, None), early_us=5)


def told(made: WindowOperator, watermark: int) -> list[tuple[Any, ...]]:
    """Return end, count, revision, final of the results up to a watermark."""
    frames = [piece.columns() for piece in made.advance(watermark)]
    return [
        (int(row["window_end"].timestamp() * 1e6), row["n"], row["revision"], row["final"])
        for frame in frames
        for row in frame.to_dicts()
    ]


@pytest.mark.parametrize("key", ["a", None])
def test_a_record_changes_the_sliding_windows_of_those_after_it(key: str | None) -> None:
    made = operator(Sliding(10), early_us=2, lateness_us=20)

    def came(*times: int) -> None:
        made.process(0, piece(list(times), k=pl.Series([key] * len(times), dtype=pl.String)))

    came(5, 12)
    assert told(made, 13) == []
    assert told(made, 14) == [(5, 1, 0, False), (12, 2, 0, False)]
    came(4)
    assert told(made, 16) == [(4, 1, 0, False), (5, 2, 1, False), (12, 3, 1, False)]
    assert told(made, 25) == [(4, 1, 1, True)]
    assert told(made, 60) == [(5, 2, 2, True), (12, 3, 2, True)]
    assert made.due_us() is None


def test_a_record_changes_the_totals_of_all_periods_that_are_open() -> None:
    made = operator(GlobalWindow(None, 10), early_us=4, lateness_us=20)
    made.process(0, piece([5, 15], k=["a", "a"]))
    assert told(made, 15) == []
    assert told(made, 16) == [(10, 1, 0, False), (20, 2, 0, False)]
    made.process(0, piece([6, 17], k=["a", "b"]))
    assert told(made, 20) == [(10, 2, 1, False), (20, 3, 1, False), (20, 1, 0, False)]
    assert told(made, 30) == [(10, 2, 2, True)]
    assert told(made, 40) == [(20, 3, 2, True), (20, 1, 1, True)]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: hopping("1m", "2m"), "size comes first"),
        (lambda: hopping("1m", 0), "size comes first"),
        (lambda: sliding(0), "needs a size"),
        (lambda: session(0), "needs a gap"),
        (lambda: global_window(0), "how often"),
        (lambda: global_window("0s"), "how often"),
        (lambda: top_k("x", 0), "say how many"),
        (lambda: quantile("x", 2), "from 0 to 1"),
        (lambda: agg_expr("x"), "Polars expression"),  # type: ignore[arg-type]
    ],
)
def test_windows_and_aggregates_that_make_no_sense_are_refused(make: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make()


def test_a_session_is_corrected_though_another_one_alone_has_values() -> None:
    step = WindowStep(Session(3, 3), ("k",), {"n": count(), "xs": collect("x")}, 3, corrections=True)
    made = WindowOperator(step, PREFIX)
    made.process(0, piece([0, 3], k=["a", "a"], x=[None, 0.1]))
    assert results(made.advance(3)) == [("a", 1, [], 0, False)]
    assert results(made.advance(100)) == [("a", 1, [], 1, True), ("a", 1, [0.1], 0, True)]


def test_keys_of_records_are_made_of_the_columns() -> None:
    made = operator(by=("k", "n"), times=count())
    made.process(0, piece([1], k=["a"], n=[7]))
    (out,) = made.advance(10)
    assert out.carried["_key"].to_list() == [b'["a",7]']
    assert out.carried["_event_time"].to_physical().to_list() == [0]


def test_a_commit_of_a_quiet_stream_is_small() -> None:
    made = operator(n=count(), total=sum_("n"))
    made.process(0, piece(list(range(0, 50_000, 10)), k=[f"k{i}" for i in range(5000)], n=list(range(5000))))
    made.changes()
    made.process(0, piece([49_999], k=["k1"], n=[1]))
    assert sum(len(key) + len(value or b"") for key, value in made.changes()) < 1000


def test_a_watermark_that_does_not_move_closes_nothing_twice() -> None:
    made = operator(Hopping(10, 5))
    made.process(0, piece([3, 8], k=["a", "a"]))
    assert results(made.advance(10)) == [("a", 1), ("a", 2)]
    assert made.advance(10) == []
    assert made.advance(9) == []
    assert results(made.advance(100)) == [("a", 1)]


def test_a_window_that_grew_in_several_batches_is_one_open_window() -> None:
    made = operator()
    for time in (1, 2, 13):
        made.process(0, piece([time], k=["a"]))
    assert made.status().open == 2
