"""Records handed over for good one by one, each in one transaction."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from millstream.engines.handing import WANTS_ROOM, Pop, Popped
from millstream.engines.protocol import Append, Entry, Outcome, Settlement, StateChange, TopicSpec
from millstream.engines.sqlite import SqliteEngine
from millstream.errors import GroupNotFoundError
from millstream.testing.raw_batches import raw_batch

DAY_US = 86_400_000_000


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[SqliteEngine]:
    engine = SqliteEngine(tmp_path / "x.db", durability="relaxed")
    engine.create_topic(TopicSpec("t"))
    engine.create_group("t", "g")
    put(engine, 4)
    yield engine
    engine.close()


def put(engine: SqliteEngine, count: int) -> None:
    engine.append([Append("t", 0, raw_batch([b"%d" % number for number in range(count)]))])


def pop(engine: SqliteEngine, group: str = "g", *, lifo: bool = False) -> int | Pop:
    """Return the offset of what was popped."""
    popped = engine.pop("t", group, kept=lambda partition, offset: False, lifo=lifo)
    if isinstance(popped, Pop):
        return popped
    assert popped.batch is not None
    assert popped.batch.offset <= popped.offset < popped.batch.end_offset
    return popped.offset


def numbers(engine: SqliteEngine, group: str = "g") -> tuple[int, int, int, int]:
    ledger = engine.describe_group("t", group).ledger
    assert ledger.balanced
    return ledger.done, ledger.leased, ledger.ready, ledger.waiting


def test_records_are_done_when_they_are_popped(engine: SqliteEngine) -> None:
    assert [pop(engine), pop(engine)] == [0, 1]
    assert numbers(engine) == (2, 0, 2, 0)
    assert [pop(engine), pop(engine), pop(engine)] == [2, 3, Pop.NOTHING]
    put(engine, 1)
    assert [pop(engine), pop(engine)] == [4, Pop.NOTHING]
    assert numbers(engine) == (5, 0, 0, 0)
    assert engine.check() == []


def test_the_newest_is_popped_first_where_that_is_asked_for(engine: SqliteEngine) -> None:
    assert [pop(engine, lifo=True), pop(engine, lifo=True)] == [3, 2]
    put(engine, 2)
    assert [pop(engine, lifo=True) for _ in range(5)] == [5, 4, 1, 0, Pop.NOTHING]
    assert numbers(engine) == (6, 0, 0, 0)
    assert engine.check() == []


def test_what_was_given_back_is_popped_first_and_what_is_leased_is_not(engine: SqliteEngine) -> None:
    [lease] = engine.lease("t", "g", worker="w", records_max=3, duration_us=DAY_US)
    engine.settle([Settlement(lease, 1, 2, Outcome.NACK)])
    assert [pop(engine), pop(engine), pop(engine)] == [1, 3, Pop.NOTHING]
    assert numbers(engine) == (2, 2, 0, 0)
    engine.settle([Settlement(lease, 0, 1, Outcome.ACK), Settlement(lease, 2, 3, Outcome.RELEASE)])
    assert [pop(engine), pop(engine)] == [2, Pop.NOTHING]
    assert numbers(engine) == (4, 0, 0, 0)
    assert engine.check() == []


def test_what_expired_comes_back(engine: SqliteEngine) -> None:
    engine.lease("t", "g", worker="w", records_max=2, duration_us=1)
    assert [pop(engine), pop(engine)] == [0, 1]
    assert numbers(engine) == (2, 0, 2, 0)


def test_a_sorted_group_pops_by_rank_and_says_when_it_was_not_told_all(engine: SqliteEngine) -> None:
    engine.create_group("t", "s", parallel=1)
    assert pop(engine, "s") is Pop.UNSORTED
    engine.sort("t", "s", 0, 0, [Entry(rank=rank) for rank in (b"b", b"a", b"c", b"a")])
    assert [pop(engine, "s"), pop(engine, "s")] == [1, 3]
    put(engine, 1)
    assert pop(engine, "s") is Pop.UNSORTED
    engine.sort("t", "s", 0, 4, [Entry(rank=b"")])
    assert [pop(engine, "s") for _ in range(4)] == [4, 0, 2, Pop.NOTHING]
    assert numbers(engine, "s") == (5, 0, 0, 0)
    assert engine.check() == []


def test_a_key_of_a_sorted_group_goes_on_after_its_head_was_popped(engine: SqliteEngine) -> None:
    engine.create_group("t", "s", parallel=1)
    engine.sort("t", "s", 0, 0, [Entry(b"k", 2), Entry(b"k", 1), Entry(b"j", 3), Entry(b"k", 0)])
    assert [pop(engine, "s") for _ in range(5)] == [0, 1, 3, 2, Pop.NOTHING]


def test_a_paused_group_pops_nothing(engine: SqliteEngine) -> None:
    engine.pause("t", "g")
    assert pop(engine) is Pop.NOTHING
    engine.pause("t", "g", paused=False)
    assert pop(engine) == 0


def test_a_batch_that_the_caller_has_is_not_read_again(engine: SqliteEngine) -> None:
    asked: list[tuple[int, int]] = []
    popped = engine.pop("t", "g", kept=lambda partition, offset: not asked.append((partition, offset)))
    assert popped == Popped(0, 0, None)
    assert asked == [(0, 0)]


def test_where_the_caller_fails_nothing_is_popped(engine: SqliteEngine) -> None:
    def fail(partition: int, offset: int) -> bool:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        engine.pop("t", "g", kept=fail)
    assert numbers(engine) == (0, 0, 4, 0)


def test_an_unknown_group_is_named(engine: SqliteEngine) -> None:
    with pytest.raises(GroupNotFoundError):
        pop(engine, "nobody")


def test_who_waits_for_room_is_woken_by_a_pop(engine: SqliteEngine) -> None:
    engine.commit("t", "g", [], state=[StateChange(0, WANTS_ROOM, b"")])
    looks: list[int | Pop] = []

    def pop_once() -> bool:
        if not looks:
            looks.append(pop(engine))
        return False

    assert engine.wait({"t": {0: 4}}, 20_000_000, until=pop_once)


def test_threads_that_pop_share_no_record(engine: SqliteEngine) -> None:
    put(engine, 400)
    popped: list[int] = []

    def work() -> None:
        while not isinstance(offset := pop(engine), Pop):
            popped.append(offset)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(popped) == list(range(404))
    assert numbers(engine) == (404, 0, 0, 0)
