"""What a worker gets in one call: settled, leased, read, and told what to wait for; by each way there is to do it."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from millstream.engines.fetching import READ_RECORDS_MAX, Fetched, Fetching
from millstream.engines.memory import MemoryEngine
from millstream.engines.protocol import Append, Engine, Outcome, Settlement, StateChange, TopicSpec
from millstream.engines.sqlite import SqliteEngine
from millstream.errors import GroupNotFoundError, LeaseLostError, TopicNotFoundError
from millstream.log.fetching import OneByOne, fetching_of
from millstream.testing import FakeClock
from millstream.testing.raw_batches import raw_batch

MINUTE_US = 60_000_000
LONG_US = 20_000_000
"""A wait that has to end by itself, long before."""

FLAG = b"flag"


class Desk:
    """An engine with topic t and group g, and what fetches from it."""

    def __init__(self, engine: Engine, clock: FakeClock) -> None:
        self.engine = engine
        self.clock = clock
        self.fetching = fetching_of(engine)
        engine.create_topic(TopicSpec("t", partitions=2))
        engine.create_group("t", "g")

    def put(self, *values: bytes, partition: int = 0) -> None:
        self.engine.append([Append("t", partition, raw_batch(list(values)))])

    def fetch(self, count: int = 100, *settlements: Settlement, group: str = "g", **options: Any) -> Fetched:
        return self.fetching.fetch(
            "t",
            group,
            worker="w",
            records_max=count,
            duration_us=MINUTE_US,
            settlements=settlements,
            flag=FLAG,
            **options,
        )

    def wait(self, fetched: Fetched, timeout_us: int = LONG_US) -> bool:
        return self.fetching.wait_news("t", "g", fetched.mark, timeout_us)


@pytest.fixture(params=["sqlite", "memory"])
def desk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Desk]:
    clock = FakeClock()
    engine = SqliteEngine(tmp_path / "x.db", clock=clock) if request.param == "sqlite" else MemoryEngine(clock=clock)
    yield Desk(engine, clock)
    engine.close()


def ranges(fetched: Fetched) -> list[tuple[int, int]]:
    return [(lease.start, lease.end) for lease in fetched.leases]


def settled(fetched: Fetched, outcome: Outcome = Outcome.ACK, *, due_us: int = 0) -> list[Settlement]:
    return [Settlement(lease, lease.start, lease.end, outcome, due_us) for lease in fetched.leases]


def test_sqlite_fetches_by_itself_and_other_engines_by_their_calls(tmp_path: Path) -> None:
    sqlite, memory = SqliteEngine(tmp_path / "x.db"), MemoryEngine()
    assert isinstance(sqlite, Fetching)
    assert fetching_of(sqlite) is sqlite
    assert isinstance(fetching_of(memory), OneByOne)
    sqlite.close()
    memory.close()


def test_outcomes_are_recorded_before_more_is_taken(desk: Desk) -> None:
    desk.put(b"a", b"b", b"c")
    first = desk.fetch(2)
    assert ranges(first) == [(0, 2)]
    second = desk.fetch(2, *settled(first, Outcome.RELEASE))
    assert ranges(second) == [(0, 2)]
    third = desk.fetch(2, *settled(second))
    assert ranges(third) == [(2, 3)]
    ledger = desk.engine.describe_group("t", "g").ledger
    assert (ledger.done, ledger.leased, ledger.ready) == (2, 1, 0)


def test_a_lost_lease_is_an_error(desk: Desk) -> None:
    desk.put(b"a", b"b")
    first = desk.fetch(1)
    desk.fetch(1, *settled(first))
    with pytest.raises(LeaseLostError):
        desk.fetch(1, *settled(first))


def test_unknown_topics_and_groups_are_errors(desk: Desk) -> None:
    with pytest.raises(GroupNotFoundError):
        desk.fetch(group="nobody")
    desk.engine.delete_topic("t")
    with pytest.raises(TopicNotFoundError):
        desk.fetch()


def test_a_flag_is_seen_with_the_records_of_its_partition(desk: Desk) -> None:
    desk.put(b"a")
    desk.put(b"b", partition=1)
    assert not desk.fetch(1).flagged
    desk.engine.commit("t", "g", [], state=[StateChange(1, FLAG, b"1")])
    assert desk.fetch(1).flagged


def test_what_is_given_back_for_later_is_told_as_due(desk: Desk) -> None:
    desk.put(b"a")
    due_us = desk.clock.now_us() + MINUTE_US // 2
    assert desk.fetch(1, *settled(desk.fetch(1), Outcome.NACK, due_us=due_us)).next_due_us == due_us
    desk.clock.advance(timedelta(microseconds=MINUTE_US // 2))
    assert ranges(desk.fetch(1)) == [(0, 1)]


def test_another_workers_lease_is_told_as_due(desk: Desk) -> None:
    desk.put(b"a")
    [lease] = desk.fetch(1).leases
    assert desk.fetch(1).next_due_us == lease.deadline_us
    desk.clock.advance("1m")
    assert ranges(desk.fetch(1)) == [(0, 1)]


def test_a_wait_ends_with_an_append_after_the_fetch_also_before_the_wait(desk: Desk) -> None:
    fetched = desk.fetch()
    fetched = desk.fetch() if desk.wait(fetched, 1) else fetched  # the first fetch of a log may say to look again
    assert not desk.wait(fetched, 1000)
    desk.put(b"a")
    assert desk.wait(fetched)
    assert ranges(desk.fetch()) == [(0, 1)]


def test_a_wait_ends_with_an_append_of_another_thread(desk: Desk) -> None:
    desk.fetch()
    fetched = desk.fetch()
    appending = threading.Timer(0.05, desk.put, [b"a"])
    appending.start()
    assert desk.wait(fetched)
    appending.join()


def test_what_is_given_back_between_fetch_and_wait_is_news(tmp_path: Path) -> None:
    # By calls of their own it is found by the next look, a second later at most.
    desk = Desk(SqliteEngine(tmp_path / "x.db"), FakeClock())
    desk.put(b"a")
    held = desk.fetch()
    fetched = desk.fetch()
    desk.engine.settle(settled(held, Outcome.RELEASE))
    assert desk.wait(fetched)
    assert ranges(desk.fetch()) == [(0, 1)]
    desk.engine.close()


APPENDING = """
import sys
from millstream.engines.protocol import Append
from millstream.engines.sqlite import SqliteEngine
from millstream.testing.raw_batches import raw_batch
engine = SqliteEngine(sys.argv[1])
engine.append([Append("t", 0, raw_batch([b"there"]))])
print("appended", flush=True)
sys.stdin.readline()
engine.append([Append("t", 0, raw_batch([b"again"]))])
engine.close()
"""


def test_an_append_of_another_process_is_news_whether_before_the_wait_or_in_it(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    desk = Desk(SqliteEngine(path), FakeClock())
    desk.fetch()
    fetched = desk.fetch()
    with subprocess.Popen(
        [sys.executable, "-c", APPENDING, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "appended\n"
        assert desk.wait(fetched)
        fetched = desk.fetch()
        assert ranges(fetched) == [(0, 1)]
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
        assert desk.wait(fetched)
        assert ranges(desk.fetch()) == [(1, 2)]
    desk.engine.close()


def test_a_topic_that_was_made_anew_is_waited_for_under_its_new_number(tmp_path: Path) -> None:
    desk = Desk(SqliteEngine(tmp_path / "x.db"), FakeClock())
    desk.fetch()
    desk.engine.delete_topic("t")
    desk.engine.create_topic(TopicSpec("t"))
    desk.engine.create_group("t", "g")
    fetched = desk.fetch()
    if desk.wait(fetched, 1):
        fetched = desk.fetch()
    desk.put(b"a")
    assert desk.wait(fetched)
    desk.engine.close()


# --- what sqlite reads along ------------------------------------------------------------------------------------------


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[SqliteEngine]:
    engine = SqliteEngine(tmp_path / "x.db", durability="relaxed")
    yield engine
    engine.close()


def test_a_small_lease_comes_with_all_of_its_records(engine: SqliteEngine) -> None:
    desk = Desk(engine, FakeClock())
    desk.put(b"0", b"1", b"2")
    desk.put(b"3", b"4")
    desk.put(b"5")
    first, second = desk.fetch(2), desk.fetch(3)
    assert [(batch.offset, batch.end_offset) for batch in first.batches or ()] == [(0, 3)]
    assert ranges(second) == [(2, 5)]
    assert [(batch.offset, batch.end_offset) for batch in second.batches or ()] == [(0, 3), (3, 5)]
    assert second.batches == engine.read("t", 0, 2, records_max=3)


def test_large_leases_large_batches_and_gaps_are_read_by_a_call_of_their_own(engine: SqliteEngine) -> None:
    desk = Desk(engine, FakeClock())
    desk.put(*[b"x"] * READ_RECORDS_MAX)
    desk.put(b"y")
    assert desk.fetch(1).batches is None  # of a batch that is worth keeping decoded
    assert desk.fetch(READ_RECORDS_MAX - 1).batches is None
    assert desk.fetch(1).batches is not None
    desk.put(*[b"x"] * 5)
    engine.trim("t", 0, READ_RECORDS_MAX + 6, force=True)
    assert desk.fetch().batches is None


def test_several_leases_are_read_by_calls_of_their_own(engine: SqliteEngine) -> None:
    desk = Desk(engine, FakeClock())
    desk.put(b"a")
    desk.put(b"b", partition=1)
    fetched = desk.fetch()
    assert len(fetched.leases) == 2
    assert fetched.batches is None
