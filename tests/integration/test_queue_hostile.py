"""Jobs that leak, jobs that end their process, and kills on top: the others are done, each hostile one is set aside.

The number of jobs is small unless MILLSTREAM_FULL=1 asks for 10,000.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from millstream.app import App
from millstream.queue import DeadLetter
from millstream.run.load import load_app
from millstream.run.processes import ProcessCrew

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc, and kills")

SCRIPT = Path(__file__).with_name("queue_hostile_app.py")
FULL = os.environ.get("MILLSTREAM_FULL") == "1"
JOBS = 10_000 if FULL else 600
LEAK_BYTES = 300_000 if FULL else 1_000_000
EXITING = {n for n in range(JOBS) if n % (JOBS // (10 if FULL else 3)) == 7}
KILLS = 20 if FULL else 3
PATIENCE_S = 600.0 if FULL else 120.0


class Begun(NamedTuple):
    pid: int
    number: int
    resident_bytes: int


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[App]:
    monkeypatch.setenv("QUEUE_HOSTILE_FOLDER", str(tmp_path))
    monkeypatch.setenv("QUEUE_HOSTILE_LEAK_BYTES", str(LEAK_BYTES))
    with load_app(str(SCRIPT)) as loaded:
        yield loaded
    sys.modules.pop("__millstream_app__", None)


def begun(folder: Path) -> list[Begun]:
    return [Begun(*map(int, line.split())) for line in (folder / "notes").read_text().splitlines()]


@pytest.mark.timeout(PATIENCE_S * 2)
def test_hostile_jobs_and_kills_cost_nobody_else_anything(
    app: App, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    module: Any = sys.modules["__millstream_app__"]
    module.jobs.extend([module.Job(n, n in EXITING) for n in range(JOBS)])
    reader, dice, killed = app.queues["work"], random.Random(1), 0
    start = time.monotonic()
    with caplog.at_level(logging.ERROR, "millstream.run"), app.start():
        crew = None
        while not reader.join(dice.uniform(0.1, 0.5)):
            assert time.monotonic() < start + PATIENCE_S, reader.info()
            crew = crew or reader._crew
            at_work = {one.pid for one in begun(tmp_path)}
            children = [child for child in multiprocessing.active_children() if child.pid in at_work]
            if children and killed < KILLS:
                dice.choice(children).kill()
                killed += 1
    elapsed_s = time.monotonic() - start
    assert isinstance(crew, ProcessCrew)

    letters = [record.value for record in app.topic("jobs.dead", DeadLetter).read()]
    assert {letter.offset for letter in letters} == EXITING
    assert {(letter.error_type, letter.attempts) for letter in letters} == {("WorkerDied", 3)}
    ledger = reader.info().ledger
    assert ledger.balanced
    assert (ledger.done, ledger.dead, ledger.in_progress) == (JOBS - len(EXITING), len(EXITING), 0)
    events = begun(tmp_path)
    times = Counter(event.number for event in events)
    assert set(times) == set(range(JOBS))
    again = sum(count - 1 for number, count in times.items() if number not in EXITING)
    assert again <= killed, "only what was running when a process was killed is begun again"
    most_bytes = max(event.resident_bytes for event in events)
    assert crew.recycled >= 1, "what exits or is killed has leaked as well: how many are left to replace is luck"
    assert most_bytes < module.LIMIT_BYTES * 2
    print(
        f"\n{JOBS:,} jobs in {elapsed_s:.1f} s: {len({event.pid for event in events})} processes, "
        f"{crew.recycled} replaced at {module.LIMIT_BYTES / 1e6:.0f} MB (the most was {most_bytes / 1e6:.0f} MB of "
        f"{JOBS * LEAK_BYTES / 1e6:,.0f} MB leaked), {killed} killed, {again} jobs begun again, "
        f"{len(letters)} set aside after 3 attempts, {ledger.done:,} done"
    )
