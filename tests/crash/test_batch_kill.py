"""`kill -9` of processes that run a batch: every record is in one run that succeeded, files are whole or not there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from random import Random
from typing import Final

import polars as pl
import pytest

from millstream.app import App

sys.path.insert(0, str(Path(__file__).parent))
from batch_process import Event, declare

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")

SCRIPT: Final = Path(__file__).with_name("batch_process.py")
KILLS: Final = 60 if os.environ.get("MILLSTREAM_FULL") == "1" else 6
SEED: Final = os.environ.get("MILLSTREAM_SEED", "1")
PATIENCE_S: Final = 120.0


def start(place: Path, folder: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, str(SCRIPT), str(place), str(folder)], stderr=subprocess.DEVNULL)


@pytest.mark.timeout(600)
def test_killed_processes_lose_and_repeat_nothing(tmp_path: Path) -> None:
    place, folder = tmp_path / "log.db", tmp_path / "out"
    folder.mkdir()
    random = Random(SEED)
    appended = 0
    with App(str(place), durability="relaxed") as app:
        events = app.topic("events", Event)
        processes = [start(place, folder) for _ in range(2)]
        try:
            for _ in range(KILLS):
                # Each kill is after some new work was begun, at a moment that the seed chooses.
                for _ in range(random.randrange(1, 6)):
                    events.extend([Event(number) for number in range(appended, appended + 7)])
                    appended += 7
                    time.sleep(random.uniform(0.02, 0.3))
                victim = random.randrange(2)
                processes[victim].send_signal(signal.SIGKILL)
                processes[victim].wait()
                processes[victim] = start(place, folder)
            until = time.monotonic() + PATIENCE_S
            group = events.group("report")
            while group.info().lag and time.monotonic() < until:
                time.sleep(0.1)
            assert group.info().lag == 0
        finally:
            for process in processes:
                process.kill()
                process.wait()
        declare(app, folder, 0.0)
        batch = app.batches["report"]
        batch.run()  # ends what was begun, such as files that were committed and not renamed
        done = {run.id: run.rows for run in batch.runs(limit=10_000) if run.outcome == "done"}
        out = [record.value.number for record in app.topic("out", Event).read(records_max=1_000_000)]
        assert sorted(out) == list(range(appended))
        files = {path.stem: path for path in folder.iterdir()}
        assert files.keys() == done.keys()
        assert {run_id: pl.read_csv(path).height for run_id, path in files.items()} == done
        numbers = [number for path in files.values() for number in pl.read_csv(path)["number"].to_list()]
        assert sorted(numbers) == list(range(appended))
