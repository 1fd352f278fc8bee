"""Which tables and which arithmetic an aggregate needs over columns of a schema."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from millstream.errors import UsageError
from millstream.stream.aggregates.aggregate import Aggregate
from millstream.stream.aggregates.counted import CountedTable, quantile_of, unique
from millstream.stream.aggregates.folds import Fold, How, Parts, count_of, extreme_of, sum_of
from millstream.stream.aggregates.kept import Descending, KeptTable
from millstream.stream.aggregates.results import (
    column,
    column_or,
    deviation,
    exact,
    is_comparable,
    numbers,
    sum_within_64_bits,
    totals,
)
from millstream.stream.aggregates.sketches import QuantileKind, UniqueKind
from millstream.stream.aggregates.states import Kind, StateTable, UserKind
from millstream.stream.aggregates.table import ORDER, Table

if TYPE_CHECKING:
    import polars as pl


class Bound(NamedTuple):
    """An aggregate over columns of known types."""

    dtype: pl.DataType
    result: Callable[[pl.DataFrame], pl.Series]
    """Of a frame with one row a group: folds by name, and what tables finished."""
    columns: tuple[str, ...] = ()
    """Of the records, those that it reads."""
    folds: tuple[Fold, ...] = ()
    parts: tuple[Parts, ...] = ()
    table: Table | None = None


def bind(name: str, aggregate: Aggregate, schema: pl.Schema) -> Bound:
    """Return how to compute an aggregate over records of this schema.

    Args:
        name: Of the result.

    Raises:
        UsageError: There is no such column, or its type has no such aggregate.
    """
    return _BINDERS[aggregate.function](name, aggregate, schema)


# --- sums and what is made of them ------------------------------------------------------------------------------------


def _count(name: str, aggregate: Aggregate, schema: pl.Schema) -> Bound:
    import polars as pl

    if aggregate.column is not None:
        aggregate.dtype(schema)
    fold = count_of(aggregate.column)
    return Bound(pl.Int64(), column(fold.name), () if aggregate.column is None else (aggregate.column,), (fold,))


def _sum(name: str, aggregate: Aggregate, schema: pl.Schema) -> Bound:
    import polars as pl

    of, whole = numbers(aggregate, schema)
    if whole:
        fold = sum_of(of)
        return Bound(pl.Int64(), sum_within_64_bits(aggregate, fold.name), (of,), (fold,))
    parts = Parts(of, squared=False)
    return Bound(pl.Float64(), lambda frame: totals(frame, parts), (of,), parts.folds(), (parts,))


def _mean(name: str, aggregate: Aggregate, schema: pl.Schema) -> Bound:
    import polars as pl

    of, whole = numbers(aggregate, schema)
    count, parts = count_of(of), Parts(of, squared=False)
    folds = (sum_of(of),) if whole else parts.folds()

    def result(frame: pl.DataFrame) -> pl.Series:
        times = frame.get_column(count.name)
        return totals(frame, parts) / times.set(times == 0, None)

    return Bound(pl.Float64(), result, (of,), (count, *folds), () if whole else (parts,))


def _std(name: str, aggregate: Aggregate, schema: pl.Schema) -> Bound:
    import polars as pl

    of, _ = numbers(aggregate, schema)
    count, sums, squares = count_of(of), Parts(of, squared=False), Parts(of, squared=True)

    def result(frame: pl.DataFrame) -> pl.Series:
        times = frame.get_column(count.name).to_list()
        groups = zip(times, exact(frame, sums), exact(frame, squares), strict=True)
        return pl.Series(name, [deviation(*group) for group in groups], dtype=pl.Float64)

    folds = (count, *sums.folds(), *squares.folds())
    return Bound(pl.Float64(), result, (of,), folds, (sums, squares))


def _min(name: str, aggregate: Aggregate, schema: pl.Schema) -> Bound:
    return _extreme(aggregate, schema, How.MIN)


def _max(name: str, aggregate: Aggregate, schema: pl.Schema) -> Bound:
    return _extreme(aggregate, schema, How.MAX)


def _extreme(aggregate: Aggregate, schema: pl.Schema, how: How) -> Bound:
    dtype = aggregate.dtype(schema)
    if not is_comparable(dtype):
        raise aggregate.refusal(schema)
    assert aggregate.column is not None
    fold = extreme_of(aggregate.column, how)
    return Bound(dtype, column(fold.name), (aggregate.column,), (fold,))


# --- distinct values --------------------------------------------------------------------------------------------------


def _quantile(name: str, aggregate: Aggregate, schema: pl.Schema) -> Bound:
    import polars as pl

    dtype = aggregate.dtype(schema)
    if not (dtype.is_float() or dtype.is_integer()):
        raise aggregate.refusal(schema)
    assert aggregate.column is not None
    table = CountedTable(aggregate.column, {name: quantile_of(aggregate.share or 0.0)})
    return Bound(pl.Float64(), column_or(name, None, pl.Float64()), (aggregate.column,), (), (), table)


def _n_unique(name: str, aggregate: Aggregate, schema: pl.Schema) -> Bound:
    import polars as pl

    dtype = aggregate.dtype(schema)
    if dtype.is_nested():
        raise aggregate.refusal(schema)
    assert aggregate.column is not None
    table = CountedTable(aggregate.column, {name: unique()})
    return Bound(pl.Int64(), column_or(name, 0, pl.Int64()), (aggregate.column,), (), (), table)


# --- records that are kept --------------------------------------------------------------------------------------------


def _first(name: str, aggregate: Aggregate, schema: pl.Schema) -> Bound:
    return _one(name, aggregate, schema, ORDER, skip_nulls=True)


def _last(name: str, aggregate: Aggregate, schema: pl.Schema) -> Bound:
    return _one(name, aggregate, schema, tuple(map(Descending, ORDER)), skip_nulls=True)


def _arg_max(name: str, aggregate: Aggregate, schema: pl.Schema) -> Bound:
    return _compared(name, aggregate, schema, Descending)


def _arg_min(name: str, aggregate: Aggregate, schema: pl.Schema) -> Bound:
    return _compared(name, aggregate, schema, str)


def _compared(name: str, aggregate: Aggregate, schema: pl.Schema, order: Callable[[str], str | Descending]) -> Bound:
    assert aggregate.by is not None
    if not is_comparable(aggregate.dtype(schema, aggregate.by)):
        raise aggregate.refusal(schema, aggregate.by)
    return _one(name, aggregate, schema, (order(aggregate.by),), skip_nulls=False)


def _one(
    name: str, aggregate: Aggregate, schema: pl.Schema, order: tuple[str | Descending, ...], *, skip_nulls: bool
) -> Bound:
    """Return how to find a column's value in the record that is first in an order."""
    import polars as pl

    dtype = aggregate.dtype(schema)
    assert aggregate.column is not None
    compared = [by if isinstance(by, str) else by.column for by in order]
    own = [one for one in compared if one not in ORDER]
    where = pl.col(aggregate.column).is_not_null() if skip_nulls else pl.col(own[0]).is_not_null()
    if own and schema[own[0]].is_float():
        where = where & pl.col(own[0]).is_not_nan()
    table = KeptTable(name, aggregate.column, own, lambda value: value.first(), order=order, rows_max=1, where=where)
    return Bound(dtype, column_or(name, None, dtype), (aggregate.column, *own), (), (), table)


def _collect(name: str, aggregate: Aggregate, schema: pl.Schema) -> Bound:
    import polars as pl

    dtype = pl.List(aggregate.dtype(schema))
    assert aggregate.column is not None
    value = pl.col(aggregate.column)
    table = KeptTable(name, aggregate.column, (), lambda value: value.implode(), where=value.is_not_null())
    return Bound(dtype, column_or(name, [], dtype), (aggregate.column,), (), (), table)


def _top_k(name: str, aggregate: Aggregate, schema: pl.Schema) -> Bound:
    import polars as pl

    of = aggregate.column
    assert of is not None
    if not is_comparable(aggregate.dtype(schema)):
        raise aggregate.refusal(schema)
    dtype = pl.List(aggregate.dtype(schema))
    value = pl.col(of)
    where = value.is_not_null() & value.is_not_nan() if schema[of].is_float() else value.is_not_null()
    table = KeptTable(
        name,
        of,
        (),
        lambda value: value.head(aggregate.k or 1).implode(),
        order=(Descending(of),),
        rows_max=aggregate.k,
        where=where,
    )
    return Bound(dtype, column_or(name, [], dtype), (of,), (), (), table)


def _agg_expr(name: str, aggregate: Aggregate, schema: pl.Schema) -> Bound:
    import polars as pl

    columns = tuple(dict.fromkeys(aggregate.expr.meta.root_names()))
    for one in columns:
        aggregate.dtype(schema, one)
    empty = pl.DataFrame(schema=schema).with_columns(_group=pl.lit(0))
    try:
        dtype = empty.group_by("_group").agg(aggregate.expr.alias("_result")).schema["_result"]
    except pl.exceptions.PolarsError as error:
        told = str(error).partition("\n")[0]
        raise UsageError(f"{aggregate}: {told}; the columns are {', '.join(schema.names())}") from error
    table = KeptTable(name, None, columns, lambda _: aggregate.expr)
    return Bound(dtype, column_or(name, None, dtype), columns, (), (), table)


# --- states of Python -------------------------------------------------------------------------------------------------


def _aggregator(name: str, aggregate: Aggregate, schema: pl.Schema) -> Bound:
    import polars as pl

    assert aggregate.user is not None
    aggregate.dtype(schema)
    dtype = pl.DataFrame(schema={name: aggregate.user.type}).schema[name]
    return _state(name, aggregate, UserKind(aggregate.user), dtype)


def _approx_n_unique(name: str, aggregate: Aggregate, schema: pl.Schema) -> Bound:
    import polars as pl

    if aggregate.dtype(schema).is_nested():
        raise aggregate.refusal(schema)
    return _state(name, aggregate, UniqueKind(aggregate), pl.Int64(), 0)


def _approx_quantile(name: str, aggregate: Aggregate, schema: pl.Schema) -> Bound:
    import polars as pl

    dtype = aggregate.dtype(schema)
    if not (dtype.is_float() or dtype.is_integer()):
        raise aggregate.refusal(schema)
    return _state(name, aggregate, QuantileKind(aggregate), pl.Float64())


def _state(name: str, aggregate: Aggregate, kind: Kind, dtype: pl.DataType, fill: Any = None) -> Bound:
    assert aggregate.column is not None
    table = StateTable(name, aggregate.column, kind, dtype)
    return Bound(dtype, column_or(name, fill, dtype), (aggregate.column,), (), (), table)


_BINDERS: dict[str, Callable[[str, Aggregate, Any], Bound]] = {
    "count": _count,
    "sum_": _sum,
    "mean": _mean,
    "std": _std,
    "min_": _min,
    "max_": _max,
    "quantile": _quantile,
    "n_unique": _n_unique,
    "first": _first,
    "last": _last,
    "arg_max": _arg_max,
    "arg_min": _arg_min,
    "collect": _collect,
    "top_k": _top_k,
    "agg_expr": _agg_expr,
    "aggregator": _aggregator,
    "approx_n_unique": _approx_n_unique,
    "approx_quantile": _approx_quantile,
}
