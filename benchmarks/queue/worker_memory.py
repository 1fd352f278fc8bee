"""What a worker process holds after a hundred thousand jobs, after a million, and after two."""

from __future__ import annotations

import time
from pathlib import Path

from benchmarks.harness import Options, Report, folder
from benchmarks.queue.peer import OURS, Installation, installed, wait_for

GROWTH_MB_MAX = 5.0
RUNS = 2
SECONDS_MAX = 120.0
SETTLE_S = 4.0


def measure(options: Options) -> Report:
    jobs = options.records(1_000_000)
    report = Report(
        "queue_worker_memory",
        "A worker's memory does not grow with the jobs that it has done.",
        {
            "jobs": f"{2 * jobs:,} of one integer in three parts, one worker process, fsync",
            "counted": f"resident memory of the worker {SETTLE_S:.0f} s after the last job of each part: what it does "
            "in the background, merging records into columns, is done by then",
        },
    )
    sizes: list[list[float]] = []
    with folder(options) as directory:
        for _ in range(min(RUNS, options.runs)):
            with installed(OURS, "fsync", directory) as installation:
                sizes.append(_once(installation, jobs))
    early, late, last = (list(column) for column in zip(*sizes, strict=True))
    report.add(f"after {jobs // 10:,} jobs", early, "MB")
    row = report.add(f"after {jobs:,} jobs", late, "MB")
    row.note = "SQLite's page cache, 8 MB of a connection, has filled by then"
    row = report.add(f"after {2 * jobs:,} jobs", last, "MB")
    growth = max(after - before for before, after in zip(late, last, strict=True))
    row.reach, row.reached = f"at most {GROWTH_MB_MAX:.0f} MB more", growth <= GROWTH_MB_MAX
    row.note = f"most growth of a run since the row above: {growth:.1f} MB"
    return report


def _once(installation: Installation, jobs: int) -> list[float]:
    log = installation.folder / "workers.log"
    sizes: list[float] = []
    with installation.workers(1) as (tally, running):
        for part, done in ((jobs // 10, jobs // 10), (jobs - jobs // 10, jobs), (jobs, 2 * jobs)):
            installation.use("fill_many", part)
            wait_for(tally, done, seconds_max=SECONDS_MAX, running=running, log=log)
            time.sleep(SETTLE_S)
            sizes.append(_resident_mb(running[0].pid))
    return sizes


def _resident_mb(process: int) -> float:
    """Return the resident memory of a process; Linux."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) / 1024
