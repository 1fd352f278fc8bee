"""Approximate aggregates, against exact ones."""

from __future__ import annotations

import sys

import polars as pl
import pytest

from millstream.errors import UsageError
from millstream.stream.aggregates import Aggregate, approx_n_unique, approx_quantile
from millstream.stream.piece import Piece
from millstream.stream.windowing import WindowOperator, WindowStep
from millstream.stream.windows import Sliding, Tumbling, Window

SCHEMA = pl.Schema({"n": pl.Int64, "k": pl.String})


def piece(numbers: range) -> Piece:
    frame = pl.DataFrame({"n": numbers, "k": [f"user {n}" for n in numbers]})
    return Piece.of(frame.with_columns(pl.lit(5, dtype=pl.Int64).cast(pl.Datetime("us", "UTC")).alias("_event_time")))


@pytest.mark.parametrize("aggregate", [approx_n_unique("n"), approx_quantile("n", 0.5)], ids=str)
def test_without_the_library_it_is_told_how_to_get_it(aggregate: Aggregate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasketches", None)
    operator = WindowOperator(WindowStep(Tumbling(10), (), {"a": aggregate}), b"p")
    with pytest.raises(UsageError, match=r"millstream\[sketches\]"):
        operator.bind(0, SCHEMA)


@pytest.mark.parametrize("window", [Tumbling(10), Sliding(10)], ids=str)
def test_estimates_are_near_across_batches_and_restarts(window: Window) -> None:
    pytest.importorskip("datasketches", reason="the extra `sketches` is not installed")
    aggregates = {"users": approx_n_unique("k"), "middle": approx_quantile("n", 0.5)}
    operator = WindowOperator(WindowStep(window, (), aggregates), b"p")
    state: dict[bytes, bytes] = {}
    size = 20_000 if isinstance(window, Tumbling) else 200
    for start in range(0, size, size // 20):
        operator.process(0, piece(range(start, start + size // 20)))
        for key, value in operator.changes():
            if value is None:
                del state[key]
            else:
                state[key] = value
        operator = WindowOperator(WindowStep(window, (), aggregates), b"p")
        operator.load(state)
    frame = operator.advance(100)[0].columns()
    users, middle = frame.select("users", "middle").row(0)
    assert users == pytest.approx(size, rel=0.08)
    assert middle == pytest.approx(size / 2, rel=0.08)
    assert sum(map(len, state.values())) < 100_000


def test_text_has_no_quantile() -> None:
    operator = WindowOperator(WindowStep(Tumbling(10), (), {"a": approx_quantile("k", 0.5)}), b"p")
    with pytest.raises(UsageError, match="cannot take"):
        operator.bind(0, SCHEMA)
