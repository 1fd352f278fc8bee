"""Append, submit and read."""

from __future__ import annotations

import threading
from queue import Queue

import pytest

from millstream import limits
from millstream.engines.protocol import Append, Bound, Durability, Engine
from millstream.errors import (
    GroupNotFoundError,
    LimitExceededError,
    OffsetOutOfRangeError,
    QueueFullError,
    TopicNotFoundError,
    UsageError,
)
from millstream.records import Coding, EncodedBatch, Position
from millstream.testing.engine_suite.subject import (
    PATIENCE_S,
    EngineTests,
    Spawn,
    content,
    create,
    fill,
    put,
    read_all,
    settled,
    take,
)
from millstream.testing.fake_clock import FakeClock
from millstream.testing.raw_batches import rows, values


class RecordTests(EngineTests):
    # --- append ---------------------------------------------------------------------------------------------------

    def test_offsets_start_at_zero_and_have_no_gaps(self, engine: Engine) -> None:
        create(engine)
        assert put(engine, b"a") == Position(0, 0)
        assert put(engine, b"b", b"c") == Position(0, 1)
        assert put(engine, b"d") == Position(0, 3)
        assert content(engine) == {0: b"a", 1: b"b", 2: b"c", 3: b"d"}

    def test_partitions_and_topics_count_on_their_own(self, engine: Engine) -> None:
        create(engine, "t", partitions=2)
        create(engine, "u")
        assert put(engine, b"a", partition=1) == Position(1, 0)
        assert put(engine, b"b", partition=0) == Position(0, 0)
        assert put(engine, b"c", topic="u") == Position(0, 0)
        assert content(engine, partition=1) == {0: b"a"}
        assert content(engine, partition=0) == {0: b"b"}
        assert content(engine, "u") == {0: b"c"}

    def test_append_returns_the_first_position_of_each_batch_in_the_order_of_the_call(self, engine: Engine) -> None:
        create(engine, "t", partitions=2)
        create(engine, "u")
        positions = engine.append(
            [
                Append("t", 1, rows(b"a", b"b")),
                Append("u", 0, rows(b"c")),
                Append("t", 1, rows(b"d")),
                Append("t", 0, rows(b"e")),
                Append("t", 1, rows(b"f")),
            ]
        )
        assert positions == [Position(1, 0), Position(0, 0), Position(1, 2), Position(0, 0), Position(1, 3)]
        assert content(engine, "t", 1) == {0: b"a", 1: b"b", 2: b"d", 3: b"f"}
        assert content(engine, "u") == {0: b"c"}

    def test_append_of_nothing_does_nothing(self, engine: Engine) -> None:
        create(engine)
        assert engine.append([]) == []
        assert engine.describe_topic("t").records == 0

    @pytest.mark.parametrize("durability", list(Durability))
    def test_each_durability_appends(self, engine: Engine, durability: Durability) -> None:
        create(engine)
        assert engine.append([Append("t", 0, rows(b"x"))], durability=durability) == [Position(0, 0)]
        assert content(engine) == {0: b"x"}

    def test_batch_is_kept_as_it_is(self, engine: Engine, clock: FakeClock) -> None:
        create(engine)
        clock.advance(5)
        batch = EncodedBatch(
            Coding.COLUMNS,
            7,
            b"\x00opaque\xff",
            meta=b"\x00meta",
            schema_id=3,
            event_time_min_us=-5,
            event_time_max_us=9,
        )
        engine.append([Append("t", 0, batch)])
        [stored] = read_all(engine, "t", 0, 0)
        assert (stored.partition, stored.offset, stored.end_offset) == (0, 0, 7)
        assert (stored.coding, stored.count, stored.data, stored.meta) == (batch.coding, 7, batch.data, batch.meta)
        assert (stored.schema_id, stored.event_time_min_us, stored.event_time_max_us) == (3, -5, 9)
        assert stored.append_time_us == clock.now_us()

    def test_batch_without_meta_and_event_times_stays_without(self, engine: Engine) -> None:
        create(engine)
        put(engine, b"x")
        [stored] = read_all(engine, "t", 0, 0)
        assert stored.coding is Coding.ROWS
        assert (stored.meta, stored.schema_id) == (None, 0)
        assert (stored.event_time_min_us, stored.event_time_max_us) == (None, None)

    @pytest.mark.parametrize(
        "bad", [Append("no", 0, rows(b"x")), Append("t", 2, rows(b"x")), Append("t", -1, rows(b"x"))]
    )
    def test_append_is_all_or_nothing(self, engine: Engine, bad: Append) -> None:
        if not engine.capabilities.atomic_append:
            pytest.skip(f"the {engine.capabilities.name} engine appends to each partition on its own")
        create(engine, "t", partitions=2)
        create(engine, "u")
        with pytest.raises(TopicNotFoundError):
            engine.append([Append("t", 0, rows(b"a")), Append("u", 0, rows(b"b")), bad, Append("t", 1, rows(b"c"))])
        assert engine.describe_topic("t").records == 0
        assert engine.describe_topic("u").records == 0
        assert put(engine, b"next") == Position(0, 0)

    def test_too_large_batch_is_refused_with_limit_and_size(self, engine: Engine) -> None:
        create(engine)
        large = EncodedBatch(Coding.ROWS, 1, bytes(limits.BATCH_BYTES_MAX - 10), meta=bytes(11))
        with pytest.raises(LimitExceededError) as caught:
            engine.append([Append("t", 0, rows(b"small")), Append("t", 0, large)])
        assert (caught.value.limit, caught.value.size) == (limits.BATCH_BYTES_MAX, limits.BATCH_BYTES_MAX + 1)
        assert engine.describe_topic("t").records == 0

    def test_batch_of_no_records_is_refused(self, engine: Engine) -> None:
        create(engine)
        with pytest.raises(UsageError):
            engine.append([Append("t", 0, EncodedBatch(Coding.ROWS, 0, b""))])
        assert engine.describe_topic("t").partitions[0].batches == 0

    def test_many_threads_lose_nothing_and_keep_their_order(self, engine: Engine, spawn: Spawn) -> None:
        create(engine, partitions=2)
        threads, appends = 16, 40
        start = threading.Barrier(threads)

        def write(thread: int) -> list[tuple[Position, bytes]]:
            start.wait(PATIENCE_S)
            written = []
            for number in range(appends):
                value = b"%d:%d" % (thread, number)
                written.append((put(engine, value, value, partition=thread % 2), value))
            return written

        futures = [spawn(write, thread) for thread in range(threads)]
        results = [future.result(PATIENCE_S) for future in futures]
        stored = [content(engine, partition=partition) for partition in (0, 1)]
        for partition in (0, 1):
            assert sorted(stored[partition]) == list(range(threads // 2 * appends * 2))
        for written in results:
            assert isinstance(written, list)
            offsets = [position.offset for position, _ in written]
            assert offsets == sorted(offsets)
            for position, value in written:
                here = stored[position.partition]
                assert (here[position.offset], here[position.offset + 1]) == (value, value)

    def test_unique_batch_is_appended_once(self, engine: Engine, clock: FakeClock) -> None:
        create(engine, "t", partitions=2)
        create(engine, "u")
        until_us = clock.now_us() + 10

        def once(value: bytes, topic: str = "t", partition: int = 0) -> Append:
            return Append(topic, partition, rows(value), unique=b"job 1", unique_until_us=until_us)

        assert engine.append([once(b"a"), Append("t", 0, rows(b"b")), once(b"c")]) == [
            Position(0, 0),
            Position(0, 1),
            Position(0, 0),
        ]
        assert engine.append([once(b"d", partition=1)]) == [Position(0, 0)]
        assert engine.append([once(b"e", topic="u")]) == [Position(0, 0)]
        with pytest.raises(TopicNotFoundError):
            engine.append([once(b"f", partition=2)])
        assert content(engine) == {0: b"a", 1: b"b"}
        assert content(engine, partition=1) == {}
        assert content(engine, "u") == {0: b"e"}

    def test_unique_value_is_free_again_when_its_time_has_come(self, engine: Engine, clock: FakeClock) -> None:
        create(engine)

        def once(value: bytes) -> Position:
            [position] = engine.append(
                [Append("t", 0, rows(value), unique=b"k", unique_until_us=clock.now_us() + 1_000_000)]
            )
            return position

        assert once(b"a") == Position(0, 0)
        clock.advance(0.5)
        assert once(b"b") == Position(0, 0)
        clock.advance(0.5)
        assert once(b"c") == Position(0, 1)
        assert once(b"d") == Position(0, 1)
        assert content(engine) == {0: b"a", 1: b"c"}

    def test_queue_does_not_grow_beyond_its_bound(self, engine: Engine) -> None:
        create(engine, group="g")
        bound = Bound("t", "g", records_max=3)
        engine.append([Append("t", 0, rows(b"a", b"b"))], bound=bound)
        with pytest.raises(QueueFullError) as caught:
            engine.append([Append("t", 0, rows(b"c", b"d"))], bound=bound)
        assert (caught.value.limit, caught.value.size) == (3, 4)
        assert content(engine) == {0: b"a", 1: b"b"}
        engine.append([Append("t", 0, rows(b"c"))], bound=bound)
        [lease] = take(engine, 2)
        with pytest.raises(QueueFullError):
            engine.append([Append("t", 0, rows(b"d"))], bound=bound)
        engine.settle([settled(lease)])
        assert engine.append([Append("t", 0, rows(b"d", b"e"))], bound=bound) == [Position(0, 3)]
        with pytest.raises(GroupNotFoundError):
            engine.append([Append("t", 0, rows(b"x"))], bound=Bound("t", "nobody", records_max=9))

    # --- submit ---------------------------------------------------------------------------------------------------

    def test_submitted_append_calls_back_from_another_thread(self, engine: Engine) -> None:
        create(engine)
        told: Queue[tuple[object, object, threading.Thread]] = Queue()
        engine.submit(
            [Append("t", 0, rows(b"a", b"b")), Append("t", 0, rows(b"c"))],
            lambda positions, error: told.put((positions, error, threading.current_thread())),
        )
        positions, error, thread = told.get(timeout=PATIENCE_S)
        assert positions == [Position(0, 0), Position(0, 2)]
        assert error is None
        assert thread is not threading.current_thread()
        assert content(engine) == {0: b"a", 1: b"b", 2: b"c"}

    def test_failed_submit_calls_back_with_the_error(self, engine: Engine) -> None:
        create(engine)
        told: Queue[tuple[object, object]] = Queue()
        engine.submit([Append("no", 0, rows(b"x"))], lambda positions, error: told.put((positions, error)))
        positions, error = told.get(timeout=PATIENCE_S)
        assert positions is None
        assert isinstance(error, TopicNotFoundError)

    def test_bad_submit_does_not_harm_those_beside_it(self, engine: Engine) -> None:
        create(engine)
        told: Queue[tuple[bytes, object, object]] = Queue()

        def submit(value: bytes, topic: str) -> None:
            append = Append(topic, 0, rows(value))
            engine.submit([append], lambda positions, error: told.put((value, positions, error)))

        for number in range(30):
            submit(b"%d" % number, "no" if number % 3 == 1 else "t")
        for _ in range(30):
            value, positions, error = told.get(timeout=PATIENCE_S)
            if int(value) % 3 == 1:
                assert isinstance(error, TopicNotFoundError)
            else:
                assert isinstance(positions, list)
                assert content(engine)[positions[0].offset] == value
        assert [int(value) for value in content(engine).values()] == [n for n in range(30) if n % 3 != 1]

    def test_callback_that_fails_does_not_stop_the_engine(self, engine: Engine) -> None:
        create(engine)

        def fail(positions: list[Position] | None, error: BaseException | None) -> None:
            raise ValueError("a defect of the caller")

        told: Queue[object] = Queue()
        engine.submit([Append("t", 0, rows(b"a"))], fail)
        engine.submit([Append("t", 0, rows(b"b"))], lambda positions, error: told.put(positions))
        assert told.get(timeout=PATIENCE_S) == [Position(0, 1)]
        assert put(engine, b"c") == Position(0, 2)

    def test_close_finishes_what_was_submitted(self, engine: Engine) -> None:
        create(engine)
        told: Queue[tuple[object, object]] = Queue()
        for number in range(50):
            engine.submit([Append("t", 0, rows(b"%d" % number))], lambda positions, error: told.put((positions, error)))
        engine.close()
        answers = [told.get(timeout=PATIENCE_S) for _ in range(50)]
        assert answers == [([Position(0, number)], None) for number in range(50)]

    # --- read -----------------------------------------------------------------------------------------------------

    def test_read_returns_the_batch_that_holds_the_offset_and_those_after_it(self, engine: Engine) -> None:
        create(engine)
        for _ in range(3):
            fill(engine, 4)
        assert [batch.offset for batch in read_all(engine, "t", 0, 5)] == [4, 8]
        assert [batch.offset for batch in read_all(engine, "t", 0, 8)] == [8]
        assert [batch.offset for batch in read_all(engine, "t", 0, 0)] == [0, 4, 8]

    def test_read_stops_after_the_batch_that_reaches_the_records(self, engine: Engine) -> None:
        create(engine)
        for _ in range(5):
            fill(engine, 4)

        def starts(offset: int, records_max: int) -> list[int]:
            return [batch.offset for batch in engine.read("t", 0, offset, records_max=records_max)]

        assert starts(0, 1) == [0]
        assert starts(0, 4) == [0]
        assert starts(0, 5) == [0, 4]
        assert starts(2, 2) == [0]
        assert starts(2, 3) == [0, 4]
        assert starts(7, 1) == [4]

    def test_read_stops_after_the_batch_that_reaches_the_bytes(self, engine: Engine) -> None:
        create(engine)
        for _ in range(4):
            put(engine, b"x" * 1000)
        size = len(rows(b"x" * 1000).data)

        def starts(bytes_max: int) -> list[int]:
            return [batch.offset for batch in engine.read("t", 0, 0, records_max=100, bytes_max=bytes_max)]

        assert starts(1) == [0]
        assert starts(size) == [0]
        assert starts(size + 1) == [0, 1]
        assert starts(3 * size) == [0, 1, 2]

    def test_read_returns_one_batch_however_large(self, engine: Engine) -> None:
        create(engine)
        fill(engine, 1000)
        [batch] = engine.read("t", 0, 500, records_max=1, bytes_max=1)
        assert (batch.offset, batch.count) == (0, 1000)

    def test_read_at_the_end_is_empty(self, engine: Engine) -> None:
        create(engine)
        assert read_all(engine, "t", 0, 0) == []
        fill(engine, 3)
        assert read_all(engine, "t", 0, 3) == []

    @pytest.mark.parametrize("offset", [-1, 4])
    def test_read_outside_the_log_is_an_error_that_says_what_there_is(self, engine: Engine, offset: int) -> None:
        create(engine)
        fill(engine, 3)
        with pytest.raises(OffsetOutOfRangeError) as caught:
            engine.read("t", 0, offset, records_max=1)
        assert (caught.value.start_offset, caught.value.end_offset) == (0, 3)

    @pytest.mark.parametrize("partition", [-1, 2])
    def test_read_of_an_unknown_partition_is_an_error(self, engine: Engine, partition: int) -> None:
        create(engine, partitions=2)
        with pytest.raises(TopicNotFoundError):
            engine.read("t", partition, 0, records_max=1)

    def test_read_limits_are_checked(self, engine: Engine) -> None:
        create(engine)
        assert engine.read("t", 0, 0, records_max=limits.READ_RECORDS_MAX) == []
        with pytest.raises(LimitExceededError):
            engine.read("t", 0, 0, records_max=limits.READ_RECORDS_MAX + 1)
        with pytest.raises(UsageError):
            engine.read("t", 0, 0, records_max=0)

    def test_every_offset_reads_its_own_record(self, engine: Engine) -> None:
        create(engine)
        expected: dict[int, bytes] = {}
        for count in (1, 3, 1, 7, 2):
            batch = [b"%d" % (len(expected) + n) for n in range(count)]
            first = put(engine, *batch).offset
            expected.update({first + n: value for n, value in enumerate(batch)})
        for offset, value in expected.items():
            assert values(engine.read("t", 0, offset, records_max=1))[offset] == value
