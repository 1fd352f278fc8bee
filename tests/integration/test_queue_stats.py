"""Depth, age, rates and workers of queues, as every process sees them."""

from __future__ import annotations

import json
import logging
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest

from millstream.app import App
from millstream.engines.protocol import Entry, Lease, Outcome, Settlement
from millstream.errors import GroupNotFoundError, UsageError
from millstream.log.append_time import append_time_us
from millstream.log.group import Group
from millstream.queue.events import WorkerState, WorkerStatus
from millstream.queue.presence import Presence, hear
from millstream.queue.stats import QueueStats, QueueWatch, find_queue
from millstream.records import Position
from millstream.testing.fake_clock import FakeClock

PATIENCE_S = 60.0


class Job(msgspec.Struct, frozen=True):
    number: int


@pytest.fixture(params=["memory", "sqlite"])
def app(request: pytest.FixtureRequest, tmp_path: Path, clock: FakeClock) -> Iterator[App]:
    url = "memory://" if request.param == "memory" else str(tmp_path / "log.db")
    with App(url, durability="relaxed", clock=clock) as app:
        yield app


@pytest.fixture
def group(app: App) -> Group[Any]:
    return app.topic("jobs", Job).group("work")


def fill(app: App, count: int) -> None:
    app.topic("jobs", Job).extend([Job(n) for n in range(count)])


def take(group: Group[Any], count: int) -> list[Lease]:
    return group.lease(worker="w", records_max=count, duration="1h")


def end(group: Group[Any], leases: list[Lease], outcome: Outcome = Outcome.ACK, due_us: int = 0) -> None:
    group.settle([Settlement(lease, lease.start, lease.end, outcome, due_us) for lease in leases])


def look(app: App) -> QueueStats:
    (found,) = QueueWatch(app.log).look()
    return found


def worker(name: str, *, since_us: int, busy: int | None = None, handled: int = 0, busy_s: float = 0) -> WorkerState:
    return WorkerState(
        name,
        WorkerStatus.IDLE if busy is None else WorkerStatus.BUSY,
        since_us,
        None if busy is None else Position(0, busy),
        0 if busy is None else 1,
        handled,
        0,
        round(busy_s * 1e6),
    )


# --- depth and age ----------------------------------------------------------------------------------------------------


def test_depth_is_where_every_record_is(app: App, group: Group[Any], clock: FakeClock) -> None:
    fill(app, 20)
    end(group, take(group, 5))
    end(group, take(group, 3), Outcome.REJECT)
    end(group, take(group, 2), Outcome.NACK, clock.now_us() + 60_000_000)
    take(group, 4)
    stats = look(app)
    assert (stats.ready, stats.leased, stats.waiting, stats.done, stats.dead) == (6, 4, 2, 5, 3)
    assert (stats.unsettled, stats.due, stats.paused) == (12, True, False)
    assert stats.name == "jobs/work"


def test_the_age_is_that_of_the_oldest_record_that_is_not_settled(
    app: App, group: Group[Any], clock: FakeClock
) -> None:
    assert look(app).oldest_age_s is None
    for _ in range(3):
        fill(app, 1)
        clock.advance("10s")
    assert look(app).oldest_age_s == 30
    leases = take(group, 1)
    assert look(app).oldest_age_s == 30, "taken is not settled"
    end(group, leases)
    stats = look(app)
    assert (stats.oldest, stats.oldest_age_s) == ((0, 1), 20)
    end(group, take(group, 2))
    assert look(app).oldest is None


def test_one_watch_follows_the_oldest_record(app: App, group: Group[Any], clock: FakeClock) -> None:
    watch = QueueWatch(app.log)
    fill(app, 1)
    clock.advance("10s")
    fill(app, 1)
    assert watch.look()[0].oldest_age_s == 10
    clock.advance("5s")
    assert watch.look()[0].oldest_age_s == 15
    end(group, take(group, 1))
    assert watch.look()[0].oldest_age_s == 5


def test_the_age_is_exact_within_a_merged_batch(app: App, group: Group[Any], clock: FakeClock) -> None:
    for _ in range(200):
        fill(app, 1)
        clock.advance("1s")
    end(group, take(group, 150))
    app.log.keep_house()
    clock.advance("1h")
    end(group, take(group, 10))
    assert look(app).oldest_age_s == 3600 + 40
    assert append_time_us(app.log, "jobs", 0, 5000) is None


def test_work_that_waits_for_its_time_is_not_due(app: App, group: Group[Any], clock: FakeClock) -> None:
    fill(app, 1)
    end(group, take(group, 1), Outcome.RELEASE, clock.now_us() + 60_000_000)
    assert look(app).due is False
    clock.advance("61s")
    assert look(app).due is True


def test_what_lifo_left_behind_is_due(app: App, group: Group[Any], clock: FakeClock) -> None:
    fill(app, 3)
    newest = group.lease(worker="w", records_max=1, duration="1h", lifo=True)
    end(group, newest, Outcome.NACK, clock.now_us() + 60_000_000)
    stats = look(app)
    assert (stats.ready, stats.waiting, stats.due) == (2, 1, True)


def test_sorted_records_are_due_when_their_time_and_their_turn_have_come(app: App, clock: FakeClock) -> None:
    group = app.topic("jobs", Job).group("work", parallel=1)
    fill(app, 3)
    assert look(app).due, "not sorted yet: a worker has to look at them"
    soon_us = clock.now_us() + 60_000_000
    group.sort(0, 0, [Entry(b"a", 0, soon_us), Entry(b"a"), Entry(b"a")])
    stats = look(app)
    assert (stats.unsettled, stats.due, stats.oldest) == (3, False, (0, 0))
    clock.advance("61s")
    assert look(app).due
    end(group, take(group, 1), Outcome.NACK, clock.now_us() + 60_000_000)
    assert not look(app).due, "the others of the key wait for the first one's next attempt"
    clock.advance("61s")
    end(group, take(group, 1))
    assert look(app).due
    end(group, take(group, 3))
    assert (look(app).due, look(app).oldest) == (False, None)


def test_a_paused_queue_is_shown_so(app: App, group: Group[Any]) -> None:
    group.pause()
    assert look(app).paused
    group.pause(paused=False)
    assert not look(app).paused


def test_looking_makes_nothing(app: App, group: Group[Any]) -> None:
    before = app.log.topics()
    look(app)
    assert app.log.topics() == before == ["jobs"]


def test_a_queue_is_found_by_its_name_or_with_its_topic(app: App, group: Group[Any]) -> None:
    assert find_queue(app.log, "work") == ("jobs", "work")
    app.topic("other", Job).group("work")
    with pytest.raises(UsageError, match="jobs/work, other/work"):
        find_queue(app.log, "work")
    assert find_queue(app.log, "other/work") == ("other", "work")
    with pytest.raises(UsageError, match="no topic has"):
        find_queue(app.log, "nothing")
    with pytest.raises(GroupNotFoundError):
        find_queue(app.log, "jobs/nothing")


# --- heartbeats -------------------------------------------------------------------------------------------------------


def test_a_heartbeat_tells_others_what_each_worker_does(app: App, group: Group[Any], clock: FakeClock) -> None:
    begun = clock.now_us()
    presence = Presence(group)
    states = [
        worker("work-1", since_us=begun, handled=30, busy_s=1.5),
        worker("work-2", since_us=begun, busy=7, handled=10, busy_s=2.5),
    ]
    presence.tick(lambda: states)
    assert hear(app.log).reports == (), "not at once"
    clock.advance("2s")
    presence.tick(lambda: states)
    (report,) = hear(app.log).reports
    assert (report.topic, report.group, report.workers, report.busy, report.handled) == ("jobs", "work", 2, 1, 40)
    assert report.busy_us == 6_000_000, "what runs now included"
    assert report.states == (states[1], states[0]), "the busy ones first"
    stats = look(app)
    assert (stats.workers, stats.busy, stats.handled) == (2, 1, 40)
    assert stats.service_s == pytest.approx(6 / 40)
    assert stats.utilisation == 1.0


def test_a_heartbeat_is_written_when_something_changed_and_seldom_otherwise(
    app: App, group: Group[Any], clock: FakeClock
) -> None:
    presence = Presence(group)
    asked = 0

    def states() -> list[WorkerState]:
        nonlocal asked
        asked += 1
        return [worker("work-1", since_us=0)]

    beats = set()
    for _ in range(240):  # a minute, four times a second
        clock.advance("250ms")
        presence.tick(states)
        beats |= {report.beat_us for report in hear(app.log).reports}
    assert len(beats) == 6
    assert asked < 32


def test_utilisation_is_a_share_of_the_time_that_the_workers_had(app: App, group: Group[Any], clock: FakeClock) -> None:
    presence = Presence(group)
    for second in range(2, 62, 2):
        # One worker for half a minute, then four; each works half of its time.
        count = 1 if second <= 30 else 4
        clock.advance("2s")
        busy_s = second / 2 if second <= 30 else (15 + (second - 30) * 2) / 4
        states = [worker(f"work-{n}", since_us=0, handled=second, busy_s=busy_s) for n in range(count)]
        presence.tick(lambda states=states: states)  # type: ignore[misc]
    assert look(app).utilisation == pytest.approx(0.5, abs=0.01)


def test_a_process_that_is_not_heard_of_is_forgotten(app: App, group: Group[Any], clock: FakeClock) -> None:
    presence = Presence(group)
    clock.advance("2s")
    presence.tick(lambda: [worker("work-1", since_us=0)])
    clock.advance("29s")
    assert look(app).workers == 1
    clock.advance("2s")
    assert look(app).workers == 0


def test_a_heartbeat_of_the_future_says_nothing(app: App, group: Group[Any], clock: FakeClock) -> None:
    presence = Presence(group)
    clock.advance("2s")
    presence.tick(lambda: [worker("work-1", since_us=0)])
    clock.jump(timedelta(hours=-1))
    assert look(app).workers == 0
    clock.advance("10s")
    presence.tick(lambda: [worker("work-1", since_us=0)])
    assert look(app).workers == 1


def test_a_process_that_ends_takes_its_entry_away(app: App, group: Group[Any], clock: FakeClock) -> None:
    presence, other = Presence(group), Presence(group)
    clock.advance("2s")
    for one in (presence, other):
        one.tick(lambda: [worker("work-1", since_us=0)])
    assert look(app).workers == 2
    presence.close()
    assert look(app).workers == 1


def test_a_log_that_is_closed_does_not_stop_the_work(
    app: App, group: Group[Any], clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    presence = Presence(group)
    clock.advance("2s")
    presence.tick(lambda: [worker("work-1", since_us=0)])
    app.close()
    clock.advance("20s")
    with caplog.at_level(logging.WARNING):
        presence.tick(lambda: [worker("work-1", since_us=0)])
        presence.close()
    assert caplog.records == []


def test_an_entry_is_bounded_however_many_workers_there_are(app: App, group: Group[Any], clock: FakeClock) -> None:
    presence = Presence(group)
    clock.advance("2s")
    states = [worker(f"work-{n}", since_us=n, busy=n) for n in range(1000)]
    presence.tick(lambda: states)
    (report,) = hear(app.log).reports
    assert (report.workers, report.busy, len(report.states)) == (1000, 1000, 64)
    assert report.states[0].name == "work-0", "the longest busy"


# --- rates ------------------------------------------------------------------------------------------------------------


def test_rates_are_known_at_the_first_look_from_what_workers_left(
    app: App, group: Group[Any], clock: FakeClock
) -> None:
    presence = Presence(group)
    for second in range(60):
        fill(app, 3)
        end(group, take(group, 2))
        clock.advance("1s")
        presence.tick(lambda second=second: [worker("work-1", since_us=0, handled=2 * second, busy_s=second)])  # type: ignore[misc]
    stats = look(app)
    assert stats.window_s == pytest.approx(58, abs=3)
    assert stats.arrival_per_s == pytest.approx(3, rel=0.05)
    assert stats.finished_per_s == pytest.approx(2, rel=0.05)
    assert stats.service_s == pytest.approx(0.5, rel=0.05)
    assert stats.drain_s == float("inf")
    # 60 wait: (3 a second + 60 / 60 s) x 0.5 s / 0.8
    assert stats.workers_needed == 3


def test_samples_of_several_processes_make_one_series(app: App, group: Group[Any], clock: FakeClock) -> None:
    one, other = Presence(group), Presence(group)
    for second in range(200):
        fill(app, 1)
        clock.advance("1s")
        for presence in (one, other):
            presence.tick(lambda second=second: [worker("work-1", since_us=0, handled=second)])  # type: ignore[misc]
    samples = hear(app.log).samples["jobs", "work"]
    assert len(samples) == 13
    assert all(after.at_us - before.at_us >= 2_500_000 for before, after in pairwise(samples))
    assert look(app).arrival_per_s == pytest.approx(1, rel=0.05)


def test_two_looks_are_enough_for_rates(app: App, group: Group[Any], clock: FakeClock) -> None:
    watch = QueueWatch(app.log)
    assert watch.look()[0].arrival_per_s is None
    fill(app, 10)
    clock.advance("2s")
    end(group, take(group, 4))
    (stats,) = watch.look()
    assert (stats.window_s, stats.arrival_per_s, stats.finished_per_s) == (2, 5, 2)


def test_rates_survive_a_clock_that_is_set_back(app: App, group: Group[Any], clock: FakeClock) -> None:
    watch = QueueWatch(app.log)
    presence = Presence(group)
    for _ in range(10):
        fill(app, 2)
        clock.advance("1s")
        presence.tick(lambda: [worker("work-1", since_us=0)])
        watch.look()
    clock.jump(timedelta(hours=-1))
    assert watch.look()[0].arrival_per_s is None
    for _ in range(10):
        fill(app, 2)
        clock.advance("1s")
        presence.tick(lambda: [worker("work-1", since_us=0)])
    assert watch.look()[0].arrival_per_s == pytest.approx(2, rel=0.3)


# --- real processes ---------------------------------------------------------------------------------------------------

APPLICATION = """
import time
import msgspec
from millstream import App

class Job(msgspec.Struct):
    number: int

app = App()

@app.queue(app.topic("jobs", Job), workers=2)
def work(job):
    time.sleep(0.05)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="SIGINT cannot be sent to one process there")
def test_workers_of_two_processes_are_seen_from_a_third(tmp_path: Path) -> None:
    (tmp_path / "work.py").write_text(APPLICATION)
    command = [sys.executable, "-m", "millstream", "run", "work.py"]
    with App(str(tmp_path / "millstream.db"), durability="relaxed") as app:
        app.topic("jobs", Job).extend([Job(n) for n in range(2000)])
        processes = [subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL) for _ in range(2)]
        try:
            deadline = time.monotonic() + PATIENCE_S
            workers = 0
            while workers != 4 and time.monotonic() < deadline:
                app.topic("jobs").wait(app.topic("jobs").end_offsets(), "200ms")
                workers = sum(stats.workers for stats in QueueWatch(app.log).look())
            assert workers == 4
            top = subprocess.run(
                [sys.executable, "-m", "millstream", "top", "--once", "--json"],
                cwd=tmp_path,
                capture_output=True,
                text=True,
                check=True,
            )
            (queue,) = json.loads(top.stdout)["queues"]
            assert (queue["workers"], len(queue["processes"])) == (4, 2)
            assert queue["finished_per_s"] > 0
        finally:
            for process in processes:
                process.send_signal(signal.SIGINT)
            codes = [process.wait(PATIENCE_S) for process in processes]
        assert codes == [0, 0]
        assert [stats.workers for stats in QueueWatch(app.log).look()] == [0]
