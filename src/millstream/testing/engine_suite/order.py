"""The order of handing over: last in first out, several partitions, competing workers."""

from __future__ import annotations

import threading

from millstream.engines.protocol import Engine, Lease, OffsetMove, Outcome
from millstream.errors import LeaseLostError
from millstream.testing.engine_suite.subject import (
    MINUTE_US,
    PATIENCE_S,
    EngineTests,
    Spawn,
    committed,
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


class OrderTests(EngineTests):
    # --- last in, first out ---------------------------------------------------------------------------------------

    def test_lifo_hands_over_the_newest_first(self, queue: Engine) -> None:
        assert runs(take(queue, 3, lifo=True)) == [(7, 10, 1)]
        fill(queue, 2)
        assert runs(take(queue, 3, lifo=True)) == [(10, 12, 1), (6, 7, 1)]
        assert runs(take(queue, 99, lifo=True)) == [(0, 6, 1)]
        assert take(queue, 1, lifo=True) == []

    def test_lifo_hands_over_what_waits_and_is_due_before_fresh_records_highest_first(
        self, queue: Engine, clock: FakeClock
    ) -> None:
        [lease] = take(queue, 8)
        due_us = clock.now_us() + 1
        queue.settle(
            [
                settled(lease, Outcome.NACK, 1, 2, due_us=due_us),
                settled(lease, Outcome.RELEASE, 3, 6),
                settled(lease, Outcome.NACK, 6, 7, due_us=due_us + MINUTE_US),
            ]
        )
        clock.advance("1us")
        assert runs(take(queue, 2, lifo=True)) == [(4, 6, 1)]
        assert runs(take(queue, 3, lifo=True)) == [(3, 4, 1), (1, 2, 2), (9, 10, 1)]

    def test_lifo_leaves_no_record_behind(self, queue: Engine) -> None:
        seen: list[tuple[int, int]] = []
        while leases := take(queue, 4, lifo=True):
            seen += handed(leases)
            queue.settle([settled(lease) for lease in leases])
            if len(seen) < 10:
                put(queue, b"new")
        assert sorted(seen) == [(0, offset) for offset in range(len(seen))]
        assert counts(queue) == {"done": len(seen)}
        assert committed(queue) == {0: len(seen)}

    def test_fifo_after_lifo_takes_the_oldest_that_nobody_had(self, queue: Engine) -> None:
        newest = take(queue, 3, lifo=True)
        fill(queue, 4)
        assert counts(queue) == {"leased": 3, "ready": 11}
        assert runs(take(queue, 9)) == [(0, 7, 1), (10, 12, 1)]
        queue.settle([settled(lease) for lease in newest])
        assert runs(take(queue, 9)) == [(12, 14, 1)]
        assert committed(queue) == {0: 0}

    def test_committed_offset_waits_for_what_lifo_left(self, queue: Engine) -> None:
        queue.settle([settled(lease) for lease in take(queue, 4, lifo=True)])
        assert committed(queue) == {0: 0}
        queue.settle([settled(lease) for lease in take(queue, 6, lifo=True)])
        assert committed(queue) == {0: 10}

    # --- partitions -----------------------------------------------------------------------------------------------

    def test_lease_is_of_one_partition_and_a_call_of_several(self, engine: Engine) -> None:
        create(engine, partitions=3, group="g")
        for partition, count in ((0, 3), (2, 4)):
            fill(engine, count, partition=partition)
        leases = take(engine, 5)
        leases += take(engine, 5)
        assert sorted(handed(leases)) == [(0, 0), (0, 1), (0, 2), (2, 0), (2, 1), (2, 2), (2, 3)]
        assert counts(engine) == {"leased": 7}
        engine.settle([settled(lease) for lease in leases if lease.partition == 2])
        assert committed(engine) == {0: 0, 1: 0, 2: 4}

    def test_partition_that_is_furthest_behind_comes_first(self, engine: Engine) -> None:
        create(engine, partitions=2, group="g")
        fill(engine, 10, partition=0)
        fill(engine, 10, partition=1)
        assert handed(take(engine, 4)) == [(0, 0), (0, 1), (0, 2), (0, 3)]
        assert handed(take(engine, 2)) == [(1, 0), (1, 1)]
        assert handed(take(engine, 4)) == [(1, 2), (1, 3), (1, 4), (1, 5)]
        assert handed(take(engine, 2)) == [(0, 4), (0, 5)]

    def test_each_partition_waits_on_its_own(self, engine: Engine) -> None:
        create(engine, partitions=2, group="g")
        fill(engine, 2, partition=0)
        fill(engine, 2, partition=1)
        leases = take(engine)
        engine.settle([settled(lease, Outcome.NACK, 1, 2) for lease in leases])
        assert [(lease.partition, lease.start, lease.attempt) for lease in take(engine)] == [(0, 1, 2), (1, 1, 2)]

    # --- competing workers ----------------------------------------------------------------------------------------

    def test_competing_workers_get_every_record_once(self, engine: Engine, spawn: Spawn) -> None:
        create(engine, partitions=2, group="g")
        fill(engine, 150, partition=0)
        fill(engine, 150, partition=1)
        workers = 8
        start = threading.Barrier(workers)

        def work(number: int) -> list[tuple[int, int]]:
            start.wait(PATIENCE_S)
            seen: list[tuple[int, int]] = []
            while leases := take(engine, 1 + number % 4, worker=f"w{number}"):
                assert {lease.worker for lease in leases} == {f"w{number}"}
                seen += handed(leases)
                engine.settle([settled(lease) for lease in leases])
            return seen

        futures = [spawn(work, number) for number in range(workers)]
        everything: list[tuple[int, int]] = []
        for future in futures:
            seen = future.result(PATIENCE_S)
            assert isinstance(seen, list)
            # Nobody gives anything back here, so what a worker gets of a partition only goes up.
            for partition in (0, 1):
                offsets = [offset for of, offset in seen if of == partition]
                assert offsets == sorted(offsets)
            everything += seen
        assert sorted(everything) == [(partition, offset) for partition in (0, 1) for offset in range(150)]
        assert counts(engine) == {"done": 300}

    def test_of_two_threads_that_settle_the_same_lease_one_wins(self, queue: Engine, spawn: Spawn) -> None:
        start = threading.Barrier(2)

        def settle(leases: list[Lease]) -> int:
            won = 0
            for lease in leases:
                start.wait(PATIENCE_S)
                try:
                    queue.settle([settled(lease)])
                    won += 1
                except LeaseLostError:
                    pass
            return won

        leases = [lease for _ in range(10) for lease in take(queue, 1)]
        futures = [spawn(settle, leases) for _ in range(2)]
        assert sum(future.result(PATIENCE_S) for future in futures) == 10
        assert counts(queue) == {"done": 10}

    def test_group_read_as_a_stream_goes_on_behind_what_was_leased(self, queue: Engine) -> None:
        take(queue, 4)
        queue.commit("t", "g", [OffsetMove(0, 4, 6)])
        assert counts(queue) == {"leased": 4, "done": 2, "ready": 4}
        assert committed(queue) == {0: 0}
        assert runs(take(queue, 9)) == [(6, 10, 1)]
