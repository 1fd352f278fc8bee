"""From enqueue to start in another process, at a steady 100 jobs/s; and what a worker that waits costs."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path

import msgspec

from benchmarks.harness import Options, Report, folder, percentiles, sync_ms
from benchmarks.queue.environments import versions
from benchmarks.queue.peer import DURABILITY, OURS, PEERS, Peer, installed, wait_for

PER_SECOND = 100
SECONDS = 3
P50_MS, P99_MS = 0.5, 1.0
CPU_PERCENT = 1.0
WAIT_S = 2.0
SETTLE_S = 3.0
"""Between the warming up and the look at a waiting worker: what it still has to do after its jobs is done by then."""


class Result(msgspec.Struct):
    latencies: list[float]
    cpu_percent: float


def measure(options: Options) -> Report:
    jobs = PER_SECOND * SECONDS
    report = Report(
        "queue_latency",
        "A job starts in another process within a millisecond of its enqueueing; a worker that waits costs nothing.",
        {
            "jobs": f"{jobs} a run, {PER_SECOND} each second, one worker process",
            "measured": "from just before the call that enqueues to the first line of the job, one clock for both",
            "a waiting worker": f"processor time of its processes over {WAIT_S:.0f} s without a job",
            "polling": "Huey and arq wait by polling: set to 10 ms here, as their defaults (100 ms, 500 ms) would show",
            "durability": DURABILITY,
            "peers": versions(),
        },
    )
    with folder(options) as directory:
        sync = sync_ms(directory)
        for peer in PEERS:
            if peer.has_workers:
                _add(report, peer, peer.durabilities[0], [_once(peer, peer.durabilities[0], directory, jobs)])
        for durability in OURS.durabilities:
            more = sync if durability == "fsync" else 0.0
            results = [_once(OURS, durability, directory, jobs, wait=not run) for run in range(options.runs)]
            _add(report, OURS, durability, results, more_ms=more)
    report.findings.append(
        f"a bare write and fdatasync takes {sync:.2f} ms here: fsync adds that to what is reached for"
    )
    return report


def _add(report: Report, peer: Peer, durability: str, results: list[Result], *, more_ms: float | None = None) -> None:
    what = f"{peer.name}, {durability}"
    everything = percentiles(latency for result in results for latency in result.latencies)
    p50 = report.add(f"{what}: p50", [_at(result.latencies, 0.50) for result in results], "ms", note=everything)
    p99 = report.add(f"{what}: p99", [_at(result.latencies, 0.99) for result in results], "ms")
    cpu = report.add(f"{what}: waiting", [result.cpu_percent for result in results[:1]], "% of a core")
    if more_ms is not None:
        for row, limit, unit in ((p50, P50_MS + more_ms, "ms"), (p99, P99_MS + more_ms, "ms"), (cpu, CPU_PERCENT, "%")):
            row.reach, row.reached = f"under {limit:.2f} {unit}", row.median < limit


def _at(latencies: list[float], share: float) -> float:
    return sorted(latencies)[min(len(latencies) - 1, int(len(latencies) * share))] * 1000


def _once(peer: Peer, durability: str, directory: Path, jobs: int, *, wait: bool = True) -> Result:
    with installed(peer, durability, directory) as installation:
        installation.use("fill", 20, 1)  # warm: connections, streams, the first transactions
        log = installation.folder / "workers.log"
        with installation.workers(1) as (tally, running):
            wait_for(tally, 20, seconds_max=20, running=running, log=log)
            cpu = _waiting([worker.pid for worker in running]) if wait else 0.0
            installation.use("pace", jobs, PER_SECOND)
            wait_for(tally, 20 + jobs, seconds_max=20, running=running, log=log)
            # The last are those of the steady rate, whichever process had them.
            return Result(tally.latencies()[20:], cpu)


def _waiting(sessions: list[int]) -> float:
    """Return how much of a core these sessions use while nothing is to be done, in percent."""
    time.sleep(SETTLE_S)
    before, started = _cpu_s(sessions), time.monotonic()
    time.sleep(WAIT_S)
    took, after = time.monotonic() - started, _cpu_s(sessions)
    # Process by process: one that has ended meanwhile takes its time along, one that is new counts from its start.
    return sum(used - before.get(process, 0.0) for process, used in after.items()) / took * 100


def _cpu_s(sessions: Iterable[int]) -> dict[int, float]:
    """Return the processor time of each process of these sessions so far, in seconds; Linux."""
    wanted = set(sessions)
    used: dict[int, float] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue  # ended meanwhile
            if int(fields[3]) in wanted:
                used[int(entry.name)] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return used
