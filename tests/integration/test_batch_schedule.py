"""Batches that start by time or by what has gathered: each due time once, however many processes look."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pytest

from millstream import App, Batch, BatchRun, Retry, gathered
from millstream.batch.planning import LATE_US, Plan, Together, look
from millstream.batch.scheduler import Scheduler
from millstream.errors import UsageError
from millstream.log.topic import Topic
from millstream.records import time_to_us
from millstream.testing.fake_clock import FakeClock
from millstream.triggers.schedule import Cron, Every, dues_between


class Click(msgspec.Struct, frozen=True):
    page: str
    load_ms: int


def click(topic: Topic[Click], count: int, first: int = 0) -> None:
    topic.extend([Click(f"/{n % 3}", n) for n in range(first, first + count)])


def numbers(frame: pl.LazyFrame) -> list[int]:
    return frame.select("load_ms").collect()["load_ms"].to_list()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(time_to_us(datetime(2026, 1, 1, tzinfo=UTC)))


def settle(scheduler: Scheduler) -> None:
    """Tick until there is nothing to do now."""
    for _ in range(5000):
        if scheduler.tick() > 10_000:
            return
    raise AssertionError("the scheduler never comes to rest")


def batches(
    clock: FakeClock, count: int, handler: Callable[[pl.LazyFrame], Any], **settings: Any
) -> tuple[App, Topic[Click], list[Scheduler]]:
    """Return the schedulers of as many processes of one app."""
    app = App("memory://", clock=clock)
    clicks = app.topic("clicks", Click)
    declared = app.batch(clicks, name="report", **settings)(handler)
    others = [Batch(clicks, handler, name="report", options=declared.options, on=declared.on) for _ in range(count - 1)]
    return app, clicks, [Scheduler(batch) for batch in (declared, *others)]


@pytest.mark.parametrize(("expression", "from_day"), [("30 2 * * *", 0), ("0 */6 * * *", 273)])
def test_two_schedulers_run_every_due_time_of_a_year_once(clock: FakeClock, expression: str, from_day: int) -> None:
    end_us = clock.now_us() + 366 * 86_400_000_000
    clock.advance(timedelta(days=from_day))  # the end of a summer is enough, where there are many due times
    app, _, (one, two) = batches(
        clock, 2, lambda frame: None, cron=expression, timezone="Europe/Berlin", missed="all", overlap="queue"
    )
    start_us = clock.now_us()
    for scheduler in (one, two):
        settle(scheduler)
    cron = Cron(expression, "Europe/Berlin")
    while (due_us := cron.next_after(clock.now_us())) is not None and due_us < end_us:
        clock.advance(timedelta(microseconds=due_us - clock.now_us()))
        for scheduler in (one, two, one):
            settle(scheduler)
    runs = one.batch.runs(limit=10_000)
    assert [time_to_us(run.due) for run in runs if run.due] == [*dues_between(cron, start_us, clock.now_us())]
    assert {run.outcome for run in runs} == {"done"}
    assert len({run.due for run in runs if run.due and run.due.year == 2026}) >= 365 - from_day
    app.close()


def test_schedulers_in_threads_run_each_due_time_once(clock: FakeClock, tmp_path: Path) -> None:
    ran: Counter[str] = Counter()
    apps = []
    schedulers = []
    for _ in range(3):
        app = App(str(tmp_path / "log.db"), clock=clock, durability="relaxed")
        apps.append(app)

        @app.batch(app.topic("clicks", Click), name="report", every="1m", overlap="queue", missed="all")
        def report(frame: pl.LazyFrame, run: Any) -> None:
            ran[f"{run.due:%H:%M}"] += 1

        schedulers.append(Scheduler(report))
    settle(schedulers[0])
    clock.advance("1h")
    together = threading.Barrier(len(schedulers))

    def work(scheduler: Scheduler) -> None:
        together.wait(30)
        until_s = time.monotonic() + 50
        while ran.total() < 60 and time.monotonic() < until_s:
            scheduler.tick()

    threads = [threading.Thread(target=work, args=[scheduler]) for scheduler in schedulers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for scheduler in schedulers:
        settle(scheduler)
    assert ran == Counter({f"{minute // 60:02}:{minute % 60:02}": 1 for minute in range(1, 61)})
    for app in apps:
        app.close()


@pytest.mark.parametrize(
    ("missed", "due", "left_out"),
    [("skip", [], 5), ("once", ["05"], 4), ("all", ["01", "02", "03", "04", "05"], 0)],
)
def test_what_was_missed_is_run_as_the_policy_says(
    clock: FakeClock, missed: str, due: list[str], left_out: int
) -> None:
    app, _, (one,) = batches(clock, 1, lambda frame: None, cron="@hourly", missed=missed)
    settle(one)
    clock.advance("5h30m")
    settle(one)
    runs = one.batch.runs()
    assert [f"{run.due:%H}" for run in runs if run.outcome == "done"] == due
    assert sum(run.skipped for run in runs) == left_out
    clock.advance("30m")
    settle(one)
    assert f"{one.batch.runs()[-1].due:%H:%M}" == "06:00"
    app.close()


@pytest.mark.parametrize(("overlap", "outcomes"), [("skip", ["done"]), ("queue", ["done", "done", "done"])])
def test_what_becomes_due_during_a_run_is_left_out_or_waits(
    clock: FakeClock, overlap: str, outcomes: list[str]
) -> None:
    holder: list[Scheduler] = []
    first = [True]

    def slow(frame: pl.LazyFrame) -> None:
        if first.pop() if first else False:
            for _ in range(2):
                clock.advance("1h")
                holder[0].note(running=True)  # as the beat of the run does

    app, _, holder = batches(clock, 1, slow, cron="@hourly", overlap=overlap)
    settle(holder[0])
    clock.advance("1h")
    settle(holder[0])
    runs = holder[0].batch.runs()
    assert [run.outcome for run in runs if run.outcome != "skipped"] == outcomes
    assert sum(run.skipped for run in runs) == 3 - len(outcomes)
    app.close()


def test_a_clock_that_is_set_back_repeats_nothing(clock: FakeClock) -> None:
    app, _, (one,) = batches(clock, 1, lambda frame: None, cron="@hourly")
    settle(one)
    for _ in range(3):
        clock.advance("1h")
        settle(one)
    clock.jump(timedelta(hours=-2))
    for _ in range(3):
        clock.advance("1h")
        settle(one)
    hours = [f"{run.due:%H}" for run in one.batch.runs()]
    assert hours == ["01", "02", "03", "04"]
    app.close()


def test_a_clock_that_was_years_ahead_does_not_end_the_schedule(clock: FakeClock) -> None:
    app, _, (one,) = batches(clock, 1, lambda frame: None, cron="@hourly")
    settle(one)
    clock.jump(timedelta(days=3650))
    settle(one)
    clock.jump(timedelta(days=-3650))
    settle(one)
    clock.advance("1h")
    settle(one)
    assert f"{one.batch.runs()[-1].due:%Y %H}" == "2026 01"
    app.close()


def test_a_run_starts_when_enough_has_gathered(clock: FakeClock) -> None:
    seen: list[list[int]] = []
    app, clicks, (one,) = batches(
        clock, 1, lambda frame: seen.append(numbers(frame)), when=gathered(records=5, age="10m")
    )
    settle(one)
    click(clicks, 4)
    settle(one)
    assert seen == []
    click(clicks, 2, first=4)
    settle(one)
    assert seen == [[0, 1, 2, 3, 4, 5]]
    click(clicks, 1, first=6)
    clock.advance("9m")
    settle(one)
    assert len(seen) == 1
    clock.advance("1m")
    settle(one)
    assert seen[1:] == [[6]]
    assert [run.trigger for run in one.batch.runs()] == ["when", "when"]
    app.close()


def test_a_run_starts_when_there_are_so_many_bytes(tmp_path: Path, clock: FakeClock) -> None:
    with App(str(tmp_path / "log.db"), clock=clock) as app:
        clicks = app.topic("clicks", Click)
        scheduler = Scheduler(app.batch(clicks, name="report", when=gathered(size="1kB"))(lambda frame: None))
        click(clicks, 2)
        settle(scheduler)
        assert scheduler.batch.runs() == []
        click(clicks, 2000)
        settle(scheduler)
        assert [run.rows for run in scheduler.batch.runs()] == [2002]


def test_a_run_starts_when_another_topic_has_an_event(clock: FakeClock) -> None:
    app = App("memory://", clock=clock)
    clicks, go = app.topic("clicks", Click), app.topic("go", Click)
    scheduler = Scheduler(app.batch(clicks, on=go, name="report")(lambda frame: None))
    click(clicks, 3)
    settle(scheduler)
    assert scheduler.batch.runs() == []
    click(go, 2)
    settle(scheduler)
    click(clicks, 1)
    settle(scheduler)
    assert [(run.rows, run.trigger) for run in scheduler.batch.runs()] == [(3, "on")]
    click(go, 1)
    settle(scheduler)
    assert [run.rows for run in scheduler.batch.runs()] == [3, 1]
    app.close()


def test_a_failing_run_is_tried_again_over_the_same_records(clock: FakeClock) -> None:
    seen: list[list[int]] = []

    def flaky(frame: pl.LazyFrame) -> None:
        seen.append(numbers(frame))
        if len(seen) < 3:
            raise ValueError("not yet")

    app, clicks, (one, two) = batches(clock, 2, flaky, cron="@hourly", retry=Retry(attempts=3, delay="1m", jitter=0.0))
    settle(one)
    click(clicks, 2)
    clock.advance("1h")
    settle(one)
    click(clicks, 1, first=2)
    settle(two)
    assert seen == [[0, 1]]
    clock.advance("1m")
    settle(two)  # another process tries again
    clock.advance("2m")
    settle(one)
    assert seen == [[0, 1]] * 3
    runs = one.batch.runs()
    assert [(run.outcome, run.attempt) for run in runs] == [("failed", 1), ("failed", 2), ("done", 3)]
    assert len({run.id for run in runs}) == 1
    clock.advance("57m")
    settle(one)
    assert seen[-1] == [2]
    app.close()


def test_a_run_that_failed_for_good_leaves_its_records_to_the_next(clock: FakeClock) -> None:
    seen: list[list[int]] = []

    def once(frame: pl.LazyFrame) -> None:
        seen.append(numbers(frame))
        if len(seen) == 1:
            raise ValueError("no")

    app, clicks, (one,) = batches(clock, 1, once, when=gathered(records=2))
    click(clicks, 2)
    settle(one)
    assert len(seen) == 1, "a condition that is still met waits a moment after a failure"
    clock.advance("1s")
    settle(one)
    assert seen == [[0, 1], [0, 1]]
    app.close()


def test_a_paused_batch_starts_nothing(clock: FakeClock) -> None:
    app, clicks, (one,) = batches(clock, 1, lambda frame: None, when=gathered(records=1))
    one.batch.group.pause()
    click(clicks, 1)
    settle(one)
    assert one.batch.runs() == []
    one.batch.group.pause(paused=False)
    settle(one)
    assert len(one.batch.runs()) == 1
    app.close()


def test_a_running_app_starts_batches(tmp_path: Path) -> None:
    ran = threading.Event()
    with App(str(tmp_path / "log.db")) as app:
        clicks = app.topic("clicks", Click)

        @app.batch(clicks, when=gathered(records=3))
        def report(frame: pl.LazyFrame) -> None:
            assert frame.collect().height == 3
            ran.set()

        with app.start():
            click(clicks, 2)
            click(clicks, 1)
            assert ran.wait(30)
        assert [run.trigger for run in report.runs()] == ["when"]


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"cron": "5 0 * *"}, "4 fields"),
        ({"every": "10m", "timezone": "Europe/Berlin"}, "is for cron="),
        ({"cron": "@daily", "missed": "never"}, "missed='never': give one of 'skip', 'once', 'all'"),
        ({"cron": "@daily", "overlap": "both"}, "overlap='both'"),
        ({"when": 10_000}, "when=10000: give gathered"),
        ({"retry": 3}, "give Retry"),
        ({"timeout": 0}, "more than nothing"),
        ({"on": 5}, "not a topic"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings: dict[str, Any], says: str) -> None:
    with App("memory://") as app, pytest.raises(UsageError, match=says):
        app.batch(app.topic("clicks", Click), **settings)(lambda frame: None)


def test_conditions_are_joined_and_say_what_they_are() -> None:
    assert (
        str(gathered(records=10_000, size="64MB", age="10m"))
        == "10,000 records or 64,000,000 bytes or a record 10m old"
    )
    for wrong in (0, -1, True, "10"):
        with pytest.raises(UsageError, match="whole number above 0"):
            gathered(records=wrong)  # type: ignore[arg-type]


def test_due_times_that_wait_are_bounded() -> None:
    every = Together((Every.of("1s"),))
    plan = Plan(0)
    now_us = 5_000 * 1_000_000 + LATE_US
    looked = look(plan, every, now_us, running=False, missed="all", overlap="queue")
    assert len(looked.plan.waiting) == 1000
    assert looked.plan.looked_us == 1000 * 1_000_000, "the others are looked at later, none is lost"
    assert looked.dropped == 0
    looked = look(Plan(now_us - 1, looked.plan.waiting), every, now_us, running=True, missed="skip", overlap="queue")
    assert (len(looked.plan.waiting), looked.dropped) == (1000, 1)


def test_a_late_batch_is_a_problem_of_health(clock: FakeClock, caplog: pytest.LogCaptureFixture) -> None:
    from millstream.batch.registry import declare
    from millstream.web.operations import Operations

    app, _, (one,) = batches(clock, 1, lambda frame: None, cron="@daily", fresh="26h")
    declare(one.batch)
    operations = Operations(app.log, [], batches=["report"])
    settle(one)
    clock.advance("24h")
    settle(one)
    assert operations.look().late == []
    clock.advance("25h")
    one._warn()
    assert operations.look().late == []
    clock.advance("2h")  # the second due time was missed: no process was there
    assert [late.state for late in operations.look().late] == ["late"]
    one._warn()
    one._warn()
    assert [record.message for record in caplog.records if "late" in record.message] == [
        "batch report: late: its last success is older than 1d2h"
    ]
    assert operations.look().queues == [], "a batch is no queue"
    settle(one)
    clock.advance("1s")
    assert operations.look().late == []
    app.close()


def test_each_trigger_can_start_a_batch(tmp_path: Path) -> None:
    from millstream import files

    inbox = tmp_path / "inbox"
    inbox.mkdir()
    ran = threading.Event()
    with App(str(tmp_path / "log.db")) as app:
        clicks = app.topic("clicks", Click)

        @app.batch(clicks, on=files(str(inbox / "*.csv"), settle="50ms"))
        def report(frame: pl.LazyFrame, run: BatchRun) -> Any:
            ran.set()
            assert run.events is not None
            return [Path(path).name for path in run.events.collect()["path"]]

        click(clicks, 3)
        with app.start():
            # A file that was seen empty, and again with its line, would be two events.
            (inbox / "go.part").write_text("a,b\n")
            (inbox / "go.part").rename(inbox / "go.csv")
            assert ran.wait(30)
        assert [(run.trigger, run.rows) for run in report.runs()] == [("on", 3)]
        assert report.rerun(report.runs()[0].id).result == ["go.csv"]


def test_a_batch_that_another_process_runs_is_left_to_that(clock: FakeClock) -> None:
    app, clicks, (one, two) = batches(clock, 2, lambda frame: None, cron="@daily")
    click(clicks, 2)
    claim = two.batch.take("cron")
    app.run(until="now")
    assert one.batch.runs() == []
    two.batch.work(claim)
    click(clicks, 1)
    app.run(until="now")
    assert [run.rows for run in one.batch.runs()] == [2, 1]
    app.close()
