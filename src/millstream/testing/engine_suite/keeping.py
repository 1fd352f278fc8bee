"""What a durable engine keeps, and two engines on one log (as two processes have them)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from millstream.engines.protocol import Append, Engine, Entry, OffsetMove, Outcome, StateChange, TopicSpec
from millstream.errors import CommitConflictError, LeaseLostError
from millstream.records import Position
from millstream.testing.engine_suite.subject import (
    MINUTE_US,
    PATIENCE_S,
    PATIENCE_US,
    EngineTests,
    Spawn,
    content,
    counts,
    create,
    fill,
    handed,
    put,
    runs,
    settled,
    take,
)
from millstream.testing.fake_clock import FakeClock
from millstream.testing.raw_batches import rows


class KeepingTests(EngineTests):
    @pytest.fixture
    def reopen(self, engine: Engine, open_engine: Callable[[], Engine]) -> Callable[[], Engine]:
        """Close the engine and open its log again."""
        if not engine.capabilities.durable:
            pytest.skip(f"the {engine.capabilities.name} engine keeps nothing")

        def reopen() -> Engine:
            engine.close()
            return open_engine()

        return reopen

    @pytest.fixture
    def second(self, engine: Engine, open_engine: Callable[[], Engine]) -> Engine:
        """A second engine on the same log."""
        if not engine.capabilities.many_processes:
            pytest.skip(f"the log of the {engine.capabilities.name} engine is its own")
        return open_engine()

    def test_topics_records_and_schemas_are_kept(self, engine: Engine, reopen: Callable[[], Engine]) -> None:
        engine.create_topic(TopicSpec("t", partitions=2, retention_age_us=5, retention_bytes=6))
        engine.put_schema("t", b"one")
        fill(engine, 3, partition=1)
        before = engine.describe_topic("t")
        again = reopen()
        assert again.topics() == ["t"]
        assert again.describe_topic("t") == before
        assert content(again, partition=1) == {0: b"0", 1: b"1", 2: b"2"}
        assert again.put_schema("t", b"two") == 2
        assert put(again, b"next", partition=1).offset == 3

    def test_groups_leases_and_state_are_kept(
        self, engine: Engine, reopen: Callable[[], Engine], clock: FakeClock
    ) -> None:
        create(engine, partitions=2, group="g")
        fill(engine, 10)
        fill(engine, 10, partition=1)
        engine.commit("t", "g", [OffsetMove(1, 0, 10)], state=[StateChange(1, b"k", b"v")])
        [lease] = take(engine, 8)
        engine.settle(
            [
                settled(lease, Outcome.ACK, 0, 1),
                settled(lease, Outcome.NACK, 1, 2, due_us=clock.now_us() + 2 * MINUTE_US),
                settled(lease, Outcome.REJECT, 2, 3),
                settled(lease, Outcome.RELEASE, 3, 4),
            ]
        )
        before = engine.describe_group("t", "g")
        again = reopen()
        assert again.describe_group("t", "g") == before
        assert again.state("t", "g", 1) == {b"k": b"v"}
        again.settle([settled(lease, Outcome.ACK, 4, 6)])
        clock.advance("1m")
        assert runs(take(again)) == [(3, 4, 1), (6, 7, 2), (7, 8, 1), (8, 10, 1)]
        clock.advance("1m")
        with pytest.raises(LeaseLostError):
            again.settle([settled(lease, Outcome.ACK, 6, 7)])
        assert (1, 2, 2) in runs(take(again))

    def test_sorted_order_pauses_and_unique_values_are_kept(
        self, engine: Engine, reopen: Callable[[], Engine], clock: FakeClock
    ) -> None:
        create(engine)
        engine.create_group("t", "g", parallel=1)
        once = Append("t", 0, rows(b"a"), unique=b"k", unique_until_us=clock.now_us() + MINUTE_US)
        assert engine.append([once]) == [Position(0, 0)]
        fill(engine, 3)
        engine.sort("t", "g", 0, 0, [Entry(b"k", rank=9), Entry(b"k"), Entry(b"l"), Entry()])
        take(engine, 1)
        engine.pause("t", "g")
        before = engine.describe_group("t", "g")
        again = reopen()
        assert again.describe_group("t", "g") == before
        assert again.append([once]) == [Position(0, 0)]
        assert take(again) == []
        again.pause("t", "g", paused=False)
        assert handed(take(again, 9)) == [(0, 3), (0, 0), (0, 1)]

    def test_lease_ids_are_not_reused_after_reopening(self, engine: Engine, reopen: Callable[[], Engine]) -> None:
        create(engine, group="g")
        fill(engine, 2)
        [old] = take(engine, 1)
        engine.settle([settled(old, Outcome.RELEASE)])
        again = reopen()
        assert old.lease_id not in {lease.lease_id for lease in take(again, 2)}
        with pytest.raises(LeaseLostError):
            again.settle([settled(old)])

    def test_two_engines_write_one_log(self, engine: Engine, second: Engine) -> None:
        create(engine)
        engines = [engine, second, second, engine, second]
        assert [put(each, b"%d" % n).offset for n, each in enumerate(engines)] == [0, 1, 2, 3, 4]
        assert content(engine) == content(second) == {n: b"%d" % n for n in range(5)}
        assert engine.describe_topic("t") == second.describe_topic("t")

    def test_two_engines_writing_at_once_lose_nothing(self, engine: Engine, second: Engine, spawn: Spawn) -> None:
        create(engine)

        def write(which: int, thread: int) -> None:
            for number in range(25):
                put((engine, second)[which], b"%d:%d:%d" % (which, thread, number))

        for future in [spawn(write, which, thread) for which in (0, 1) for thread in range(4)]:
            future.result(PATIENCE_S)
        stored = list(content(engine).values())
        assert len(stored) == 200
        for which in (0, 1):
            for thread in range(4):
                mine = [value for value in stored if value.startswith(b"%d:%d:" % (which, thread))]
                assert mine == [b"%d:%d:%d" % (which, thread, number) for number in range(25)]

    def test_append_of_another_engine_wakes_the_waiter(self, engine: Engine, second: Engine, spawn: Spawn) -> None:
        create(engine)
        for offset in range(5):
            waiter = spawn(second.wait, {"t": {0: offset}}, PATIENCE_US)
            put(engine, b"x")
            assert waiter.result(PATIENCE_S / 2) is True

    def test_engines_hand_a_record_over_once(self, engine: Engine, second: Engine) -> None:
        create(engine, group="g")
        fill(engine, 6)
        [one], [two] = take(engine, 2), take(second, 2)
        assert handed([one, two]) == [(0, 0), (0, 1), (0, 2), (0, 3)]
        assert one.lease_id != two.lease_id
        engine.settle([settled(two, Outcome.RELEASE)])
        second.settle([settled(one)])
        assert counts(engine) == counts(second) == {"done": 2, "waiting": 2, "ready": 2}

    def test_engines_cannot_commit_the_same_records(self, engine: Engine, second: Engine) -> None:
        create(engine, group="g")
        fill(engine, 5)
        engine.commit("t", "g", [OffsetMove(0, 0, 3)], state=[StateChange(0, b"k", b"first")])
        with pytest.raises(CommitConflictError):
            second.commit(
                "t",
                "g",
                [OffsetMove(0, 0, 2)],
                state=[StateChange(0, b"k", b"second")],
                appends=[Append("t", 0, rows(b"x"))],
            )
        assert second.state("t", "g", 0) == {b"k": b"first"}
        assert counts(second) == {"done": 3, "ready": 2}

    def test_engine_notices_that_another_one_deleted_and_made_a_topic_anew(
        self, engine: Engine, second: Engine
    ) -> None:
        create(engine, group="g")
        fill(engine, 5)
        assert len(content(second)) == 5
        take(second, 2)
        engine.delete_topic("t")
        assert second.topics() == []
        create(engine, partitions=2)
        assert second.describe_topic("t").spec.partitions == 2
        assert put(second, b"first", partition=1).offset == 0
        assert content(engine, partition=1) == {0: b"first"}
        assert second.groups("t") == []
