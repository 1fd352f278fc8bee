"""Waiting for something to read, and closing."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import pytest

from millstream.engines.protocol import Append, Engine, Outcome, StateChange, TopicSpec
from millstream.errors import ClosedError, TopicNotFoundError
from millstream.testing.engine_suite.subject import (
    PATIENCE_S,
    PATIENCE_US,
    EngineTests,
    Spawn,
    create,
    fill,
    put,
    settled,
    take,
)
from millstream.testing.raw_batches import rows


class WaitTests(EngineTests):
    def test_wait_returns_at_once_when_there_is_more(self, engine: Engine) -> None:
        create(engine, partitions=2)
        fill(engine, 3, partition=1)
        assert engine.wait({"t": {0: 0, 1: 2}}, PATIENCE_US)

    def test_wait_returns_false_when_time_is_up(self, engine: Engine) -> None:
        create(engine, partitions=2)
        fill(engine, 3, partition=1)
        seen = {"t": {0: 0, 1: 3}}
        assert engine.wait(seen, 0) is False
        before = time.monotonic()
        assert engine.wait(seen, 50_000) is False
        assert time.monotonic() - before >= 0.049

    def test_append_of_another_thread_wakes_the_waiter(self, engine: Engine, spawn: Spawn) -> None:
        create(engine, "t", partitions=2)
        create(engine, "u")
        for round_number in range(20):
            seen = {"u": {0: 0}, "t": {0: 0, 1: round_number}}
            waiter = spawn(engine.wait, seen, PATIENCE_US)
            put(engine, b"x", partition=1)
            assert waiter.result(PATIENCE_S / 2) is True

    def test_append_wakes_every_waiter(self, engine: Engine, spawn: Spawn) -> None:
        create(engine)
        waiters = [spawn(engine.wait, {"t": {0: 0}}, PATIENCE_US) for _ in range(8)]
        put(engine, b"x")
        assert [waiter.result(PATIENCE_S / 2) for waiter in waiters] == [True] * 8

    def test_outputs_of_commit_and_settle_wake_the_waiter(self, engine: Engine, spawn: Spawn) -> None:
        create(engine, "out")
        create(engine, group="g")
        waiter = spawn(engine.wait, {"out": {0: 0}}, PATIENCE_US)
        engine.commit("t", "g", [], appends=[Append("out", 0, rows(b"x"))])
        assert waiter.result(PATIENCE_S / 2) is True
        waiter = spawn(engine.wait, {"out": {0: 1}}, PATIENCE_US)
        engine.settle([], appends=[Append("out", 0, rows(b"x"))])
        assert waiter.result(PATIENCE_S / 2) is True

    def test_wait_ends_as_soon_as_it_is_told_to(self, engine: Engine, spawn: Spawn) -> None:
        create(engine, group="g")
        far = {"t": {0: 2**40}}
        assert engine.wait(far, PATIENCE_US, until=lambda: True)
        assert engine.wait(far, 0, until=lambda: False) is False
        for round_number in range(50):
            key = b"%d" % round_number
            until = partial(_is_set, engine, key)
            waiter = spawn(partial(engine.wait, until=until), far, PATIENCE_US)
            # At any moment: before the wait, between its look and its sleep, or in it.
            engine.commit("t", "g", [], state=[StateChange(0, key, b"x")])
            assert waiter.result(PATIENCE_S / 2) is True

    def test_append_to_another_topic_is_nothing_to_read(self, engine: Engine, spawn: Spawn) -> None:
        create(engine, "t")
        create(engine, "u")
        waiter = spawn(engine.wait, {"t": {0: 0}}, 200_000)
        put(engine, b"x", topic="u")
        assert waiter.result(PATIENCE_S) is False

    @pytest.mark.parametrize("outcome", [Outcome.RELEASE, Outcome.NACK])
    def test_record_given_back_wakes_the_waiter(self, engine: Engine, spawn: Spawn, outcome: Outcome) -> None:
        create(engine, group="g")
        fill(engine, 1)
        leases = take(engine)
        waiter = spawn(engine.wait, {"t": {0: 1}}, PATIENCE_US)
        until = time.monotonic() + PATIENCE_S / 2
        # Again and again, because nobody can see from outside whether the waiter waits already.
        while not waiter.done() and time.monotonic() < until:
            engine.settle([settled(lease, outcome) for lease in leases])
            leases = take(engine)
        assert waiter.result(0) is True

    @pytest.mark.parametrize("partition", [-1, 1])
    def test_wait_for_an_unknown_partition_is_an_error(self, engine: Engine, partition: int) -> None:
        create(engine)
        with pytest.raises(TopicNotFoundError):
            engine.wait({"t": {partition: 0}}, 0)

    def test_deleting_a_topic_wakes_its_waiter(self, engine: Engine, spawn: Spawn) -> None:
        create(engine)
        waiter = spawn(engine.wait, {"t": {0: 0}}, PATIENCE_US)
        engine.delete_topic("t")
        try:
            # "Something may be there": the next read tells that the topic is gone.
            assert waiter.result(PATIENCE_S / 2) is True
        except TopicNotFoundError:
            pass

    def test_closing_wakes_the_waiter(self, engine: Engine, spawn: Spawn) -> None:
        create(engine)
        waiter = spawn(engine.wait, {"t": {0: 0}}, PATIENCE_US)
        engine.close()
        with pytest.raises(ClosedError):
            waiter.result(PATIENCE_S / 2)

    def test_closed_engine_refuses_every_call(self, engine: Engine) -> None:
        create(engine, group="g")
        fill(engine, 1)
        [lease] = take(engine)
        engine.close()
        calls: list[Callable[[], object]] = [
            lambda: engine.create_topic(TopicSpec("u")),
            lambda: engine.delete_topic("t"),
            lambda: engine.describe_topic("t"),
            lambda: engine.topics(),
            lambda: engine.put_schema("t", b"s"),
            lambda: put(engine, b"x"),
            lambda: engine.append([]),
            lambda: engine.submit([Append("t", 0, rows(b"x"))], lambda positions, error: None),
            lambda: engine.read("t", 0, 0, records_max=1),
            lambda: engine.wait({"t": {0: 0}}, 0),
            lambda: engine.create_group("t", "h"),
            lambda: engine.describe_group("t", "g"),
            lambda: engine.groups("t"),
            lambda: engine.commit("t", "g", []),
            lambda: engine.state("t", "g", 0),
            lambda: engine.pause("t", "g"),
            lambda: engine.sort("t", "g", 0, 0, []),
            lambda: take(engine),
            lambda: engine.settle([settled(lease)]),
            lambda: engine.extend([lease], 1),
        ]
        for call in calls:
            with pytest.raises(ClosedError):
                call()

    def test_closing_twice_is_fine(self, engine: Engine) -> None:
        engine.close()
        engine.close()


def _is_set(engine: Engine, key: bytes) -> bool:
    return bool(engine.state("t", "g", 0, [key]))
