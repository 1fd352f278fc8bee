"""Windows: sizes and edges."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millstream.errors import UsageError
from millstream.stream import quantile, tumbling


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


def test_a_share_outside_0_and_1_is_refused() -> None:
    with pytest.raises(UsageError, match="95"):
        quantile("load_ms", 95)
