"""From what is kept of a group to its result, for all groups at once."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import TYPE_CHECKING, Any, TypeAlias

from millstream.errors import UsageError
from millstream.stream import exact_sum
from millstream.stream.aggregates.aggregate import Aggregate
from millstream.stream.aggregates.folds import Parts

if TYPE_CHECKING:
    import polars as pl

Make: TypeAlias = "Callable[[pl.DataFrame], pl.Series]"


def column(name: str) -> Make:
    """Return a column as it is."""
    return lambda frame: frame.get_column(name)


def column_or(name: str, fill: Any, dtype: pl.DataType) -> Make:
    """Return a column that is null, or not there at all, for groups without a row in its table."""
    import polars as pl

    filling = pl.lit(fill, dtype=dtype)

    def made(frame: pl.DataFrame) -> pl.Series:
        if name not in frame.columns:
            return frame.select(filling.alias(name)).to_series().new_from_index(0, frame.height)
        if fill is None:
            return frame.get_column(name)
        return frame.select(pl.col(name).cast(dtype).fill_null(filling)).to_series()

    return made


def sum_within_64_bits(aggregate: Aggregate, name: str) -> Make:
    """Return a sum of integers as 64 bits."""
    import polars as pl

    def made(frame: pl.DataFrame) -> pl.Series:
        total = frame.get_column(name)
        try:
            return total.cast(pl.Int64)
        except pl.exceptions.InvalidOperationError as error:
            raise UsageError(
                f"{aggregate}: a sum is beyond 64 bits; cast the column to a float before the "
                f'window, such as with_columns(pl.col("{aggregate.column}").cast(pl.Float64))'
            ) from error

    return made


def totals(frame: pl.DataFrame, parts: Parts) -> pl.Series:
    """Return sums as floats, each rounded once."""
    import polars as pl

    whole, fraction = _two(frame, parts)
    made = exact_sum.totals(whole, fraction)
    if parts.odd not in frame.columns:
        return made
    numbers = made.to_list()
    for place, odd in enumerate(frame.get_column(parts.odd).to_list()):
        if odd:
            total = exact_sum.exact(whole[place] or 0, fraction[place] or 0)
            numbers[place] = _with_odd(total, odd)
    return pl.Series(made.name, numbers, dtype=pl.Float64)


def exact(frame: pl.DataFrame, parts: Parts) -> Iterator[Fraction | None]:
    """Return sums as they are; None: not a number."""
    whole, fraction = _two(frame, parts)
    rest = frame.get_column(parts.rest).to_list() if parts.rest in frame.columns else [0] * frame.height
    rows = zip(whole.to_list(), fraction.to_list(), rest, strict=True)
    found = (exact_sum.exact(w or 0, f or 0, r or 0) for w, f, r in rows)
    if parts.odd not in frame.columns:
        yield from found
        return
    for total, odd in zip(found, frame.get_column(parts.odd).to_list(), strict=True):
        values = odd or []
        if all(map(math.isfinite, values)):
            yield total + sum(Fraction(value) ** (2 if parts.squared else 1) for value in values)
        else:
            yield None


def deviation(times: int, total: Fraction | None, squares: Fraction | None) -> float | None:
    """Return the standard deviation of a sample from its exact sums."""
    if times < 2:
        return None
    if total is None or squares is None:
        return math.nan
    variance = (squares * times - total * total) / (times * (times - 1))
    return math.sqrt(exact_sum.rounded(variance))


def _with_odd(total: Fraction, odd: list[float]) -> float:
    if all(map(math.isfinite, odd)):
        return exact_sum.rounded(total + sum(map(Fraction, odd)))
    return sum(value for value in odd if not math.isfinite(value))


def _two(frame: pl.DataFrame, parts: Parts) -> tuple[pl.Series, pl.Series]:
    """Return the whole and the fraction; of integers there is no fraction."""
    import polars as pl

    whole = frame.get_column(parts.whole)
    if parts.fraction in frame.columns:
        return whole, frame.get_column(parts.fraction)
    return whole, pl.zeros(frame.height, dtype=pl.Int128, eager=True)


def numbers(aggregate: Aggregate, schema: pl.Schema) -> tuple[str, bool]:
    """Return the column of an aggregate, and whether its sums are integers.

    Raises:
        UsageError: It holds no numbers.
    """
    import polars as pl

    dtype = aggregate.dtype(schema)
    assert aggregate.column is not None
    if dtype.is_float():
        return aggregate.column, False
    if dtype.is_integer() or dtype == pl.Boolean:
        return aggregate.column, True
    raise aggregate.refusal(schema)


def is_comparable(dtype: pl.DataType) -> bool:
    import polars as pl

    simple = dtype.is_numeric() or dtype.is_temporal() or dtype in (pl.String, pl.Boolean)
    return bool(simple) and not dtype.is_decimal()
