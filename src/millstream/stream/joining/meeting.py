"""Which rows of two frames meet: the same key, and event times near enough.

A hash join by key finds the pairs, the times filter them. Where rows of one key lie much further apart than what can
meet, that would make many pairs for few that meet; so there the time is cut into pieces as long as the reach, and the
piece becomes part of the key: a row can meet those of two pieces at most.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from millstream.stream.joining.reach import Reach, SameWindow, Within, first_and_last_us

if TYPE_CHECKING:
    import polars as pl

PAIRS_CHEAP: Final = 1_000_000
"""Rows times rows up to which pieces of time cost more than they save, whatever the keys."""

KEY_ROWS_FEW: Final = 4
"""When no key has more rows than this in the smaller frame, a join by key alone makes few pairs too many."""

SPAN_REACHES: Final = 4
"""Pieces of time pay when the rows to join span at least so many reaches."""


def meetings(
    left: pl.DataFrame, left_key: list[pl.Expr], right: pl.DataFrame, right_key: list[pl.Expr], reach: Reach
) -> pl.DataFrame:
    """Return the pairs of rows that meet, by the later event time, then in the order the rows came.

    Args:
        left: Has `_t` and `_id`: event time in us, and number in order of arrival.
        left_key: Makes the columns of the key, named the same on both sides. Nulls in them meet nothing.

    Shape:
        `_l` and `_r`: places of the rows in left and right; `_t`: the later of both event times.
    """
    import polars as pl

    if isinstance(reach, SameWindow):
        left_key = [*left_key, _piece(pl.col("_t"), reach.size_us)]
        right_key = [*right_key, _piece(pl.col("_t"), reach.size_us)]
    lefts, rights, keys = _left(left, left_key, "_id"), _right(right, right_key, "_id"), _names(left_key)
    pairs = lefts.join(rights, on=keys) if isinstance(reach, SameWindow) else _pairs_within(lefts, rights, keys, reach)
    pairs = pairs.select("_l", "_r", "_id", "_v", pl.max_horizontal("_t", "_u").alias("_t"))
    return pairs.sort("_t", "_id", "_v") if pairs.height > 1 else pairs


def near_places(
    left: pl.DataFrame, left_key: list[pl.Expr], right: pl.DataFrame, right_key: list[pl.Expr], reach: Within
) -> pl.Series:
    """Return the places of the rows in left that meet any of right, in no order, maybe several times."""
    return _pairs_within(_left(left, left_key), _right(right, right_key), _names(left_key), reach).get_column("_l")


def _pairs_within(left: pl.DataFrame, right: pl.DataFrame, keys: list[str], reach: Within) -> pl.DataFrame:
    if _is_wide(left, right, keys, reach):
        return _pairs_by_piece(left, right, keys, reach)
    return left.join(right, on=keys).filter(_met(reach))


def _left(rows: pl.DataFrame, key: list[pl.Expr], *more: str) -> pl.DataFrame:
    import polars as pl

    return rows.select(*key, "_t", *more, pl.int_range(pl.len(), dtype=pl.UInt32).alias("_l"))


def _right(rows: pl.DataFrame, key: list[pl.Expr], *more: str) -> pl.DataFrame:
    import polars as pl

    place = pl.int_range(pl.len(), dtype=pl.UInt32).alias("_r")
    return rows.select(*key, pl.col("_t").alias("_u"), *(pl.col(name).alias("_v") for name in more), place)


def _names(key: list[pl.Expr]) -> list[str]:
    return [expr.meta.output_name() for expr in key]


def _is_wide(left: pl.DataFrame, right: pl.DataFrame, keys: list[str], reach: Within) -> bool:
    """Return whether joining by key alone can make many pairs that are too far apart."""
    if left.height * right.height <= PAIRS_CHEAP:
        return False
    span_us = min(_span_us(left, "_t"), _span_us(right, "_u"))
    if span_us <= SPAN_REACHES * (reach.width_us + 1):
        return False
    fewer = left if left.height < right.height else right
    most = fewer.group_by(keys).len().get_column("len").max()
    return isinstance(most, int) and most > KEY_ROWS_FEW


def _span_us(rows: pl.DataFrame, name: str) -> int:
    first_us, last_us = first_and_last_us(rows.get_column(name))
    return last_us - first_us


def _pairs_by_piece(left: pl.DataFrame, right: pl.DataFrame, keys: list[str], reach: Within) -> pl.DataFrame:
    """Join with the piece of time of the right row as part of the key; a left row reaches into one or two of them."""
    import polars as pl

    size_us = reach.width_us + 1
    first = _piece(pl.col("_t") + reach.low_us, size_us)
    last = _piece(pl.col("_t") + reach.high_us, size_us)
    both = left.with_columns(first, last.alias("_last"))
    second = both.filter(pl.col("_last") > pl.col("_piece")).with_columns(pl.col("_last").alias("_piece"))
    return (
        pl.concat([both, second])
        .join(right.with_columns(_piece(pl.col("_u"), size_us)), on=[*keys, "_piece"])
        .filter(_met(reach))
    )


def _piece(time: pl.Expr, size_us: int) -> pl.Expr:
    return (time // size_us).alias("_piece")


def _met(reach: Within) -> pl.Expr:
    import polars as pl

    return (pl.col("_u") - pl.col("_t")).is_between(reach.low_us, reach.high_us)
