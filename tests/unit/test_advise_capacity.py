"""Formulas against published values, and the simulation against the formulas."""

from __future__ import annotations

import math
import random
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millstream.advise.formulas import Load, done_later_than, erlang_b, erlang_c, latency_s, later_than, predict
from millstream.advise.simulation import Work, drain, inner_range, lengths_of, play, quantile, resampled, waits_of
from millstream.errors import UsageError

# --- formulas ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("workers", "offered", "blocked"),
    [
        # Erlang B tables (ITU-T Teletraffic Engineering Handbook; the loads that give 1% and 5% blocking).
        (1, 0.0101, 0.01),
        (2, 0.1526, 0.01),
        (5, 1.3608, 0.01),
        (10, 4.4612, 0.01),
        (20, 12.031, 0.01),
        (50, 37.901, 0.01),
        (100, 84.064, 0.01),
        (1, 0.0526, 0.05),
        (5, 2.2185, 0.05),
        (10, 6.2157, 0.05),
        (20, 15.249, 0.05),
    ],
)
def test_erlang_b_is_that_of_the_tables(workers: int, offered: float, blocked: float) -> None:
    assert erlang_b(workers, offered) == pytest.approx(blocked, rel=2e-3)


@pytest.mark.parametrize(
    ("workers", "offered", "waits"),
    [
        (1, 0.5, 0.5),  # M/M/1: the utilisation
        (1, 0.9, 0.9),
        (2, 1.0, 1 / 3),  # M/M/2: 2r^2 / (1 + r) with r the utilisation
        (2, 1.5, 9 / 14),
        (3, 2.0, 4 / 9),  # Gross, Harris, example 2.2: three servers, load 2
        (10, 8.0, 0.4092),  # Erlang C tables
        (5, 4.0, 0.5541),
        (20, 16.0, 0.2561),
    ],
)
def test_erlang_c_is_that_of_the_tables(workers: int, offered: float, waits: float) -> None:
    assert erlang_c(workers, offered) == pytest.approx(waits, abs=1e-4)


def test_a_queue_with_too_few_workers_grows_for_ever() -> None:
    prediction = predict(Load(10.0, 0.2), 2)
    assert erlang_c(2, 2.0) == 1.0
    assert (prediction.waits, prediction.wait_s, prediction.length) == (1.0, math.inf, math.inf)
    assert latency_s(prediction, 0.95, [0.2]) == math.inf
    assert Load(10.0, 0.2).workers_min == 3


def test_many_workers_neither_overflow_nor_cancel() -> None:
    assert 0 < erlang_c(2000, 1950.0) < 1
    assert erlang_c(2000, 100.0) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("utilisation", [0.1, 0.5, 0.9])
def test_one_worker_is_the_formula_of_pollaczek_and_khinchine(utilisation: float) -> None:
    """M/G/1: r / (1 - r) x (1 + Cs^2) / 2 service times."""
    for cv2 in (0.0, 0.5, 1.0, 4.0):
        found = predict(Load(utilisation, 1.0, 1.0, cv2), 1)
        assert found.wait_s == pytest.approx(utilisation / (1 - utilisation) * (1 + cv2) / 2)


def test_littles_law_gives_the_length() -> None:
    load = Load(8.0, 0.25)
    found = predict(load, 3)
    assert found.length == pytest.approx(8.0 * found.wait_s)
    assert found.length == pytest.approx(8 / 9)  # Gross, Harris: C r / (1 - r) with C = 4/9, r = 2/3


def test_one_worker_with_exponential_work_is_done_as_the_exact_law_says() -> None:
    """M/M/1: the time from arrival to end is exponential with rate (service rate - arrival rate)."""
    prediction = predict(Load(0.7, 1.0), 1)
    count = 20_000
    services = [-math.log(1 - (place + 0.5) / count) for place in range(count)]
    for seconds in (1.0, 3.0, 10.0):
        exact = math.exp(-0.3 * seconds)
        assert done_later_than(prediction, seconds, services) == pytest.approx(exact, rel=0.01)
    assert latency_s(prediction, 0.95, services[::20]) == pytest.approx(-math.log(0.05) / 0.3, rel=0.02)


def test_who_does_not_wait_is_done_after_its_work() -> None:
    prediction = predict(Load(0.001, 1.0), 10)
    assert latency_s(prediction, 0.95, [1.0]) == pytest.approx(1.0, rel=1e-3)
    assert later_than(prediction, -1.0) == 1.0


@pytest.mark.parametrize(("workers", "offered"), [(0, 1.0), (10_001, 1.0), (1, -1.0), (1, math.nan), (1, math.inf)])
def test_what_is_no_queue_is_refused(workers: int, offered: float) -> None:
    with pytest.raises(UsageError, match="give"):
        erlang_c(workers, offered)


# --- simulation -------------------------------------------------------------------------------------------------------


def poisson(rate: float, count: int, seed: int) -> list[float]:
    draw = random.Random(seed)
    return list(accumulate(draw.expovariate(rate) for _ in range(count)))


def exponential(mean: float, count: int, seed: int) -> list[float]:
    draw = random.Random(seed)
    return [draw.expovariate(1 / mean) for _ in range(count)]


@pytest.mark.parametrize(("workers", "utilisation"), [(1, 0.5), (1, 0.8), (3, 0.7), (8, 0.75)])
def test_exponential_arrivals_and_work_wait_as_the_exact_formula_says(workers: int, utilisation: float) -> None:
    """A fixed seed and 200,000 records: within 5%, which is twice the standard error or more."""
    count = 200_000
    work = Work(poisson(utilisation * workers, count, 1), exponential(1.0, count, 2))
    played, formula = play(work, workers), predict(Load(utilisation * workers, 1.0), workers)
    assert played.wait_s == pytest.approx(formula.wait_s, rel=0.05)
    assert played.waits == pytest.approx(formula.waits, rel=0.03)
    assert played.length == pytest.approx(formula.length, rel=0.05)
    assert played.utilisation == pytest.approx(utilisation, rel=0.02)
    exact = latency_s(formula, 0.95, exponential(1.0, 2000, 3))
    assert played.latency_s == pytest.approx(exact, rel=0.07)


def test_regular_work_waits_half_as_long() -> None:
    work = Work(poisson(0.8, 200_000, 4), [1.0] * 200_000)
    assert play(work, 1).wait_s == pytest.approx(predict(Load(0.8, 1.0, 1.0, 0.0), 1).wait_s, rel=0.05)


def test_a_small_course_by_hand() -> None:
    """Two workers; the third and fourth wait for the first, which is done at 4, and for the second, done at 6."""
    work = Work([0.0, 1.0, 2.0, 3.0], [4.0, 5.0, 1.0, 1.0])
    assert waits_of(work, 2) == [0, 0, 2, 2]
    played = play(work, 2, share=0.5)
    assert (played.wait_s, played.waits, played.length_max, played.ended_s) == (1.0, 0.5, 2, 6.0)
    assert played.length == pytest.approx(4 / 3)  # Little: 4 seconds of waiting in 3 seconds
    assert played.latency_s == 3.0
    assert lengths_of(work, 2, 5) == [(0.0, 0), (1.25, 0), (2.5, 1), (3.75, 2), (5.0, 0)]


def test_all_at_once_is_done_in_turn() -> None:
    assert waits_of(Work([5.0] * 3, [2.0] * 3), 1) == [0, 2, 4]
    assert play(Work([5.0] * 3, [2.0] * 3), 1).length_max == 2
    assert drain([2.0] * 5, 2) == 6.0
    assert drain([], 2) == 0.0


@given(
    st.lists(st.tuples(st.floats(0, 10), st.floats(0, 10)), min_size=1, max_size=40),
    st.integers(min_value=1, max_value=6),
)
def test_the_heap_is_the_recursion_of_all_workers(steps: list[tuple[float, float]], workers: int) -> None:
    """Against the plain way: look for the worker that is free first."""
    arrivals = list(accumulate(gap for gap, _ in steps))
    services = [service for _, service in steps]
    free, expected = [0.0] * workers, []
    for at, service in zip(arrivals, services, strict=True):
        first = min(range(workers), key=free.__getitem__)
        begins = max(at, free[first])
        expected.append(begins - at)
        free[first] = begins + service
    work = Work(arrivals, services)
    assert waits_of(work, workers) == expected
    more = waits_of(work, workers + 1)
    assert all(fewer >= many - 1e-9 for fewer, many in zip(expected, more, strict=True))


def test_a_resample_keeps_rate_and_bursts() -> None:
    gaps = ([0.01] * 9 + [1.0]) * 200
    work = Work(list(accumulate(gaps, initial=0.0)), [0.1] * 2001)
    for seed in range(5):
        other = resampled(work, [0.1, 0.2], seed)
        assert len(other.arrivals_s) == len(other.services_s) == 2001
        assert other.arrivals_s[-1] == pytest.approx(work.arrivals_s[-1], rel=0.05)
        assert set(other.services_s) == {0.1, 0.2}
    assert resampled(work, [0.1], 7) == resampled(work, [0.1], 7)
    assert resampled(Work([3.0], [1.0]), [1.0], 1).arrivals_s == [0.0]


def test_quantiles_are_values_that_occurred() -> None:
    assert [quantile([1.0, 2.0, 3.0, 4.0], share) for share in (0.0, 0.25, 0.5, 0.95, 1.0)] == [1, 1, 2, 4, 4]
    assert inner_range([float(value) for value in range(20)]) == (1.0, 18.0)
