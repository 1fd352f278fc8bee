"""What a queue promises, on every engine of one process."""

from __future__ import annotations

import asyncio
import json
import logging
import queue
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import msgspec
import pytest

from millstream.app import App
from millstream.engines.protocol import GroupInfo, Outcome, Settlement
from millstream.errors import Reject, RetryLater, UsageError
from millstream.log.topic import Topic
from millstream.queue import DeadLetter, QueueEvent, QueueReader, Retry
from millstream.records import Position, Record, time_from_us
from millstream.testing.fake_clock import FakeClock

PATIENCE_S = 60.0
"""How long a test waits for what must happen; a test that passes does not use it up."""

MakeApp = Callable[..., App]


class Job(msgspec.Struct, frozen=True):
    number: int
    word: str = ""


def fill(app: App, count: int) -> Topic[Job]:
    jobs = app.topic("jobs", Job)
    jobs.extend([Job(n, f"w{n}") for n in range(count)])
    return jobs


def dead_letters(app: App) -> list[DeadLetter]:
    return [record.value for record in app.topic("jobs.dead", DeadLetter).read(records_max=1000)]


def numbers(info: GroupInfo) -> dict[str, int]:
    ledger = info.ledger
    assert ledger.balanced
    shown = {"done": ledger.done, "dead": ledger.dead, "ready": ledger.ready, "leased": ledger.leased}
    return {name: count for name, count in {**shown, "waiting": ledger.waiting}.items() if count}


def work_until(reader: QueueReader, enough: threading.Event) -> None:
    """Run a queue in the background until something happened."""
    stop = threading.Event()
    thread = threading.Thread(target=reader.run, args=(stop,))
    thread.start()
    try:
        assert enough.wait(PATIENCE_S)
    finally:
        stop.set()
        thread.join(PATIENCE_S)
    assert not thread.is_alive()


# --- delivery ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 4])
def test_every_record_goes_to_one_worker(app: App, workers: int) -> None:
    jobs = fill(app, 500)
    seen: list[Job] = []

    @app.queue(jobs, workers=workers)
    def work(job: Job) -> None:
        seen.append(job)

    app.run(until="now")
    assert Counter(seen) == Counter(Job(n, f"w{n}") for n in range(500))
    assert numbers(work.info()) == {"done": 500}


def test_one_worker_handles_records_oldest_first(app: App) -> None:
    jobs = fill(app, 100)
    seen: list[int] = []

    @app.queue(jobs)
    def work(job: Job) -> None:
        seen.append(job.number)

    app.run(until="now")
    assert seen == list(range(100))


def test_a_new_record_wakes_a_waiting_worker(app: App) -> None:
    jobs = fill(app, 0)
    seen: queue.Queue[int] = queue.Queue()

    @app.queue(jobs, workers=2)
    def work(job: Job) -> None:
        seen.put(job.number)

    with app.start():
        for number in range(5):
            jobs.append(Job(number))
            assert seen.get(timeout=PATIENCE_S) == number


def test_every_queue_of_a_topic_sees_every_record(app: App) -> None:
    jobs = fill(app, 10)
    seen: list[str] = []
    app.queue(jobs, name="first")(lambda job: seen.append(f"first {job.number}"))
    app.queue(jobs, name="second")(lambda job: seen.append(f"second {job.number}"))
    app.run(until="now")
    assert sorted(seen) == sorted(f"{name} {n}" for name in ("first", "second") for n in range(10))


def test_a_handler_may_take_the_record_too(app: App) -> None:
    jobs = app.topic("jobs", Job)
    jobs.append(Job(1), key="k", headers={"trace": b"t"})
    seen: list[tuple[Job, bytes | None, Any, Position]] = []

    @app.queue(jobs)
    def work(job: Job, record: Record[Job]) -> None:
        seen.append((job, record.key, dict(record.headers), record.position))

    app.run(until="now")
    assert seen == [(Job(1), b"k", {"trace": b"t"}, Position(0, 0))]


def test_raw_topics_are_queues_too(app: App) -> None:
    raw = app.topic("raw")
    raw.append(b"\x00anything")
    seen: list[bytes] = []
    app.queue(raw, name="work")(seen.append)
    app.run(until="now")
    assert seen == [b"\x00anything"]


def test_async_handlers_run_at_the_same_time_on_one_loop(app: App) -> None:
    jobs = fill(app, 4)
    loops: list[asyncio.AbstractEventLoop] = []
    met: list[int] = []
    everybody = asyncio.Barrier(4)

    @app.queue(jobs, workers=4)
    async def work(job: Job) -> None:
        loops.append(asyncio.get_running_loop())
        async with asyncio.timeout(PATIENCE_S):
            await everybody.wait()
        met.append(job.number)

    app.run(until="now")
    assert sorted(met) == [0, 1, 2, 3]
    assert len(set(map(id, loops))) == 1


def test_a_declared_handler_is_still_a_plain_function(app: App) -> None:
    jobs = fill(app, 0)

    @app.queue(jobs)
    def work(job: Job) -> str:
        """Do it."""
        return f"did {job.number}"

    assert work(Job(3)) == "did 3"
    assert work.name == "work"
    assert work.__doc__ == "Do it."


# --- retries and dead letters -----------------------------------------------------------------------------------------


def test_a_failing_record_is_retried_with_growing_delays_then_set_aside(make_app: MakeApp, clock: FakeClock) -> None:
    app = make_app(clock=clock)
    jobs = fill(app, 1)
    attempts: list[int] = []

    @app.queue(jobs, retry=Retry(attempts=3, delay="10s", factor=3, jitter=0))
    def work(job: Job) -> None:
        attempts.append(clock.now_us())
        raise ValueError(f"no {job.word}")

    begun_us = clock.now_us()
    for advance in ("0s", "9s", "1s", "29s", "1s", "1h"):
        clock.advance(advance)
        app.run(until="now")
    assert [(us - begun_us) // 1_000_000 for us in attempts] == [0, 10, 40]
    assert numbers(work.info()) == {"dead": 1}
    (letter,) = dead_letters(app)
    assert (letter.error_type, letter.message, letter.attempts) == ("ValueError", "no w0", 3)


def test_a_dead_letter_tells_everything(make_app: MakeApp, clock: FakeClock) -> None:
    app = make_app(clock=clock)
    jobs = app.topic("jobs", Job)
    jobs.append(Job(0))
    jobs.append(Job(7, "seven"), key=b"k\xff", headers={"trace": b"abc"})

    @app.queue(jobs, retry=Retry(attempts=1))
    def work(job: Job) -> None:
        if job.number == 7:
            raise KeyError("seven")

    app.run(until="now")
    (record,) = app.topic("jobs.dead", DeadLetter).read()
    letter = record.value
    assert (letter.topic, letter.partition, letter.offset, letter.group) == ("jobs", 0, 1, "work")
    assert letter.key == b"k\xff"
    assert msgspec.json.decode(letter.value, type=Job) == Job(7, "seven")
    assert letter.value_coding == "json"
    assert (letter.error_type, letter.message) == ("KeyError", "'seven'")
    assert 'raise KeyError("seven")' in letter.traceback
    assert letter.worker == "work-1"
    assert letter.failed_at == time_from_us(clock.now_us())
    assert record.key == b"k\xff"
    assert dict(record.headers) == {"trace": b"abc"}


def test_a_rejected_record_is_set_aside_at_once(app: App) -> None:
    jobs = fill(app, 3)
    calls: list[int] = []

    @app.queue(jobs, retry=Retry(attempts=5))
    def work(job: Job) -> None:
        calls.append(job.number)
        if job.number == 1:
            raise Reject("no such user")

    app.run(until="now")
    assert calls == [0, 1, 2]
    assert numbers(work.info()) == {"done": 2, "dead": 1}
    assert [(letter.offset, letter.message) for letter in dead_letters(app)] == [(1, "no such user")]


def test_retry_later_waits_as_long_as_it_says(make_app: MakeApp, clock: FakeClock) -> None:
    app = make_app(clock=clock)
    jobs = fill(app, 1)
    attempts: list[int] = []

    @app.queue(jobs)
    def work(job: Job, record: Record[Job]) -> None:
        attempts.append(1)
        if len(attempts) == 1:
            raise RetryLater("1h", "the other side is closed")

    app.run(until="now")
    assert numbers(work.info()) == {"waiting": 1}
    clock.advance("59m")
    app.run(until="now")
    assert len(attempts) == 1
    clock.advance("1m")
    app.run(until="now")
    assert numbers(work.info()) == {"done": 1}


def test_a_failing_record_does_not_hold_up_the_others(app: App) -> None:
    jobs = fill(app, 200)
    seen: list[int] = []

    @app.queue(jobs, retry=Retry(delay="1h"))
    def work(job: Job) -> None:
        if job.number % 10 == 0:
            raise ValueError
        seen.append(job.number)

    app.run(until="now")
    assert seen == [n for n in range(200) if n % 10]
    assert numbers(work.info()) == {"done": 180, "waiting": 20}


class StrictJob(msgspec.Struct, frozen=True):
    number: Annotated[int, msgspec.Meta(ge=0)]
    word: str = ""


def test_a_record_that_cannot_be_decoded_is_set_aside_and_the_others_go_on(app: App) -> None:
    app.topic("jobs", Job).extend([Job(0), Job(-5, "five"), Job(3)])
    jobs = app.topic("jobs", StrictJob)
    seen: list[int] = []

    @app.queue(jobs)
    def work(job: StrictJob) -> None:
        seen.append(job.number)

    app.run(until="now")
    assert seen == [0, 3]
    assert numbers(work.info()) == {"done": 2, "dead": 1}
    (letter,) = dead_letters(app)
    assert (letter.offset, letter.attempts) == (1, 1)
    assert letter.value_coding == "raw"
    assert msgspec.msgpack.decode(letter.value) == {"number": -5, "word": "five"}
    assert "number" in letter.message


def test_a_value_too_large_for_a_dead_letter_stays_in_its_topic(app: App) -> None:
    raw = app.topic("jobs")
    raw.append(b"x" * 9_000_000)

    @app.queue(raw, retry=Retry(attempts=1))
    def work(value: bytes) -> None:
        raise ValueError

    app.run(until="now")
    (letter,) = dead_letters(app)
    assert (letter.value, letter.value_coding, letter.offset) == (b"", "omitted", 0)


def test_a_handler_that_exits_does_not_end_its_worker(app: App) -> None:
    jobs = fill(app, 3)
    seen: list[int] = []

    @app.queue(jobs, retry=Retry(attempts=1))
    def work(job: Job) -> None:
        seen.append(job.number)
        if job.number == 0:
            sys.exit("enough")

    app.run(until="now")
    assert seen == [0, 1, 2]
    assert [letter.error_type for letter in dead_letters(app)] == ["SystemExit"]


class Unspeakable(Exception):  # noqa: N818
    def __str__(self) -> str:
        raise RuntimeError("no words")


def raising(error: Exception) -> Callable[[], Any]:
    def fail() -> None:
        raise error

    return fail


async def forgotten() -> None: ...


@pytest.mark.parametrize(
    ("fail", "error_type", "message"),
    [
        (raising(Unspeakable()), "Unspeakable", "(its message cannot be shown)"),
        (raising(OSError("no file \udcff")), "OSError", "no file \\udcff"),
        (raising(ValueError("x" * 10_000_000)), "ValueError", "xxx"),
        (raising(RetryLater("soon")), "RetryLater", "soon"),
        (forgotten, "TypeError", "async def"),
    ],
)
def test_no_way_of_failing_stops_a_queue(app: App, fail: Callable[[], Any], error_type: str, message: str) -> None:
    jobs = fill(app, 2)

    @app.queue(jobs, retry=Retry(attempts=2, delay=0))
    def work(job: Job) -> Any:
        return fail() if job.number == 0 else None

    app.run(until="now")
    assert numbers(work.info()) == {"done": 1, "dead": 1}
    (letter,) = dead_letters(app)
    assert letter.error_type.endswith(error_type)
    assert message in letter.message
    assert letter.attempts == 2


# --- crashes ----------------------------------------------------------------------------------------------------------


def test_records_of_a_worker_that_died_are_delivered_again(make_app: MakeApp, clock: FakeClock) -> None:
    app = make_app(clock=clock)
    jobs = fill(app, 3)
    attempts: list[tuple[int, int]] = []
    work = app.queue(jobs, name="work")(lambda job: None)
    work.observe(
        lambda event: attempts.append((event.position.offset, event.attempt)) if event.kind == "taken" else None
    )
    # Another process takes two records and is never heard of again.
    work.group.lease(worker="elsewhere", records_max=2, duration=timedelta(seconds=10))
    app.run(until="now")
    assert attempts == [(2, 1)]
    clock.advance("11s")
    app.run(until="now")
    assert attempts == [(2, 1), (0, 2), (1, 1)]
    assert numbers(work.info()) == {"done": 3}


def test_a_record_that_kills_its_workers_ends_in_the_dead_letters(make_app: MakeApp, clock: FakeClock) -> None:
    app = make_app(clock=clock)
    jobs = fill(app, 2)
    seen: list[int] = []

    @app.queue(jobs, retry=Retry(attempts=3))
    def work(job: Job) -> None:
        seen.append(job.number)

    for _ in range(3):
        (lease,) = work.group.lease(worker="doomed", records_max=1, duration=timedelta(seconds=10))
        assert lease.start == 0
        clock.advance("11s")
    app.run(until="now")
    assert seen == [1]
    (letter,) = dead_letters(app)
    assert (letter.offset, letter.error_type) == (0, "WorkerDied")


def test_an_outcome_that_comes_too_late_leaves_no_dead_letter(make_app: MakeApp, clock: FakeClock) -> None:
    app = make_app(clock=clock)
    jobs = fill(app, 1)
    events: list[str] = []

    @app.queue(jobs, retry=Retry(attempts=1))
    def work(job: Job) -> None:
        # This process sleeps (a closed laptop), the lease runs out, and another one takes and does the record.
        clock.advance("11s")
        (lease,) = work.group.lease(worker="elsewhere", records_max=1, duration=timedelta(seconds=10))
        work.group.settle([Settlement(lease, 0, 1, Outcome.ACK)])
        raise ValueError

    work.observe(lambda event: events.append(event.kind))
    app.run(until="now")
    assert events == ["taken", "lost"]
    assert numbers(work.info()) == {"done": 1}
    assert dead_letters(app) == []


DOOMED = """
import os, sys, threading
from datetime import timedelta
from millstream import App, QueueReader

app = App(sys.argv[1])

def work(job):
    if job["number"] == 1:
        print("killed by", job["number"], flush=True)
        os.kill(os.getpid(), 9)

QueueReader(app.topic("jobs"), work, name="work", lease=timedelta(seconds=1)).run(threading.Event())
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_records_of_a_killed_process_are_handled_by_another(tmp_path: Path) -> None:
    path = str(tmp_path / "log.db")
    with App(path, durability="relaxed") as app:
        jobs = fill(app, 5)
        done: list[int] = []
        finished = threading.Event()

        def work(job: Job) -> None:
            done.append(job.number)
            if set(done) == {1, 2, 3, 4}:
                finished.set()

        attempts: list[QueueEvent] = []
        reader = QueueReader(jobs, work, name="work")
        killed = subprocess.run([sys.executable, "-c", DOOMED, path], capture_output=True, text=True, timeout=60)
        assert (killed.returncode, killed.stdout) == (-signal.SIGKILL, "killed by 1\n")
        reader.observe(attempts.append)
        work_until(reader, finished)
        first = {e.position.offset: e.attempt for e in attempts if e.kind == "taken"}
        assert first[1] == 2
        assert numbers(reader.info()) == {"done": 5}


COMPETING = """
import sys
from millstream import App

app = App(sys.argv[1])
seen = []
app.queue("jobs", name="work", workers=2)(lambda job: seen.append(job["number"]))
app.run(until="now")
print(seen)
"""


def test_processes_share_a_queue(tmp_path: Path) -> None:
    path = str(tmp_path / "log.db")
    with App(path, durability="relaxed") as app:
        jobs = fill(app, 3000)
        command = [sys.executable, "-c", COMPETING, path]
        others = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
        seen: list[int] = []
        work = app.queue(jobs, workers=2, name="work")(lambda job: seen.append(job.number))
        app.run(until="now")
        for process in others:
            out, _ = process.communicate(timeout=60)
            assert process.returncode == 0
            seen += json.loads(out)
        app.run(until="now")
        assert sorted(seen) == list(range(3000))
        assert numbers(work.info()) == {"done": 3000}


def test_a_long_job_keeps_its_lease(make_app: MakeApp, clock: FakeClock) -> None:
    app = make_app(clock=clock)
    jobs = fill(app, 1)
    deliveries: list[int] = []
    done = threading.Event()

    def work(job: Job) -> None:
        deliveries.append(job.number)
        # Four lease durations; the second worker would take the record if the lease ran out.
        for _ in range(12):
            clock.advance("100ms")
            until = time.monotonic() + PATIENCE_S
            while (leased := reader.group.find(0, 0)).due_us < clock.now_us() + 300_000:
                assert time.monotonic() < until, f"not renewed: {leased}"
                time.sleep(0.01)
        done.set()

    reader = QueueReader(jobs, work, name="work", workers=2, lease=timedelta(seconds=0.3))
    work_until(reader, done)
    assert deliveries == [0]
    assert numbers(reader.info()) == {"done": 1}


# --- stopping ---------------------------------------------------------------------------------------------------------


def test_a_stop_finishes_the_running_record_and_gives_the_others_back(make_app: MakeApp, clock: FakeClock) -> None:
    app = make_app(clock=clock)
    jobs = fill(app, 400)
    started, go_on = threading.Event(), threading.Event()
    seen: list[int] = []
    events: list[QueueEvent] = []

    @app.queue(jobs)
    def work(job: Job) -> None:
        # Fast records first (no time passes at all), so that the next lease is a long one.
        if job.number == 300:
            started.set()
            assert go_on.wait(PATIENCE_S)
        seen.append(job.number)

    work.observe(events.append)
    running = app.start()
    assert started.wait(PATIENCE_S)
    stopped: list[bool] = []
    stopper = threading.Thread(target=lambda: stopped.append(running.stop()))
    stopper.start()
    assert running.stop(grace=0) is False
    go_on.set()
    stopper.join(PATIENCE_S)
    assert stopped == [True]
    assert seen == list(range(301))
    assert numbers(work.info()) == {"done": 301, "waiting": 99}
    assert sorted(e.position.offset for e in events if e.kind == "released") == list(range(301, 400))
    app.run(until="now")
    assert seen == list(range(400))
    again = [event.attempt for event in events if event.kind == "taken" and event.position.offset > 300]
    assert again == [1] * 99


def test_a_slow_record_does_not_hold_up_those_leased_with_it(app: App) -> None:
    jobs = fill(app, 400)
    go_on, all_others = threading.Event(), threading.Event()
    seen: list[int] = []

    def work(job: Job) -> None:
        if job.number == 200:
            assert go_on.wait(PATIENCE_S)
        seen.append(job.number)
        if len(seen) == 399:
            all_others.set()

    reader = QueueReader(jobs, work, name="work", workers=2)
    stop = threading.Event()
    thread = threading.Thread(target=reader.run, args=(stop,))
    thread.start()
    try:
        assert all_others.wait(PATIENCE_S)
        assert 200 not in seen
    finally:
        go_on.set()
        stop.set()
        thread.join(PATIENCE_S)
    assert sorted(seen) == list(range(400))


# --- what can be seen -------------------------------------------------------------------------------------------------


def test_observers_see_every_step_of_a_record(make_app: MakeApp, clock: FakeClock) -> None:
    app = make_app(clock=clock)
    jobs = fill(app, 1)
    events: list[tuple[str, str, int, str | None]] = []

    @app.queue(jobs, retry=Retry(attempts=2, delay="1m", jitter=0))
    def work(job: Job) -> None:
        raise ValueError("no")

    cancel = work.observe(lambda e: events.append((e.kind, e.worker, e.attempt, e.error)))
    app.run(until="now")
    clock.advance("1m")
    app.run(until="now")
    assert events == [
        ("taken", "work-1", 1, None),
        ("retry", "work-1", 1, "ValueError: no"),
        ("taken", "work-1", 2, None),
        ("dead", "work-1", 2, "ValueError: no"),
    ]
    cancel()
    jobs.append(Job(2))
    app.run(until="now")
    assert len(events) == 4


def test_an_observer_that_fails_changes_nothing(app: App, caplog: pytest.LogCaptureFixture) -> None:
    jobs = fill(app, 2)
    work = app.queue(jobs, name="work")(lambda job: None)

    def broken(event: QueueEvent) -> None:
        raise RuntimeError("I am only looking")

    work.observe(broken)
    with caplog.at_level(logging.ERROR, "millstream.queue"):
        app.run(until="now")
    assert numbers(work.info()) == {"done": 2}
    assert "an observer failed" in caplog.text


def test_workers_say_what_they_are_at(app: App) -> None:
    jobs = fill(app, 1)
    started, go_on = threading.Event(), threading.Event()

    @app.queue(jobs, workers=2)
    def work(job: Job) -> None:
        started.set()
        assert go_on.wait(PATIENCE_S)

    assert work.workers() == []
    with app.start():
        assert started.wait(PATIENCE_S)
        busy = [state for state in work.workers() if state.state == "busy"]
        assert [(state.position, state.attempt) for state in busy] == [(Position(0, 0), 1)]
        assert sorted(state.state for state in work.workers()) == ["busy", "idle"]
        go_on.set()
    assert [state.state for state in work.workers()] == ["stopped", "stopped"]
    assert [state.name for state in work.workers()] == ["work-1", "work-2"]


@pytest.mark.parametrize(
    ("handler", "settings", "message"),
    [
        (lambda: None, {}, "takes the value"),
        (lambda a, b, c: None, {}, "takes the value"),
        (lambda a: None, {"workers": 0}, "1 or more"),
        (lambda a: None, {"workers": 100_000}, "limit is 1,024"),
        (lambda a: None, {"name": "no good"}, "cannot be a queue name"),
    ],
)
def test_a_declaration_that_cannot_work_is_refused(
    app: App, handler: Callable[..., Any], settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        app.queue(fill(app, 0), **{"name": "work", **settings})(handler)
