"""An application: what it declares, how it runs, how it is loaded."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pytest

import millstream
from millstream import App, Record, Stream
from millstream.errors import ClosedError, SettingsError, UsageError
from millstream.run.load import load_app
from millstream.settings import Settings

PATIENCE_S = 30.0


class Job(msgspec.Struct, frozen=True):
    number: int


@pytest.fixture(params=["memory", "sqlite"])
def app(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[App]:
    url = "memory://" if request.param == "memory" else str(tmp_path / "log.db")
    with App(url, durability="relaxed") as app:
        yield app


# --- the log ----------------------------------------------------------------------------------------------------------


def test_declaring_an_app_opens_nothing(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    app = App(str(path))
    assert not path.exists()
    app.topic("jobs", Job)
    assert path.exists()
    app.close()


def test_the_url_comes_from_the_environment_else_it_is_a_file_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MILLSTREAM_URL", raising=False)
    with App() as app:
        app.topic("a")
    assert (tmp_path / "millstream.db").exists()
    monkeypatch.setenv("MILLSTREAM_URL", str(tmp_path / "other.db"))
    with App() as app:
        app.topic("a")
    assert (tmp_path / "other.db").exists()


def test_settings_of_the_environment_are_checked() -> None:
    assert Settings.from_environment({"MILLSTREAM_URL": ""}) == Settings(url="millstream.db", durability="fsync")
    assert Settings.from_environment({"MILLSTREAM_DURABILITY": "relaxed"}).durability == "relaxed"
    with pytest.raises(SettingsError, match="MILLSTREAM_DURABILITY is 'yes'; give one of 'fsync', 'relaxed'"):
        Settings.from_environment({"MILLSTREAM_DURABILITY": "yes"})


def test_an_unknown_durability_is_refused_where_it_is_written() -> None:
    with pytest.raises(SettingsError, match="'fsync', 'relaxed'"):
        App("memory://", durability="perhaps")


def test_a_closed_app_says_so() -> None:
    app = App("memory://")
    app.topic("jobs", Job)
    app.close()
    app.close()
    with pytest.raises(ClosedError):
        app.topic("jobs", Job)


def test_every_topic_is_a_table(app: App) -> None:
    app.topic("jobs", Job).extend([Job(n) for n in range(4)])
    assert app.sql("SELECT sum(number) AS total FROM jobs").item() == 6


# --- declarations -----------------------------------------------------------------------------------------------------


def test_a_name_is_taken_once(app: App) -> None:
    jobs = app.topic("jobs", Job)
    app.queue(jobs, name="work")(lambda job: None)
    for declare in (app.queue, app.batch):
        with pytest.raises(UsageError, match="has the name 'work' already"):
            declare(jobs, name="work")(lambda value: None)  # type: ignore[operator]
    with pytest.raises(UsageError, match="has the name 'work' already"):
        app.stream(jobs, name="work")(lambda s: s.to("x"))


def test_a_reader_without_a_name_is_refused(app: App) -> None:
    with pytest.raises(UsageError, match="needs a name"):
        app.queue(app.topic("jobs", Job))(lambda job: None)


def test_a_topic_of_another_app_is_refused(app: App) -> None:
    with App("memory://") as other:
        with pytest.raises(UsageError, match="belongs to another app"):
            app.queue(other.topic("jobs", Job))


def test_a_topic_can_be_named(app: App) -> None:
    app.topic("jobs", Job).append(Job(1))
    seen: list[Any] = []
    app.queue("jobs", name="work")(seen.append)
    app.run(until="now")
    assert seen == [{"number": 1}]


def test_something_else_than_a_topic_is_refused(app: App) -> None:
    with pytest.raises(UsageError, match="is not a topic"):
        app.queue(Job)  # type: ignore[arg-type]


def test_an_app_without_readers_has_nothing_to_run(app: App) -> None:
    with pytest.raises(UsageError, match="nothing to run"):
        app.run()
    app.batch(app.topic("jobs", Job), name="report")(lambda frame: None)
    with pytest.raises(UsageError, match="a batch runs when"):
        app.run()
    with pytest.raises(UsageError, match="until"):
        app.run(until="tomorrow")  # type: ignore[arg-type]


# --- running ----------------------------------------------------------------------------------------------------------


def test_until_now_handles_all_there_is_through_every_reader(app: App) -> None:
    """Records go through a stream into a queue, whose handler appends to a third topic, which a batch reads."""
    first, second, third = app.topic("first", Job), app.topic("second", Job), app.topic("third", Job)
    reports: list[int] = []

    @app.batch(third)
    def report(frame: pl.LazyFrame) -> None:
        reports.append(frame.collect().height)

    @app.queue(second)
    def work(job: Job) -> None:
        third.append(job)

    @app.stream(first)
    def pass_on(s: Stream) -> None:
        s.to(second)

    first.extend([Job(n) for n in range(10)])
    app.run(until="now")
    assert reports == [10]
    app.run(until="now")
    assert reports == [10]


def test_until_now_comes_to_an_end_when_a_batch_feeds_itself(app: App) -> None:
    jobs = app.topic("jobs", Job)
    jobs.append(Job(0))

    @app.batch(jobs)
    def report(frame: pl.LazyFrame) -> None:
        jobs.append(Job(1))

    app.run(until="now")
    assert jobs.end_offsets() == {0: 2}


def test_a_reader_that_fails_is_shown_and_started_again(app: App, caplog: pytest.LogCaptureFixture) -> None:
    jobs = app.topic("jobs", Job)
    fails = [True]
    done, failed = threading.Event(), threading.Event()

    def sometimes(job: Job) -> None:
        if fails:
            failed.set()
            raise ValueError("the other side is closed")
        done.set()

    app.stream(jobs, name="flaky")(lambda s: s.each(sometimes))
    with caplog.at_level(logging.CRITICAL, "millstream.run"), app.start() as running:
        jobs.append(Job(1))
        assert failed.wait(PATIENCE_S)
        pause = threading.Event()
        for _ in range(1000):
            (state,) = running.readers()
            if state.failures:
                break
            pause.wait(0.01)
        assert state.failures >= 1  # it may have been tried again since
        assert state.error == "ValueError: the other side is closed"
        fails.clear()
        assert done.wait(PATIENCE_S)
    assert [state.state for state in running.readers()] == ["stopped"]


def test_run_returns_when_its_stop_is_set(app: App) -> None:
    jobs = app.topic("jobs", Job)
    stop = threading.Event()
    seen: list[int] = []

    @app.queue(jobs)
    def work(job: Job, record: Record[Job]) -> None:
        seen.append(job.number)
        if record.offset == 2:
            stop.set()

    jobs.extend([Job(n) for n in range(3)])
    app.run(stop=stop)
    assert seen == [0, 1, 2]


def test_readers_can_be_started_again_after_a_stop(app: App) -> None:
    jobs = app.topic("jobs", Job)
    arrived = threading.Semaphore(0)
    app.queue(jobs, name="work")(lambda job: arrived.release())
    for number in range(3):
        with app.start():
            jobs.append(Job(number))
            assert arrived.acquire(timeout=PATIENCE_S)


APP = """
import sys, threading, msgspec
from millstream import App

app = App(sys.argv[1], durability="relaxed")

class Job(msgspec.Struct):
    number: int

jobs = app.topic("jobs", Job)
stop = threading.Event()

@app.queue(jobs)
def work(job):
    print("started", job.number, flush=True)
    sys.stdin.readline()
    stop.wait(60)  # the signal takes a moment
    print("finished", job.number, flush=True)

jobs.extend([Job(1), Job(2)])
app.run(stop=stop)
print("drained", flush=True)
app.close()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM between processes")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_lets_the_running_record_finish(tmp_path: Path, number: signal.Signals) -> None:
    path = tmp_path / "log.db"
    process = subprocess.Popen(
        [sys.executable, "-c", APP, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "started 1\n"
        process.send_signal(number)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.5)
        rest, _ = process.communicate("\n", timeout=PATIENCE_S)
    assert rest == "finished 1\ndrained\n"
    assert process.returncode == 0
    with App(str(path)) as app:
        ledger = app.topic("jobs").group("work").info().ledger
        assert (ledger.done, ledger.leased) == (1, 0)


# --- loading ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return tmp_path


def write(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(textwrap.dedent(text))


ONE = "from millstream import App\napp = App('memory://')\n"


@pytest.mark.parametrize("target", ["app.py", "./app.py", "app.py:app", "{folder}/app.py"])
def test_an_app_is_found_in_a_file(folder: Path, target: str) -> None:
    write(folder, "app.py", ONE)
    assert isinstance(load_app(target.format(folder=folder)), App)


def test_an_app_is_found_in_a_module(folder: Path) -> None:
    write(folder, "loaded_by_name_app.py", ONE)
    assert isinstance(load_app("loaded_by_name_app"), App)
    assert load_app("loaded_by_name_app:app") is load_app("loaded_by_name_app")


def test_a_file_imports_its_neighbours_and_does_not_run_its_main(folder: Path) -> None:
    (folder / "project").mkdir()
    write(folder, "project/beside_the_app.py", "NAME = 'memory://'\n")
    write(
        folder,
        "project/app.py",
        """
        from dataclasses import dataclass
        from millstream import App
        from beside_the_app import NAME

        @dataclass
        class Job:
            number: int

        app = App(NAME)
        jobs = app.topic("jobs", Job)
        if __name__ == "__main__":
            raise SystemExit("main ran")
        """,
    )
    assert isinstance(load_app(f"project{os.sep}app.py"), App)


def test_one_app_under_two_names_is_one_app(folder: Path) -> None:
    write(folder, "app.py", ONE + "main = app\n")
    assert isinstance(load_app("app.py"), App)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import a_module_that_is_not_there\n", r"ModuleNotFoundError: .*a_module_that_is_not_there.*app\.py, line 1"),
        ("x = (\n", r"app\.py cannot be imported: SyntaxError: .*app\.py, line 1"),
        ("import json\n\njson.loads('{')\n", r"JSONDecodeError: .*line "),
    ],
)
def test_an_error_in_the_file_is_told_with_its_line_and_is_the_cause(folder: Path, text: str, message: str) -> None:
    write(folder, "app.py", text)
    with pytest.raises(UsageError, match=message) as raised:
        load_app("app.py")
    assert "millstream/run" not in str(raised.value)
    assert raised.value.__cause__ is not None


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("missing.py", "there is no file 'missing.py'"),
        ("missing_module", "there is no module 'missing_module'"),
        ("none.py", "none.py has no App; write"),
        ("two.py", "has several Apps; say which one: two.py:first, two.py:second"),
        ("two.py:third", "'third' of two.py is not an App: there is none; the Apps there are first, second"),
        ("two.py:name", "'name' of two.py is not an App: it is str"),
        ("a b", "neither|no module"),
    ],
)
def test_what_cannot_be_loaded_is_said_in_words(folder: Path, target: str, message: str) -> None:
    write(folder, "none.py", "name = 'x'\n")
    write(folder, "two.py", "from millstream import App\nfirst, second, name = App('memory://'), App('a.db'), 'x'\n")
    with pytest.raises(UsageError, match=message):
        load_app(target)


# --- the package ------------------------------------------------------------------------------------------------------


def test_every_public_name_can_be_imported() -> None:
    for name in millstream.__all__:
        assert getattr(millstream, name) is not None
    assert sorted(millstream.__all__, key=str) == sorted(dir(millstream))
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        millstream.nonsense  # noqa: B018
