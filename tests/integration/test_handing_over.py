"""Records handed over for good: settled and leased in one transaction, noted in tallies, counted when finished."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from millstream.engines.handing import TALLIES_MAX, WANTS_ROOM, HandingOver, TallyOrder, ended
from millstream.engines.protocol import Append, Entry, Lease, Outcome, Settlement, StateChange, TopicSpec
from millstream.engines.sqlite import SqliteEngine
from millstream.errors import LeaseLostError, LimitExceededError, UsageError
from millstream.testing.raw_batches import raw_batch

DAY_US = 86_400_000_000


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[SqliteEngine]:
    engine = SqliteEngine(tmp_path / "x.db", durability="relaxed")
    engine.create_topic(TopicSpec("t"))
    engine.create_group("t", "g")
    engine.append([Append("t", 0, raw_batch([b"%d" % n for n in range(10)]))])
    yield engine
    engine.close()


def take(engine: SqliteEngine, count: int, *settlements: Settlement, lifo: bool = False) -> list[Lease]:
    return engine.take("t", "g", worker="w", records_max=count, duration_us=DAY_US, lifo=lifo, settlements=settlements)


def ranges(leases: list[Lease]) -> list[tuple[int, int]]:
    return [(lease.start, lease.end) for lease in leases]


def test_sqlite_hands_over(engine: SqliteEngine) -> None:
    assert isinstance(engine, HandingOver)


def test_what_is_given_back_is_taken_first_in_the_same_call(engine: SqliteEngine) -> None:
    [lease] = take(engine, 6)
    done, back = Settlement(lease, 0, 2, Outcome.ACK), Settlement(lease, 2, 6, Outcome.RELEASE)
    assert ranges(take(engine, 5, done, back)) == [(2, 6), (6, 7)]
    ledger = engine.describe_group("t", "g").ledger
    assert (ledger.done, ledger.leased, ledger.ready, ledger.waiting) == (2, 5, 3, 0)
    assert ledger.balanced


def test_nothing_is_taken_where_something_is_no_longer_held(engine: SqliteEngine) -> None:
    [lease] = take(engine, 2)
    done = Settlement(lease, 0, 2, Outcome.ACK)
    assert take(engine, 0, done) == []
    with pytest.raises(LeaseLostError):
        take(engine, 2, done)
    assert engine.describe_group("t", "g").ledger.leased == 0


def test_newest_can_be_taken_first(engine: SqliteEngine) -> None:
    assert ranges(take(engine, 3, lifo=True)) == [(7, 10)]


def test_who_waits_for_room_is_woken(engine: SqliteEngine) -> None:
    [lease] = take(engine, 2)
    assert not engine.wait({"t": {0: 10}}, 1000)
    engine.commit("t", "g", [], state=[StateChange(0, WANTS_ROOM, b"")])
    looks: list[bool] = []

    def settle_once() -> bool:
        if not looks:
            looks.append(True)
            take(engine, 0, Settlement(lease, 0, 2, Outcome.ACK))
        return False

    assert engine.wait({"t": {0: 10}}, 20_000_000, until=settle_once)


def test_finished_records_are_counted(engine: SqliteEngine) -> None:
    assert engine.unfinished("t", "g") == 10
    assert engine.finish("t", "g", 4) == 6
    assert engine.finish("t", "g", 6) == 0
    with pytest.raises(UsageError, match="cannot be finished"):
        engine.finish("t", "g", 1)
    engine.append([Append("t", 0, raw_batch([b"x"]))])
    assert engine.unfinished("t", "g") == 1


def test_sorted_group_says_what_it_was_not_told(engine: SqliteEngine) -> None:
    engine.create_group("t", "s", parallel=1)
    assert engine.untold("t", "s", 0) == (0, 10)
    engine.sort("t", "s", 0, 0, [Entry()] * 4)
    assert engine.untold("t", "s", 0) == (4, 10)


def test_bytes_are_ranks_in_their_order_and_after_numbers(engine: SqliteEngine) -> None:
    engine.create_group("t", "s", parallel=1)
    ranks = [b"b", b"\xff", b"", 7, b"a\x00", b"a", -1, b"\x00", b"b", 2**62]
    engine.sort("t", "s", 0, 0, [Entry(rank=rank) for rank in ranks])
    leases = engine.lease("t", "s", worker="w", records_max=10, duration_us=DAY_US)
    assert [lease.start for lease in leases] == [6, 3, 9, 2, 7, 5, 4, 0, 8, 1]


def test_number_of_open_tallies_is_limited(engine: SqliteEngine) -> None:
    [lease] = take(engine, 1)
    tallies = [engine.tally(lease, TallyOrder.UP) for _ in range(TALLIES_MAX)]
    with pytest.raises(LimitExceededError):
        engine.tally(lease, TallyOrder.UP)
    tallies.pop().close()
    engine.tally(lease, TallyOrder.UP)


@pytest.mark.parametrize(
    ("number", "pieces"), [(5, []), (7, [(5, 7, Outcome.ACK)]), (9, [(5, 9, Outcome.ACK)]), (99, [(5, 9, Outcome.ACK)])]
)
def test_tally_tells_how_a_lease_ended(number: int, pieces: list[tuple[int, int, Outcome]]) -> None:
    assert ended(TallyOrder.UP, number, 5, 9, 0) == pieces


DYING = """
    import os, signal, sys
    from millstream.engines.handing import TallyOrder
    from millstream.engines.sqlite import SqliteEngine
    engine = SqliteEngine(sys.argv[1], durability="relaxed")
    for count in (4, 4):
        [lease] = engine.take("t", "g", worker="w", records_max=count, duration_us=10**11)
        tally = engine.tally(lease, TallyOrder.UP)
        tally.cell[0] = lease.start + 3
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_dead_process_keeps_what_its_tallies_say(engine: SqliteEngine) -> None:
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(DYING), engine.path], check=False)
    assert done.returncode == -signal.SIGKILL
    deadline = time.monotonic() + 60
    found: list[Lease] = []
    while len(found) < 3 and time.monotonic() < deadline:
        found += take(engine, 10)
        engine.wait({"t": {0: 10}}, 100_000)
    assert sorted(ranges(found)) == [(3, 4), (7, 8), (8, 10)]
    ledger = engine.describe_group("t", "g").ledger
    assert (ledger.done, ledger.leased) == (6, 4)
    assert ledger.balanced


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this system cannot fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_forked_child_has_tallies_of_its_own(engine: SqliteEngine) -> None:
    [lease] = take(engine, 4)
    tally = engine.tally(lease, TallyOrder.UP)
    tally.cell[0] = 2
    child = os.fork()
    if child == 0:
        [its] = take(engine, 4)
        engine.tally(its, TallyOrder.UP).cell[0] = its.start + 1
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    deadline = time.monotonic() + 60
    found: list[Lease] = []
    while not any(lease.start == 5 for lease in found) and time.monotonic() < deadline:
        found += take(engine, 10)
        engine.wait({"t": {0: 10}}, 100_000)
    assert sorted(offset for lease in found for offset in range(lease.start, lease.end)) == [5, 6, 7, 8, 9]
    # The parent's is as it was.
    take(engine, 0, Settlement(lease, 0, 4, Outcome.ACK))
