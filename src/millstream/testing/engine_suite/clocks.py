"""Somebody sets the clock: leases run out by the time that passes, whatever the wall clock shows."""

from __future__ import annotations

from datetime import timedelta

import pytest

from millstream.engines.protocol import Engine, Entry, Outcome
from millstream.errors import LeaseLostError
from millstream.testing.engine_suite.subject import (
    MINUTE_US,
    EngineTests,
    counts,
    create,
    fill,
    runs,
    settled,
    take,
)
from millstream.testing.fake_clock import FakeClock

HOUR = timedelta(hours=1)

jumps = pytest.mark.parametrize("jump", [HOUR, -HOUR, 24 * HOUR], ids=["forward", "back", "a day"])


class ClockTests(EngineTests):
    @jumps
    def test_lease_is_held_whatever_the_clock_is_set_to(self, queue: Engine, clock: FakeClock, jump: timedelta) -> None:
        [lease] = take(queue, 4)
        clock.jump(jump)
        clock.advance(timedelta(microseconds=MINUTE_US - 1))
        assert runs(take(queue)) == [(4, 10, 1)]
        queue.settle([settled(lease)])
        assert counts(queue) == {"done": 4, "leased": 6}

    @jumps
    def test_lease_runs_out_after_its_time_whatever_the_clock_is_set_to(
        self, queue: Engine, clock: FakeClock, jump: timedelta
    ) -> None:
        [lease] = take(queue, 4)
        clock.advance("59s")
        clock.jump(jump)
        clock.advance("1s")
        with pytest.raises(LeaseLostError):
            queue.settle([settled(lease)])
        assert queue.extend([lease], MINUTE_US) == []
        assert runs(take(queue, 4)) == [(0, 1, 2), (1, 4, 1)]

    @jumps
    def test_lease_is_extended_from_now_whatever_the_clock_is_set_to(
        self, queue: Engine, clock: FakeClock, jump: timedelta
    ) -> None:
        [lease] = take(queue, 10)
        clock.jump(jump)
        [renewed] = queue.extend([lease], 5 * MINUTE_US)
        assert renewed.deadline_us == clock.now_us() + 5 * MINUTE_US
        clock.jump(-jump)
        clock.advance("4m")
        assert take(queue) == []
        queue.settle([settled(renewed)])
        assert counts(queue) == {"done": 10}

    @jumps
    def test_deadline_is_told_by_the_clock_as_it_is_now(self, queue: Engine, clock: FakeClock, jump: timedelta) -> None:
        take(queue, 4)
        clock.jump(jump)
        assert queue.describe_group("t", "g").next_due_us == clock.now_us() + MINUTE_US
        assert queue.find("t", "g", 0, 0).due_us == clock.now_us() + MINUTE_US

    @jumps
    def test_lease_in_sorted_order_is_held_whatever_the_clock_is_set_to(
        self, engine: Engine, clock: FakeClock, jump: timedelta
    ) -> None:
        if not engine.capabilities.leases:
            pytest.skip(f"the {engine.capabilities.name} engine has no leases")
        create(engine)
        engine.create_group("t", "g", parallel=1)
        fill(engine, 2)
        engine.sort("t", "g", 0, 0, [Entry(b"k"), Entry(b"k")])
        [first] = take(engine, 1)
        clock.jump(jump)
        assert take(engine) == []
        engine.settle([settled(first)])
        assert runs(take(engine, 1)) == [(1, 2, 1)]

    def test_what_waits_for_a_time_waits_for_what_the_clock_shows(self, queue: Engine, clock: FakeClock) -> None:
        [lease] = take(queue, 10)
        due_us = clock.now_us() + 60 * MINUTE_US
        queue.settle([settled(lease, Outcome.NACK, due_us=due_us)])
        assert take(queue) == []
        clock.jump(HOUR)
        assert runs(take(queue)) == [(0, 10, 2)]
