"""What we do to the storage of an engine that lets us: merging, retention, check, backup."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from millstream.engines.protocol import BatchHeader, Engine, Entry, Maintenance, OffsetMove, Outcome
from millstream.errors import (
    CapabilityError,
    LeaseLostError,
    MillstreamError,
    OffsetOutOfRangeError,
    TopicNotFoundError,
    UsageError,
)
from millstream.records import Coding, StoredBatch
from millstream.testing.engine_suite.subject import (
    EngineTests,
    committed,
    content,
    counts,
    create,
    fill,
    put,
    read_all,
    runs,
    settled,
    take,
)
from millstream.testing.fake_clock import FakeClock
from millstream.testing.raw_batches import rows

END = 1 << 40
"""Beyond every offset of these tests."""


class MaintenanceTests(EngineTests):
    @pytest.fixture
    def storage(self, engine: Engine) -> Maintenance:
        """The engine, with batches [0, 4), [4, 8) and [8, 12) in partition 1 of topic t."""
        if not engine.capabilities.maintenance:
            pytest.skip(f"the {engine.capabilities.name} engine looks after its storage itself")
        assert isinstance(engine, Maintenance)
        create(engine, partitions=2)
        for _ in range(3):
            fill(engine, 4, partition=1)
        return engine

    # --- headers and replace --------------------------------------------------------------------------------------

    def test_header_tells_what_its_batch_is(self, engine: Engine, storage: Maintenance) -> None:
        batches = read_all(engine, "t", 1, 0)
        headers = storage.batch_headers("t", 1, 0, END, headers_max=100)
        assert headers == [_header(batch) for batch in batches]

    def test_headers_are_those_that_overlap_the_range(self, storage: Maintenance) -> None:
        def starts(start: int, end: int, headers_max: int = 100) -> list[int]:
            return [header.offset for header in storage.batch_headers("t", 1, start, end, headers_max=headers_max)]

        assert starts(0, END) == [0, 4, 8]
        assert starts(0, END, 2) == [0, 4]
        assert starts(4, 8) == [4]
        assert starts(3, 9) == [0, 4, 8]
        assert starts(7, 8) == [4]
        assert starts(12, END) == []

    def test_headers_of_an_unknown_partition_are_an_error(self, storage: Maintenance) -> None:
        with pytest.raises(TopicNotFoundError):
            storage.batch_headers("t", 2, 0, END, headers_max=1)
        with pytest.raises(TopicNotFoundError):
            storage.batch_headers("no", 0, 0, END, headers_max=1)

    def test_merged_batches_take_the_place_of_the_old_ones(self, engine: Engine, storage: Maintenance) -> None:
        before = content(engine, partition=1)
        old = storage.batch_headers("t", 1, 0, 8, headers_max=100)
        merged = _merged(engine, 0, 2)
        assert storage.replace("t", 1, old, [merged]) is True
        assert content(engine, partition=1) == before
        assert [(batch.offset, batch.count) for batch in read_all(engine, "t", 1, 0)] == [(0, 8), (8, 4)]
        assert read_all(engine, "t", 1, 5)[0] == merged
        info = engine.describe_topic("t").partitions[1]
        assert (info.start_offset, info.end_offset, info.batches) == (0, 12, 2)
        assert info.size_bytes == sum(len(batch.data) for batch in read_all(engine, "t", 1, 0))
        assert put(engine, b"next", partition=1).offset == 12

    def test_batch_can_be_replaced_by_several(self, engine: Engine, storage: Maintenance) -> None:
        old = storage.batch_headers("t", 1, 4, 8, headers_max=100)
        [whole] = engine.read("t", 1, 4, records_max=1)
        parts = [msgspec.structs.replace(whole, offset=4 + n, count=1, data=rows(b"%d" % n).data) for n in range(4)]
        before = content(engine, partition=1)
        assert storage.replace("t", 1, old, parts) is True
        assert content(engine, partition=1) == before
        assert engine.describe_topic("t").partitions[1].batches == 6

    def test_batches_that_changed_meanwhile_are_not_replaced(self, engine: Engine, storage: Maintenance) -> None:
        old = storage.batch_headers("t", 1, 0, 8, headers_max=100)
        merged = _merged(engine, 0, 2)
        assert storage.replace("t", 1, old, [merged]) is True
        assert storage.replace("t", 1, old, [merged]) is False
        assert storage.trim("t", 1, 8) == 8
        assert storage.replace("t", 1, [_header(merged)], [merged]) is False
        assert [batch.offset for batch in read_all(engine, "t", 1, 8)] == [8]

    def test_cold_batches_are_kept_as_any_others(self, engine: Engine, storage: Maintenance) -> None:
        old = storage.batch_headers("t", 1, 0, 8, headers_max=100)
        merged = _merged(engine, 0, 2)
        cold = [
            msgspec.structs.replace(
                merged, offset=at, count=4, coding=Coding.COLD, data=b"where %d" % at, event_time_min_us=1 + at
            )
            for at in (0, 4)
        ]
        cold = [msgspec.structs.replace(batch, event_time_max_us=batch.event_time_min_us) for batch in cold]
        assert storage.replace("t", 1, old, cold) is True
        assert read_all(engine, "t", 1, 0)[:2] == cold
        assert storage.batch_headers("t", 1, 0, 8, headers_max=100) == [_header(batch) for batch in cold]
        assert storage.trim("t", 1, 7) == 4
        assert read_all(engine, "t", 1, 4)[0] == cold[1]
        assert storage.check() == []

    def test_batches_that_leave_a_gap_are_refused(self, engine: Engine, storage: Maintenance) -> None:
        old = storage.batch_headers("t", 1, 0, 8, headers_max=100)
        first, second, _ = read_all(engine, "t", 1, 0)
        for new in (
            [first],
            [second],
            [first, msgspec.structs.replace(second, offset=5, count=3)],
            [second, first],
            [],
        ):
            with pytest.raises(UsageError):
                storage.replace("t", 1, old, new)
        assert storage.batch_headers("t", 1, 0, 8, headers_max=100) == old

    def test_group_reads_on_across_merged_batches(self, engine: Engine, storage: Maintenance) -> None:
        engine.create_group("t", "g")
        [lease] = take(engine, 6)
        assert storage.replace("t", 1, storage.batch_headers("t", 1, 0, 8, headers_max=9), [_merged(engine, 0, 2)])
        engine.settle([settled(lease)])
        assert counts(engine) == {"done": 6, "ready": 6}
        assert runs(take(engine)) == [(6, 12, 1)]

    # --- trim -----------------------------------------------------------------------------------------------------

    def test_trim_deletes_whole_batches_below_the_offset(self, engine: Engine, storage: Maintenance) -> None:
        assert storage.trim("t", 1, 3) == 0
        assert storage.trim("t", 1, 7) == 4
        info = engine.describe_topic("t").partitions[1]
        assert (info.start_offset, info.end_offset, info.batches) == (4, 12, 2)
        assert info.size_bytes == sum(len(batch.data) for batch in read_all(engine, "t", 1, 4))
        assert sorted(content(engine, partition=1)) == list(range(4, 12))
        with pytest.raises(OffsetOutOfRangeError) as caught:
            engine.read("t", 1, 3, records_max=1)
        assert (caught.value.start_offset, caught.value.end_offset) == (4, 12)

    def test_trim_of_everything_keeps_the_end_offset(self, engine: Engine, storage: Maintenance) -> None:
        assert storage.trim("t", 1, END) == 12
        info = engine.describe_topic("t").partitions[1]
        assert (info.start_offset, info.end_offset, info.size_bytes, info.batches) == (12, 12, 0, 0)
        assert read_all(engine, "t", 1, 12) == []
        assert put(engine, b"next", partition=1).offset == 12
        assert content(engine, partition=1) == {12: b"next"}

    def test_trim_twice_changes_nothing_more(self, engine: Engine, storage: Maintenance) -> None:
        assert storage.trim("t", 1, 8) == 8
        assert storage.trim("t", 1, 8) == 8
        assert storage.trim("t", 1, 2) == 8
        assert storage.trim("t", 0, 5) == 0

    def test_trim_stops_at_what_a_group_still_needs(self, engine: Engine, storage: Maintenance) -> None:
        engine.create_group("t", "g")
        engine.create_group("t", "h")
        engine.commit("t", "h", [OffsetMove(1, 0, 12)])
        assert storage.trim("t", 1, END) == 0
        [lease] = take(engine, 10)
        engine.settle([settled(lease, Outcome.ACK, 0, 4), settled(lease, Outcome.NACK, 5, 6)])
        assert storage.trim("t", 1, END) == 4
        engine.settle([settled(lease, Outcome.ACK, 4, 5), settled(lease, Outcome.ACK, 6, 10)])
        assert storage.trim("t", 1, END) == 4
        [lease, fresh] = take(engine)
        engine.settle([settled(lease)])
        assert storage.trim("t", 1, END) == 8
        engine.settle([settled(fresh)])
        assert storage.trim("t", 1, END) == 12
        assert counts(engine) == {"done": 12}

    def test_trim_stops_at_what_lifo_left(self, engine: Engine, storage: Maintenance) -> None:
        engine.create_group("t", "g")
        engine.settle([settled(lease) for lease in take(engine, 6, lifo=True)])
        assert storage.trim("t", 1, END) == 0
        engine.settle([settled(lease) for lease in take(engine, 4)])
        assert storage.trim("t", 1, END) == 4

    def test_forced_trim_counts_what_it_took_as_expired(self, engine: Engine, storage: Maintenance) -> None:
        engine.create_group("t", "g")
        engine.create_group("t", "h")
        engine.create_group("t", "late", start={1: 6})
        engine.commit("t", "h", [OffsetMove(1, 0, 5)])
        [lease] = take(engine, 10)
        engine.settle([settled(lease, Outcome.ACK, 0, 1), settled(lease, Outcome.NACK, 2, 4)])
        assert storage.trim("t", 1, 9, force=True) == 8
        assert counts(engine) == {"done": 1, "expired": 7, "leased": 2, "ready": 2}
        assert counts(engine, group="h") == {"done": 5, "expired": 3, "ready": 4}
        assert counts(engine, group="late") == {"expired": 2, "ready": 4}
        assert {group: committed(engine, group=group)[1] for group in ("g", "h", "late")} == dict.fromkeys(
            ("g", "h", "late"), 8
        )
        engine.commit("t", "h", [OffsetMove(1, 8, 9)])
        with pytest.raises(LeaseLostError):
            engine.settle([settled(lease, Outcome.ACK, 7, 9)])
        engine.settle([settled(lease, Outcome.ACK, 8, 10)])
        assert runs(take(engine)) == [(10, 12, 1)]

    def test_forced_trim_of_what_lifo_left_is_counted(self, engine: Engine, storage: Maintenance) -> None:
        engine.create_group("t", "g")
        [lease] = take(engine, 5, lifo=True)
        assert storage.trim("t", 1, END, force=True) == 12
        assert counts(engine) == {"expired": 12}
        assert engine.extend([lease], 1) == []
        assert take(engine) == []

    def test_forced_trim_of_a_sorted_group_is_counted(self, engine: Engine, storage: Maintenance) -> None:
        engine.create_group("t", "g", parallel=1)
        engine.sort("t", "g", 1, 0, [Entry(b"k") for _ in range(10)])
        [first, *_] = leases = take(engine, 3)
        engine.settle([settled(leases[2], Outcome.NACK)])
        assert storage.trim("t", 1, END) == 0
        assert storage.trim("t", 1, 4, force=True) == 4
        assert counts(engine) == {"expired": 4, "ready": 8}
        with pytest.raises(LeaseLostError):
            engine.settle([settled(first)])
        assert [lease.start for lease in take(engine, 50)] == [4, 5, 6, 7, 8, 9]
        assert storage.check() == []

    def test_new_group_starts_where_retention_left_off(self, engine: Engine, storage: Maintenance) -> None:
        storage.trim("t", 1, 8)
        info = engine.create_group("t", "g")
        assert info.committed == {0: 0, 1: 8}
        assert info.ledger.accepted == 4
        with pytest.raises(OffsetOutOfRangeError):
            engine.create_group("t", "h", start={1: 7})

    def test_trim_of_an_unknown_partition_is_an_error(self, storage: Maintenance) -> None:
        with pytest.raises(TopicNotFoundError):
            storage.trim("t", 2, 0)

    # --- the rest -------------------------------------------------------------------------------------------------

    def test_check_finds_nothing_wrong_in_a_used_log(
        self, engine: Engine, storage: Maintenance, clock: FakeClock
    ) -> None:
        engine.create_group("t", "g")
        [lease] = take(engine, 10)
        engine.settle([settled(lease, outcome, n, n + 1) for n, outcome in enumerate(Outcome)])
        clock.advance("1m")
        take(engine, 3, lifo=True)
        take(engine, 2)
        storage.replace("t", 1, storage.batch_headers("t", 1, 4, 12, headers_max=9), [_merged(engine, 1, 3)])
        storage.trim("t", 1, 4, force=True)
        create(engine, "gone", group="g")
        fill(engine, 3, topic="gone")
        engine.delete_topic("gone")
        seen: list[tuple[int, int]] = []
        assert storage.check(lambda done, total: seen.append((done, total))) == []
        assert seen
        assert seen[-1][0] == seen[-1][1]

    def test_vacuum_tells_what_is_still_unused(self, engine: Engine, storage: Maintenance) -> None:
        storage.trim("t", 1, END)
        while storage.vacuum(1 << 20) > 1 << 20:
            pass
        assert content(engine, partition=1) == {}

    def test_backup_is_a_whole_copy(
        self,
        engine: Engine,
        storage: Maintenance,
        tmp_path: Path,
        open_copy: Callable[[Path], Engine] | None,
    ) -> None:
        path = tmp_path / "copy.db"
        if open_copy is None:
            with pytest.raises(CapabilityError):
                storage.backup(str(path))
            assert not path.exists()
            return
        engine.create_group("t", "g")
        take(engine, 3)
        storage.backup(str(path))
        put(engine, b"after the backup", partition=1)
        copy = open_copy(path)
        try:
            assert len(content(copy, partition=1)) == 12
            assert counts(copy) == {"leased": 3, "ready": 9}
        finally:
            copy.close()

    def test_backup_does_not_overwrite_a_file(
        self, storage: Maintenance, tmp_path: Path, open_copy: Callable[[Path], Engine] | None
    ) -> None:
        if open_copy is None:
            pytest.skip("this engine has no backup")
        path = tmp_path / "copy.db"
        path.write_bytes(b"precious")
        with pytest.raises(MillstreamError):
            storage.backup(str(path))
        assert path.read_bytes() == b"precious"


def _header(batch: StoredBatch) -> BatchHeader:
    return BatchHeader(
        partition=batch.partition,
        offset=batch.offset,
        coding=batch.coding,
        count=batch.count,
        schema_id=batch.schema_id,
        size_bytes=len(batch.data) + len(batch.meta or b""),
        append_time_us=batch.append_time_us,
        event_time_min_us=batch.event_time_min_us,
        event_time_max_us=batch.event_time_max_us,
    )


def _merged(engine: Engine, first: int, past: int) -> StoredBatch:
    """Return one batch in place of the batches first to past of partition 1."""
    batches = read_all(engine, "t", 1, engine.describe_topic("t").partitions[1].start_offset)[first:past]
    assert {batch.coding for batch in batches} == {Coding.ROWS}
    return msgspec.structs.replace(
        batches[0], count=sum(batch.count for batch in batches), data=b"".join(batch.data for batch in batches)
    )
