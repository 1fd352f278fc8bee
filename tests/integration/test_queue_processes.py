"""Workers that are processes: crashes, timeouts, recycling, stops."""

from __future__ import annotations

import logging
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from tests.waiting import until

from millstream.app import App
from millstream.errors import UsageError
from millstream.queue import DeadLetter, QueueReader
from millstream.records import Position
from millstream.run.load import load_app

SCRIPT = Path(__file__).with_name("queue_processes_app.py")
PATIENCE_S = 60.0


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[App]:
    monkeypatch.setenv("QUEUE_PROCESSES_FOLDER", str(tmp_path))
    with load_app(str(SCRIPT)) as loaded:
        yield loaded
    sys.modules.pop("__millstream_app__", None)


@pytest.fixture
def module(app: App) -> ModuleType:
    return sys.modules["__millstream_app__"]


@pytest.fixture
def notes(tmp_path: Path) -> Callable[[], list[tuple[str, int]]]:
    def read() -> list[tuple[str, int]]:
        path = tmp_path / "notes"
        lines = path.read_text().splitlines() if path.exists() else []
        return [(pid, int(number)) for pid, number in (line.split() for line in lines)]

    return read


def only(app: App, name: str) -> QueueReader:
    """Leave one queue in an application."""
    for other in [other for other in app._queues if other != name]:
        del app._queues[other]
    return app.queues[name]


def dead(app: App, topic: str = "jobs") -> list[DeadLetter]:
    return [record.value for record in app.topic(f"{topic}.dead", DeadLetter).read()]


def test_worker_processes_share_the_records(app: App, module: Any, notes: Callable[[], list[tuple[str, int]]]) -> None:
    work = only(app, "work")
    module.jobs.extend([module.Job(n, "meet") for n in range(6)])
    app.run(until="now")
    assert sorted(number for _, number in notes()) == list(range(6))
    assert len({pid for pid, _ in notes()}) == 2
    assert work.info().ledger.done == 6


def test_a_worker_process_that_dies_is_replaced_and_the_record_that_killed_it_set_aside(
    app: App, module: Any, notes: Callable[[], list[tuple[str, int]]], caplog: pytest.LogCaptureFixture
) -> None:
    work = only(app, "work")
    module.jobs.extend([module.Job(n, "exit" if n == 5 else "") for n in range(40)])
    with caplog.at_level(logging.ERROR, "millstream.run"), app.start():
        assert work.join(PATIENCE_S)
    assert Counter(number for _, number in notes()) == Counter({**dict.fromkeys(range(40), 1), 5: 2})
    assert work.info().ledger.done == 39
    assert [(letter.offset, letter.error_type, letter.attempts) for letter in dead(app)] == [(5, "WorkerDied", 2)]
    assert "died (exit code 0)" in caplog.text


def test_a_worker_process_whose_handler_overruns_is_ended(
    app: App, module: Any, notes: Callable[[], list[tuple[str, int]]]
) -> None:
    in_time = only(app, "in_time")
    app.topic("limited", module.Job).extend([module.Job(0, "hang"), module.Job(1), module.Job(2)])
    with app.start():
        assert in_time.join(PATIENCE_S)
    assert Counter(number for _, number in notes()) == Counter({0: 2, 1: 1, 2: 1})
    assert [(letter.offset, letter.error_type, letter.attempts) for letter in dead(app, "limited")] == [
        (0, "TimeoutError", 2)
    ]


def test_a_worker_process_is_replaced_after_so_many_jobs(
    app: App, module: Any, notes: Callable[[], list[tuple[str, int]]]
) -> None:
    few = only(app, "few")
    app.topic("few", module.Job).extend([module.Job(n) for n in range(25)])
    app.run(until="now")
    assert [number for _, number in notes()] == list(range(25))
    assert sorted(Counter(pid for pid, _ in notes()).values()) == [5, 10, 10]
    assert few.info().ledger.done == 25


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_worker_process_that_leaks_is_replaced_before_it_takes_all_memory(
    app: App, module: Any, notes: Callable[[], list[tuple[str, int]]]
) -> None:
    leak = only(app, "leak")
    module.leaks.extend([module.Job(n) for n in range(12)])
    app.run(until="now")
    assert [number for _, number in notes()] == list(range(12))
    assert 2 <= max(Counter(pid for pid, _ in notes()).values()) <= 6
    assert leak.info().ledger.done == 12


def test_a_record_that_runs_in_a_worker_process_can_be_cancelled(
    app: App, module: Any, notes: Callable[[], list[tuple[str, int]]]
) -> None:
    reader = only(app, "at_leisure")
    module.slow.extend([module.Job(0, "hang"), module.Job(1)])
    with app.start():
        until(lambda: bool(notes()))
        reader.cancel(Position(0, 0), "not needed")
        assert reader.join(PATIENCE_S)
    assert [number for _, number in notes()] == [0, 1]
    assert [letter.error_type for letter in dead(app, "slow")] == ["Cancelled"]


def test_a_hard_stop_ends_worker_processes_and_gives_back_what_they_hold(
    app: App, module: Any, notes: Callable[[], list[tuple[str, int]]]
) -> None:
    reader = only(app, "at_leisure")
    module.slow.extend([module.Job(0, "hang"), module.Job(1)])
    running = app.start()
    until(lambda: bool(notes()))
    until(lambda: any(state.position is not None for state in reader.workers()))
    assert not running.stop("100ms")
    running.abort()
    left = reader.info().ledger
    assert (left.leased, left.waiting + left.ready) == (0, 2)
    (lease,) = reader.group.lease(worker="test", records_max=1, duration=10)
    assert (lease.start, lease.attempt) == (0, 1)


def test_a_soft_stop_lets_worker_processes_finish(
    app: App, module: Any, notes: Callable[[], list[tuple[str, int]]]
) -> None:
    work = only(app, "work")
    module.jobs.extend([module.Job(0, "wait")])
    with app.start():
        until(lambda: bool(notes()))
    assert work.info().ledger.done == 1


def test_worker_processes_grow_with_the_load_and_go_again(
    app: App, module: Any, notes: Callable[[], list[tuple[str, int]]], caplog: pytest.LogCaptureFixture
) -> None:
    reader = only(app, "scaled")
    jobs = app.topic("scaled", module.Job)
    with caplog.at_level(logging.INFO, "millstream.run"), app.start():
        jobs.extend([module.Job(n) for n in range(60)])
        until(lambda: len({pid for pid, _ in notes()}) == 3)
        assert reader.join(PATIENCE_S)
        until(lambda: "1 worker processes: at most 1 were needed" in caplog.text)
        until(lambda: len(reader.workers()) == 1)
        jobs.append(module.Job(60))
        assert reader.join(PATIENCE_S)
    assert sorted(number for _, number in notes()) == list(range(61)), "each once, those of the processes that went too"
    assert "died" not in caplog.text


def test_worker_processes_need_an_app_that_can_be_imported(tmp_path: Path) -> None:
    with App(str(tmp_path / "log.db")) as hidden:
        reader = hidden.queue("jobs", name="work", kind="processes")(lambda job: None)
        assert reader.options.kind == "processes"
        with pytest.raises(UsageError, match="top level of a module"):
            hidden.run(until="now", stop=threading.Event())
