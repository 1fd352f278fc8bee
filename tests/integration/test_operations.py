"""What monitors ask a running application: metrics, queue lengths, health. Over HTTP, and of the real command."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from millstream.app import App
from millstream.errors import SettingsError
from millstream.log.group import Group
from millstream.queue.events import WorkerState, WorkerStatus
from millstream.queue.presence import Presence
from millstream.records import Position
from millstream.testing.fake_clock import FakeClock
from millstream.web.operations import Operations, serve_operations

PATIENCE_S = 60.0


class Job(msgspec.Struct, frozen=True):
    number: int


@pytest.fixture(params=["memory", "sqlite"])
def app(request: pytest.FixtureRequest, tmp_path: Path, clock: FakeClock) -> Iterator[App]:
    url = "memory://" if request.param == "memory" else str(tmp_path / "log.db")
    with App(url, durability="relaxed", clock=clock) as app:
        yield app


@pytest.fixture
def group(app: App) -> Group[Any]:
    jobs = app.topic("jobs", Job)
    jobs.extend([Job(n) for n in range(10)])
    return jobs.group("work")


@pytest.fixture
def client(app: App, group: Group[Any]) -> Iterator[httpx.Client]:
    with serve_operations(app.log, [("jobs", "work")], port=0, stall="10m") as serving:
        with httpx.Client(base_url=serving.url, timeout=PATIENCE_S) as client:
            yield client


def later(clock: FakeClock, duration: str) -> None:
    """Let time pass, so that what was looked at is no longer fresh."""
    clock.advance(duration)


def test_metrics_are_the_queues_as_they_are(client: httpx.Client, group: Group[Any], clock: FakeClock) -> None:
    answer = client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert 'millstream_queue_ready_records{topic="jobs",group="work"} 10\n' in answer.text
    group.lease(worker="w", records_max=4, duration="1h")
    later(clock, "1s")
    text = client.get("/metrics").text
    assert 'millstream_queue_ready_records{topic="jobs",group="work"} 6\n' in text
    assert 'millstream_queue_leased_records{topic="jobs",group="work"} 4\n' in text
    assert 'millstream_queue_oldest_age_seconds{topic="jobs",group="work"} 1\n' in text


def test_a_scaler_reads_queued_plus_leased(client: httpx.Client, group: Group[Any], clock: FakeClock) -> None:
    group.lease(worker="w", records_max=10, duration="1h")
    later(clock, "1s")
    found = client.get("/queues/work").json()
    assert (found["ready"], found["leased"], found["queued_plus_leased"]) == (0, 10, 10)
    assert client.get("/queues/jobs/work").json() == found
    assert client.get("/queues").json() == {"queues": [found]}


@pytest.mark.parametrize("path", ["/queues/nothing", "/queues/jobs/nothing", "/queues/nothing/work", "/nothing", "/"])
def test_what_is_not_there_is_404_with_one_envelope(client: httpx.Client, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 404
    assert set(answer.json()["error"]) == {"code", "message", "where"}


def test_health_is_well_while_records_end(client: httpx.Client) -> None:
    answer = client.get("/health")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok", "problems": []})


def test_health_fails_when_nothing_moves_and_says_what_is_stuck(
    client: httpx.Client, group: Group[Any], clock: FakeClock
) -> None:
    (lease,) = group.lease(worker="w", records_max=1, duration="10h")
    presence = Presence(group)
    state = WorkerState("work-1", WorkerStatus.BUSY, clock.now_us(), Position(0, 0), 3)
    client.get("/health")
    later(clock, "10m")
    presence.tick(lambda: [state])
    answer = client.get("/health")
    assert answer.status_code == 503
    (problem,) = answer.json()["problems"]
    assert (problem["topic"], problem["group"], problem["partition"], problem["offset"]) == ("jobs", "work", 0, 0)
    assert (problem["worker"], problem["attempt"], problem["busy_s"]) == ("work-1", 3, 600)
    assert "worker work-1" in problem["message"]
    assert 'millstream_queue_stalled{topic="jobs",group="work"} 1' in client.get("/metrics").text
    assert lease.start == 0


def test_another_programs_stall_is_no_reason_to_restart_this_one(app: App, group: Group[Any], clock: FakeClock) -> None:
    operations = Operations(app.log, [("jobs", "other")], stall="10m")
    operations.look()
    clock.advance("11m")
    stalls = operations.look().stalls
    assert [stall.group for stall in stalls] == ["work"]
    assert operations.own_stalls(stalls) == []


def test_health_fails_when_the_log_cannot_be_read(client: httpx.Client, app: App, clock: FakeClock) -> None:
    app.close()
    later(clock, "1s")
    answer = client.get("/health")
    assert (answer.status_code, answer.json()["status"]) == (503, "failing")
    assert client.get("/metrics").status_code == 503


def test_the_watchdog_logs_a_stall_once_also_when_nobody_asks(
    app: App, group: Group[Any], clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    operations = Operations(app.log, [("jobs", "work")], stall="1s")
    stop = threading.Event()
    thread = threading.Thread(target=operations.watch, args=(stop,))
    thread.start()
    deadline = time.monotonic() + PATIENCE_S
    while not caplog.records and time.monotonic() < deadline:
        clock.advance("600ms")
        stop.wait(0.05)
    told = len(caplog.records)
    for _ in range(10):
        clock.advance("600ms")
        stop.wait(0.05)
    stop.set()
    thread.join(PATIENCE_S)
    assert told == len([record for record in caplog.records if record.levelname == "ERROR"]) == 1
    assert "no worker of it is alive, and record jobs/0:0 is the oldest" in caplog.text


def test_foreign_names_are_refused_on_loopback(client: httpx.Client) -> None:
    assert client.get("/metrics", headers={"host": "evil.example"}).status_code == 403


def test_beyond_loopback_the_token_is_needed_and_any_name_is_fine(app: App, group: Group[Any]) -> None:
    with serve_operations(app.log, [], host="0.0.0.0", port=0) as serving:
        assert serving.token is not None
        url = serving.url.replace("0.0.0.0", "127.0.0.1")
        named = {"host": "jobs.default.svc:9464"}
        assert httpx.get(f"{url}/metrics", headers=named).status_code == 401
        assert httpx.get(f"{url}/metrics", headers={**named, "authorization": "Bearer wrong"}).status_code == 401
        right = {**named, "authorization": f"Bearer {serving.token}"}
        assert httpx.get(f"{url}/metrics", headers=right).status_code == 200


def test_a_taken_address_is_said_before_anything_runs(app: App) -> None:
    with serve_operations(app.log, [], port=0) as serving:
        port = int(serving.url.rpartition(":")[2])
        with pytest.raises(SettingsError, match="is in use"):
            with serve_operations(app.log, [], port=port):
                pass


# --- the command ------------------------------------------------------------------------------------------------------

APPLICATION = """
import threading
import msgspec
from millstream import App

class Job(msgspec.Struct):
    number: int

app = App()
never = threading.Event()

@app.queue(app.topic("jobs", Job), workers=1)
def work(job):
    if job.number == 3:
        never.wait(60)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="SIGTERM cannot be caught there")
def test_run_with_metrics_tells_which_record_and_worker_hang(tmp_path: Path) -> None:
    (tmp_path / "work.py").write_text(APPLICATION)
    options = ["--json", "--metrics", "127.0.0.1:0", "--stall", "3s"]
    command = [sys.executable, "-m", "millstream", "run", "work.py", *options]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["queues"] == ["work"]
        url = json.loads(process.stdout.readline())["metrics"].removesuffix("/metrics")
        # However long this takes, a queue without work is not stuck.
        assert httpx.get(f"{url}/health").status_code == 200
        with App(str(tmp_path / "millstream.db"), durability="relaxed") as app:
            app.topic("jobs", Job).extend([Job(n) for n in range(5)])
        deadline = time.monotonic() + PATIENCE_S
        while (answer := httpx.get(f"{url}/health")).status_code == 200 and time.monotonic() < deadline:
            time.sleep(0.2)
        assert answer.status_code == 503
        (problem,) = answer.json()["problems"]
        assert (problem["group"], problem["offset"]) == ("work", 3)
        assert problem["worker"].startswith("work")
        assert "jobs/0:3" in problem["message"]
    finally:
        process.kill()
        process.communicate()


@pytest.mark.skipif(sys.platform == "win32", reason="SIGINT cannot be sent to one process there")
def test_run_with_metrics_ends_well_when_it_is_stopped(tmp_path: Path) -> None:
    (tmp_path / "work.py").write_text(APPLICATION)
    command = [sys.executable, "-m", "millstream", "run", "work.py", "--metrics", "0"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "running work.py: queue work\n"
    assert process.stdout.readline().startswith("metrics at http://127.0.0.1:")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, err
    assert "Traceback" not in err
