"""Windows, and how a stream is described."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millstream.errors import UsageError
from millstream.stream import Stream, count, quantile, sum_, tumbling
from millstream.stream.aggregates import _quantile_of
from millstream.stream.description import Map, WindowStep, describe


def test_a_size_can_be_written_in_several_ways() -> None:
    minute = tumbling(minutes=1)
    assert minute == tumbling("1m") == tumbling(60) == tumbling(timedelta(minutes=1)) == tumbling(seconds=60)


@pytest.mark.parametrize("settings", [{}, {"minutes": 0}, {"seconds": -1}, {"milliseconds": 0.0001}])
def test_a_window_without_a_size_is_refused(settings: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="needs a size"):
        tumbling(**settings)


@given(st.integers(-(10**18), 10**18), st.integers(1, 10**13))
def test_every_moment_is_in_the_window_it_is_given(time_us: int, size_us: int) -> None:
    start = tumbling(timedelta(microseconds=size_us)).start_us(time_us)
    assert start <= time_us < start + size_us
    assert start % size_us == 0


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30), st.floats(0, 1))
def test_a_quantile_is_that_of_the_sorted_numbers(numbers: list[float], share: float) -> None:
    counted = sorted({n: numbers.count(n) for n in numbers}.items())
    place = share * (len(numbers) - 1)
    in_order = sorted(numbers)
    low, high = in_order[int(place)], in_order[min(int(place) + 1, len(numbers) - 1)]
    assert _quantile_of(counted, share) == low + (high - low) * (place - int(place))


def test_a_quantile_of_nothing_is_null() -> None:
    assert _quantile_of([], 0.5) is None


def test_a_share_outside_0_and_1_is_refused() -> None:
    with pytest.raises(UsageError, match="95"):
        quantile("load_ms", 95)


def _per_minute(s: Stream) -> None:
    s.window(tumbling(minutes=1), by="page", lateness="5s").agg(views=count()).to("page_views")


def test_a_description_is_written_down_step_by_step() -> None:
    (output,) = describe(_per_minute, "per_minute")
    (step,) = output.steps
    assert isinstance(step, WindowStep)
    assert (step.window, step.by, step.lateness_us) == (tumbling("1m"), ("page",), 5_000_000)


def test_steps_branch() -> None:
    def both(s: Stream) -> None:
        doubled = s.map(lambda value: value)
        doubled.to("a")
        doubled.window(tumbling("1m")).agg(n=count()).to("b")

    first, second = describe(both, "both")
    assert len(first.steps) == 1
    assert len(second.steps) == 2


def test_the_type_that_a_map_returns_is_read_from_its_annotation() -> None:
    def named(value: Any) -> dict[str, int] | None:
        return None

    (output,) = describe(lambda s: s.map(named).to("x"), "s")
    step = output.steps[0]
    assert isinstance(step, Map)
    assert step.type is dict


def _no_output(s: Stream) -> None:
    s.filter(None)  # type: ignore[arg-type]


async def _async(value: object) -> None: ...


@pytest.mark.parametrize(
    ("description", "message"),
    [
        (_no_output, "no output"),
        (lambda: None, "one argument"),
        (lambda s: s.filter().to("x"), "filter needs"),
        (lambda s: s.select().to("x"), "select needs"),
        (lambda s: s.map(lambda: None).to("x"), "one argument"),
        (lambda s: s.map("name").to("x"), "not a function"),
        (lambda s: s.each(_async), "async"),
        (lambda s: s.to("no good name"), "cannot be a topic name"),
        (lambda s: s.to(5), "give a topic"),
        (lambda s: s.window("1m").agg(n=count()).to("x"), "not a window"),
        (lambda s: s.window(tumbling("1m")).agg().to("x"), "needs an aggregate"),
        (lambda s: s.window(tumbling("1m")).agg(n=5).to("x"), "give an aggregate"),
        (lambda s: s.window(tumbling("1m"), by="n").agg(n=count()).to("x"), "taken"),
        (lambda s: s.window(tumbling("1m")).agg(window_end=count()).to("x"), "taken"),
        (lambda s: s.window(tumbling("1m")).agg(n=count()).window(tumbling("1h")).agg(n=count()), "window over"),
    ],
)
def test_a_description_that_cannot_work_is_refused_when_it_is_written(description: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        describe(description, "s")


def test_the_state_of_a_window_depends_on_what_it_computes_and_not_on_lateness() -> None:
    def prints(description: Any) -> str:
        (output,) = describe(description, "s")
        (step,) = output.steps
        assert isinstance(step, WindowStep)
        return step.fingerprint()

    base = prints(lambda s: s.window(tumbling("1m"), by="page").agg(n=count()).to("x"))
    assert base == prints(lambda s: s.window(tumbling("1m"), by="page", lateness="9s").agg(n=count()).to("y"))
    assert base != prints(lambda s: s.window(tumbling("2m"), by="page").agg(n=count()).to("x"))
    assert base != prints(lambda s: s.window(tumbling("1m")).agg(n=count()).to("x"))
    assert base != prints(lambda s: s.window(tumbling("1m"), by="page").agg(n=sum_("ms")).to("x"))
