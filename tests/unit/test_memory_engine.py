"""What the memory engine promises beyond the protocol."""

from __future__ import annotations

import pytest

from millstream.engines.memory import MemoryEngine
from millstream.engines.memory.group import Group, Place, Run
from millstream.engines.protocol import Append, Maintenance, TopicSpec
from millstream.errors import CapabilityError
from millstream.testing import FakeClock
from millstream.testing.raw_batches import rows


def test_put_cuts_runs_and_returns_what_was_there() -> None:
    group = Group("t", "g", runs={0: [Run(0, 10), Run(10, 20, Place.WAITING, 3)]})
    held = Run(5, 12, Place.LEASED, lease_id=1)
    assert group.put(0, 5, 12, held) == [Run(5, 10), Run(10, 12, Place.WAITING, 3)]
    assert group.runs[0] == [Run(0, 5), held, Run(12, 20, Place.WAITING, 3)]
    assert group.put(0, 0, 20) == [Run(0, 5), held, Run(12, 20, Place.WAITING, 3)]
    assert group.runs[0] == []


def test_fresh_records_that_follow_one_another_are_one_run() -> None:
    group = Group("t", "g", runs={0: []})
    group.grow(0, 0, 3)
    group.grow(0, 3, 5)
    assert group.runs[0] == [Run(0, 5)]
    assert group.tail(0, 5) == 0
    group.put(0, 4, 5)
    group.grow(0, 5, 6)
    assert group.runs[0] == [Run(0, 4), Run(5, 6)]
    assert group.tail(0, 6) == 5
    assert group.accepted == 6


def test_memory_engine_has_maintenance_but_no_backup() -> None:
    engine = MemoryEngine(clock=FakeClock())
    assert isinstance(engine, Maintenance)
    assert engine.vacuum(1) == 0
    with pytest.raises(CapabilityError, match="memory"):
        engine.backup("copy.db")
    engine.close()


def test_check_finds_what_does_not_add_up() -> None:
    engine = MemoryEngine(clock=FakeClock())
    engine.create_topic(TopicSpec("t"))
    engine.create_group("t", "g")
    engine.append([Append("t", 0, rows(b"a"))])
    engine.append([Append("t", 0, rows(b"b"))])
    assert engine.check() == []
    topic = engine._kept.topics["t"]
    topic.groups["g"].done += 1
    del topic.partitions[0].batches[0]
    assert [finding.where for finding in engine.check()] == ["t/0", "t, group g"]
    engine.close()


def test_memory_engine_needs_no_clock() -> None:
    engine = MemoryEngine()
    assert engine.create_topic(TopicSpec("t")).created_us > 1_700_000_000_000_000
    engine.close()
