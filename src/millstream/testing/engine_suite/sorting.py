"""Groups in sorted order: keys, ranks, due times, rates; and pausing."""

from __future__ import annotations

import pytest

from millstream.engines.protocol import Engine, Entry, Lease, OffsetMove, Outcome, Rate
from millstream.errors import CommitConflictError, GroupNotFoundError, LeaseLostError, OffsetOutOfRangeError, UsageError
from millstream.testing.engine_suite.subject import (
    MINUTE_US,
    EngineTests,
    committed,
    counts,
    create,
    fill,
    put,
    runs,
    settled,
    take,
)
from millstream.testing.fake_clock import FakeClock

SECOND_US = 1_000_000


class SortingTests(EngineTests):
    @pytest.fixture
    def keyed(self, engine: Engine) -> Engine:
        """Return an engine whose group g of topic t has nine records in sorted order, of the keys a b c in turn."""
        if not engine.capabilities.leases:
            pytest.skip(f"the {engine.capabilities.name} engine has no leases")
        create(engine)
        engine.create_group("t", "g", parallel=1)
        fill(engine, 9)
        assert engine.sort("t", "g", 0, 0, [Entry(key=b"abc"[n % 3 : n % 3 + 1]) for n in range(9)])
        return engine

    # --- sort -----------------------------------------------------------------------------------------------------

    def test_nothing_is_handed_over_before_it_is_sorted(self, engine: Engine) -> None:
        create(engine)
        assert engine.create_group("t", "g", parallel=2).parallel == 2
        fill(engine, 4)
        assert take(engine) == []
        assert engine.sort("t", "g", 0, 0, [Entry(), Entry()]) is True
        assert engine.describe_group("t", "g").next_offsets == {0: 2}
        assert counts(engine) == {"ready": 4}
        assert _offsets(take(engine)) == [0, 1]
        assert committed(engine) == {0: 0}

    def test_of_two_workers_that_sort_the_same_records_the_first_wins(self, engine: Engine) -> None:
        create(engine)
        engine.create_group("t", "g", parallel=1)
        fill(engine, 4)
        assert engine.sort("t", "g", 0, 0, [Entry(rank=1), Entry(rank=0)]) is True
        for start in (0, 1, 3):
            assert engine.sort("t", "g", 0, start, [Entry(rank=9)]) is False
        assert engine.sort("t", "g", 0, 2, []) is True
        assert _offsets(take(engine)) == [1, 0]

    def test_more_records_than_there_are_cannot_be_sorted(self, engine: Engine) -> None:
        create(engine)
        engine.create_group("t", "g", parallel=1)
        fill(engine, 2)
        with pytest.raises(OffsetOutOfRangeError):
            engine.sort("t", "g", 0, 0, [Entry()] * 3)
        assert take(engine) == []
        assert engine.sort("t", "g", 0, 0, [Entry()] * 2) is True

    def test_group_that_hands_over_runs_is_not_sorted(self, queue: Engine) -> None:
        with pytest.raises(UsageError):
            queue.sort("t", "g", 0, 0, [Entry()])
        assert queue.describe_group("t", "g").parallel is None

    def test_group_can_change_to_sorted_order_when_nothing_of_it_is_out(self, queue: Engine) -> None:
        [lease] = take(queue, 4)
        with pytest.raises(UsageError):
            queue.create_group("t", "g", parallel=1)
        queue.settle([settled(lease)])
        assert queue.create_group("t", "g", parallel=1).parallel == 1
        assert queue.create_group("t", "g").parallel == 1
        assert queue.sort("t", "g", 0, 4, [Entry(rank=-n) for n in range(6)])
        assert _offsets(take(queue)) == [9, 8, 7, 6, 5, 4]

    def test_parallel_is_one_or_more(self, engine: Engine) -> None:
        create(engine)
        with pytest.raises(UsageError):
            engine.create_group("t", "g", parallel=0)
        assert engine.groups("t") == []

    def test_sorted_records_are_not_for_a_stream(self, keyed: Engine) -> None:
        with pytest.raises(CommitConflictError):
            keyed.commit("t", "g", [OffsetMove(0, 0, 1)])

    # --- keys -----------------------------------------------------------------------------------------------------

    def test_of_each_key_one_record_is_out_at_a_time(self, keyed: Engine) -> None:
        first = take(keyed, 3)
        assert runs(first) == [(0, 1, 1), (1, 2, 1), (2, 3, 1)]
        assert take(keyed, 3) == []
        keyed.settle([settled(first[1])])
        [second] = take(keyed, 1)
        assert (second.start, second.attempt) == (4, 1)
        assert counts(keyed) == {"done": 1, "leased": 3, "ready": 5}

    def test_key_waits_for_its_record_that_failed_and_others_go_on(self, keyed: Engine, clock: FakeClock) -> None:
        leases = take(keyed, 3)
        due_us = clock.now_us() + MINUTE_US
        keyed.settle([settled(leases[0], Outcome.NACK, due_us=due_us), settled(leases[1]), settled(leases[2])])
        more = take(keyed, 2)
        assert _offsets(more) == [4, 5]
        keyed.settle([settled(lease) for lease in more])
        rest = take(keyed, 2)
        assert _offsets(rest) == [7, 8]
        keyed.settle([settled(lease) for lease in rest])
        assert take(keyed) == []
        assert keyed.describe_group("t", "g").next_due_us == due_us
        clock.advance("1m")
        assert runs(take(keyed, 1)) == [(0, 1, 2)]

    def test_rejected_record_lets_its_key_go_on(self, keyed: Engine) -> None:
        leases = take(keyed, 3)
        keyed.settle([settled(leases[0], Outcome.REJECT)])
        assert _offsets(take(keyed, 1)) == [3]
        assert counts(keyed) == {"dead": 1, "leased": 3, "ready": 5}

    def test_records_of_a_key_follow_one_another_in_one_call_when_there_is_room(self, keyed: Engine) -> None:
        leases = take(keyed, 99)
        assert sorted(_offsets(leases)) == list(range(9))
        for key in range(3):
            assert [offset for offset in _offsets(leases) if offset % 3 == key] == [key, key + 3, key + 6]
        assert {lease.end - lease.start for lease in leases} == {1}

    def test_records_behind_one_that_was_given_back_wait_for_it(self, keyed: Engine) -> None:
        leases = {lease.start: lease for lease in take(keyed, 99)}
        keyed.settle([settled(leases[3], Outcome.NACK), settled(leases[6], Outcome.RELEASE)])
        assert take(keyed) == []
        keyed.settle([settled(leases[0])])
        assert runs(take(keyed)) == [(3, 4, 2), (6, 7, 1)]

    def test_so_many_records_of_a_key_are_out_at_once_as_the_group_says(self, engine: Engine) -> None:
        create(engine)
        engine.create_group("t", "g", parallel=2)
        fill(engine, 5)
        engine.sort("t", "g", 0, 0, [Entry(key=b"k")] * 5)
        leases = take(engine)
        assert _offsets(leases) == [0, 1]
        engine.settle([settled(leases[1])])
        assert _offsets(take(engine)) == [2]
        assert take(engine) == []
        engine.create_group("t", "g", parallel=4)
        assert _offsets(take(engine)) == [3, 4]

    def test_records_without_a_key_do_not_wait_for_one_another(self, engine: Engine) -> None:
        create(engine)
        engine.create_group("t", "g", parallel=1)
        fill(engine, 4)
        engine.sort("t", "g", 0, 0, [Entry()] * 4)
        [first, *_] = take(engine, 2)
        engine.settle([settled(first, Outcome.NACK)])
        assert runs(take(engine)) == [(0, 1, 2), (2, 3, 1), (3, 4, 1)]

    def test_expired_lease_blames_the_record_that_the_worker_handled_first(
        self, engine: Engine, clock: FakeClock
    ) -> None:
        create(engine)
        engine.create_group("t", "g", parallel=1)
        fill(engine, 3)
        engine.sort("t", "g", 0, 0, [Entry(rank=rank) for rank in (2, 0, 1)])
        leases = take(engine)
        assert _offsets(leases) == [1, 2, 0]
        engine.settle([settled(leases[0])])
        clock.advance("1m")
        assert runs(take(engine)) == [(2, 3, 2), (0, 1, 1)]
        with pytest.raises(LeaseLostError):
            engine.settle([settled(leases[1])])

    def test_sorted_lease_can_be_extended(self, keyed: Engine, clock: FakeClock) -> None:
        leases = take(keyed, 3)
        clock.advance("30s")
        renewed = keyed.extend(leases, MINUTE_US)
        assert runs(renewed) == runs(leases)
        clock.advance("45s")
        keyed.settle([settled(lease) for lease in renewed])
        assert counts(keyed) == {"done": 3, "ready": 6}

    # --- ranks and due times --------------------------------------------------------------------------------------

    def test_lower_ranks_come_first_and_within_a_rank_lower_offsets(self, engine: Engine) -> None:
        create(engine)
        engine.create_group("t", "g", parallel=1)
        fill(engine, 5)
        engine.sort("t", "g", 0, 0, [Entry(rank=rank) for rank in (5, 1, 5, -1, 1)])
        assert _offsets(take(engine, 2)) == [3, 1]
        assert _offsets(take(engine, 9)) == [4, 0, 2]

    def test_ranks_of_bytes_come_after_those_of_numbers(self, engine: Engine) -> None:
        create(engine)
        engine.create_group("t", "g", parallel=1)
        fill(engine, 5)
        engine.sort("t", "g", 0, 0, [Entry(rank=rank) for rank in (b"b", 7, b"", b"ab", -7)])
        assert _offsets(take(engine, 9)) == [4, 1, 2, 3, 0]

    def test_record_is_not_handed_over_before_it_is_due(self, engine: Engine, clock: FakeClock) -> None:
        create(engine)
        engine.create_group("t", "g", parallel=1)
        fill(engine, 3)
        due_us = clock.now_us() + SECOND_US
        engine.sort("t", "g", 0, 0, [Entry(due_us=due_us), Entry(due_us=due_us + SECOND_US), Entry(due_us=due_us)])
        assert take(engine) == []
        assert engine.describe_group("t", "g").next_due_us == due_us
        assert counts(engine) == {"ready": 3}
        clock.advance(1)
        assert _offsets(take(engine)) == [0, 2]
        clock.advance(1)
        assert _offsets(take(engine)) == [1]

    # --- rates ----------------------------------------------------------------------------------------------------

    def test_key_over_its_rate_waits_without_an_attempt(self, engine: Engine, clock: FakeClock) -> None:
        create(engine)
        engine.create_group("t", "g", parallel=9)
        fill(engine, 6)
        engine.sort("t", "g", 0, 0, [Entry(key=b"k")] * 5 + [Entry(key=b"other")])
        rate = Rate(records=2, per_us=10 * SECOND_US)

        def take_all() -> list[Lease]:
            return engine.lease("t", "g", worker="w", records_max=9, duration_us=MINUTE_US, rate=rate)

        assert _offsets(take_all()) == [0, 1, 5]
        assert take_all() == []
        due_us = engine.describe_group("t", "g").next_due_us
        assert due_us is not None
        assert due_us <= clock.now_us() + 5 * SECOND_US
        clock.advance(5)
        assert runs(take_all()) == [(2, 3, 1)]
        assert take_all() == []
        clock.advance(5)
        assert runs(take_all()) == [(3, 4, 1)]
        clock.advance(30)
        assert runs(take_all())[-1] == (4, 5, 1)

    # --- pausing --------------------------------------------------------------------------------------------------

    def test_paused_group_hands_over_nothing_and_settles_what_is_out(self, queue: Engine, clock: FakeClock) -> None:
        [lease] = take(queue, 4)
        queue.pause("t", "g")
        assert queue.describe_group("t", "g").paused
        assert take(queue) == []
        queue.settle([settled(lease, Outcome.ACK, 0, 2), settled(lease, Outcome.NACK, 2, 3)])
        assert take(queue) == []
        queue.pause("t", "g", paused=False)
        assert not queue.describe_group("t", "g").paused
        assert runs(take(queue, 3)) == [(2, 3, 2), (4, 6, 1)]

    def test_pausing_a_group_that_nobody_created_is_an_error(self, engine: Engine) -> None:
        create(engine)
        with pytest.raises(GroupNotFoundError):
            engine.pause("t", "g")

    # --- with the rest --------------------------------------------------------------------------------------------

    def test_ledger_of_a_sorted_group_balances_after_every_step(self, keyed: Engine, clock: FakeClock) -> None:
        assert counts(keyed) == {"ready": 9}
        put(keyed, b"new")
        assert counts(keyed) == {"ready": 10}
        leases = take(keyed, 3)
        assert counts(keyed) == {"leased": 3, "ready": 7}
        keyed.settle([settled(leases[0]), settled(leases[1], Outcome.NACK), settled(leases[2], Outcome.REJECT)])
        assert counts(keyed) == {"done": 1, "dead": 1, "waiting": 1, "ready": 7}
        assert committed(keyed) == {0: 1}
        assert keyed.sort("t", "g", 0, 9, [Entry()])
        take(keyed, 2)
        clock.advance("1m")
        leases = take(keyed, 99)
        assert counts(keyed) == {"done": 1, "dead": 1, "leased": 8}
        keyed.settle([settled(lease) for lease in leases])
        assert counts(keyed) == {"done": 9, "dead": 1}
        assert committed(keyed) == {0: 10}


def _offsets(leases: list[Lease]) -> list[int]:
    return [offset for lease in leases for offset in range(lease.start, lease.end)]
