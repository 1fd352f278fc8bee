"""Workers between a minimum and a maximum: decisions, and a simulated queue under them."""

from __future__ import annotations

import random
from itertools import pairwise
from typing import NamedTuple

import pytest

from millstream.engines.protocol import GroupInfo, Ledger
from millstream.errors import SettingsError, UsageError
from millstream.queue.autoscale import Load, Memory, Scaler, Scaling, backlog, decide
from millstream.queue.presence import Heard, ProcessReport

SECOND_US = 1_000_000


def load(
    second: float, *, workers: int, accepted: int = 0, backlog: int = 0, handled: int = 0, busy_s: float = 0
) -> Load:
    return Load(
        at_us=round(second * SECOND_US),
        workers=workers,
        accepted=accepted,
        backlog=backlog,
        handled=handled,
        busy_us=round(busy_s * SECOND_US),
    )


# --- single decisions -------------------------------------------------------------------------------------------------


def test_more_work_means_more_workers_at_most_twice_as_many_at_once() -> None:
    scaling = Scaling(1, 16)
    _, memory = decide(scaling, Memory(), load(0, workers=2))
    decision, memory = decide(scaling, memory, load(5, workers=2, accepted=100, backlog=90, handled=10, busy_s=10))
    # 20 arrive a second and take a second each: far more than 16 workers.
    assert decision.workers == 4
    assert "20 arrive a second" in decision.reason
    decision, memory = decide(scaling, memory, load(5.5, workers=4, accepted=110, backlog=98, handled=12, busy_s=12))
    assert decision.workers == 4, "the last step has not shown its effect yet"
    decision, _ = decide(scaling, memory, load(6.5, workers=4, accepted=130, backlog=110, handled=20, busy_s=16))
    assert decision.workers == 8


def test_the_maximum_and_the_minimum_hold() -> None:
    scaling = Scaling(2, 3)
    _, memory = decide(scaling, Memory(), load(0, workers=2))
    decision, _ = decide(scaling, memory, load(5, workers=2, accepted=10_000, backlog=9_990, handled=10, busy_s=10))
    assert decision.workers == 3
    decision, _ = decide(scaling, Memory(), load(0, workers=9))
    assert decision.workers == 3
    decision, _ = decide(scaling, Memory(), load(0, workers=1))
    assert decision.workers == 2


def test_fewer_workers_only_after_fewer_were_enough_for_a_while() -> None:
    scaling = Scaling(1, 8, down_after="60s")
    memory = Memory(service_s=1.0)
    counts = []
    for second in range(70):
        decision, memory = decide(scaling, memory, load(second, workers=8))
        counts.append(decision.workers)
    assert counts[:60] == [8] * 60
    assert counts[61] == 1


def test_a_burst_within_the_while_keeps_the_workers_that_it_needs() -> None:
    scaling = Scaling(1, 8, down_after="60s", drain="10s")
    memory = Memory(service_s=1.0)
    for second in range(120):
        backlog = 32 if second == 50 else 0  # 32 s of work within 10 s, at 80%: 4 workers
        decision, memory = decide(scaling, memory, load(second, workers=8, backlog=backlog))
        if decision.workers < 8:
            break
    assert (second, decision.workers) == (60, 4)


def test_unknown_work_gets_one_worker_more_and_no_formula() -> None:
    decision, _ = decide(Scaling(1, 8), Memory(), load(0, workers=1, backlog=1000))
    assert decision.workers == 2
    assert "not known yet" in decision.reason


def test_records_longer_than_the_window_still_ask_for_workers() -> None:
    scaling, memory = Scaling(1, 8), Memory()
    workers = 1
    for second in range(30):
        # One record is at work all the time and none ends.
        state = load(second, workers=workers, accepted=20, backlog=19, busy_s=second * workers)
        decision, memory = decide(scaling, memory, state)
        workers = decision.workers
    assert workers == 8


def test_two_processes_share_what_is_needed() -> None:
    scaling = Scaling(1, 8, drain="10s")
    both = Load(at_us=0, workers=1, accepted=0, backlog=64, handled=0, busy_us=0, processes=2)
    alone = Load(at_us=0, workers=1, accepted=0, backlog=64, handled=0, busy_us=0, processes=1)
    memory = Memory(service_s=1.0)
    counted = []
    for one in (both, alone):
        remembered, workers = memory, 1
        for second in range(10):
            state = Load(second * SECOND_US, workers, 0, one.backlog, 0, 0, one.processes)
            decision, remembered = decide(scaling, remembered, state)
            workers = decision.workers
        counted.append(workers)
    assert counted == [4, 8]


def test_a_process_that_is_not_heard_of_for_a_moment_still_has_its_part() -> None:
    scaling, memory, workers = Scaling(1, 8, drain="10s"), Memory(service_s=1.0), 1
    for second in range(10):
        heard = 1 if second in (4, 5) else 2
        state = Load(second * SECOND_US, workers, 0, 64, 0, 0, heard)
        decision, memory = decide(scaling, memory, state)
        workers = decision.workers
    assert workers == 4


# --- what a decision is about -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("next_due_s", "expected"),
    [(None, 5), (10.0, 5), (0.0, 5), (-0.5, 5), (-1.0, 12), (-1000.0, 12)],
)
def test_what_was_given_back_is_backlog_when_it_is_overdue(next_due_s: float | None, expected: int) -> None:
    now_us = 1_700_000_000 * SECOND_US
    info = GroupInfo(
        topic="t",
        group="g",
        committed={0: 0},
        next_offsets={0: 0},
        end_offsets={0: 15},
        ledger=Ledger(accepted=15, done=0, dead=0, expired=0, ready=5, leased=3, waiting=7),
        next_due_us=None if next_due_s is None else now_us + round(next_due_s * SECOND_US),
    )
    assert backlog(info, now_us) == expected


def report(pid: int, *, scaled_by: str = "", workers: int = 1, group: str = "g") -> ProcessReport:
    return ProcessReport("t", group, "host", pid, 0, 0, workers, 0, 0, 0, 0, 0, 0, 0, (), scaled_by)


def test_processes_that_share_a_queue_are_those_that_decide_on_its_workers() -> None:
    heard = Heard(
        (
            report(1, scaled_by="host:1:aa"),
            report(2, scaled_by="host:2:bb"),
            report(3, scaled_by="host:9"),  # two worker processes of one supervisor
            report(4, scaled_by="host:9"),
            report(5, workers=0),  # has stopped
            report(6, group="another"),
        ),
        {},
    )
    assert heard.sharing("t", "g") == 3
    assert heard.sharing("t", "nobody yet") == 1


def test_what_is_remembered_is_bounded() -> None:
    scaler, memory = Scaling(1, 8, down_after="60s"), Memory()
    for tick in range(10_000):
        _, memory = decide(scaler, memory, load(tick, workers=1))
    assert len(memory.loads) <= 12
    assert len(memory.wanted) <= 63


@pytest.mark.parametrize("bounds", [(0, 1), (2, 1), (-1, 4)])
def test_bounds_that_make_no_sense_are_refused(bounds: tuple[int, int]) -> None:
    with pytest.raises(SettingsError, match=r"workers=\("):
        Scaling(*bounds)


def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(SettingsError):
        Scaling(1, 2, utilisation=0)
    with pytest.raises(SettingsError):
        Scaling(1, 2, drain=0)
    with pytest.raises(UsageError):
        Scaling(1, 2, down_after="soon")


# --- a simulated queue ------------------------------------------------------------------------------------------------


class Simulated(NamedTuple):
    workers: list[int]
    """At each second."""
    backlog: list[int]

    @property
    def changes(self) -> int:
        return sum(before != after for before, after in pairwise(self.workers))


def simulate(arrivals: list[float], *, service_s: float, scaling: Scaling, seed: int) -> Simulated:
    """Let records arrive at random at the given rate of each second, and workers come and go as decided."""
    draw = random.Random(seed)
    scaler = Scaler(scaling)
    workers, waiting, accepted, handled, busy_us = scaling.minimum, 0, 0, 0, 0
    left_us: list[int] = []
    counts, backlogs = [], []
    steps = 20  # a second
    for second, rate in enumerate(arrivals):
        for _ in range(steps):
            came = sum(draw.random() < rate / steps / 10 for _ in range(10))
            accepted, waiting = accepted + came, waiting + came
            while waiting and len(left_us) < workers:
                waiting -= 1
                left_us.append(round(draw.expovariate(1 / service_s) * SECOND_US))
            step_us = SECOND_US // steps
            busy_us += sum(min(left, step_us) for left in left_us)
            ended = sum(left <= step_us for left in left_us)
            handled += ended
            left_us = [left - step_us for left in left_us if left > step_us]
        workers = scaler.decide(Load((second + 1) * SECOND_US, workers, accepted, waiting, handled, busy_us)).workers
        counts.append(workers)
        backlogs.append(waiting)
    return Simulated(counts, backlogs)


@pytest.mark.parametrize("seed", range(5))
def test_a_steady_load_settles_and_does_not_flap(seed: int) -> None:
    done = simulate([20.0] * 600, service_s=0.2, scaling=Scaling(1, 16), seed=seed)
    # 4 busy workers, at 80%: 5; more in the beginning for what had piled up, and with chance.
    assert all(5 <= count <= 9 for count in done.workers[200:]), done.workers
    changes = sum(before != after for before, after in pairwise(done.workers[200:]))
    assert changes <= 12, f"{changes} changes in 400 s: {done.workers}"
    assert max(done.backlog[200:]) < 60


@pytest.mark.parametrize("seed", range(5))
def test_a_burst_is_followed_up_quickly_and_given_up_slowly(seed: int) -> None:
    arrivals = [2.0] * 120 + [60.0] * 60 + [2.0] * 300
    done = simulate(arrivals, service_s=0.2, scaling=Scaling(1, 16, drain="20s"), seed=seed)
    assert max(done.workers[:120]) <= 3
    assert max(done.workers[120:140]) >= 12, "within 20 s of the burst's beginning"
    assert done.backlog[200] == 0 or done.backlog[200] < 10, "drained soon after its end"
    assert done.workers[-1] <= 3
    ups = sum(after > before for before, after in pairwise(done.workers[120:200]))
    downs = sum(after < before for before, after in pairwise(done.workers[120:200]))
    assert downs <= 1, f"{ups} steps up and {downs} down within the burst: {done.workers[120:200]}"


@pytest.mark.parametrize("seed", range(3))
def test_bursts_that_come_back_within_the_while_keep_their_workers(seed: int) -> None:
    arrivals = ([40.0] * 10 + [0.0] * 20) * 20
    done = simulate(arrivals, service_s=0.2, scaling=Scaling(1, 16, down_after="60s"), seed=seed)
    later = done.workers[120:]
    assert min(later) >= 4, later
    assert sum(before != after for before, after in pairwise(later)) <= 16, later


def test_an_idle_queue_ends_at_its_minimum() -> None:
    done = simulate([30.0] * 60 + [0.0] * 200, service_s=0.2, scaling=Scaling(2, 16), seed=1)
    assert done.workers[-1] == 2
