"""Consumer groups, commit and state."""

from __future__ import annotations

import threading

import pytest

from millstream.engines.protocol import Append, Engine, OffsetMove, StateChange, StateRange
from millstream.errors import (
    CommitConflictError,
    GroupNotFoundError,
    LeaseLostError,
    OffsetOutOfRangeError,
    TopicNotFoundError,
    UsageError,
)
from millstream.records import Position
from millstream.testing.engine_suite.subject import (
    PATIENCE_S,
    EngineTests,
    Spawn,
    committed,
    content,
    counts,
    create,
    fill,
    ledger,
    put,
    settled,
    take,
)
from millstream.testing.fake_clock import FakeClock
from millstream.testing.raw_batches import rows


class GroupTests(EngineTests):
    # --- groups ---------------------------------------------------------------------------------------------------

    def test_new_group_starts_at_the_start_of_the_log(self, engine: Engine) -> None:
        create(engine, partitions=2)
        fill(engine, 3)
        info = engine.create_group("t", "g")
        assert (info.topic, info.group) == ("t", "g")
        assert info.committed == info.next_offsets == {0: 0, 1: 0}
        assert (info.paused, info.parallel) == (False, None)
        assert info.end_offsets == {0: 3, 1: 0}
        assert info.lag == 3
        assert info.next_due_us is None
        assert (info.ledger.accepted, info.ledger.ready) == (3, 3)
        assert info.ledger.balanced
        assert engine.describe_group("t", "g") == info

    def test_deleted_group_starts_anew(self, engine: Engine) -> None:
        create(engine, group="g")
        engine.create_group("t", "other")
        fill(engine, 10)
        engine.commit("t", "g", [OffsetMove(0, 0, 3)], state=[StateChange(0, b"k", b"v")])
        engine.commit("t", "other", [OffsetMove(0, 0, 4)], state=[StateChange(0, b"k", b"kept")])
        [lease] = take(engine, 2)
        engine.delete_group("t", "g")
        assert engine.groups("t") == ["other"]
        for call in (lambda: engine.describe_group("t", "g"), lambda: engine.delete_group("t", "g")):
            with pytest.raises(GroupNotFoundError):
                call()
        with pytest.raises(LeaseLostError):
            engine.settle([settled(lease)])
        info = engine.create_group("t", "g")
        assert info.committed == {0: 0}
        assert info.ledger.ready == 10
        assert engine.state("t", "g", 0) == {}
        assert engine.state("t", "other", 0) == {b"k": b"kept"}
        assert committed(engine, group="other") == {0: 4}
        assert content(engine).keys() == set(range(10))

    def test_group_can_start_anywhere_in_the_log(self, engine: Engine) -> None:
        create(engine, partitions=3)
        for partition in range(3):
            fill(engine, 5, partition=partition)
        info = engine.create_group("t", "g", start={0: 2, 2: 5})
        assert info.committed == {0: 2, 1: 0, 2: 5}
        assert info.lag == 8
        assert ledger(engine).accepted == 8
        assert sum(lease.end - lease.start for lease in take(engine)) == 8
        put(engine, b"new", partition=2)
        [lease] = take(engine)
        assert (lease.partition, lease.start, lease.end) == (2, 5, 6)

    @pytest.mark.parametrize("offset", [-1, 6])
    def test_group_cannot_start_outside_the_log(self, engine: Engine, offset: int) -> None:
        create(engine)
        fill(engine, 5)
        with pytest.raises(OffsetOutOfRangeError):
            engine.create_group("t", "g", start={0: offset})
        assert engine.groups("t") == []

    def test_group_cannot_start_in_an_unknown_partition(self, engine: Engine) -> None:
        create(engine)
        with pytest.raises(TopicNotFoundError):
            engine.create_group("t", "g", start={1: 0})
        assert engine.groups("t") == []

    def test_creating_a_group_again_returns_the_existing_one(self, engine: Engine) -> None:
        create(engine, group="g")
        fill(engine, 5)
        engine.commit("t", "g", [OffsetMove(0, 0, 3)])
        assert engine.create_group("t", "g", start={0: 1}).committed == {0: 3}
        assert counts(engine) == {"done": 3, "ready": 2}

    @pytest.mark.parametrize("name", ["", "a b", "-x", "a/b"])
    def test_bad_group_name_is_refused(self, engine: Engine, name: str) -> None:
        create(engine)
        with pytest.raises(UsageError):
            engine.create_group("t", name)
        assert engine.groups("t") == []

    def test_groups_are_listed_sorted_by_topic(self, engine: Engine) -> None:
        create(engine, "t")
        create(engine, "u", group="x")
        for group in ("b", "a", "C"):
            engine.create_group("t", group)
        assert engine.groups("t") == ["C", "a", "b"]
        assert engine.groups("u") == ["x"]

    def test_group_that_nobody_created_is_an_error(self, engine: Engine) -> None:
        create(engine)
        create(engine, "u", group="g")
        for call in (
            lambda: engine.describe_group("t", "g"),
            lambda: engine.commit("t", "g", []),
            lambda: engine.state("t", "g", 0),
            lambda: take(engine),
        ):
            with pytest.raises(GroupNotFoundError, match="'g'"):
                call()
        assert engine.groups("t") == []

    def test_every_group_sees_every_record(self, engine: Engine) -> None:
        create(engine, group="g")
        engine.create_group("t", "h")
        fill(engine, 3)
        engine.commit("t", "h", [OffsetMove(0, 0, 3)])
        engine.settle([settled(lease) for lease in take(engine, 2)])
        assert counts(engine) == {"done": 2, "ready": 1}
        assert counts(engine, group="h") == {"done": 3}

    def test_appended_records_are_accepted_and_ready(self, engine: Engine) -> None:
        create(engine, partitions=2, group="g")
        assert ledger(engine).accepted == 0
        fill(engine, 3)
        fill(engine, 4, partition=1)
        assert ledger(engine).accepted == 7
        assert counts(engine) == {"ready": 7}
        assert engine.describe_group("t", "g").lag == 7

    # --- commit ---------------------------------------------------------------------------------------------------

    def test_commit_moves_offsets_changes_state_and_appends(self, engine: Engine) -> None:
        create(engine, partitions=2, group="g")
        create(engine, "out", partitions=2)
        fill(engine, 5)
        fill(engine, 5, partition=1)
        positions = engine.commit(
            "t",
            "g",
            [OffsetMove(0, 0, 2), OffsetMove(1, 0, 5)],
            state=[StateChange(0, b"k", b"v"), StateChange(1, b"k", b"w")],
            appends=[Append("out", 1, rows(b"a", b"b")), Append("out", 1, rows(b"c")), Append("t", 0, rows(b"d"))],
        )
        assert positions == [Position(1, 0), Position(1, 2), Position(0, 5)]
        assert committed(engine) == {0: 2, 1: 5}
        assert counts(engine) == {"done": 7, "ready": 4}
        assert engine.state("t", "g", 0) == {b"k": b"v"}
        assert engine.state("t", "g", 1) == {b"k": b"w"}
        assert content(engine, "out", 1) == {0: b"a", 1: b"b", 2: b"c"}
        assert content(engine)[5] == b"d"

    def test_commits_follow_one_another(self, engine: Engine) -> None:
        create(engine, group="g")
        fill(engine, 5)
        engine.commit("t", "g", [OffsetMove(0, 0, 2), OffsetMove(0, 2, 3)])
        engine.commit("t", "g", [OffsetMove(0, 3, 3)])
        engine.commit("t", "g", [OffsetMove(0, 3, 5)])
        assert committed(engine) == {0: 5}
        assert counts(engine) == {"done": 5}
        fill(engine, 1)
        engine.commit("t", "g", [OffsetMove(0, 5, 6)])
        assert counts(engine) == {"done": 6}

    @pytest.mark.parametrize("start", [0, 1, 3])
    def test_commit_that_does_not_start_at_the_committed_offset_changes_nothing(
        self, engine: Engine, start: int
    ) -> None:
        create(engine, partitions=2, group="g")
        fill(engine, 5)
        fill(engine, 5, partition=1)
        engine.commit("t", "g", [OffsetMove(0, 0, 2)], state=[StateChange(0, b"k", b"old")])
        with pytest.raises(CommitConflictError):
            engine.commit(
                "t",
                "g",
                [OffsetMove(1, 0, 4), OffsetMove(0, start, 4)],
                state=[StateChange(0, b"k", b"new")],
                appends=[Append("t", 0, rows(b"x"))],
            )
        assert committed(engine) == {0: 2, 1: 0}
        assert counts(engine) == {"done": 2, "ready": 8}
        assert engine.state("t", "g", 0) == {b"k": b"old"}
        assert engine.describe_topic("t").records == 10

    @pytest.mark.parametrize(
        "bad", [OffsetMove(0, 2, 6), OffsetMove(0, 2, 1), OffsetMove(1, 0, 0), OffsetMove(-1, 0, 0)]
    )
    def test_commit_that_cannot_be_changes_nothing(self, engine: Engine, bad: OffsetMove) -> None:
        create(engine, group="g")
        fill(engine, 5)
        with pytest.raises(UsageError):
            engine.commit(
                "t",
                "g",
                [OffsetMove(0, 0, 2), bad],
                state=[StateChange(0, b"k", b"v")],
                appends=[Append("t", 0, rows(b"x"))],
            )
        assert committed(engine) == {0: 0}
        assert counts(engine) == {"ready": 5}
        assert engine.state("t", "g", 0) == {}
        assert engine.describe_topic("t").records == 5

    def test_commit_with_a_bad_append_changes_nothing(self, engine: Engine) -> None:
        create(engine, group="g")
        fill(engine, 5)
        with pytest.raises(TopicNotFoundError):
            engine.commit(
                "t",
                "g",
                [OffsetMove(0, 0, 2)],
                state=[StateChange(0, b"k", b"v")],
                appends=[Append("t", 0, rows(b"x")), Append("no", 0, rows(b"x"))],
            )
        assert committed(engine) == {0: 0}
        assert engine.state("t", "g", 0) == {}
        assert engine.describe_topic("t").records == 5

    def test_commit_with_bad_state_changes_nothing(self, engine: Engine) -> None:
        create(engine, group="g")
        fill(engine, 5)
        with pytest.raises(TopicNotFoundError):
            engine.commit(
                "t", "g", [OffsetMove(0, 0, 2)], state=[StateChange(0, b"k", b"v"), StateChange(1, b"k", b"v")]
            )
        assert committed(engine) == {0: 0}
        assert engine.state("t", "g", 0) == {}

    def test_of_two_readers_that_commit_the_same_records_one_wins(self, engine: Engine, spawn: Spawn) -> None:
        create(engine, group="g")
        create(engine, "out")
        rounds = 20
        fill(engine, rounds)
        start = threading.Barrier(2)

        def read_on(reader: bytes) -> int:
            won = 0
            for offset in range(rounds):
                start.wait(PATIENCE_S)
                try:
                    engine.commit(
                        "t", "g", [OffsetMove(0, offset, offset + 1)], appends=[Append("out", 0, rows(reader))]
                    )
                    won += 1
                except CommitConflictError:
                    pass
            return won

        readers = [spawn(read_on, reader) for reader in (b"a", b"b")]
        won = [reader.result(PATIENCE_S) for reader in readers]
        outputs = list(content(engine, "out").values())
        assert len(outputs) == rounds
        assert [outputs.count(b"a"), outputs.count(b"b")] == won
        assert counts(engine) == {"done": rounds}

    def test_a_reader_of_several_topics_moves_in_all_of_them_or_in_none(self, engine: Engine) -> None:
        create(engine, "t", group="g")
        create(engine, "u", group="g")
        create(engine, "v")
        fill(engine, 5)
        engine.append([Append("u", 0, rows(b"x", b"y"))])
        engine.commit("t", "g", [OffsetMove(0, 0, 2)], others={"u": [OffsetMove(0, 0, 1)]})
        assert (committed(engine), committed(engine, "u")) == ({0: 2}, {0: 1})
        with pytest.raises(CommitConflictError):
            engine.commit("t", "g", [OffsetMove(0, 2, 3)], others={"u": [OffsetMove(0, 0, 2)]})
        with pytest.raises(GroupNotFoundError):
            engine.commit("t", "g", [OffsetMove(0, 2, 3)], others={"v": []})
        assert (committed(engine), committed(engine, "u")) == ({0: 2}, {0: 1})

    def test_a_commit_that_expects_other_state_changes_nothing(self, engine: Engine) -> None:
        create(engine, group="g")
        fill(engine, 5)
        first, second = StateChange(0, b"turn", b"1"), StateChange(0, b"turn", b"2")
        engine.commit("t", "g", [], state=[first], expect=[StateChange(0, b"turn", None)])
        engine.commit("t", "g", [], state=[second], expect=[first])
        for stale in (first, StateChange(0, b"turn", None), StateChange(0, b"other", b"")):
            with pytest.raises(CommitConflictError, match=r"turn|other"):
                engine.commit("t", "g", [OffsetMove(0, 0, 2)], state=[first], expect=[second, stale])
        assert engine.state("t", "g", 0) == {b"turn": b"2"}
        assert committed(engine) == {0: 0}

    # --- state ----------------------------------------------------------------------------------------------------

    def test_state_is_set_replaced_and_deleted(self, engine: Engine) -> None:
        create(engine, group="g")
        engine.commit(
            "t", "g", [], state=[StateChange(0, b"a", b"1"), StateChange(0, b"b", b""), StateChange(0, b"", b"2")]
        )
        assert engine.state("t", "g", 0) == {b"a": b"1", b"b": b"", b"": b"2"}
        engine.commit(
            "t", "g", [], state=[StateChange(0, b"a", b"3"), StateChange(0, b"b", None), StateChange(0, b"z", None)]
        )
        assert engine.state("t", "g", 0) == {b"a": b"3", b"": b"2"}

    def test_later_change_of_the_same_key_wins(self, engine: Engine) -> None:
        create(engine, group="g")
        engine.commit("t", "g", [], state=[StateChange(0, b"k", value) for value in (b"1", None, b"2")])
        assert engine.state("t", "g", 0) == {b"k": b"2"}
        engine.commit("t", "g", [], state=[StateChange(0, b"k", value) for value in (b"3", None)])
        assert engine.state("t", "g", 0) == {}

    def test_state_belongs_to_one_partition_of_one_group(self, engine: Engine) -> None:
        create(engine, "t", partitions=2, group="g")
        create(engine, "u", partitions=2, group="g")
        engine.create_group("t", "h")
        engine.commit("t", "g", [], state=[StateChange(1, b"k", b"v")])
        assert engine.state("t", "g", 1) == {b"k": b"v"}
        assert engine.state("t", "g", 0) == {}
        assert engine.state("t", "h", 1) == {}
        assert engine.state("u", "g", 1) == {}
        with pytest.raises(TopicNotFoundError):
            engine.state("t", "g", 2)

    def test_state_of_given_keys_leaves_out_what_is_missing(self, engine: Engine) -> None:
        create(engine, group="g")
        engine.commit("t", "g", [], state=[StateChange(0, b"%d" % n, b"v") for n in range(5)])
        assert engine.state("t", "g", 0, [b"1", b"9", b"3", b"1"]) == {b"1": b"v", b"3": b"v"}
        assert engine.state("t", "g", 0, []) == {}

    def test_state_of_a_range_comes_in_order_and_in_parts(self, engine: Engine) -> None:
        create(engine, group="g")
        keys = [b"a", b"p", b"p\x00", b"pa", b"p\xff\xff", b"q", b"qa"]
        engine.commit("t", "g", [], state=[StateChange(0, key, b"of " + key) for key in reversed(keys)])
        found = engine.state("t", "g", 0, within=StateRange.of_prefix(b"p"))
        assert list(found.items()) == [(key, b"of " + key) for key in keys[1:5]]
        assert list(engine.state("t", "g", 0, within=StateRange(b"", b"q", keys_max=2))) == [b"a", b"p"]
        assert list(engine.state("t", "g", 0, within=StateRange(b"pa", b"qa"))) == [b"pa", b"p\xff\xff", b"q"]
        assert engine.state("t", "g", 0, within=StateRange(b"q", b"p")) == {}
        assert list(engine.state("t", "g", 0, [b"a", b"pa"], within=StateRange.of_prefix(b"p"))) == [b"pa"]

    def test_state_that_has_expired_is_not_returned(self, engine: Engine, clock: FakeClock) -> None:
        create(engine, group="g")
        soon_us = clock.now_us() + 1_000_000
        engine.commit(
            "t", "g", [], state=[StateChange(0, b"soon", b"v", expires_us=soon_us), StateChange(0, b"never", b"v")]
        )
        assert set(engine.state("t", "g", 0)) == {b"soon", b"never"}
        clock.advance(1)
        assert engine.state("t", "g", 0) == {b"never": b"v"}
        assert engine.state("t", "g", 0, [b"soon"]) == {}
        engine.commit("t", "g", [], state=[StateChange(0, b"soon", b"again")])
        assert engine.state("t", "g", 0, [b"soon"]) == {b"soon": b"again"}

    def test_returned_state_is_a_copy(self, engine: Engine) -> None:
        create(engine, group="g")
        engine.commit("t", "g", [], state=[StateChange(0, b"k", b"v")])
        engine.state("t", "g", 0)[b"k"] = b"changed"
        assert engine.state("t", "g", 0) == {b"k": b"v"}
