"""Times as triggers: each due time is one event, whatever the clock, the processes and the downtime do."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from millstream import App, Due, Retention, SettingsError, UsageError, at, cron, every
from millstream.records import time_to_us
from millstream.testing import FakeClock
from millstream.triggers.times import TimeTrigger

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


def clock_at(moment: datetime) -> FakeClock:
    return FakeClock(time_to_us(moment))


def dues(app: App, trigger: TimeTrigger) -> list[datetime]:
    return [record.value.due for record in trigger.events(app.log).read(records_max=100_000)]


def minutes(*numbers: int) -> list[datetime]:
    return [NOON + timedelta(minutes=number) for number in numbers]


def test_a_function_is_called_when_it_is_due(tmp_path: Path) -> None:
    clock = clock_at(NOON)
    calls: list[datetime | str] = []
    with App(str(tmp_path / "a.db"), clock=clock) as app:

        @app.on(every("10m"))
        def tidy() -> None:
            calls.append("tidy")

        @app.on(cron("5 * * * *"))
        def report(due: Due) -> None:
            calls.append(due.due)

        app.run(until="now")
        assert calls == []  # what was due before the app was first started is not made up for
        clock.advance("6m")
        app.run(until="now")
        clock.advance("4m")
        app.run(until="now")
        app.run(until="now")
    assert calls == [NOON + timedelta(minutes=5), "tidy"]


def test_it_is_due_while_the_app_runs(tmp_path: Path) -> None:
    called = threading.Event()
    with App(str(tmp_path / "a.db")) as app:

        @app.on(every("100ms"))
        async def tick() -> None:
            called.set()

        with app.start():
            assert called.wait(60)


@pytest.mark.parametrize(
    ("missed", "expected", "counts"),
    [
        ("once", minutes(10, 50), [0, 3]),
        ("all", minutes(10, 20, 30, 40, 50), [0] * 5),
        ("skip", minutes(10), [0]),
    ],
)
def test_what_was_missed_is_made_up_for_as_was_stated(
    tmp_path: Path, missed: Any, expected: list[datetime], counts: list[int]
) -> None:
    clock = clock_at(NOON)
    for minutes_off in (0, 10, 45, 1):
        clock.advance(timedelta(minutes=minutes_off))
        with App(str(tmp_path / "a.db"), clock=clock) as app:
            trigger = every("10m", missed=missed)
            app.on(trigger, name="tick")(lambda due: None)
            app.run(until="now")
    with App(str(tmp_path / "a.db"), clock=clock) as app:
        values = [record.value for record in trigger.events(app.log).read()]
    assert [value.due for value in values] == expected
    assert [value.missed for value in values] == counts


def test_a_moment_comes_once_also_when_it_has_passed(tmp_path: Path) -> None:
    clock = clock_at(NOON)
    for _ in range(3):
        with App(str(tmp_path / "a.db"), clock=clock) as app:
            past, future = at(NOON - timedelta(days=400), name="past"), at(NOON + timedelta(hours=1), name="future")
            for trigger in (past, future):
                app.on(trigger, name=trigger.name)(lambda due: None)
            app.run(until="now")
            clock.advance("40m")
            past_dues, future_dues = dues(app, past), dues(app, future)
    assert past_dues == [NOON - timedelta(days=400)]
    assert future_dues == [NOON + timedelta(hours=1)]


def test_a_clock_that_is_set_makes_nothing_due_twice(tmp_path: Path) -> None:
    clock = clock_at(NOON)
    with App(str(tmp_path / "a.db"), clock=clock) as app:
        trigger = every("10m")
        app.on(trigger, name="tick")(lambda due: None)
        app.run(until="now")
        for jump in (10, -30, 25, -5, 20):
            clock.jump(timedelta(minutes=jump))
            app.run(until="now")
        assert dues(app, trigger) == minutes(10, 20)


def test_a_topic_of_events_keeps_what_was_asked_for(tmp_path: Path) -> None:
    clock = clock_at(NOON)
    with App(str(tmp_path / "a.db"), clock=clock) as app:
        trigger = every("1h").keeping(Retention(age="1d"))
        app.on(trigger, name="tick")(lambda due: None)
        for _ in range(5):
            clock.advance("1h")
            app.run(until="now")
        assert trigger.events(app.log).info().spec.retention_age_us == 86_400_000_000
        clock.advance("3d")
        app.log.keep_house()
        [partition] = trigger.events(app.log).info().partitions
        assert partition.start_offset > 0


def test_two_apps_over_a_year_of_local_time_fire_each_day_once(tmp_path: Path) -> None:
    """The clocks change twice; half past two does not exist on one day, and comes twice on another."""
    zone = ZoneInfo("Europe/Berlin")
    clock = clock_at(datetime(2026, 1, 1, tzinfo=UTC))
    url = str(tmp_path / "a.db")
    with App(url, clock=clock, durability="relaxed") as one, App(url, clock=clock, durability="relaxed") as two:
        triggers = [cron("30 2 * * *", timezone="Europe/Berlin", missed="all") for _ in range(2)]
        sources = [trigger.source(app.log) for trigger, app in zip(triggers, (one, two), strict=True)]
        stop = threading.Event()
        for source in sources:
            source.run_now(stop)
        for _ in range(365 * 4):
            clock.advance("6h")
            threads = [threading.Thread(target=source.run_now, args=(stop,)) for source in sources]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        found = [due.astimezone(zone) for due in dues(one, triggers[0])]
    days = [(datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=number)).date() for number in range(365)]
    assert [due.date() for due in found] == days
    odd = {due.date().isoformat(): due.time().isoformat() for due in found if (due.hour, due.minute) != (2, 30)}
    assert odd == {"2026-03-29": "03:00:00"}


APP = """
import sys
from millstream import App
from millstream import every
app = App(sys.argv[1])
@app.on(every("200ms"))
def tick(due):
    with open(sys.argv[2], "a") as out:
        out.write(due.due.isoformat() + "\\n")
app.run()
"""


def test_two_processes_call_each_due_time_once(tmp_path: Path) -> None:
    script, out = tmp_path / "app.py", tmp_path / "out.txt"
    script.write_text(APP)
    out.touch()
    command = [sys.executable, str(script), str(tmp_path / "a.db"), str(out)]
    processes = [subprocess.Popen(command) for _ in range(2)]
    try:
        until = time.monotonic() + 50
        while len(out.read_text().splitlines()) < 10:
            assert time.monotonic() < until
            time.sleep(0.05)
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(60)
    lines = out.read_text().splitlines()
    assert len(lines) >= 10
    assert max(Counter(lines).values()) == 1


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: cron("61 * * * *"), "61"),
        (lambda: cron("0 0 30 2 *"), "never"),
        (lambda: cron("0 0 * * *", timezone="Mars/Olympus"), "no time zone"),
        (lambda: every("soon"), "not a duration"),
        (lambda: every("1ms"), "below 100 ms"),
        (lambda: every("1h", missed="twice"), "missed is 'twice'"),  # type: ignore[arg-type]
        (lambda: at(datetime(2026, 1, 1)), "no time zone"),  # noqa: DTZ001
    ],
)
def test_a_declaration_that_cannot_work_says_why(make: Any, says: str) -> None:
    with pytest.raises((UsageError, SettingsError), match=says):
        make()
