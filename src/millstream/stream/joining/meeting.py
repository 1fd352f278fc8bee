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

SPAN_REACHES: Final = 4
"""Pieces of time pay when the rows to join span at least so many reaches."""


def meetings(left: pl.DataFrame, right: pl.DataFrame, reach: Reach) -> pl.DataFrame:
    """Return the pairs of rows that meet, by the later event time, then in the order the rows came.

    Args:
        left: The key's columns, and `_t` and `_id`: event time in us, and number in order of arrival. Null keys meet
            nothing.
        right: The same.

    Shape:
        `_l` and `_r`: places of the rows in left and right; `_t`: the later of both event times.
    """
    import polars as pl

    keys = [name for name in left.columns if name not in ("_t", "_id")]
    if isinstance(reach, SameWindow):
        left, right = _indexed(left, right, keys)
        left, right = left.with_columns(_piece("_t", reach.size_us)), right.with_columns(_piece("_u", reach.size_us))
        pairs = left.join(right, on=[*keys, "_piece"])
    else:
        pairs = pairs_within(left, right, keys, reach)
    pairs = pairs.select("_l", "_r", "_id", "_v", pl.max_horizontal("_t", "_u").alias("_t"))
    return pairs.sort("_t", "_id", "_v") if pairs.height > 1 else pairs


def pairs_within(left: pl.DataFrame, right: pl.DataFrame, keys: list[str], reach: Within) -> pl.DataFrame:
    """Return the pairs of rows with the same keys and event times within reach, in no order.

    Shape:
        The keys; `_l` and `_r`: places of the rows; `_t` and `_id` of the left row, `_u` and `_v` of the right one.
    """
    left, right = _indexed(left, right, keys)
    if _is_wide(left, right, reach):
        return _pairs_by_piece(left, right, keys, reach)
    return left.join(right, on=keys).filter(_met(reach))


def _indexed(left: pl.DataFrame, right: pl.DataFrame, keys: list[str]) -> tuple[pl.DataFrame, pl.DataFrame]:
    import polars as pl

    right = right.select(*keys, pl.col("_t").alias("_u"), pl.col("_id").alias("_v"))
    return left.select(*keys, "_t", "_id").with_row_index("_l"), right.with_row_index("_r")


def _is_wide(left: pl.DataFrame, right: pl.DataFrame, reach: Within) -> bool:
    """Return whether joining by key alone can make many pairs that are too far apart."""
    if left.height * right.height <= PAIRS_CHEAP:
        return False
    span_us = min(_span_us(left, "_t"), _span_us(right, "_u"))
    return span_us > SPAN_REACHES * (reach.width_us + 1)


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
        .join(right.with_columns(_piece("_u", size_us)), on=[*keys, "_piece"])
        .filter(_met(reach))
    )


def _piece(time: str | pl.Expr, size_us: int) -> pl.Expr:
    import polars as pl

    column = pl.col(time) if isinstance(time, str) else time
    return (column // size_us).alias("_piece")


def _met(reach: Within) -> pl.Expr:
    import polars as pl

    return (pl.col("_u") - pl.col("_t")).is_between(reach.low_us, reach.high_us)
