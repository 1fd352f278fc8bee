"""Leases: handed over, settled, expired, extended."""

from __future__ import annotations

from datetime import timedelta

import pytest

from millstream import limits
from millstream.engines.protocol import Append, Engine, Outcome, StateChange
from millstream.errors import LeaseLostError, LimitExceededError, TopicNotFoundError, UsageError
from millstream.records import Position
from millstream.testing.engine_suite.subject import (
    MINUTE_US,
    EngineTests,
    committed,
    content,
    counts,
    create,
    fill,
    put,
    runs,
    settled,
    take,
)
from millstream.testing.fake_clock import FakeClock
from millstream.testing.raw_batches import rows


class LeaseTests(EngineTests):
    # --- handing over ---------------------------------------------------------------------------------------------

    def test_lease_says_who_has_what_until_when(self, queue: Engine, clock: FakeClock) -> None:
        [lease] = take(queue, 4, worker="host:12", minutes=5)
        assert (lease.topic, lease.group, lease.partition, lease.start, lease.end) == ("t", "g", 0, 0, 4)
        assert (lease.attempt, lease.worker) == (1, "host:12")
        assert lease.deadline_us == clock.now_us() + 5 * MINUTE_US
        assert counts(queue) == {"leased": 4, "ready": 6}
        info = queue.describe_group("t", "g")
        assert info.next_due_us == lease.deadline_us
        assert info.next_offsets == {0: 4}

    def test_records_are_handed_over_oldest_first_and_once(self, queue: Engine) -> None:
        assert runs(take(queue, 4)) == [(0, 4, 1)]
        assert runs(take(queue, 4)) == [(4, 8, 1)]
        assert runs(take(queue, 4)) == [(8, 10, 1)]
        assert take(queue, 4) == []
        fill(queue, 2)
        assert runs(take(queue, 4)) == [(10, 12, 1)]

    def test_lease_ids_are_never_reused(self, queue: Engine, clock: FakeClock) -> None:
        ids = []
        for outcome in (Outcome.RELEASE, Outcome.NACK, Outcome.RELEASE, Outcome.ACK):
            leases = take(queue, 10)
            ids += [lease.lease_id for lease in leases]
            queue.settle([settled(lease, outcome) for lease in leases])
        assert len(set(ids)) == len(ids) == 4

    def test_lease_of_an_empty_topic_is_empty(self, engine: Engine) -> None:
        create(engine, group="g")
        assert take(engine) == []
        assert counts(engine) == {}

    def test_lease_limits_are_checked(self, queue: Engine) -> None:
        with pytest.raises(LimitExceededError):
            take(queue, limits.LEASE_RECORDS_MAX + 1)
        with pytest.raises(UsageError):
            take(queue, 0)
        assert runs(take(queue, limits.LEASE_RECORDS_MAX)) == [(0, 10, 1)]

    # --- settling -------------------------------------------------------------------------------------------------

    def test_acked_records_are_done(self, queue: Engine) -> None:
        [lease] = take(queue, 4)
        assert queue.settle([settled(lease)]) == []
        assert counts(queue) == {"done": 4, "ready": 6}
        assert committed(queue) == {0: 4}
        assert queue.describe_group("t", "g").next_due_us is None

    def test_committed_offset_is_the_lowest_that_is_not_settled(self, queue: Engine) -> None:
        [first], [second] = take(queue, 4), take(queue, 4)
        queue.settle([settled(second)])
        assert committed(queue) == {0: 0}
        queue.settle([settled(first, start=0, end=2)])
        assert committed(queue) == {0: 2}
        queue.settle([settled(first, start=2, end=4)])
        assert committed(queue) == {0: 8}

    def test_lease_can_be_settled_in_parts_in_any_order(self, queue: Engine) -> None:
        [lease] = take(queue, 10)
        queue.settle([settled(lease, Outcome.ACK, 4, 6)])
        assert counts(queue) == {"done": 2, "leased": 8}
        queue.settle([settled(lease, Outcome.REJECT, 0, 1), settled(lease, Outcome.ACK, 9, 10)])
        assert counts(queue) == {"done": 3, "dead": 1, "leased": 6}
        queue.settle(
            [
                settled(lease, Outcome.RELEASE, 1, 2),
                settled(lease, Outcome.NACK, 2, 4),
                settled(lease, Outcome.ACK, 6, 9),
            ]
        )
        assert counts(queue) == {"done": 6, "dead": 1, "waiting": 3}
        assert runs(take(queue)) == [(1, 2, 1), (2, 4, 2)]

    def test_rejected_record_is_dead(self, queue: Engine) -> None:
        [lease] = take(queue, 3)
        queue.settle([settled(lease, Outcome.REJECT, 0, 1), settled(lease, Outcome.ACK, 1, 3)])
        assert counts(queue) == {"done": 2, "dead": 1, "ready": 7}
        assert committed(queue) == {0: 3}

    def test_nacked_record_comes_back_when_it_is_due_with_the_attempt_counted(
        self, queue: Engine, clock: FakeClock
    ) -> None:
        [lease] = take(queue, 10)
        due_us = clock.now_us() + 30_000_000
        queue.settle([settled(lease, Outcome.NACK, 3, 4, due_us=due_us), settled(lease, Outcome.ACK, 0, 3)])
        queue.settle([settled(lease, Outcome.ACK, 4, 10)])
        assert counts(queue) == {"done": 9, "waiting": 1}
        assert queue.describe_group("t", "g").next_due_us == due_us
        clock.advance("29s")
        assert take(queue) == []
        clock.advance("1s")
        assert runs(take(queue)) == [(3, 4, 2)]
        assert counts(queue) == {"done": 9, "leased": 1}

    def test_attempts_count_up_with_each_nack(self, queue: Engine) -> None:
        for attempt in (1, 2, 3, 4):
            [lease, *_] = take(queue, 1)
            assert runs([lease]) == [(0, 1, attempt)]
            queue.settle([settled(lease, Outcome.NACK)])

    def test_released_record_comes_back_at_once_without_an_attempt(self, queue: Engine) -> None:
        [lease] = take(queue, 10)
        queue.settle([settled(lease, Outcome.NACK)])
        [lease] = take(queue, 10)
        queue.settle([settled(lease, Outcome.RELEASE, 5, 10)])
        assert counts(queue) == {"leased": 5, "waiting": 5}
        assert runs(take(queue)) == [(5, 10, 2)]

    def test_released_record_comes_back_when_it_is_due(self, queue: Engine, clock: FakeClock) -> None:
        [lease] = take(queue, 10)
        queue.settle([settled(lease, Outcome.RELEASE, due_us=clock.now_us() + 1_000_000)])
        assert take(queue) == []
        clock.advance(1)
        assert runs(take(queue)) == [(0, 10, 1)]

    def test_records_that_wait_and_are_due_come_before_fresh_ones(self, queue: Engine) -> None:
        [lease] = take(queue, 5)
        queue.settle([settled(lease, Outcome.RELEASE, 2, 4)])
        assert runs(take(queue, 4)) == [(2, 4, 1), (5, 7, 1)]

    def test_records_that_are_due_come_lowest_offset_first(self, queue: Engine, clock: FakeClock) -> None:
        [lease] = take(queue, 10)
        now = clock.now_us()
        queue.settle(
            [
                settled(lease, Outcome.NACK, 6, 7, due_us=now + 1),
                settled(lease, Outcome.NACK, 2, 3, due_us=now + 5),
                settled(lease, Outcome.NACK, 4, 5, due_us=now + 3),
                settled(lease, Outcome.NACK, 0, 1, due_us=now + MINUTE_US),
            ]
        )
        clock.advance("5us")
        assert runs(take(queue)) == [(2, 3, 2), (4, 5, 2), (6, 7, 2)]

    def test_records_that_became_due_earlier_or_later_come_lowest_offset_first(
        self, queue: Engine, clock: FakeClock
    ) -> None:
        [lease] = take(queue, 10)
        now = clock.now_us()
        queue.settle(
            [settled(lease, Outcome.NACK, 5, 8, due_us=now), settled(lease, Outcome.NACK, 1, 2, due_us=now + 5)]
        )
        assert runs(take(queue, 1)) == [(5, 6, 2)]
        clock.advance("5us")
        assert runs(take(queue)) == [(1, 2, 2), (6, 8, 2)]

    def test_lease_of_fewer_records_than_wait_splits_the_run(self, queue: Engine) -> None:
        [lease] = take(queue, 10)
        queue.settle([settled(lease, Outcome.NACK)])
        assert runs(take(queue, 3)) == [(0, 3, 2)]
        assert counts(queue) == {"leased": 3, "waiting": 7}
        assert runs(take(queue, 3)) == [(3, 6, 2)]
        assert runs(take(queue, 9)) == [(6, 10, 2)]

    def test_settle_appends_in_the_same_transaction(self, queue: Engine) -> None:
        create(queue, "dead", partitions=2)
        [lease] = take(queue, 2)
        positions = queue.settle(
            [settled(lease, Outcome.REJECT)],
            appends=[
                Append("dead", 1, rows(b"x", b"y")),
                Append("dead", 1, rows(b"z")),
                Append("t", 0, rows(b"again")),
            ],
        )
        assert positions == [Position(1, 0), Position(1, 2), Position(0, 10)]
        assert content(queue, "dead", 1) == {0: b"x", 1: b"y", 2: b"z"}
        assert counts(queue) == {"dead": 2, "ready": 9}

    def test_settle_changes_state_in_the_same_transaction(self, queue: Engine) -> None:
        [lease] = take(queue, 2)
        queue.settle([settled(lease, end=1)], state=[StateChange(0, b"k", b"v")])
        assert queue.state("t", "g", 0) == {b"k": b"v"}
        for settlements, change in (
            ([settled(lease)], StateChange(0, b"k", b"lost")),
            ([settled(lease, start=1)], StateChange(7, b"k", b"no such partition")),
            ([], StateChange(0, b"k", b"of which group?")),
        ):
            with pytest.raises((LeaseLostError, UsageError)):
                queue.settle(settlements, state=[change], appends=[Append("t", 0, rows(b"x"))])
        assert queue.state("t", "g", 0) == {b"k": b"v"}
        assert counts(queue) == {"done": 1, "leased": 1, "ready": 8}
        queue.settle([settled(lease, start=1)], state=[StateChange(0, b"k", None)])
        assert queue.state("t", "g", 0) == {}

    def test_settle_of_several_groups_is_one_transaction(self, queue: Engine) -> None:
        create(queue, "u", group="h")
        fill(queue, 3, topic="u")
        [one] = take(queue, 2)
        [two] = queue.lease("u", "h", worker="w", records_max=3, duration_us=MINUTE_US)
        with pytest.raises(LeaseLostError):
            queue.settle([settled(one), settled(two, end=4)])
        assert counts(queue) == {"leased": 2, "ready": 8}
        queue.settle([settled(one), settled(two)])
        assert counts(queue) == {"done": 2, "ready": 8}
        assert counts(queue, "u", "h") == {"done": 3}

    # --- all or nothing -------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("outcome", list(Outcome))
    def test_settled_record_cannot_be_settled_again(self, queue: Engine, outcome: Outcome) -> None:
        [lease] = take(queue, 10)
        queue.settle([settled(lease, outcome, 3, 5)])
        before = counts(queue)
        for start, end in ((3, 5), (3, 4), (4, 6), (2, 4), (0, 10)):
            with pytest.raises(LeaseLostError):
                queue.settle([settled(lease, Outcome.ACK, start, end)])
        assert counts(queue) == before

    def test_settlements_that_overlap_change_nothing(self, queue: Engine) -> None:
        [lease] = take(queue, 10)
        with pytest.raises(LeaseLostError):
            queue.settle([settled(lease, Outcome.ACK, 0, 6), settled(lease, Outcome.NACK, 5, 10)])
        assert counts(queue) == {"leased": 10}

    @pytest.mark.parametrize(("start", "end"), [(0, 5), (-1, 2), (9, 11), (4, 6)])
    def test_records_that_the_lease_does_not_hold_cannot_be_settled(self, queue: Engine, start: int, end: int) -> None:
        [lease] = take(queue, 4)
        take(queue, 4)
        with pytest.raises(LeaseLostError):
            queue.settle([settled(lease, Outcome.ACK, start, end)])
        assert counts(queue) == {"leased": 8, "ready": 2}

    def test_one_lost_lease_refuses_the_whole_call(self, queue: Engine) -> None:
        [lost], [held] = take(queue, 4), take(queue, 4)
        queue.settle([settled(lost, Outcome.ACK, 0, 1)])
        with pytest.raises(LeaseLostError):
            queue.settle([settled(held), settled(lost)], appends=[Append("t", 0, rows(b"x"))])
        assert counts(queue) == {"done": 1, "leased": 7, "ready": 2}
        assert queue.describe_topic("t").records == 10

    def test_settle_with_a_bad_append_changes_nothing(self, queue: Engine) -> None:
        [lease] = take(queue, 4)
        with pytest.raises(TopicNotFoundError):
            queue.settle([settled(lease)], appends=[Append("t", 0, rows(b"x")), Append("no", 0, rows(b"x"))])
        assert counts(queue) == {"leased": 4, "ready": 6}
        queue.settle([settled(lease)])

    # --- expiry ---------------------------------------------------------------------------------------------------

    def test_lease_is_held_until_its_deadline(self, queue: Engine, clock: FakeClock) -> None:
        [lease] = take(queue, 10, minutes=1)
        clock.advance(timedelta(microseconds=MINUTE_US - 1))
        assert take(queue) == []
        queue.settle([settled(lease)])
        assert counts(queue) == {"done": 10}

    def test_expired_lease_counts_an_attempt_of_its_first_record_only(self, queue: Engine, clock: FakeClock) -> None:
        take(queue, 4, worker="dies")
        clock.advance("1m")
        assert runs(take(queue, 6)) == [(0, 1, 2), (1, 4, 1), (4, 6, 1)]
        assert counts(queue) == {"leased": 6, "ready": 4}

    def test_expired_lease_of_one_record_counts_its_attempt(self, queue: Engine, clock: FakeClock) -> None:
        take(queue, 1)
        clock.advance("1m")
        assert runs(take(queue, 1)) == [(0, 1, 2)]

    def test_record_that_kills_its_worker_is_found_out_and_its_neighbours_are_not_blamed(
        self, queue: Engine, clock: FakeClock
    ) -> None:
        for attempt in (1, 2, 3):
            leases = take(queue, 3)
            assert leases[0].start == 0
            assert leases[0].attempt == attempt
            assert {lease.attempt for lease in leases[1:]} <= {1}
            # The worker takes the records in order, one after another, and dies of the first.
            queue.settle([settled(lease, Outcome.RELEASE) for lease in leases[1:]])
            clock.advance("1m")
        [poison, *rest] = take(queue, 10)
        assert runs([poison]) == [(0, 1, 4)]
        queue.settle([settled(poison, Outcome.REJECT)])
        assert {lease.attempt for lease in rest} == {1}

    def test_expired_lease_that_was_settled_in_parts_blames_the_first_record_still_held(
        self, queue: Engine, clock: FakeClock
    ) -> None:
        [lease] = take(queue, 10)
        queue.settle([settled(lease, Outcome.ACK, 0, 2), settled(lease, Outcome.ACK, 5, 6)])
        clock.advance("1m")
        assert runs(take(queue)) == [(2, 3, 2), (3, 5, 1), (6, 10, 1)]
        assert counts(queue) == {"done": 3, "leased": 7}

    def test_every_expired_lease_blames_its_own_first_record(self, queue: Engine, clock: FakeClock) -> None:
        take(queue, 3)
        take(queue, 3)
        clock.advance("1m")
        assert runs(take(queue)) == [(0, 1, 2), (1, 3, 1), (3, 4, 2), (4, 6, 1), (6, 10, 1)]

    def test_records_of_an_expired_lease_stay_leased_until_somebody_takes_them(
        self, queue: Engine, clock: FakeClock
    ) -> None:
        [lease] = take(queue, 4)
        clock.advance("1m")
        assert counts(queue) == {"leased": 4, "ready": 6}
        assert committed(queue) == {0: 0}
        next_due_us = queue.describe_group("t", "g").next_due_us
        assert next_due_us is not None
        assert next_due_us <= clock.now_us()
        assert lease.deadline_us == clock.now_us()

    @pytest.mark.parametrize("outcome", list(Outcome))
    def test_expired_lease_cannot_be_settled(self, queue: Engine, clock: FakeClock, outcome: Outcome) -> None:
        [lease] = take(queue, 4)
        clock.advance("1m")
        with pytest.raises(LeaseLostError):
            queue.settle([settled(lease, outcome)])
        assert counts(queue) == {"leased": 4, "ready": 6}

    def test_expired_lease_cannot_be_acked(self, queue: Engine, clock: FakeClock) -> None:
        [old] = take(queue, 4, worker="slow")
        clock.advance("1m")
        [first, rest, _] = take(queue, 10, worker="fast")
        with pytest.raises(LeaseLostError):
            queue.settle([settled(old)])
        with pytest.raises(LeaseLostError):
            queue.settle([settled(old, Outcome.ACK, 2, 3)])
        queue.settle([settled(first), settled(rest)])
        assert counts(queue) == {"done": 4, "leased": 6}

    # --- extend ---------------------------------------------------------------------------------------------------

    def test_extended_lease_is_held_longer(self, queue: Engine, clock: FakeClock) -> None:
        [lease] = take(queue, 10, minutes=1)
        clock.advance("50s")
        [renewed] = queue.extend([lease], MINUTE_US)
        assert renewed.deadline_us == clock.now_us() + MINUTE_US
        assert (renewed.lease_id, renewed.worker) == (lease.lease_id, lease.worker)
        assert runs([renewed]) == [(0, 10, 1)]
        assert queue.describe_group("t", "g").next_due_us == renewed.deadline_us
        clock.advance("59s")
        assert take(queue) == []
        queue.settle([settled(lease, end=5), settled(renewed, start=5)])
        assert counts(queue) == {"done": 10}

    def test_extended_lease_expires_later(self, queue: Engine, clock: FakeClock) -> None:
        [lease] = take(queue, 10)
        clock.advance("50s")
        queue.extend([lease], MINUTE_US)
        clock.advance("60s")
        assert runs(take(queue)) == [(0, 1, 2), (1, 10, 1)]

    def test_deadline_can_be_moved_closer(self, queue: Engine, clock: FakeClock) -> None:
        [lease] = take(queue, 10, minutes=5)
        queue.extend([lease], MINUTE_US)
        clock.advance("1m")
        assert runs(take(queue)) == [(0, 1, 2), (1, 10, 1)]

    def test_extend_leaves_out_what_was_settled(self, queue: Engine) -> None:
        [lease] = take(queue, 10)
        queue.settle([settled(lease, Outcome.ACK, 0, 2), settled(lease, Outcome.NACK, 5, 6)])
        renewed = queue.extend([lease], 5 * MINUTE_US)
        assert runs(renewed) == [(2, 5, 1), (6, 10, 1)]
        assert {part.lease_id for part in renewed} == {lease.lease_id}
        queue.settle([settled(part) for part in renewed])
        assert queue.extend([lease], MINUTE_US) == []
        assert counts(queue) == {"done": 9, "waiting": 1}

    def test_all_parts_of_an_extended_lease_live_on(self, queue: Engine, clock: FakeClock) -> None:
        [lease] = take(queue, 10)
        queue.settle([settled(lease, Outcome.ACK, 4, 6)])
        queue.extend([lease], 5 * MINUTE_US)
        clock.advance("4m")
        assert take(queue) == []
        queue.settle([settled(lease, end=4), settled(lease, start=6)])
        assert counts(queue) == {"done": 10}

    def test_expired_lease_cannot_be_extended(self, queue: Engine, clock: FakeClock) -> None:
        [lost] = take(queue, 4, minutes=1)
        [held] = take(queue, 4, minutes=2)
        clock.advance("1m")
        assert runs(queue.extend([lost, held], MINUTE_US)) == [(4, 8, 1)]
        again = take(queue, 4, worker="other")
        assert runs(again) == [(0, 1, 2), (1, 4, 1)]
        assert queue.extend([lost], MINUTE_US) == []
        assert len(queue.extend(again, MINUTE_US)) == 2

    def test_extend_of_nothing_is_nothing(self, queue: Engine) -> None:
        assert queue.extend([], MINUTE_US) == []

    # --- the ledger -----------------------------------------------------------------------------------------------

    def test_ledger_balances_after_every_step(self, queue: Engine, clock: FakeClock) -> None:
        assert counts(queue) == {"ready": 10}
        [a] = take(queue, 6)
        assert counts(queue) == {"leased": 6, "ready": 4}
        queue.settle([settled(a, Outcome.ACK, 0, 1)])
        assert counts(queue) == {"done": 1, "leased": 5, "ready": 4}
        queue.settle([settled(a, Outcome.NACK, 1, 2, due_us=clock.now_us() + 2 * MINUTE_US)])
        assert counts(queue) == {"done": 1, "leased": 4, "waiting": 1, "ready": 4}
        queue.settle([settled(a, Outcome.REJECT, 2, 3)])
        assert counts(queue) == {"done": 1, "dead": 1, "leased": 3, "waiting": 1, "ready": 4}
        queue.settle([settled(a, Outcome.RELEASE, 3, 4)])
        assert counts(queue) == {"done": 1, "dead": 1, "leased": 2, "waiting": 2, "ready": 4}
        put(queue, b"x", b"y")
        assert counts(queue) == {"done": 1, "dead": 1, "leased": 2, "waiting": 2, "ready": 6}
        clock.advance("1m")
        leases = take(queue, 5)
        assert runs(leases) == [(3, 4, 1), (4, 5, 2), (5, 6, 1), (6, 8, 1)]
        assert counts(queue) == {"done": 1, "dead": 1, "leased": 5, "waiting": 1, "ready": 4}
        queue.settle([settled(lease) for lease in queue.extend(leases, MINUTE_US)])
        assert counts(queue) == {"done": 6, "dead": 1, "waiting": 1, "ready": 4}
        clock.advance("1m")
        queue.settle([settled(lease) for lease in take(queue)])
        assert counts(queue) == {"done": 11, "dead": 1}
        assert committed(queue) == {0: 12}
        assert queue.describe_group("t", "g").lag == 0
