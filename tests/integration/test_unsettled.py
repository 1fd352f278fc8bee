"""Outcomes that are recorded by the fetch after their run: none is lost, none is told too late."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import timedelta

import msgspec
import pytest
from tests.waiting import until

from millstream import App, Retry
from millstream.engines.protocol import Outcome, Settlement
from millstream.log.topic import Topic
from millstream.testing import FakeClock

PATIENCE_S = 60.0

MakeApp = Callable[..., App]


class Job(msgspec.Struct):
    number: int


def fill(app: App, count: int) -> Topic[Job]:
    jobs = app.topic("jobs", Job)
    jobs.extend([Job(number) for number in range(count)])
    return jobs


def test_an_idle_worker_has_recorded_what_it_did(make_app: MakeApp) -> None:
    app = make_app()
    jobs = fill(app, 1)
    work = app.queue(jobs, name="work")(lambda job: None)
    with app.start():
        until(lambda: work.info().ledger.done == 1)
        jobs.append(Job(1))
        until(lambda: work.info().ledger.done == 2)


def test_a_worker_that_waits_for_its_turn_has_recorded_what_it_did(make_app: MakeApp) -> None:
    app = make_app()
    jobs = fill(app, 0)
    met = threading.Barrier(3)
    work = app.queue(jobs, name="work", workers=3)(lambda job: met.wait(PATIENCE_S))
    with app.start():
        for number in range(3):
            jobs.append(Job(number))
        until(lambda: work.info().ledger.done == 3)


def test_a_worker_that_is_stopped_has_recorded_what_it_did(make_app: MakeApp) -> None:
    app = make_app()
    jobs = fill(app, 100)
    begun = threading.Event()
    work = app.queue(jobs, name="work")(lambda job: begun.set())
    with app.start():
        assert begun.wait(PATIENCE_S)
    ledger = work.info().ledger
    assert ledger.leased == 0
    assert ledger.done + ledger.ready + ledger.waiting == 100


def test_an_outcome_of_another_workers_record_is_told_and_left_out(
    make_app: MakeApp, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    app = make_app(clock=clock)
    jobs = fill(app, 2)
    seen: list[int] = []

    @app.queue(jobs, retry=Retry(attempts=3))
    def work(job: Job) -> None:
        seen.append(job.number)
        if len(seen) == 1:
            # This process sleeps (a closed laptop), the lease runs out, and another one takes and does the record.
            clock.advance("11s")
            (lease,) = work.group.lease(worker="elsewhere", records_max=1, duration=timedelta(seconds=10))
            work.group.settle([Settlement(lease, lease.start, lease.end, Outcome.ACK)])

    with caplog.at_level(logging.WARNING, "millstream.queue"):
        app.run(until="now")
    assert sorted(seen) == [0, 1]
    assert "came too late" in caplog.text
    ledger = work.info().ledger
    assert (ledger.done, ledger.dead, ledger.in_progress) == (2, 0, 0)
