"""What a window computes: `count()`, `sum_("x")`, `min_`, `max_`, `mean`, `quantile`.

General layout of one aggregate: the records of a micro-batch and a window become one *part* (a Polars expression, at
the speed of columns); parts are merged into a *state* of plain numbers and lists, kept with the window; when the window
closes, the state becomes the result. Merging does not depend on how the records were cut into parts.

Nulls are skipped, as in SQL.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from millstream.errors import UsageError
from millstream.stream import exact_sum

if TYPE_CHECKING:
    import polars as pl


class Aggregate(msgspec.Struct, frozen=True):
    """An aggregate as written; `bind` makes it computable once the column's type is known."""

    function: str
    column: str | None = None
    share: float | None = None
    """Of quantile."""

    def __str__(self) -> str:
        arguments = [repr(a) for a in (self.column, self.share) if a is not None]
        return f"{self.function}({', '.join(arguments)})"

    def bind(self, schema: pl.Schema) -> Accumulator:
        """Return how to compute it over records of this schema.

        Raises:
            UsageError: There is no such column, or its type has no such aggregate.
        """
        import polars as pl

        if self.column is None:
            return Accumulator(pl.len().cast(pl.Int64), lambda: 0, _add, _same, pl.Int64())
        if self.column not in schema:
            raise UsageError(f"{self}: there is no column {self.column!r}; there are {', '.join(schema.names())}")
        bound = _BINDERS[self.function](self, pl.col(self.column), schema[self.column])
        if bound is None:
            found = schema[self.column]
            raise UsageError(f"{self}: the column {self.column!r} is {found}, which {self.function} cannot take")
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


def count(column: str | None = None) -> Aggregate:
    """Count the records; with a column, those where it is not null. int."""
    return Aggregate("count", column)


def sum_(column: str) -> Aggregate:
    """Add up numbers; exact for integers, rounded once for floats. 0 without any."""
    return Aggregate("sum_", column)


def min_(column: str) -> Aggregate:
    """Return the smallest number, text, truth value or time. Null without any; NaN only where there is nothing else."""
    return Aggregate("min_", column)


def max_(column: str) -> Aggregate:
    """Return the largest; otherwise as `min_`."""
    return Aggregate("max_", column)


def mean(column: str) -> Aggregate:
    """Return the mean of numbers, rounded once. float, null without any."""
    return Aggregate("mean", column)


def quantile(column: str, share: float) -> Aggregate:
    """Return the exact quantile of numbers, between two by linear interpolation (as `numpy.quantile` does). float.

    The distinct values of an open window are kept with it, so its memory grows with them: right for milliseconds or
    prices, and for thousands of measurements a window.

    Raises:
        UsageError: `share` is outside [0, 1].
    """
    if not 0 <= share <= 1:
        raise UsageError(f"quantile({column!r}, {share!r}): the share is from 0 to 1, such as 0.95")
    return Aggregate("quantile", column, float(share))


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
