"""`millstream run` as a process of its own: how many workers, and how it stops."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from millstream import App
from millstream.cli.run import _workers_of
from millstream.errors import UsageError

PATIENCE_S = 200.0

APPLICATION = """
import threading, time
from millstream import App

app = App("millstream.db")
together = threading.Barrier(3)

@app.queue(app.topic("jobs", dict), KIND)
def work(value):
    if value["act"] == "meet":
        together.wait(60)
        print("met", flush=True)
    elif value["act"] == "hang":
        print("hangs", flush=True)
        time.sleep(3600)
"""


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start `millstream run app.py` with options, as a process of its own."""
    processes: list[subprocess.Popen[str]] = []

    def started(*options: str, kind: str = "workers=1") -> subprocess.Popen[str]:
        (tmp_path / "app.py").write_text(APPLICATION.replace("KIND", kind))
        command = [sys.executable, "-m", "millstream", "run", "app.py", *options]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        processes.append(subprocess.Popen(command, cwd=tmp_path, env=os.environ, text=True, **pipes))
        return processes[-1]

    yield started
    for process in processes:
        process.kill()
        process.communicate()


@pytest.fixture
def log(tmp_path: Path) -> Iterator[App]:
    with App(str(tmp_path / "millstream.db")) as app:
        yield app


def wait_for_line(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdout is not None
    for found in process.stdout:
        if found == f"{line}\n":
            return
    raise AssertionError(process.communicate()[1])


def test_workers_replaces_what_the_queues_declare(start: Callable[..., subprocess.Popen[str]], log: App) -> None:
    log.topic("jobs", dict).extend([{"act": "meet"}] * 3)
    out, err = start("--workers", "3", "--until", "now").communicate(timeout=PATIENCE_S)
    assert out.count("met") == 3, err
    assert log.topic("jobs").group("work").info().ledger.done == 3


@pytest.mark.skipif(sys.platform == "win32", reason="SIGTERM ends a process at once there")
@pytest.mark.parametrize("kind", ["workers=1", "kind='processes'"])
def test_after_its_grace_a_stop_gives_back_what_is_not_finished(
    start: Callable[..., subprocess.Popen[str]], log: App, kind: str
) -> None:
    log.topic("jobs", dict).append({"act": "hang"})
    process = start("--grace", "100ms", kind=kind)
    wait_for_line(process, "hangs")
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, err
    group = log.topic("jobs").group("work")
    assert group.info().ledger.leased == 0
    [lease] = group.lease(worker="next", records_max=1, duration="1m")
    assert lease.attempt == 1, "a deploy is no fault of the record"


@pytest.mark.parametrize(
    "options",
    [
        ["--workers", "0"],
        ["--workers", "many"],
        ["--workers", "8-1"],
        ["--grace", "soon"],
        ["--grace", "1s", "--until", "now"],
    ],
)
def test_wrong_options_are_one_line_and_code_2(start: Callable[..., subprocess.Popen[str]], options: list[str]) -> None:
    process = start(*options)
    _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 2, err
    assert err.startswith("millstream: ")
    assert err.count("\n") == 1


def test_workers_is_a_number_or_a_range() -> None:
    assert _workers_of("4") == 4
    assert _workers_of("1-8") == (1, 8)
    with pytest.raises(UsageError):
        _workers_of("1-")
