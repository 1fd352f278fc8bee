"""Topics and schemas."""

from __future__ import annotations

import pytest

from millstream import limits
from millstream.engines.protocol import Engine, StateChange, TopicSpec
from millstream.errors import (
    ConflictError,
    GroupNotFoundError,
    LeaseLostError,
    LimitExceededError,
    TopicExistsError,
    TopicNotFoundError,
    UsageError,
)
from millstream.testing.engine_suite.subject import (
    EngineTests,
    content,
    counts,
    create,
    fill,
    put,
    read_all,
    settled,
    take,
)
from millstream.testing.fake_clock import FakeClock


class TopicTests(EngineTests):
    def test_capabilities_and_url_say_which_engine_it_is(self, engine: Engine) -> None:
        assert engine.capabilities.name
        assert engine.url

    def test_new_topic_is_empty(self, engine: Engine, clock: FakeClock) -> None:
        spec = TopicSpec("clicks", partitions=3, retention_age_us=1, retention_bytes=2)
        info = engine.create_topic(spec)
        assert info.spec == spec
        assert info.created_us == clock.now_us()
        assert [p.partition for p in info.partitions] == [0, 1, 2]
        assert {(p.start_offset, p.end_offset, p.size_bytes, p.batches) for p in info.partitions} == {(0, 0, 0, 0)}
        assert info.schemas == {}
        assert engine.describe_topic("clicks") == info

    def test_creating_a_topic_again_returns_the_existing_one(self, engine: Engine, clock: FakeClock) -> None:
        created = engine.create_topic(TopicSpec("t"))
        put(engine, b"kept")
        clock.advance("1h")
        again = engine.create_topic(TopicSpec("t"))
        assert again.created_us == created.created_us
        assert again.records == 1
        assert content(engine) == {0: b"kept"}

    def test_creating_a_topic_again_updates_its_retention(self, engine: Engine) -> None:
        engine.create_topic(TopicSpec("t", retention_age_us=10, retention_bytes=20))
        changed = TopicSpec("t", retention_age_us=None, retention_bytes=30)
        assert engine.create_topic(changed).spec == changed
        assert engine.describe_topic("t").spec == changed

    def test_creating_a_topic_again_with_other_partitions_is_refused(self, engine: Engine) -> None:
        spec = TopicSpec("t", partitions=2, retention_bytes=1)
        engine.create_topic(spec)
        with pytest.raises(TopicExistsError):
            engine.create_topic(TopicSpec("t", partitions=3, retention_bytes=9))
        assert engine.describe_topic("t").spec == spec

    @pytest.mark.parametrize("name", ["", "a b", ".hidden", "-dash", "a..b", "a.", "a/b", "\u00fc", "a\n"])
    def test_bad_topic_name_is_refused(self, engine: Engine, name: str) -> None:
        with pytest.raises(UsageError):
            engine.create_topic(TopicSpec(name))
        assert engine.topics() == []

    def test_too_long_topic_name_is_refused(self, engine: Engine) -> None:
        longest = "x" * limits.NAME_CHARACTERS_MAX
        engine.create_topic(TopicSpec(longest))
        with pytest.raises(LimitExceededError):
            engine.create_topic(TopicSpec(longest + "x"))
        assert engine.topics() == [longest]

    def test_too_many_partitions_are_refused(self, engine: Engine) -> None:
        engine.create_topic(TopicSpec("most", partitions=limits.PARTITIONS_MAX))
        with pytest.raises(LimitExceededError) as caught:
            engine.create_topic(TopicSpec("more", partitions=limits.PARTITIONS_MAX + 1))
        assert (caught.value.limit, caught.value.size) == (limits.PARTITIONS_MAX, limits.PARTITIONS_MAX + 1)
        assert engine.topics() == ["most"]

    def test_topic_without_partitions_is_refused(self, engine: Engine) -> None:
        with pytest.raises(UsageError):
            engine.create_topic(TopicSpec("t", partitions=0))
        assert engine.topics() == []

    def test_too_many_topics_are_refused(self, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(limits, "TOPICS_MAX", 2)
        create(engine, "a")
        create(engine, "b")
        with pytest.raises(LimitExceededError):
            create(engine, "c")
        create(engine, "a")
        assert engine.topics() == ["a", "b"]

    def test_topics_are_listed_sorted(self, engine: Engine) -> None:
        for name in ("b", "a", "B", "a.b", "a-b", "_"):
            create(engine, name)
        assert engine.topics() == sorted(["b", "a", "B", "a.b", "a-b", "_"])

    def test_description_tells_offsets_sizes_and_batches(self, engine: Engine) -> None:
        create(engine, partitions=2)
        put(engine, b"x" * 100, b"y" * 100, partition=1)
        put(engine, b"z" * 100, partition=1)
        info = engine.describe_topic("t")
        [batch, *more] = batches = read_all(engine, "t", 1, 0)
        assert (info.partitions[0].end_offset, info.partitions[0].size_bytes, info.partitions[0].batches) == (0, 0, 0)
        assert (info.partitions[1].start_offset, info.partitions[1].end_offset) == (0, 3)
        assert info.partitions[1].size_bytes == sum(len(batch.data) for batch in batches)
        assert info.partitions[1].batches == 1 + len(more)
        assert info.records == 3
        assert info.size_bytes == info.partitions[1].size_bytes
        assert batch.offset == 0

    def test_unknown_topic_is_an_error_everywhere(self, engine: Engine) -> None:
        for call in (
            lambda: engine.describe_topic("t"),
            lambda: engine.delete_topic("t"),
            lambda: engine.put_schema("t", b"s"),
            lambda: engine.read("t", 0, 0, records_max=1),
            lambda: engine.wait({"t": {0: 0}}, 0),
            lambda: engine.create_group("t", "g"),
            lambda: engine.describe_group("t", "g"),
            lambda: engine.groups("t"),
            lambda: engine.commit("t", "g", []),
            lambda: engine.state("t", "g", 0),
            lambda: take(engine),
            lambda: put(engine, b"x"),
        ):
            with pytest.raises(TopicNotFoundError, match="'t"):
                call()

    def test_deleted_topic_is_gone(self, engine: Engine) -> None:
        create(engine, group="g")
        create(engine, "other", group="g")
        put(engine, b"x")
        put(engine, b"kept", topic="other")
        engine.delete_topic("t")
        assert engine.topics() == ["other"]
        with pytest.raises(TopicNotFoundError):
            engine.describe_topic("t")
        assert content(engine, "other") == {0: b"kept"}
        assert engine.groups("other") == ["g"]

    def test_topic_of_a_deleted_name_starts_anew(self, engine: Engine) -> None:
        create(engine, partitions=2, group="g")
        fill(engine, 10)
        engine.put_schema("t", b"old")
        engine.commit("t", "g", [], state=[StateChange(0, b"k", b"v")])
        [lease] = take(engine, 5)
        engine.delete_topic("t")
        create(engine)
        assert engine.groups("t") == []
        assert engine.put_schema("t", b"new") == 1
        with pytest.raises(GroupNotFoundError):
            engine.describe_group("t", "g")
        engine.create_group("t", "g")
        assert engine.state("t", "g", 0) == {}
        assert put(engine, b"first").offset == 0
        assert content(engine) == {0: b"first"}
        take(engine)
        with pytest.raises(LeaseLostError):
            engine.settle([settled(lease, end=1)])
        assert engine.extend([lease], 1) == []
        assert counts(engine) == {"leased": 1}

    def test_lease_of_a_deleted_topic_is_lost(self, engine: Engine) -> None:
        create(engine, group="g")
        fill(engine, 1)
        [lease] = take(engine)
        engine.delete_topic("t")
        with pytest.raises(LeaseLostError):
            engine.settle([settled(lease)])
        assert engine.extend([lease], 1) == []

    def test_schemas_are_numbered_from_one_in_each_topic(self, engine: Engine) -> None:
        create(engine, "a")
        create(engine, "b")
        assert [engine.put_schema("a", schema) for schema in (b"one", b"two", b"one", b"three")] == [1, 2, 1, 3]
        assert engine.put_schema("b", b"three") == 1
        assert engine.describe_topic("a").schemas == {1: b"one", 2: b"two", 3: b"three"}
        assert engine.describe_topic("b").schemas == {1: b"three"}

    def test_schema_is_registered_after_the_newest_or_not_at_all(self, engine: Engine) -> None:
        create(engine)
        assert engine.put_schema("t", b"one", after=0) == 1
        for stale in (0, 2):
            with pytest.raises(ConflictError):
                engine.put_schema("t", b"two", after=stale)
        assert engine.put_schema("t", b"two", after=1) == 2
        assert engine.put_schema("t", b"one", after=0) == 1
        assert engine.describe_topic("t").schemas == {1: b"one", 2: b"two"}
