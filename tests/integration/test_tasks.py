"""Functions as job types: sent from anywhere, run by workers, with results, delays, priorities and progress."""

from __future__ import annotations

import asyncio
import copy
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import msgspec
import pytest

from millstream.app import App
from millstream.engines.protocol import Place
from millstream.errors import (
    CapabilityError,
    JobCancelledError,
    JobFailedError,
    QueueFullError,
    ResultGoneError,
    ResultNotReadyError,
    SchemaError,
    SettingsError,
    UsageError,
)
from millstream.queue import DeadLetter, Job, JobStatus, Retry, current_job, progress
from millstream.testing.fake_clock import FakeClock

PATIENCE_S = 60.0
"""How long a test waits for what must happen; a test that passes does not use it up."""

MakeApp = Callable[..., App]


class Size(msgspec.Struct, frozen=True):
    width: int
    height: int = 100


@pytest.fixture
def app(make_app: MakeApp, clock: FakeClock) -> App:
    return make_app(clock=clock)


@pytest.fixture
def live_app(make_app: MakeApp) -> App:
    return make_app()


def dead_letters(app: App, queue: str) -> list[DeadLetter]:
    topic = f"tasks.{queue}.dead"
    return [record.value for record in app.topic(topic, DeadLetter).read()] if topic in app.log.topics() else []


# --- arguments --------------------------------------------------------------------------------------------------------


def test_a_task_is_still_the_function(app: App) -> None:
    @app.task
    def thumbnail(path: str, size: int = 128) -> str:
        """Make one."""
        return f"{path}@{size}"

    assert thumbnail("a.png", size=64) == "a.png@64"
    assert thumbnail.__doc__ == "Make one."
    assert thumbnail.name == "thumbnail"


def test_a_job_runs_with_its_arguments_and_gives_its_result(app: App) -> None:
    @app.task
    def thumbnail(path: str, size: int = 128) -> str:
        return f"{path}@{size}"

    job = thumbnail.send("a.png", size=64)
    assert job.status() is JobStatus.QUEUED
    app.run(until="now")
    assert job.result(0) == "a.png@64"
    assert job.status() is JobStatus.DONE


def test_arguments_and_results_have_the_types_of_the_annotations(app: App) -> None:
    seen: list[Any] = []

    @app.task
    def work(size: Size, at: datetime, data: bytes, ratio: float, *rest: int, **more: Size) -> list[Size]:
        seen.append((size, at, data, ratio, rest, more))
        return [size, *more.values()]

    now = datetime(2024, 5, 1, tzinfo=UTC)
    job = work.send({"width": 3}, now, b"\xff\x00", 1, 7, 8, big=Size(9))  # type: ignore[arg-type]
    app.run(until="now")
    assert seen == [(Size(3), now, b"\xff\x00", 1.0, (7, 8), {"big": Size(9)})]
    assert job.result(0) == [Size(3), Size(9)]


def test_an_argument_that_is_left_out_has_the_default_of_the_program_that_runs_it(make_app: MakeApp) -> None:
    app = make_app()

    @app.task
    def work(size: int = 1) -> int:
        return size

    work.send()
    [record] = app.topic("tasks.work").read()
    assert record.value == {"task": "work", "arguments": {}}


@pytest.mark.parametrize(
    ("args", "kwargs", "message"),
    [
        ((), {}, "missing a required argument: 'path'"),
        ((1,), {}, "argument 'path' does not fit: Expected `str`, got `int`"),
        (("a",), {"size": "big"}, "argument 'size' does not fit: Expected `int`, got `str`"),
        (("a",), {"size": 0}, "argument 'size' does not fit: Expected `int` >= 1"),
        (("a",), {"shape": {"width": "x"}}, "argument 'shape' does not fit: .* `\\$.width`"),
        (("a",), {"extra": object()}, "argument 'extra' does not fit: .*object"),
        (("a",), {"zoom": 1}, "got an unexpected keyword argument 'zoom'"),
        (("a", 1, None, None, 5), {}, "too many positional arguments"),
    ],
)
def test_arguments_that_do_not_fit_are_refused_when_sent(app: App, args: Any, kwargs: Any, message: str) -> None:
    @app.task
    def thumbnail(
        path: str, size: Annotated[int, msgspec.Meta(ge=1)] = 1, shape: Size | None = None, extra: Any = None
    ) -> None: ...

    with pytest.raises(SchemaError, match=f"task 'thumbnail': {message}"):
        thumbnail.send(*args, **kwargs)
    assert app.topic("tasks.thumbnail").info().records == 0


def test_of_many_jobs_none_is_sent_where_one_does_not_fit(app: App) -> None:
    plain = app.task(_plain)
    with pytest.raises(SchemaError, match="argument 'number' does not fit"):
        plain.send_many([1, {"number": 2}, ("three",)])
    assert app.topic("tasks._plain").info().records == 0


def test_a_parameter_that_is_no_data_is_refused_at_declaration(app: App) -> None:
    def load(path: Path) -> None: ...

    with pytest.raises(UsageError, match=r"parameter 'path' has the type pathlib\.Path, which is no data"):
        app.task(load)


def test_an_app_that_declares_tasks_opens_no_file(tmp_path: Path) -> None:
    app = App(str(tmp_path / "x.db"))
    app.task(_plain)
    assert list(tmp_path.iterdir()) == []
    app.close()


def _plain(number: int) -> int:
    return number


# --- results ----------------------------------------------------------------------------------------------------------


def test_a_result_is_waited_for_and_the_worker_wakes_the_one_who_waits(live_app: App) -> None:
    double = live_app.task(name="double", workers=2)(lambda number: number * 2)
    with live_app.start():
        assert [double.send(number).result(PATIENCE_S) for number in range(50)] == [2 * n for n in range(50)]
        jobs = double.send_many(range(100))
        assert [job.result(PATIENCE_S) for job in jobs] == [2 * n for n in range(100)]


def test_a_job_that_is_settled_has_its_outcome_at_the_same_moment(live_app: App) -> None:
    plain = live_app.task(workers=2)(_plain)
    group = plain.queue.group
    with live_app.start():
        for number in range(100):
            job = plain.send(number)
            until = time.monotonic() + PATIENCE_S
            while group.find(0, job.position.offset).place is not Place.SETTLED:
                assert time.monotonic() < until
            assert plain.queue.results.outcome(job.position) is not None


def test_a_result_that_is_not_there_in_time_is_an_error_that_helps_to_retry(app: App) -> None:
    job = app.task(_plain).send(1)
    with pytest.raises(ResultNotReadyError, match="has not ended in 10ms") as raised:
        job.result("10ms")
    assert raised.value.retryable
    assert isinstance(raised.value, TimeoutError)
    app.run(until="now")
    assert job.result(0) == 1


def test_a_failed_job_raises_what_its_function_raised_as_text(app: App) -> None:
    @app.task(retry=Retry(attempts=1))
    def fail(reason: str) -> None:
        raise ValueError(reason)

    job = fail.send("no such picture")
    app.run(until="now")
    with pytest.raises(JobFailedError, match="after 1 attempt: ValueError: no such picture") as raised:
        job.result(0)
    assert raised.value.error_type == "ValueError"
    assert raised.value.error_message == "no such picture"
    assert "raise ValueError(reason)" in raised.value.remote_traceback
    assert job.status() is JobStatus.DEAD
    assert [letter.message for letter in dead_letters(app, "fail")] == ["no such picture"]


def test_a_job_that_is_tried_again_says_so_and_then_gives_its_result(app: App, clock: FakeClock) -> None:
    attempts: list[int] = []

    @app.task(retry=Retry(attempts=3, delay="1m", jitter=0))
    def flaky() -> int:
        job = current_job()
        assert job is not None
        attempts.append(job.attempt)
        if len(attempts) < 3:
            raise ConnectionError("not yet")
        return len(attempts)

    job = flaky.send()
    app.run(until="now")
    assert job.status() is JobStatus.RETRYING
    with pytest.raises(ResultNotReadyError):
        job.result(0)
    for _ in range(2):
        clock.advance("5m")
        app.run(until="now")
    assert job.result(0) == 3
    assert attempts == [1, 2, 3]


def test_a_result_is_kept_for_its_time_and_then_forgotten(app: App, clock: FakeClock) -> None:
    job = app.task(results="10m")(_plain).send(5)
    app.run(until="now")
    clock.advance("9m")
    assert job.result(0) == 5
    clock.advance("2m")
    with pytest.raises(ResultGoneError, match="kept no longer"):
        job.result(0)
    assert job.status() is JobStatus.OVER


def test_a_task_can_keep_no_results(app: App) -> None:
    job = app.task(results=None)(_plain).send(5)
    assert job.status() is JobStatus.QUEUED
    app.run(until="now")
    assert job.status() is JobStatus.OVER
    with pytest.raises(UsageError, match="keeps no results"):
        job.result(0)


def test_what_is_no_data_is_not_kept_and_the_job_is_done(app: App) -> None:
    @app.task
    def work(large: bool) -> Any:
        return "x" * 2_000_000 if large else object()

    jobs = work.send_many([(False,), (True,)])
    app.run(until="now")
    for job, message in zip(jobs, ("is no data", "2,000,002 bytes, the limit is 1,048,576"), strict=True):
        assert job.status() is JobStatus.DONE
        with pytest.raises(ResultGoneError, match=message):
            job.result(0)


def test_a_job_is_found_again_by_its_id(app: App) -> None:
    plain = app.task(_plain)
    sent = plain.send(5)
    assert sent.id == "tasks._plain:0:0"
    found = app.job(sent.id)
    assert found == sent
    app.run(until="now")
    assert found.result(0) == plain.job(sent.id).result(0) == 5
    for wrong in ("tasks.other:0:0", "tasks._plain:0", "tasks._plain:x:0", ""):
        with pytest.raises(UsageError, match="is no job of"):
            app.job(wrong)
    for missing in ("tasks._plain:0:1", "tasks._plain:0:99"):
        with pytest.raises(UsageError, match=f"there is no job {missing}"):
            app.job(missing)


def test_a_job_found_by_its_id_gives_its_result_as_its_own_task_says(app: App) -> None:
    @app.task(queue="sizes")
    def make(width: int) -> Size:
        return Size(width)

    app.task(queue="sizes")(_plain)
    make.send(1)
    job = make.send(7)
    app.run(until="now")
    assert app.job(job.id).task == "make"
    assert app.job(job.id).result(0) == Size(7)


# --- how it is sent ---------------------------------------------------------------------------------------------------


def test_many_jobs_are_one_append_and_each_has_its_handle(app: App) -> None:
    @app.task
    def add(left: int, right: int = 10) -> int:
        return left + right

    before = app.topic("tasks.add").info().partitions[0].batches if "tasks.add" in app.log.topics() else 0
    jobs = add.send_many([(1, 2), {"left": 3, "right": 4}, 5])
    assert app.topic("tasks.add").info().partitions[0].batches == before + 1
    app.run(until="now")
    assert [job.result(0) for job in jobs] == [3, 7, 15]
    assert add.send_many([]) == []


def test_a_delayed_job_waits_for_its_time_on_disk(app: App, clock: FakeClock) -> None:
    plain = app.task(_plain)
    later = plain.options(delay="1h").send(1)
    moment = datetime.fromtimestamp(clock.now_us() / 1e6, UTC) + timedelta(hours=2)
    latest = plain.send_at(moment, 2)
    now = plain.send(3)
    assert [job.status() for job in (later, latest, now)] == [
        JobStatus.SCHEDULED,
        JobStatus.SCHEDULED,
        JobStatus.QUEUED,
    ]
    app.run(until="now")
    assert [job.status() for job in (later, latest, now)] == [JobStatus.SCHEDULED, JobStatus.SCHEDULED, JobStatus.DONE]
    clock.advance("61m")
    app.run(until="now")
    assert [job.status() for job in (later, latest)] == [JobStatus.DONE, JobStatus.SCHEDULED]
    clock.advance("61m")
    app.run(until="now")
    assert latest.result(0) == 2
    [record] = app.topic("tasks._plain").read(latest.position.offset, records_max=1)
    assert b"ms-due" not in record.headers
    with pytest.raises(UsageError, match="not both"):
        plain.options(delay="1h", at=moment)


def test_a_unique_value_sends_one_job_in_its_window(app: App, clock: FakeClock) -> None:
    plain = app.task(_plain)
    once = plain.options(unique="daily", window="1h")
    first = once.send(1)
    assert once.send(2) == first
    assert plain.options(unique="other", window="1h").send(3) != first
    clock.advance("59m")
    app.run(until="now")
    assert once.send(4) == first
    assert once.send(4).result(0) == 1
    clock.advance("2m")
    assert once.send(5) != first
    assert len(app.topic("tasks._plain").read()) == 3


def test_a_task_can_be_unique_by_its_arguments(app: App) -> None:
    @app.task(unique=True, window="1h")
    def index(path: str, deep: bool = False) -> None: ...

    first = index.send("a", deep=True)
    assert index.send(path="a", deep=True) == first
    assert index.send("a") != first
    jobs = index.send_many([("a", True), ("b",), ("b",)])
    assert jobs[0] == first
    assert jobs[1] == jobs[2]


def test_unique_values_of_two_tasks_of_a_queue_are_not_the_same(app: App) -> None:
    one = app.task(queue="mail", name="one")(_plain)
    two = app.task(queue="mail", name="two")(_plain)
    assert one.options(unique="x").send(1) != two.options(unique="x").send(1)


def test_urgent_jobs_come_first(app: App) -> None:
    seen: list[str] = []

    @app.task(priority=5)
    def work(name: str) -> None:
        seen.append(name)

    work.options(priority=1).send("low")
    work.send("as declared")
    work.options(priority=9).send("urgent")
    work.options(priority=0).send("lowest")
    work.send("as declared too")
    app.run(until="now")
    assert seen == ["urgent", "as declared", "as declared too", "low", "lowest"]


def test_an_urgent_job_that_is_delayed_waits_for_its_time(app: App, clock: FakeClock) -> None:
    seen: list[str] = []

    @app.task(priority=0)
    def work(name: str) -> None:
        seen.append(name)

    later = work.options(priority=9, delay="1h").send("later")
    work.send("now")
    assert later.status() is JobStatus.SCHEDULED
    app.run(until="now")
    assert (seen, later.status()) == (["now"], JobStatus.SCHEDULED)
    clock.advance("61m")
    work.send("then")
    app.run(until="now")
    assert seen == ["now", "later", "then"]


def test_a_priority_needs_a_task_with_priorities(app: App) -> None:
    with pytest.raises(UsageError, match=r"declare it with @app.task\(priority=0\)"):
        app.task(_plain).options(priority=1)


def test_jobs_are_sent_from_asyncio(app: App) -> None:
    plain = app.task(_plain)

    async def send() -> list[Job[int]]:
        return list(await asyncio.gather(*(plain.send_async(number) for number in range(20))))

    jobs = asyncio.run(send())
    assert sorted(job.position.offset for job in jobs) == list(range(20))
    app.run(until="now")
    assert [asyncio.run(job.result_async(0)) for job in jobs] == list(range(20))


def test_a_full_queue_takes_no_more(app: App) -> None:
    plain = app.task(maxsize=2, full="raise")(_plain)
    plain.send_many([1, 2])
    with pytest.raises(QueueFullError):
        plain.send(3)
    with pytest.raises(QueueFullError):
        asyncio.run(plain.send_async(3))
    app.run(until="now")
    assert plain.send(3).status() is JobStatus.QUEUED
    with pytest.raises(SettingsError, match='full="shed" is not for tasks'):
        app.task(name="other", maxsize=2, full="shed")(_plain)


def test_a_full_queue_is_waited_for(live_app: App) -> None:
    plain = live_app.task(maxsize=2)(_plain)
    with live_app.start():
        jobs = [plain.send(number) for number in range(20)]
        assert [job.result(PATIENCE_S) for job in jobs] == list(range(20))


# --- what a function sees of its job ----------------------------------------------------------------------------------


def test_progress_is_seen_while_the_job_runs_and_goes_with_it(live_app: App) -> None:
    go_on = threading.Event()
    told = threading.Event()

    @live_app.task
    def work() -> str:
        progress(0.4, "cutting")
        told.set()
        assert go_on.wait(PATIENCE_S)
        return "done"

    with live_app.start():
        job = work.send()
        assert told.wait(PATIENCE_S)
        seen = job.progress()
        assert seen is not None
        assert (seen.fraction, seen.text) == (0.4, "cutting")
        assert job.status() is JobStatus.RUNNING
        go_on.set()
        assert job.result(PATIENCE_S) == "done"
    assert job.progress() is None


def test_progress_is_stored_four_times_a_second_at_most(app: App, clock: FakeClock) -> None:
    seen: list[float] = []

    @app.task
    def work() -> None:
        job = current_job()
        assert job is not None
        for step in range(11):
            progress(step / 10)
            stored = handle.progress()
            assert stored is not None
            seen.append(stored.fraction)
            clock.advance("100ms")

    handle = work.send()
    app.run(until="now")
    assert handle.status() is JobStatus.DONE
    assert seen == [0, 0, 0, 0.3, 0.3, 0.3, 0.6, 0.6, 0.6, 0.9, 0.9]


def test_outside_of_a_job_progress_does_nothing(app: App) -> None:
    @app.task
    def work() -> None:
        assert current_job() is None
        progress(0.5)

    work()


def test_progress_is_a_fraction(app: App) -> None:
    @app.task(retry=Retry(attempts=1))
    def work() -> None:
        progress(40)

    job = work.send()
    app.run(until="now")
    with pytest.raises(JobFailedError, match="a fraction from 0 to 1, not 40"):
        job.result(0)


def test_the_current_job_has_id_headers_and_attempt(app: App) -> None:
    seen: list[Any] = []

    @app.task
    def work() -> None:
        job = current_job()
        assert job is not None
        seen.append((job.id, job.headers, job.attempt, job.sent_at.year))

    job = work.options(headers={"trace": "t1"}).send()
    app.run(until="now")
    assert seen == [(job.id, {"trace": b"t1"}, 1, 2023)]


def test_an_async_task_is_awaited_and_sees_its_job(app: App) -> None:
    @app.task(workers=4)
    async def work(number: int) -> int:
        await asyncio.sleep(0)
        job = current_job()
        assert job is not None
        assert job.position.offset == number
        return number * 2

    jobs = work.send_many(range(10))
    app.run(until="now")
    assert [job.result(0) for job in jobs] == [number * 2 for number in range(10)]


# --- cancel -----------------------------------------------------------------------------------------------------------


def test_a_job_that_is_cancelled_before_it_starts_never_runs(app: App) -> None:
    seen: list[int] = []

    @app.task
    def work(number: int) -> None:
        seen.append(number)

    jobs = work.send_many(range(3))
    jobs[1].cancel("not needed")
    app.run(until="now")
    assert seen == [0, 2]
    assert jobs[1].status() is JobStatus.CANCELLED
    with pytest.raises(JobCancelledError, match="not needed"):
        jobs[1].result(0)


def test_a_job_that_is_cancelled_while_it_waits_for_its_time_never_runs(app: App, clock: FakeClock) -> None:
    plain = app.task(_plain)
    job = plain.options(delay="1h").send(1)
    app.run(until="now")
    job.cancel()
    clock.advance("2h")
    app.run(until="now")
    assert job.status() is JobStatus.CANCELLED


def test_an_async_job_is_cancelled_while_it_runs(live_app: App) -> None:
    running = threading.Event()

    @live_app.task
    async def work() -> None:
        running.set()
        await asyncio.sleep(3600)

    with live_app.start():
        job = work.send()
        assert running.wait(PATIENCE_S)
        job.cancel("changed my mind")
        with pytest.raises(JobCancelledError, match="changed my mind"):
            job.result(PATIENCE_S)
    assert job.status() is JobStatus.CANCELLED


# --- settings of its queue --------------------------------------------------------------------------------------------


def test_a_job_that_takes_longer_than_its_timeout_fails(live_app: App) -> None:
    @live_app.task(timeout="50ms", retry=Retry(attempts=1))
    async def work() -> None:
        await asyncio.sleep(3600)

    with live_app.start():
        with pytest.raises(JobFailedError) as raised:
            work.send().result(PATIENCE_S)
    assert raised.value.error_type == "TimeoutError"


def test_settings_of_the_queue_are_those_of_any_queue(app: App) -> None:
    retry = Retry(attempts=9)
    app.task(workers=3, retry=retry, concurrency=2, rate="5/s per key", timeout="1m", order_by="number")(_plain)
    reader = app.queues["_plain"]
    assert (reader.workers_count, reader.retry) == (3, retry)
    assert (reader.options.concurrency, reader.options.rate, reader.options.timeout) == (2, "5/s per key", "1m")
    with pytest.raises(SettingsError, match="mode is 'random'"):
        app.task(name="other", mode="random")(_plain)


# --- several tasks of one queue ---------------------------------------------------------------------------------------


def test_several_tasks_share_a_queue(app: App) -> None:
    seen: list[str] = []

    @app.task(queue="emails", workers=1)
    def welcome(to: str) -> None:
        seen.append(f"welcome {to}")

    @app.task(queue="emails")
    async def invoice(to: str, number: int) -> None:
        seen.append(f"invoice {to} {number}")

    welcome.send("ann")
    invoice.send("bob", 7)
    welcome.send("cid")
    assert list(app.queues) == ["emails"]
    app.run(until="now")
    assert sorted(seen) == ["invoice bob 7", "welcome ann", "welcome cid"]
    del app.queues["emails"]  # as `millstream run --only` does
    assert list(app.queues) == []
    rows = app.sql('SELECT task FROM "tasks.emails" ORDER BY _offset')
    assert [row[0] for row in rows.rows()] == ["welcome", "invoice", "welcome"]


def test_tasks_of_a_queue_agree_on_its_settings(app: App) -> None:
    app.task(queue="emails", name="one", workers=2)(_plain)
    app.task(queue="emails", name="two", workers=2)(_plain)
    with pytest.raises(SettingsError, match=r"workers=3, but another task of queue 'emails' has workers=2"):
        app.task(queue="emails", name="three", workers=3)(_plain)
    with pytest.raises(UsageError, match="has a task 'one' already"):
        app.task(queue="emails", name="one")(_plain)
    _ = app.queues
    with pytest.raises(UsageError, match="comes too late"):
        app.task(queue="emails", name="four", timeout="1m")(_plain)


def test_names_of_queues_and_tasks_do_not_meet(app: App) -> None:
    app.queue(app.topic("jobs"), name="work")(lambda job: None)
    with pytest.raises(UsageError, match="has the name 'work' already"):
        app.task(name="work")(_plain)
    app.task(_plain)
    with pytest.raises(UsageError, match="has the name '_plain' already"):
        app.queue(app.topic("jobs"), name="_plain")(lambda job: None)
    with pytest.raises(UsageError, match="needs a name"):
        app.task(lambda: None)


def test_a_task_that_is_unknown_goes_to_the_dead_letters_with_the_reason(make_app: MakeApp) -> None:
    app = make_app()
    old = app.task(queue="emails", name="old_name")(_plain)
    app.task(queue="emails", name="new_name")(_plain)
    job = old.send(1)
    del app._task_queues["emails"].tasks["old_name"]  # as after a deploy that renamed it
    app.run(until="now")
    [letter] = dead_letters(app, "emails")
    assert "has no task 'old_name' (it has: new_name); if it was renamed" in letter.message
    with pytest.raises(JobFailedError, match="has no task 'old_name'"):
        app.job(job.id).result(0)


def test_arguments_that_do_not_fit_any_more_go_to_the_dead_letters_with_the_reason(app: App) -> None:
    plain = app.task(retry=Retry(attempts=5))(_plain)
    topic = plain.queue.topic
    topic.append(msgspec.convert({"task": "_plain", "arguments": {"size": 1}}, topic.type))
    topic.append(msgspec.convert({"task": "_plain", "arguments": {"number": "x"}}, topic.type))
    app.run(until="now")
    first, second = dead_letters(app, "_plain")
    assert "do not fit task '_plain' as it is now, _plain(number: int) -> int" in first.message
    assert "Expected `int`, got `str` - at `$.number`" in second.message
    assert first.attempts == second.attempts == 1


def test_jobs_with_the_same_argument_run_in_order_across_retries(app: App, clock: FakeClock) -> None:
    seen: list[tuple[str, int]] = []

    @app.task(order_by="user", retry=Retry(attempts=3, delay="1m", jitter=0))
    def work(user: str, step: int) -> None:
        seen.append((user, step))
        if seen.count(("ann", 1)) == 1 and (user, step) == ("ann", 1):
            raise ConnectionError

    for step in (1, 2):
        for user in ("ann", "bob"):
            work.send(user, step)
    app.run(until="now")
    clock.advance("2m")
    app.run(until="now")
    assert [step for user, step in seen if user == "ann"] == [1, 1, 2]
    assert [step for user, step in seen if user == "bob"] == [1, 2]
    with pytest.raises(UsageError, match="order_by='nobody' is none of its parameters, which are number"):
        app.task(name="other", order_by="nobody")(_plain)


# --- a transaction ----------------------------------------------------------------------------------------------------


def test_a_job_is_sent_with_the_callers_own_rows_or_not_at_all(tmp_path: Path) -> None:
    with App(str(tmp_path / "shop.db")) as app:
        confirm = app.task(_plain)
        with app.transaction() as tx:
            tx.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY)")
            tx.execute("INSERT INTO orders VALUES (1)")
            job = confirm.send(1, transaction=tx)
            many = confirm.options(transaction=tx, unique="x").send_many([2])

        def fail_in_it() -> None:
            with app.transaction() as tx:
                tx.execute("INSERT INTO orders VALUES (3)")
                confirm.send(3, transaction=tx)
                raise KeyError

        with pytest.raises(KeyError):
            fail_in_it()
        with app.transaction() as tx:
            assert tx.execute("SELECT id FROM orders") == [(1,)]
        app.run(until="now")
        assert job.result(0) == 1
        assert many[0].result(0) == 2
        assert len(app.topic("tasks._plain").read()) == 2


def test_the_memory_engine_has_no_transactions() -> None:
    with App("memory://") as app, pytest.raises(CapabilityError), app.transaction():
        pass


# --- other processes --------------------------------------------------------------------------------------------------

TASKS = """
from millstream import App

app = App()

@app.task
def double(number: int) -> int:
    return number * 2
"""

SENDER = """
import sys
from jobs import double

job = double.send(21)
print(job.id, flush=True)
print(job.result("30s"), flush=True)
"""


def test_a_process_that_only_sends_and_one_that_only_works(tmp_path: Path) -> None:
    (tmp_path / "jobs.py").write_text(TASKS)
    (tmp_path / "app.py").write_text("from jobs import app\n")
    (tmp_path / "sender.py").write_text(textwrap.dedent(SENDER))
    worker = subprocess.Popen([sys.executable, "-m", "millstream", "run", "app.py"], cwd=tmp_path)
    try:
        done = subprocess.run(
            [sys.executable, "sender.py"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
        )
    finally:
        worker.terminate()
        worker.wait(60)
    assert done.stdout.split() == ["tasks.double:0:0", "42"], done.stderr


def test_the_words_of_other_systems_are_answered_with_ours(make_app: MakeApp) -> None:
    app = make_app()

    @app.task
    def email(to: str) -> None: ...

    with pytest.raises(AttributeError, match=r"no attribute 'delay'; a job is sent by email\.send\(\.\.\.\)"):
        email.delay("ann")  # type: ignore[attr-defined]
    with pytest.raises(AttributeError, match=r"no attribute 'nothing'$"):
        email.nothing()  # type: ignore[attr-defined]
    assert not hasattr(email, "__wrapped_by__")
    assert copy.copy(email).name == "email"
