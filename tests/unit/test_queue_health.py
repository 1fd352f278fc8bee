"""The stall watchdog: work that is due, and nothing moves."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from millstream.queue.events import WorkerState, WorkerStatus
from millstream.queue.health import Watchdog
from millstream.queue.presence import ProcessReport, Sample
from millstream.queue.stats import QueueStats, rates_over
from millstream.records import Position
from millstream.testing.fake_clock import FakeClock

SECOND_US = 1_000_000


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def watchdog(clock: FakeClock) -> Watchdog:
    return Watchdog(clock, stall="10m")


def queue(clock: FakeClock, **changes: Any) -> QueueStats:
    given: dict[str, Any] = {
        "topic": "mails",
        "group": "send",
        "at_us": clock.now_us(),
        "paused": False,
        "ready": 5,
        "leased": 0,
        "waiting": 0,
        "done": 0,
        "dead": 0,
        "expired": 0,
        "due": True,
        "next_due_us": None,
        "dead_letters": 0,
        "oldest": (0, 57),
        "oldest_age_s": 900.0,
        "window_s": None,
        "arrival_per_s": None,
        "finished_per_s": None,
        "service_s": None,
        "utilisation": None,
        "drain_s": None,
        "workers": 0,
        "busy": 0,
        "workers_needed": None,
        "processes": (),
    }
    return QueueStats(**{**given, **changes})


def report(clock: FakeClock, *states: WorkerState, handled: int = 0) -> ProcessReport:
    return ProcessReport(
        topic="mails",
        group="send",
        host="machine",
        pid=123,
        started_us=clock.now_us(),
        beat_us=clock.now_us(),
        workers=len(states),
        busy=sum(state.state is WorkerStatus.BUSY for state in states),
        handled=handled,
        failed=0,
        busy_us=0,
        recent_us=0,
        recent_handled=0,
        recent_busy_us=0,
        states=states,
    )


def test_work_without_progress_is_a_stall_after_the_time(clock: FakeClock, watchdog: Watchdog) -> None:
    assert watchdog.look([queue(clock)]) == []
    clock.advance("9m59s")
    assert watchdog.look([queue(clock)]) == []
    clock.advance("1s")
    (stall,) = watchdog.look([queue(clock)])
    assert (stall.topic, stall.group, stall.for_s) == ("mails", "send", 600)
    assert (stall.partition, stall.offset) == (0, 57)
    assert "no worker of it is alive" in stall.message


def test_a_stall_names_the_record_and_the_worker(clock: FakeClock, watchdog: Watchdog) -> None:
    busy_since = clock.now_us()
    states = (
        WorkerState("send-1", WorkerStatus.IDLE, busy_since),
        WorkerState("send-2", WorkerStatus.BUSY, busy_since, Position(0, 60), 2),
        WorkerState("send-3", WorkerStatus.BUSY, busy_since + SECOND_US, Position(0, 61), 1),
    )
    watchdog.look([queue(clock, leased=2, processes=(report(clock, *states),), workers=3)])
    clock.advance("12m")
    (stall,) = watchdog.look([queue(clock, leased=2, processes=(report(clock, *states),), workers=3)])
    assert (stall.partition, stall.offset, stall.worker, stall.process) == (0, 60, "send-2", "machine:123")
    assert (stall.attempt, stall.busy_s) == (2, 720)
    assert stall.message == (
        "queue send of topic mails: nothing has moved for 12 min, with 5 ready, 2 leased, 0 waiting; worker send-2 "
        "(machine:123) has been at record mails/0:60 for 12 min, attempt 2"
    )


def test_workers_that_are_alive_and_idle_beside_work_are_named_so(clock: FakeClock, watchdog: Watchdog) -> None:
    alive = report(clock, WorkerState("send-1", WorkerStatus.IDLE, 0))
    watchdog.look([queue(clock, processes=(alive,), workers=1)])
    clock.advance("10m")
    (stall,) = watchdog.look([queue(clock, processes=(alive,), workers=1)])
    assert "1 workers are alive and idle" in stall.message


@pytest.mark.parametrize("progress", [{"done": 1}, {"dead": 1}, {"expired": 1}])
def test_a_record_that_ends_is_progress(clock: FakeClock, watchdog: Watchdog, progress: dict[str, int]) -> None:
    watchdog.look([queue(clock)])
    clock.advance("9m")
    assert watchdog.look([queue(clock, **progress)]) == []
    clock.advance("9m")
    assert watchdog.look([queue(clock, **progress)]) == []
    clock.advance("1m")
    assert len(watchdog.look([queue(clock, **progress)])) == 1


def test_a_delivery_that_ends_is_progress_even_if_it_failed(clock: FakeClock, watchdog: Watchdog) -> None:
    state = WorkerState("send-1", WorkerStatus.IDLE, 0)
    watchdog.look([queue(clock, processes=(report(clock, state, handled=7),))])
    clock.advance("9m")
    assert watchdog.look([queue(clock, processes=(report(clock, state, handled=8),))]) == []
    clock.advance("9m")
    assert watchdog.look([queue(clock, processes=(report(clock, state, handled=8),))]) == []


def test_a_worker_that_dies_and_is_started_again_is_no_progress(clock: FakeClock, watchdog: Watchdog) -> None:
    state = WorkerState("send-1", WorkerStatus.IDLE, 0)
    watchdog.look([queue(clock, processes=(report(clock, state, handled=7),))])
    for _ in range(10):
        clock.advance("30s")
        assert watchdog.look([queue(clock)]) == []
        clock.advance("30s")
        stalls = watchdog.look([queue(clock, processes=(report(clock, state),))])
    assert len(stalls) == 1


@pytest.mark.parametrize("excuse", [{"paused": True}, {"due": False}])
def test_a_queue_that_is_not_meant_to_move_is_no_stall(
    clock: FakeClock, watchdog: Watchdog, excuse: dict[str, bool]
) -> None:
    for _ in range(5):
        assert watchdog.look([queue(clock, **excuse)]) == []
        clock.advance("10m")
    # The time before it was resumed does not count.
    assert watchdog.look([queue(clock, **excuse)]) == []
    clock.advance("9m")
    assert watchdog.look([queue(clock)]) == []


def test_each_queue_has_a_watch_of_its_own(clock: FakeClock, watchdog: Watchdog) -> None:
    watchdog.look([queue(clock), queue(clock, group="other")])
    clock.advance("10m")
    stalls = watchdog.look([queue(clock), queue(clock, group="other", done=1)])
    assert [stall.group for stall in stalls] == ["send"]


# --- rates ------------------------------------------------------------------------------------------------------------


def samples(*counters: tuple[float, int, int]) -> list[Sample]:
    return [Sample(round(second * SECOND_US), accepted, finished) for second, accepted, finished in counters]


def test_rates_are_differences_over_the_window() -> None:
    known = samples((0, 0, 0), (100, 1000, 500), (130, 1300, 800))
    now = Sample(150 * SECOND_US, 1600, 1000)
    assert rates_over(known, now) == (50.0, 12.0, 10.0)


def test_the_newest_sample_before_the_window_counts_where_none_is_in_it() -> None:
    known = samples((0, 0, 0), (10, 100, 100))
    assert rates_over(known, Sample(110 * SECOND_US, 300, 200)) == (100.0, 2.0, 1.0)


@pytest.mark.parametrize(
    "known",
    [
        samples(),
        samples((99.9, 10, 10)),  # too short ago
        samples((200, 10, 10)),  # the clock was set back
        samples((50, 10_000, 10)),  # the group was made anew
    ],
)
def test_rates_are_not_known_without_a_sample_that_says_something(known: list[Sample]) -> None:
    assert rates_over(known, Sample(100 * SECOND_US, 20, 20)) is None


def test_stats_are_json_with_null_for_what_never_ends(clock: FakeClock) -> None:
    shown = msgspec.json.decode(msgspec.json.encode(queue(clock, drain_s=float("inf"), leased=2).to_object()))
    assert shown["drain_s"] is None
    assert shown["unsettled"] == 7
    assert shown["at"] == "2023-11-14T22:13:20+00:00"
