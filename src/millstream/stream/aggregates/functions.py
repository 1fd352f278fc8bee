"""The aggregates that a window can compute, as functions to write them with.

Nulls are skipped, as in SQL. Results do not depend on the order in which records came but for ties: where several
records have the same event time, those of one key go by their order in the log, those of different keys by key.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from millstream.errors import UsageError
from millstream.stream.aggregates.aggregate import Aggregate, UserFunctions

if TYPE_CHECKING:
    import polars as pl


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
    """Return the mean of numbers: their exact sum, rounded, divided by their number. float, null without any."""
    return Aggregate("mean", column)


def std(column: str) -> Aggregate:
    """Return the standard deviation of a sample (divided by n - 1), from exact sums. float, null below two numbers."""
    return Aggregate("std", column)


def quantile(column: str, share: float) -> Aggregate:
    """Return the exact quantile of numbers, between two by linear interpolation (as `numpy.quantile` does). float.

    The distinct values of an open window are kept with it, so its memory grows with them: right for milliseconds or
    prices, and for thousands of measurements a window. `approx_quantile` needs little memory for any number.

    Raises:
        UsageError: `share` is outside [0, 1].
    """
    return Aggregate("quantile", column, _share("quantile", column, share))


def n_unique(column: str) -> Aggregate:
    """Count the different values, exactly. int. They are kept until the window closes, each once."""
    return Aggregate("n_unique", column)


def first(column: str) -> Aggregate:
    """Return the value, not null, of the earliest record by event time."""
    return Aggregate("first", column)


def last(column: str) -> Aggregate:
    """Return the value, not null, of the latest record by event time."""
    return Aggregate("last", column)


def collect(column: str) -> Aggregate:
    """Return all values, not null, as a list in the order of event time. They are kept until the window closes."""
    return Aggregate("collect", column)


def top_k(column: str, k: int) -> Aggregate:
    """Return the k largest values as a list, the largest first.

    Raises:
        UsageError: k is below 1.
    """
    if k < 1:
        raise UsageError(f"top_k({column!r}, {k!r}): say how many, such as top_k({column!r}, 10)")
    return Aggregate("top_k", column, k=k)


def arg_max(column: str, by: str) -> Aggregate:
    """Return the value of a column (it may be null) in the record where `by` is largest; the earliest of equals."""
    return Aggregate("arg_max", column, by=by)


def arg_min(column: str, by: str) -> Aggregate:
    """Return the value of a column (it may be null) in the record where `by` is smallest; the earliest of equals."""
    return Aggregate("arg_min", column, by=by)


def agg_expr(expr: pl.Expr) -> Aggregate:
    """Compute any Polars aggregation, such as `agg_expr(pl.corr("bytes", "ms"))`, over the records of a window.

    The columns it names are kept until the window closes; it then sees a group's records in the order of event time.
    """
    if not hasattr(expr, "meta"):
        raise UsageError(f'agg_expr({expr!r}): give a Polars expression, such as agg_expr(pl.col("ms").median())')
    return Aggregate("agg_expr", expr=expr)


def aggregator(
    column: str,
    *,
    init: Callable[[], Any],
    add: Callable[[Any, Any], Any],
    merge: Callable[[Any, Any], Any],
    finish: Callable[[Any], Any],
    type: type,
) -> Aggregate:
    """Define an aggregate by Python functions, called for each value of a column that is not null.

    Micro-batches end anywhere, so the result must not depend on how values were divided: `merge` of two states is the
    state of all values of both.

    Args:
        init: Returns an empty state: numbers, texts, lists, dicts, or a Struct.
        add: (state, value) -> state
        merge: (state, state) -> state
        finish: state -> result
        type: The Python type of the result.
    """
    return Aggregate("aggregator", column, user=UserFunctions(init, add, merge, finish, type))


def approx_n_unique(column: str) -> Aggregate:
    """Estimate how many different values there are, within about 2%, in at most 3 kB a group (HyperLogLog).

    Needs `pip install "millstream[sketches]"`. int.
    """
    return Aggregate("approx_n_unique", column)


def approx_quantile(column: str, share: float) -> Aggregate:
    """Estimate a quantile of numbers, within about 1.3% of the ranks, in a few kB a group (KLL).

    Needs `pip install "millstream[sketches]"`. float, null without any. Of many values, which are kept is drawn by lot:
    the one aggregate whose result is not the same in every run.

    Raises:
        UsageError: `share` is outside [0, 1].
    """
    return Aggregate("approx_quantile", column, _share("approx_quantile", column, share))


def _share(function: str, column: str, share: float) -> float:
    if not 0 <= share <= 1:
        raise UsageError(f"{function}({column!r}, {share!r}): the share is from 0 to 1, such as 0.95")
    return float(share)
