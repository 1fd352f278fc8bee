"""Sums that do not depend on the order of the numbers."""

from __future__ import annotations

import math
from fractions import Fraction

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from millstream.stream import exact_sum

ordinary = st.one_of(
    st.just(0.0),
    st.floats(1e-6, 1e12),
    st.floats(-1e12, -1e-6),
    st.integers(-(2**53), 2**53).map(float),
    st.sampled_from([0.1, 1e16, -1e16, 1e-6, 1.0, -1.0, 2.0**52 + 0.5]),
)
anything = st.floats(allow_nan=True, allow_infinity=True)


def summed(column: pl.Series) -> pl.Series:
    return pl.DataFrame({"n": column}).select(pl.col("n").sum()).to_series()


@given(st.lists(ordinary, max_size=40))
def test_a_total_is_the_exact_sum_rounded_once(numbers: list[float]) -> None:
    split = exact_sum.split(pl.Series(numbers, dtype=pl.Float64))
    assert split.odd is None
    made = exact_sum.totals(summed(split.whole), summed(split.fraction))
    assert made[0] == float(sum(map(Fraction, numbers)))


@given(st.lists(st.one_of(st.none(), anything), max_size=20))
def test_every_number_is_in_integers_or_set_aside(numbers: list[float | None]) -> None:
    split = exact_sum.split(pl.Series(numbers, dtype=pl.Float64))
    odd = [None] * len(numbers) if split.odd is None else split.odd.to_list()
    for number, whole, fraction, aside in zip(numbers, split.whole, split.fraction, odd, strict=True):
        if number is None:
            assert (whole, fraction, aside) == (None, None, None)
        elif aside is None:
            assert exact_sum.exact(whole, fraction) == Fraction(number)
        else:
            assert (whole, fraction) == (0, 0)
            assert aside == number or math.isnan(number)
            assert not 1e-12 < abs(number) < 1e28


@given(st.lists(st.one_of(st.none(), ordinary, anything), max_size=20))
def test_every_square_is_in_integers_or_set_aside(numbers: list[float | None]) -> None:
    split = exact_sum.split_squares(pl.Series(numbers, dtype=pl.Float64))
    odd = [None] * len(numbers) if split.odd is None else split.odd.to_list()
    assert split.rest is not None
    columns = (numbers, split.whole, split.fraction, split.rest, odd)
    for number, whole, fraction, rest, aside in zip(*columns, strict=True):
        if number is None or aside is not None:
            assert not whole
            assert number is None or aside == number or math.isnan(number)
        else:
            assert exact_sum.exact(whole, fraction, rest) == Fraction(number) ** 2


def test_small_numbers_beside_a_large_one_are_not_lost() -> None:
    split = exact_sum.split(pl.Series([1e16, *[1.0] * 10, -1e16]))
    assert exact_sum.totals(summed(split.whole), summed(split.fraction))[0] == 10.0


def test_sums_that_three_floats_do_not_hold_are_rounded_once_all_the_same() -> None:
    whole = pl.Series([2**53 + 1, -(2**60) - 1, 2**52], dtype=pl.Int128)
    fraction = pl.Series([1, 2**95 + 1, 2**95 + 2**20 + 1], dtype=pl.Int128)
    exact = [exact_sum.exact(w, f) for w, f in zip(whole, fraction, strict=True)]
    assert exact_sum.totals(whole, fraction).to_list() == [float(one) for one in exact]


def test_a_total_beyond_the_largest_float_is_infinite() -> None:
    assert exact_sum.rounded(Fraction(2) ** 2000) == math.inf
    assert exact_sum.rounded(-(Fraction(2) ** 2000)) == -math.inf
