"""No-op jobs through two worker processes, each acknowledged, beside the task queues of Python."""

from __future__ import annotations

from pathlib import Path

from benchmarks.harness import Options, Report, folder
from benchmarks.queue.environments import versions
from benchmarks.queue.peer import DURABILITY, OURS, PEERS, Peer, installed

PROCESSES = 2
TIMES = 50
RUNS_OF_PEERS = 3
SECONDS_MAX = 4.0


def measure(options: Options) -> Report:
    report = Report(
        "queue_throughput",
        f"Jobs that do nothing go through {PROCESSES} worker processes, each acknowledged, {TIMES} times as fast as "
        "through the fastest of the task queues.",
        {
            "jobs": "enqueued before the workers start: a second's worth for each; the same job for all, which counts "
            f"itself; measured from the first start to the last, {SECONDS_MAX:.0f} s at most",
            "durability": DURABILITY,
            "peers": versions(),
        },
    )
    subjects = [(peer, peer.durabilities[0]) for peer in PEERS if peer.has_workers]
    ours = [(OURS, durability) for durability in OURS.durabilities]
    rates: dict[tuple[Peer, str], list[float]] = {subject: [] for subject in (*subjects, *ours)}
    with folder(options) as directory:
        for run in range(options.runs):
            # In turn, so that a machine that slows down slows all of them down.
            for subject in (*subjects, *ours):
                if subject[0] is OURS or run < min(RUNS_OF_PEERS, options.runs):
                    rates[subject].append(_once(*subject, directory, options))
    best = 0.0
    for peer, durability in subjects:
        row = report.add(f"{peer.name}, {durability}", rates[peer, durability], "jobs/s", note=peer.note)
        best = max(best, row.median)
    for peer, durability in ours:
        row = report.add(f"{peer.name}, {durability}", rates[peer, durability], "jobs/s")
        row.reach, row.reached = f"{TIMES}x the best peer: {TIMES * best:,.0f}/s", row.median >= TIMES * best
        row.note = f"{row.median / best:.0f}x the best peer"
    return report


def _once(peer: Peer, durability: str, directory: Path, options: Options) -> float:
    jobs = max(100, int(peer.jobs * options.scale))
    with installed(peer, durability, directory) as installation:
        if peer is OURS:
            installation.use("fill_many", jobs)
        else:
            installation.use("fill", jobs, 1)
        tally = installation.drain(jobs, PROCESSES, seconds_max=SECONDS_MAX)
        if peer is OURS:
            assert installation.use("done") == tally.count() == jobs
        return tally.rate()
