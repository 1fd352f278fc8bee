"""How one record stands with a group."""

from __future__ import annotations

import pytest

from millstream.engines.protocol import Engine, Entry, Found, Outcome, Place, Settlement
from millstream.errors import GroupNotFoundError, OffsetOutOfRangeError
from millstream.testing.engine_suite.subject import MINUTE_US, EngineTests, create, fill
from millstream.testing.fake_clock import FakeClock


class FindTests(EngineTests):
    def test_find_follows_a_record_from_ready_to_settled(self, engine: Engine, clock: FakeClock) -> None:
        create(engine, group="g")
        fill(engine, 4)
        assert engine.find("t", "g", 0, 1) == Found(Place.READY, 1)
        [lease] = engine.lease("t", "g", worker="w", records_max=3, duration_us=MINUTE_US)
        assert engine.find("t", "g", 0, 1) == Found(Place.LEASED, 1, lease.deadline_us, "w")
        assert engine.find("t", "g", 0, 3) == Found(Place.READY, 1)
        later_us = clock.now_us() + MINUTE_US
        engine.settle(
            [
                Settlement(lease, 0, 1, Outcome.ACK),
                Settlement(lease, 1, 2, Outcome.NACK, later_us),
                Settlement(lease, 2, 3, Outcome.REJECT),
            ]
        )
        assert engine.find("t", "g", 0, 0) == Found(Place.SETTLED)
        assert engine.find("t", "g", 0, 1) == Found(Place.WAITING, 2, later_us)
        assert engine.find("t", "g", 0, 2) == Found(Place.SETTLED)

    def test_find_of_what_lifo_left_behind_is_ready(self, engine: Engine) -> None:
        create(engine, group="g")
        fill(engine, 5)
        engine.lease("t", "g", worker="w", records_max=2, duration_us=MINUTE_US, lifo=True)
        places = [engine.find("t", "g", 0, offset).place for offset in range(5)]
        assert places == [Place.READY] * 3 + [Place.LEASED] * 2

    def test_find_in_sorted_order(self, engine: Engine, clock: FakeClock) -> None:
        create(engine)
        engine.create_group("t", "g", parallel=1)
        fill(engine, 4)
        due_us = clock.now_us() + MINUTE_US
        assert engine.sort("t", "g", 0, 0, [Entry(b"a"), Entry(b"a"), Entry(b"b", due_us=due_us)])
        [lease] = engine.lease("t", "g", worker="w", records_max=1, duration_us=MINUTE_US)
        assert engine.find("t", "g", 0, 0) == Found(Place.LEASED, 1, lease.deadline_us, "w")
        assert engine.find("t", "g", 0, 1) == Found(Place.READY, 1)
        assert engine.find("t", "g", 0, 2) == Found(Place.READY, 1, due_us)
        assert engine.find("t", "g", 0, 3) == Found(Place.READY, 1)
        engine.settle([Settlement(lease, 0, 1, Outcome.NACK, due_us)])
        assert engine.find("t", "g", 0, 0) == Found(Place.WAITING, 2, due_us)

    def test_find_of_no_record_is_an_error(self, engine: Engine) -> None:
        create(engine, group="g")
        fill(engine, 1)
        for offset in (-1, 1, 7):
            with pytest.raises(OffsetOutOfRangeError):
                engine.find("t", "g", 0, offset)
        with pytest.raises(GroupNotFoundError):
            engine.find("t", "nobody", 0, 0)
