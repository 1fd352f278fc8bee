"""One job a call: from one producer, and from 32 at the same moment."""

from __future__ import annotations

from benchmarks.harness import Options, Report, folder
from benchmarks.queue.environments import versions
from benchmarks.queue.peer import DURABILITY, OURS, PEERS, Peer, installed

PRODUCERS = 32
RUNS_OF_PEERS = 3
SINGLE = {"relaxed": 20_000, "fsync": 3_000}
MANY = 32_000


def measure(options: Options) -> Report:
    report = Report(
        "queue_enqueue",
        "Enqueueing one by one is faster than with the task queues, durability for durability.",
        {
            "jobs": "0.1 to 1 second's worth for each run; one process; a new queue each time",
            "producers": f"one thread, or {PRODUCERS} threads (arq, SAQ, taskiq: tasks) of which each enqueues its "
            "next job when the last is accepted",
            "durability": DURABILITY,
            "peers": versions(),
        },
    )
    cases = [("relaxed", (1,)), ("fsync", (1, PRODUCERS))]
    rates: dict[tuple[str, int, Peer], list[float]] = {}
    with folder(options) as directory:
        for run in range(options.runs):
            for durability, producers in cases:
                for peer in (*PEERS, OURS):
                    if durability not in peer.durabilities or (peer is not OURS and run >= RUNS_OF_PEERS):
                        continue
                    jobs = [_jobs(peer, durability, number, options) for number in producers]
                    pairs = [number for pair in zip(jobs, producers, strict=True) for number in pair]
                    with installed(peer, durability, directory) as installation:
                        times = installation.use("fill", *pairs)
                    for count, number, seconds in zip(jobs, producers, times, strict=True):
                        rates.setdefault((durability, number, peer), []).append((count - number) / seconds)
    for durability, number in [(name, number) for name, numbers in cases for number in numbers]:
        who = "one producer" if number == 1 else f"{number} producers"
        best = 0.0
        for peer in PEERS:
            if values := rates.get((durability, number, peer)):
                best = max(best, report.add(f"{peer.name}, {durability}, {who}", values, "jobs/s").median)
        row = report.add(f"{OURS.name}, {durability}, {who}", rates[durability, number, OURS], "jobs/s")
        row.reach, row.reached = f"ahead of {best:,.0f}/s", row.median > best
        row.note = f"{row.median / best:.1f}x the best peer"
    return report


def _jobs(peer: Peer, durability: str, producers: int, options: Options) -> int:
    if peer is OURS:
        count = SINGLE[durability] if producers == 1 else MANY
    else:
        count = 3000 if durability == "relaxed" else 1000
    return max(producers * 10, int(count * options.scale) // producers * producers)
