"""What a window computes: `count()`, `sum_("x")`, `quantile("ms", 0.95)`.

General layout:

    functions.py    what a user writes
    aggregate.py    Aggregate: as written
    binding.py      what each needs over columns of known types
    plan.py         Plan: all of a window's together
    table.py        Table: what is kept of records until their window closes
    folds.py        numbers that add up: count, sum, mean, std, min, max
    counted.py      distinct values: quantile, n_unique
    kept.py         records themselves: first, last, arg_max, top_k, collect, any Polars aggregation
    states.py       states of Python: user-defined ones
    sketches.py     approximate ones, of a library
    results.py      from what is kept to the result
"""

from __future__ import annotations

from millstream.stream.aggregates.aggregate import Aggregate
from millstream.stream.aggregates.functions import (
    agg_expr,
    aggregator,
    approx_n_unique,
    approx_quantile,
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

__all__ = [
    "Aggregate",
    "agg_expr",
    "aggregator",
    "approx_n_unique",
    "approx_quantile",
    "arg_max",
    "arg_min",
    "collect",
    "count",
    "first",
    "last",
    "max_",
    "mean",
    "min_",
    "n_unique",
    "quantile",
    "std",
    "sum_",
    "top_k",
]
