"""Sums of floats that do not depend on the order of the numbers or on where they were cut into parts.

A stream must give the same answer whatever its batch boundaries were. Adding floats rounds at every step, so each float
is taken apart into integers, whose sums are exact, and rounded once when the total is asked for.

Source: fixed-point superaccumulators, as in Kulisch, Computer Arithmetic and Validity, 2008; here two numbers of 128
bits for what data are made of, and a list for the rest.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    import polars as pl

FRACTION_BITS: Final = 96
"""A float's whole part and its fraction in units of 2**-96 are kept as two columns of 128-bit integers. Both have room
for the sum of 2**31 values, and hold every bit of a float from 2e-13 (smaller ones with few digits too) to 4e28."""

REST_BITS: Final = 64

_WHOLE_MAX: Final = 2.0**95
_UNIT: Final = 2.0**FRACTION_BITS


class Split(NamedTuple):
    """Floats as columns whose sums are exact."""

    whole: pl.Series
    """Int128; 0 for odd values, null for nulls."""
    fraction: pl.Series
    """Int128, in units of 2**-96, with the sign of the value."""
    odd: pl.Series | None
    """Float64, the values that do not fit (infinite, NaN, huge, tiny), null for all others; None: there are none."""
    rest: pl.Series | None = None
    """Int128, in units of 2**-160: what squares have below the fraction."""


def split(values: pl.Series) -> Split:
    """Return a Float64 column as integers whose sums are exact."""
    import polars as pl

    within = values.is_finite() & (values.abs() < _WHOLE_MAX)
    ordinary = within.all()
    safe = values if ordinary else values.zip_with(within.fill_null(True), pl.zeros(values.len(), eager=True))
    whole = safe.cast(pl.Int128)
    scaled = (safe - whole.cast(pl.Float64)) * _UNIT
    fraction = scaled.cast(pl.Int128)
    exact = fraction.cast(pl.Float64) == scaled
    if ordinary and exact.all():
        return Split(whole, fraction, None)
    fine = (within & exact).fill_null(True)
    nothing = pl.zeros(values.len(), dtype=pl.Int128, eager=True)
    odd = pl.select(pl.when(fine).then(None).otherwise(values)).to_series()
    return Split(whole.zip_with(fine, nothing), fraction.zip_with(fine, nothing), odd)


def split_squares(values: pl.Series) -> Split:
    """Return the squares of a Float64 column as integers; `odd` has the values, not their squares.

    A square has 106 bits: the rounded square and what the rounding took away are both floats and are added as such.
    Values whose squares would lose digits (below 1e-6) or not fit are odd.

    Source: Dekker, A floating-point technique for extending the available precision, 1971.
    """
    import polars as pl

    size = values.abs()
    fine = (((size >= 2.0**-20) & (size < 2.0**47)) | (size == 0)).fill_null(True)
    ordinary = fine.all()
    safe = values if ordinary else values.zip_with(fine, pl.zeros(values.len(), eager=True))
    square = safe * safe
    high = safe * 134217729.0  # 2**27 + 1 cuts the 53 bits in halves
    high = high - (high - safe)
    low = safe - high
    error = ((high * high - square) + high * low * 2.0) + low * low
    one, two = split(square), error.cast(pl.Int128)
    scaled = (error - two.cast(pl.Float64)) * _UNIT
    fraction = scaled.cast(pl.Int128)
    rest = ((scaled - fraction.cast(pl.Float64)) * 2.0**REST_BITS).cast(pl.Int128)
    odd = None if ordinary else pl.select(pl.when(fine).then(None).otherwise(values)).to_series()
    return Split(one.whole + two, one.fraction + fraction, odd, rest)


def totals(whole: pl.Series, fraction: pl.Series) -> pl.Series:
    """Return sums of `split` as floats, each rounded once. Float64; nulls are 0."""
    import polars as pl

    whole, fraction = whole.fill_null(0), fraction.fill_null(0)
    made = whole.cast(pl.Float64)
    if not (fraction != 0).any():
        return made
    # Three floats whose sum is the total, if their bits suffice, which they nearly always do.
    upper = fraction.cast(pl.Float64)
    remainder = fraction - upper.cast(pl.Int128)
    lower = remainder.cast(pl.Float64)
    total, error = _two_sum(made, upper / _UNIT)
    rest, lost = _two_sum(error, lower / _UNIT)
    doubtful = (lost != 0) | (lower.cast(pl.Int128) != remainder) | (made.abs() >= 2.0**53)
    total = total + rest
    places = doubtful.arg_true()
    if not places.len():
        return total
    # Division of Python's integers rounds once, whatever their size.
    one = 1 << FRACTION_BITS
    pairs = zip(whole.gather(places).to_list(), fraction.gather(places).to_list(), strict=True)
    return total.scatter(places, [((w << FRACTION_BITS) + f) / one for w, f in pairs])


def _two_sum(one: pl.Series, other: pl.Series) -> tuple[pl.Series, pl.Series]:
    """Return the rounded sum and what the rounding took away. Source: Knuth, TAOCP volume 2, 4.2.2, theorem B."""
    total = one + other
    part = total - one
    return total, (one - (total - part)) + (other - part)


def exact(whole: int, fraction: int, rest: int = 0) -> Fraction:
    """Return a sum of `split` as it is."""
    units = (((whole << FRACTION_BITS) + fraction) << REST_BITS) + rest
    return Fraction(units, 1 << (FRACTION_BITS + REST_BITS))


def rounded(total: Fraction) -> float:
    """Return the nearest float, infinite beyond the largest."""
    try:
        return total.numerator / total.denominator
    except OverflowError:
        return math.inf if total > 0 else -math.inf
