"""Aggregates of one window at a time, in Python: what stream/state.py works with until windows are columns.

The records of a micro-batch and a window become one *part* (a Polars expression); parts are merged into a *state* of
plain numbers and lists; when the window closes, the state becomes the result.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from millstream.errors import UsageError
from millstream.stream import exact_sum
from millstream.stream.aggregates.aggregate import Aggregate

if TYPE_CHECKING:
    import polars as pl


def accumulator_of(aggregate: Aggregate, schema: pl.Schema) -> Accumulator:
    """Return how to compute an aggregate over records of this schema.

    Raises:
        UsageError: There is no such column, or its type has no such aggregate.
    """
    import polars as pl

    if aggregate.column is None:
        return Accumulator(pl.len().cast(pl.Int64), lambda: 0, _add, _same, pl.Int64())
    found = aggregate.dtype(schema)
    bound = _BINDERS[aggregate.function](aggregate, pl.col(aggregate.column), found)
    if bound is None:
        raise UsageError(f"{aggregate}: the column {aggregate.column!r} is {found}, which it cannot take")
    return bound


class Accumulator(NamedTuple):
    """A bound aggregate."""

    part: pl.Expr
    """One value a group."""
    new: Callable[[], Any]
    merge: Callable[[Any, Any], Any]
    """(state, part) -> state"""
    result: Callable[[Any], Any]
    """state -> value of `dtype`, or its physical number."""
    dtype: pl.DataType


# --- how each is computed ---------------------------------------------------------------------------------------------


def _count(aggregate: Aggregate, column: pl.Expr, dtype: pl.DataType) -> Accumulator:
    import polars as pl

    return Accumulator(column.count().cast(pl.Int64), lambda: 0, _add, _same, pl.Int64())


def _sum(aggregate: Aggregate, column: pl.Expr, dtype: pl.DataType) -> Accumulator | None:
    import polars as pl

    if dtype.is_float():
        return Accumulator(_values(column), list, _add_exact, _exact, pl.Float64())
    if dtype.is_integer() or dtype == pl.Boolean:
        # 128 bits: the sum of a micro-batch must not wrap around before Python's integers take it.
        return Accumulator(column.cast(pl.Int128).sum(), lambda: 0, _add, _same, pl.Int64())
    return None


def _mean(aggregate: Aggregate, column: pl.Expr, dtype: pl.DataType) -> Accumulator | None:
    import polars as pl

    if not (dtype.is_float() or dtype.is_integer() or dtype == pl.Boolean):
        return None

    def merge(state: list[Any], part: list[float]) -> list[Any]:
        return [state[0] + len(part), exact_sum.add(state[1], part)]

    def result(state: list[Any]) -> float | None:
        return exact_sum.value(state[1]) / state[0] if state[0] else None

    return Accumulator(_values(column), lambda: [0, []], merge, result, pl.Float64())


def _min(aggregate: Aggregate, column: pl.Expr, dtype: pl.DataType) -> Accumulator | None:
    return _extreme(column.min(), dtype, lambda old, new: new < old)


def _max(aggregate: Aggregate, column: pl.Expr, dtype: pl.DataType) -> Accumulator | None:
    return _extreme(column.max(), dtype, lambda old, new: new > old)


def _extreme(part: pl.Expr, dtype: pl.DataType, better: Callable[[Any, Any], bool]) -> Accumulator | None:
    import polars as pl

    if not (dtype.is_numeric() or dtype.is_temporal() or dtype in (pl.String, pl.Boolean)) or dtype.is_decimal():
        return None

    def merge(old: Any, new: Any) -> Any:
        if old is None or _is_nan(old):
            return old if new is None else new
        return new if new is not None and not _is_nan(new) and better(old, new) else old

    return Accumulator(part.to_physical(), lambda: None, merge, _same, dtype)


def _quantile(aggregate: Aggregate, column: pl.Expr, dtype: pl.DataType) -> Accumulator | None:
    import polars as pl

    if not (dtype.is_float() or dtype.is_integer()):
        return None
    share = aggregate.share or 0.0

    def merge(state: list[list[Any]], part: list[float]) -> list[list[Any]]:
        counts = dict(zip(*state, strict=True))
        for number in part:
            counts[number] = counts.get(number, 0) + 1
        return [list(counts.keys()), list(counts.values())]

    def result(state: list[list[Any]]) -> float | None:
        return _quantile_of(sorted(zip(*state, strict=True)), share)

    return Accumulator(_values(column).list.drop_nulls(), lambda: [[], []], merge, result, pl.Float64())


def _quantile_of(counted: list[tuple[float, int]], share: float) -> float | None:
    total = sum(count for _, count in counted)
    if not total:
        return None
    place = share * (total - 1)
    low = math.floor(place)
    below, above = _at(counted, low), _at(counted, min(low + 1, total - 1))
    return below + (above - below) * (place - low)


def _at(counted: list[tuple[float, int]], place: int) -> float:
    for number, times in counted:
        if place < times:
            return number
        place -= times
    raise AssertionError("a place beyond the values")


def _values(column: pl.Expr) -> pl.Expr:
    import polars as pl

    return column.cast(pl.Float64).drop_nulls().implode()


def _add(state: int, part: int) -> int:
    return state + part


def _add_exact(state: list[float] | int, part: list[float]) -> list[float]:
    # An int is the state of a column that held integers until its topic's schema was widened.
    return exact_sum.add(state if isinstance(state, list) else [float(state)], part)


def _exact(state: list[float] | int) -> float:
    return exact_sum.value(state) if isinstance(state, list) else float(state)


def _same(state: Any) -> Any:
    return state


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


_BINDERS: dict[str, Callable[[Aggregate, pl.Expr, pl.DataType], Accumulator | None]] = {
    "count": _count,
    "sum_": _sum,
    "min_": _min,
    "max_": _max,
    "mean": _mean,
    "quantile": _quantile,
}
