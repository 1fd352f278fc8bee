"""What workers do with handlers that take long, take many records, await, or are to be stopped."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from millstream.app import App
from millstream.engines.protocol import StateChange
from millstream.errors import QueueFullError, UsageError
from millstream.log.topic import Topic
from millstream.queue import DeadLetter, QueueReader, Retry
from millstream.queue.handler import current_delivery
from millstream.queue.options import QueueOptions
from millstream.queue.outcome import HandlerOutcome
from millstream.records import Position, Record
from millstream.testing.fake_clock import FakeClock

if TYPE_CHECKING:
    import polars as pl

PATIENCE_S = 60.0

MakeApp = Callable[..., App]


class Job(msgspec.Struct, frozen=True):
    number: int


def fill(app: App, count: int) -> Topic[Job]:
    jobs = app.topic("jobs", Job)
    jobs.extend([Job(n) for n in range(count)])
    return jobs


def ledger(reader: QueueReader) -> dict[str, int]:
    found = reader.info().ledger
    assert found.balanced
    return {
        name: getattr(found, name) for name in ("ready", "leased", "waiting", "done", "dead") if getattr(found, name)
    }


def dead(app: App) -> list[DeadLetter]:
    return [record.value for record in app.topic("jobs.dead", DeadLetter).read()]


# --- batches ----------------------------------------------------------------------------------------------------------


def test_a_batch_handler_gets_a_list(app: App) -> None:
    jobs = fill(app, 25)
    sizes: list[int] = []
    seen: list[int] = []

    @app.queue(jobs, batch=10)
    def work(batch: list[Job]) -> None:
        sizes.append(len(batch))
        seen.extend(job.number for job in batch)

    app.run(until="now")
    assert sizes == [10, 10, 5]
    assert seen == list(range(25))
    assert ledger(work) == {"done": 25}


def test_a_batch_handler_gets_a_frame_where_it_says_so(app: App) -> None:
    jobs = fill(app, 25)
    seen: list[int] = []

    @app.queue(jobs, batch=10)
    def work(frame: pl.DataFrame, records: list[Record[Job]]) -> None:
        assert frame.get_column("_offset").to_list() == [record.offset for record in records]
        seen.extend(frame.get_column("number").to_list())

    app.run(until="now")
    assert seen == list(range(25))


def test_a_batch_waits_for_more_records_and_no_longer_than_told(app: App) -> None:
    jobs = fill(app, 1)
    seen: dict[str, list[list[int]]] = {"patient": [], "hasty": []}
    both = threading.Semaphore(0)

    def note(name: str, batch: list[Job]) -> None:
        seen[name].append([job.number for job in batch])
        both.release()

    app.queue(jobs, name="patient", batch=(3, "1h"))(lambda batch: note("patient", batch))
    app.queue(jobs, name="hasty", batch=(3, "10ms"))(lambda batch: note("hasty", batch))
    with app.start():
        assert both.acquire(timeout=PATIENCE_S)
        assert seen == {"patient": [], "hasty": [[0]]}
        jobs.extend([Job(1), Job(2)])
        assert both.acquire(timeout=PATIENCE_S)
        assert both.acquire(timeout=PATIENCE_S)
    assert seen["patient"] == [[0, 1, 2]]


def test_a_batch_that_fails_is_tried_again_record_by_record(app: App) -> None:
    jobs = fill(app, 10)
    batches: list[list[int]] = []

    @app.queue(jobs, batch=10, retry=Retry(attempts=2, delay=0))
    def work(batch: list[Job]) -> None:
        batches.append([job.number for job in batch])
        if any(job.number == 7 for job in batch):
            raise ValueError("seven")

    app.run(until="now")
    assert batches == [list(range(10)), *([n] for n in range(10))]
    assert ledger(work) == {"done": 9, "dead": 1}
    assert [letter.offset for letter in dead(app)] == [7]


def test_async_handlers_of_batches_work_too(app: App) -> None:
    jobs = fill(app, 25)
    sizes: list[int] = []

    @app.queue(jobs, batch=10, workers=2)
    async def work(batch: list[Job]) -> None:
        await asyncio.sleep(0)
        sizes.append(len(batch))

    app.run(until="now")
    assert sorted(sizes) == [5, 10, 10]


# --- async ------------------------------------------------------------------------------------------------------------


def test_a_hundred_async_handlers_run_at_once(app: App) -> None:
    jobs = fill(app, 250)
    at_work, most = 0, 0
    everybody = asyncio.Event()

    @app.queue(jobs, workers=100, retry=Retry(attempts=1))
    async def work(job: Job) -> None:
        nonlocal at_work, most
        at_work += 1
        most = max(most, at_work)
        if most == 100:
            everybody.set()
        async with asyncio.timeout(PATIENCE_S):
            await everybody.wait()
        at_work -= 1
        if job.number == 7:
            raise ValueError

    app.run(until="now")
    assert most == 100
    assert ledger(work) == {"done": 249, "dead": 1}


def test_async_handlers_keep_the_order_of_a_key(app: App) -> None:
    jobs = fill(app, 60)
    seen: dict[int, list[int]] = {0: [], 1: [], 2: []}

    @app.queue(jobs, workers=8, order_by=lambda job: job.number % 3)
    async def work(job: Job) -> None:
        await asyncio.sleep(0)
        seen[job.number % 3].append(job.number)

    app.run(until="now")
    assert all(numbers == sorted(numbers) for numbers in seen.values())
    assert ledger(work) == {"done": 60}


def test_an_async_kind_needs_an_async_handler(app: App) -> None:
    app.queue(fill(app, 1), name="work", kind="async")(lambda job: None)
    with pytest.raises(UsageError, match="async def"):
        app.run(until="now")


# --- timeouts ---------------------------------------------------------------------------------------------------------


def test_a_handler_that_overruns_fails_and_its_late_result_does_not_count(app: App) -> None:
    jobs = fill(app, 3)
    seen: list[int] = []
    let_go, late = threading.Event(), threading.Event()

    @app.queue(jobs, timeout="100ms", retry=Retry(attempts=1))
    def work(job: Job) -> None:
        if job.number == 0:
            assert let_go.wait(PATIENCE_S)
            late.set()
        seen.append(job.number)

    with app.start():
        assert work.join(PATIENCE_S)
        assert seen == [1, 2]
        let_go.set()
        assert late.wait(PATIENCE_S)
    assert ledger(work) == {"done": 2, "dead": 1}
    assert [(letter.offset, letter.error_type) for letter in dead(app)] == [(0, "TimeoutError")]


def test_an_async_handler_that_overruns_is_cancelled(app: App) -> None:
    jobs = fill(app, 3)
    ended: list[str] = []

    @app.queue(jobs, timeout="100ms", retry=Retry(attempts=1), workers=2)
    async def work(job: Job) -> None:
        if job.number == 0:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                ended.append("cancelled")
                raise

    app.run(until="now")
    assert ended == ["cancelled"]
    assert ledger(work) == {"done": 2, "dead": 1}
    assert [letter.error_type for letter in dead(app)] == ["TimeoutError"]


# --- cancelling -------------------------------------------------------------------------------------------------------


def test_a_cancelled_record_is_not_started(app: App) -> None:
    jobs = fill(app, 5)
    seen: list[int] = []
    work = app.queue(jobs, name="work")(lambda job: seen.append(job.number))
    work.cancel(Position(0, 3), "changed my mind")
    app.run(until="now")
    assert seen == [0, 1, 2, 4]
    assert ledger(work) == {"done": 4, "dead": 1}
    assert [(letter.offset, letter.error_type, letter.message) for letter in dead(app)] == [
        (3, "Cancelled", "changed my mind")
    ]


@pytest.mark.parametrize("order_by", [None, "number"])
def test_a_record_that_runs_can_be_cancelled(app: App, order_by: str | None) -> None:
    jobs = fill(app, 2)
    started, let_go = threading.Event(), threading.Event()

    @app.queue(jobs, order_by=order_by)
    def work(job: Job) -> None:
        if job.number == 0:
            started.set()
            assert let_go.wait(PATIENCE_S)

    with app.start():
        assert started.wait(PATIENCE_S)
        work.cancel(Position(0, 0))
        assert work.join(PATIENCE_S)
        let_go.set()
    assert ledger(work) == {"done": 1, "dead": 1}


# --- pausing and stopping ---------------------------------------------------------------------------------------------


def test_a_paused_queue_hands_over_nothing_until_it_is_resumed(app: App) -> None:
    jobs = fill(app, 5)
    seen: list[int] = []
    work = app.queue(jobs, name="work")(lambda job: seen.append(job.number))
    work.pause()
    with app.start():
        assert not work.join("300ms")
        assert seen == []
        work.resume()
        assert work.join(PATIENCE_S)
    assert seen == [0, 1, 2, 3, 4]


def test_draining_finishes_what_is_out_and_takes_nothing_more(app: App) -> None:
    jobs = fill(app, 3)
    started, go_on = threading.Event(), threading.Event()

    @app.queue(jobs)
    def work(job: Job) -> None:
        started.set()
        assert go_on.wait(PATIENCE_S)

    with app.start():
        assert started.wait(PATIENCE_S)
        assert not work.drain("50ms")
        go_on.set()
        assert work.drain(PATIENCE_S)
        left = work.info().ledger
        assert (left.leased, left.done + left.ready + left.waiting) == (0, 3)
        assert left.done < 3
        work.resume()
        assert work.join(PATIENCE_S)


def test_a_hard_stop_gives_back_what_runs_without_an_attempt(app: App) -> None:
    jobs = fill(app, 5)
    started, let_go = threading.Event(), threading.Event()
    attempts: list[int] = []

    @app.queue(jobs)
    def work(job: Job) -> None:
        if not let_go.is_set():
            started.set()
            assert let_go.wait(PATIENCE_S)

    running = app.start()
    assert started.wait(PATIENCE_S)
    assert not running.stop("50ms")
    running.abort()
    found = work.info().ledger
    assert (found.leased, found.done, found.waiting + found.ready) == (0, 0, 5)
    let_go.set()
    work.observe(lambda event: attempts.append(event.attempt) if event.kind == "taken" else None)
    app.run(until="now")
    assert attempts == [1] * 5
    assert ledger(work) == {"done": 5}


def test_the_program_ends_after_its_grace_though_a_handler_hangs(app: App) -> None:
    jobs = fill(app, 1)
    started, let_go, stop = threading.Event(), threading.Event(), threading.Event()

    @app.queue(jobs)
    def work(job: Job) -> None:
        started.set()
        assert let_go.wait(PATIENCE_S)

    program = threading.Thread(target=app.run, kwargs={"stop": stop, "grace": "50ms"})
    program.start()
    assert started.wait(PATIENCE_S)
    stop.set()
    program.join(PATIENCE_S)
    assert not program.is_alive()
    let_go.set()


# --- policies ---------------------------------------------------------------------------------------------------------


def test_each_kind_of_error_can_have_its_own_policy(make_app: MakeApp, clock: FakeClock) -> None:
    app = make_app(clock=clock)
    jobs = fill(app, 3)
    attempts: dict[int, int] = {0: 0, 1: 0, 2: 0}

    @app.queue(
        jobs,
        retry=Retry(attempts=3, delay="1s", on={ConnectionError: Retry(attempts=6, delay="1s")}, never=(ValueError,)),
    )
    def work(job: Job) -> None:
        attempts[job.number] += 1
        raise (ValueError, ConnectionResetError, KeyError)[job.number]

    for _ in range(20):
        app.run(until="now")
        clock.advance("1m")
    assert attempts == {0: 1, 1: 6, 2: 3}


def test_the_outcome_and_what_is_kept_with_it_are_one(make_app: MakeApp, clock: FakeClock) -> None:
    app = make_app(clock=clock)
    jobs = fill(app, 3)

    def keep(record: Record[Any], outcome: HandlerOutcome) -> list[StateChange]:
        kept = f"{outcome.kind} {outcome.value} {outcome.failure} {outcome.attempt}"
        return [StateChange(0, b"%d" % record.offset, kept.encode())]

    def double(job: Job) -> int:
        if job.number == 1:
            raise ValueError("odd")
        return job.number * 2

    reader = QueueReader(jobs, double, name="work", retry=Retry(attempts=2, delay="1m"), hook=keep)
    reader.run_now(threading.Event())
    assert reader.group.state(0) == {
        b"0": b"done 0 None 1",
        b"1": b"retry None ValueError: odd 1",
        b"2": b"done 4 None 1",
    }
    clock.advance("2m")
    reader.run_now(threading.Event())
    assert reader.group.state(0, [b"1"]) == {b"1": b"dead None ValueError: odd 2"}


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_handler_can_ask_which_delivery_it_is(make_app: MakeApp, clock: FakeClock, asynchronous: bool) -> None:
    app = make_app(clock=clock)
    jobs = fill(app, 1)
    seen: list[tuple[int, int, str]] = []

    def note() -> None:
        delivery = current_delivery()
        assert delivery is not None
        seen.append((delivery.record.offset, delivery.attempt, delivery.worker))
        if delivery.attempt == 1:
            raise ValueError

    async def note_async(job: Job) -> None:
        note()

    handler: Callable[..., Any] = note_async if asynchronous else lambda job: note()
    app.queue(jobs, name="work", retry=Retry(delay=0))(handler)
    app.run(until="now")
    assert seen == [(0, 1, "work-1"), (0, 2, "work-1")]
    assert current_delivery() is None


# --- bounds -----------------------------------------------------------------------------------------------------------


def test_a_full_queue_raises_where_it_is_told_to(app: App) -> None:
    work = app.queue(fill(app, 0), name="work", maxsize=3, full="raise")(lambda job: None)
    for number in range(3):
        assert work.append(Job(number)) == Position(0, number)
    with pytest.raises(QueueFullError):
        work.append(Job(3))
    app.run(until="now")
    assert work.append(Job(3)) == Position(0, 3)


def test_a_full_queue_waits_for_room(app: App) -> None:
    work = app.queue(fill(app, 0), name="work", maxsize=3)(lambda job: None)
    work.extend([Job(n) for n in range(3)])
    with pytest.raises(QueueFullError):
        work.append(Job(3), timeout="50ms")
    with app.start():
        for number in range(3, 50):
            assert work.append(Job(number), timeout=PATIENCE_S) is not None
    assert work.info().ledger.accepted == 50


def test_a_full_queue_sheds_to_the_dead_letters_where_it_is_told_to(app: App) -> None:
    work = app.queue(fill(app, 0), name="work", maxsize=2, full="shed")(lambda job: None)
    assert [work.append(Job(number)) for number in range(4)] == [Position(0, 0), Position(0, 1), None, None]
    letters = dead(app)
    assert [msgspec.json.decode(letter.value, type=Job) for letter in letters] == [Job(2), Job(3)]
    assert {letter.error_type for letter in letters} == {"QueueFullError"}


def test_more_than_the_bound_at_once_is_refused_and_not_waited_for(app: App) -> None:
    work = app.queue(fill(app, 0), name="work", maxsize=2)(lambda job: None)
    with pytest.raises(QueueFullError):
        work.extend([Job(n) for n in range(3)])


# --- how many ---------------------------------------------------------------------------------------------------------


def test_the_number_of_workers_grows_with_the_load(app: App) -> None:
    jobs = fill(app, 200)
    two = threading.Event()
    at_work: set[int] = set()

    @app.queue(jobs, workers=(1, 4))
    def work(job: Job) -> None:
        at_work.add(threading.get_ident())
        if len(at_work) >= 2:
            two.set()
        assert two.wait(PATIENCE_S)

    with app.start():
        assert two.wait(PATIENCE_S)
        assert 2 <= len(work.workers()) <= 4


def test_a_poison_record_among_many_does_not_delay_the_others(app: App) -> None:
    jobs = fill(app, 10_000)
    seen: list[int] = []

    def work(job: Job) -> None:
        if job.number == 77:
            raise ValueError("poison")
        seen.append(job.number)

    reader = QueueReader(jobs, work, name="work", workers=2, retry=Retry(delay="1h"), options=QueueOptions())
    reader.run_now(threading.Event())
    assert sorted(seen) == [n for n in range(10_000) if n != 77]
    assert ledger(reader) == {"done": 9999, "waiting": 1}
