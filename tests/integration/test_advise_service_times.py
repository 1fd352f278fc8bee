"""How long deliveries took is known beyond the life of the workers, as often as it occurred."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable

import msgspec

from millstream import App
from millstream.engines.protocol import StateChange
from millstream.queue.events import WorkerState, WorkerStatus
from millstream.queue.presence import BEAT_US, Presence
from millstream.queue.service_times import HANDLED_MAX, KEPT, Served, ServiceTimes, served
from millstream.testing.fake_clock import FakeClock

PATIENCE_S = 30.0


def state(name: str, handled: int, last_us: int) -> WorkerState:
    return WorkerState(name, WorkerStatus.IDLE, 0, handled=handled, last_us=last_us, busy_us=handled * 1000)


def test_service_times_are_kept_by_queue_after_its_workers_have_gone(
    make_app: Callable[..., App], clock: FakeClock
) -> None:
    app = make_app(clock=clock)
    group = app.topic("jobs").group("work")
    presence = Presence(group)
    for beat in range(1, 7):
        clock.advance(BEAT_US / 1e6)
        presence.tick(lambda beat=beat: [state("a", beat, beat * 1000), state("b", 1, 77)])  # type: ignore[misc]
    # Worker b has ended one delivery, and is not counted again and again.
    presence.close()
    found = served(app.log, "jobs", "work")
    assert sorted(found.times_us) == [77, 1000, 2000, 3000, 4000, 5000, 6000]
    assert (found.handled, found.busy_us, found.mean_s) == (7, 7000, 0.001)
    assert served(app.log, "jobs", "other") == Served([])
    clock.advance(31 * 86_400)
    assert served(app.log, "jobs", "work") == Served([])


def test_a_log_without_workers_has_no_service_times(make_app: Callable[..., App]) -> None:
    assert served(make_app().log, "jobs", "work") == Served([])


def kept(change: StateChange) -> Served:
    assert change.value is not None
    return msgspec.msgpack.decode(change.value, type=Served)


def test_only_the_newest_are_kept() -> None:
    times = ServiceTimes()
    for handled in range(1, KEPT + 11):
        times.look([state("a", handled, handled)])
    change = times.change(b"k", None, 0)
    assert kept(change).times_us == list(range(11, KEPT + 11))
    times.look([state("a", KEPT + 11, 5)])
    assert kept(times.change(b"k", change.value, 0)).times_us == [*range(12, KEPT + 11), 5]
    assert not times


def test_the_mean_is_that_of_all_deliveries_and_forgets_old_ones() -> None:
    times = ServiceTimes()
    times.look([state("a", 10, 3000)])
    change = times.change(b"k", None, 0)
    assert kept(change) == Served([3000], 10, 10_000)
    assert kept(change).times_s == [0.001]  # one that was long does not stand for ten
    times.look([state("a", 10 + HANDLED_MAX, 500)])
    change = times.change(b"k", change.value, 0)
    times.look([state("a", 20 + HANDLED_MAX, 500)])
    again = kept(times.change(b"k", change.value, 0))
    assert again.handled == (HANDLED_MAX + 10) // 2 + 10
    assert again.mean_s == 0.001


def test_short_and_long_ones_are_found_as_often_as_they_occur() -> None:
    """Looking every 2 s at work of which one in five takes 10 s, and the others 0.5 s."""
    draw, times, found = random.Random(5), ServiceTimes(), []
    now, handled, last, look_at = 0.0, 0, 0, 2.0
    for _ in range(40_000):
        service = 10.0 if draw.random() < 0.2 else 0.5
        ends = now + draw.expovariate(0.5) + service
        while look_at < ends:
            times.look([state("a", handled, last)])
            if times:
                found += kept(times.change(b"k", None, 0)).times_us
            look_at += 2.0
        now, handled, last = ends, handled + 1, int(service * 1e6)
    share = sum(value == 10_000_000 for value in found) / len(found)
    assert len(found) > 10_000
    assert abs(share - 0.2) < 0.02


def test_a_running_queue_tells_what_its_deliveries_take(make_app: Callable[..., App]) -> None:
    app = make_app()
    jobs = app.topic("jobs", dict)

    @app.queue(jobs, workers=2, name="nap")
    def nap(job: dict[str, float]) -> None:
        time.sleep(job["s"])

    jobs.extend([{"s": 0.02}] * 20)
    done = threading.Event()
    with app.start():
        until = time.monotonic() + PATIENCE_S
        while not served(app.log, "jobs", "nap").times_us:
            assert time.monotonic() < until
            jobs.append({"s": 0.02})
            done.wait(0.05)
    found = served(app.log, "jobs", "nap")
    assert min(found.times_us) >= 15_000
    assert found.mean_s is not None
    assert found.mean_s >= 0.015
