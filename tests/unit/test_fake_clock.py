"""The clock of tests."""

from __future__ import annotations

from datetime import timedelta

import pytest

from millstream.errors import UsageError
from millstream.testing import FakeClock
from millstream.testing.fake_clock import START_US


def test_clock_stands_still_until_time_passes() -> None:
    clock = FakeClock()
    assert (clock.now_us(), clock.monotonic_us()) == (START_US, 0)
    clock.advance(timedelta(seconds=1))
    clock.advance("1m")
    clock.advance(0.5)
    assert (clock.now_us(), clock.monotonic_us()) == (START_US + 61_500_000, 61_500_000)


def test_jump_moves_the_wall_clock_alone() -> None:
    clock = FakeClock(1_000_000)
    clock.jump(timedelta(seconds=-2))
    assert (clock.now_us(), clock.monotonic_us()) == (-1_000_000, 0)
    clock.jump(timedelta(seconds=5))
    assert (clock.now_us(), clock.monotonic_us()) == (4_000_000, 0)


def test_time_does_not_pass_backwards() -> None:
    clock = FakeClock()
    with pytest.raises(UsageError):
        clock.advance(-1)
    assert clock.monotonic_us() == 0
