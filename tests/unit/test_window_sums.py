"""Sums that do not depend on the order of the numbers."""

from __future__ import annotations

import math
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from millstream.stream import exact_sum

finite = st.floats(allow_nan=False, allow_infinity=False, min_value=-1e200, max_value=1e200)


@given(st.lists(finite, max_size=40), st.integers(0, 40))
def test_a_total_in_two_parts_is_the_exact_sum_rounded_once(numbers: list[float], cut: int) -> None:
    total = exact_sum.add(exact_sum.add([], numbers[:cut]), numbers[cut:])
    assert exact_sum.value(total) == float(sum(map(Fraction, numbers)))


@given(st.lists(finite, max_size=40))
def test_a_total_is_a_few_floats(numbers: list[float]) -> None:
    total: list[float] = []
    for number in numbers:
        total = exact_sum.add(total, [number])
    assert len(total) <= 40
    assert sum(map(Fraction, total)) == sum(map(Fraction, numbers))


def test_small_numbers_beside_a_large_one_are_not_lost() -> None:
    total = exact_sum.add([], [1e16])
    for _ in range(10):
        total = exact_sum.add(total, [1.0])
    assert exact_sum.value(exact_sum.add(total, [-1e16])) == 10.0


def test_infinity_and_nan_behave_as_in_plain_addition() -> None:
    assert exact_sum.value(exact_sum.add([1.0], [math.inf])) == math.inf
    assert exact_sum.value(exact_sum.add([math.inf], [5.0])) == math.inf
    assert math.isnan(exact_sum.value(exact_sum.add([math.inf], [-math.inf])))
    assert math.isnan(exact_sum.value(exact_sum.add([math.nan], [1.0])))


def test_an_overflow_is_infinite() -> None:
    assert exact_sum.value(exact_sum.add([1.7e308], [1.7e308])) == math.inf
