"""Fifty million events behind: memory, and whether it slows down on the way."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Final

from benchmarks.harness import Options, Report, child, folder
from benchmarks.nexmark.streams import STREAMS
from benchmarks.stream.runs import fill_events, opened
from millstream.stream.reader import StreamReader

QUERIES: Final = ("q5", "q8", "q11")
MEMORY_MAX_MB: Final = 500
PARTS: Final = 5
SLOWER_MAX: Final = 0.15


def measure(options: Options) -> Report:
    count = options.records(50_000_000)
    report = Report(
        "stream_catch_up",
        "A stream that is far behind catches up in bounded memory, and as fast at the end as at the start.",
        {
            "input": f"{count:,} events of NEXMark in a topic",
            "memory": "the most that a process of its own held, with Python, Polars and SQLite",
            "speed": f"of each fifth of the way; one run, durability fsync, {PARTS} parts",
        },
    )
    with folder(options) as directory:
        path = directory / "events.db"
        with opened(path, "fsync") as log:
            fill_events(log, count)
        for query in QUERIES:
            result = child("benchmarks.stream.catch_up", str(path), query, str(count))
            memory = report.add(f"{query}: memory", [result["memory_mb"]], "MB", reach=f"under {MEMORY_MAX_MB} MB")
            memory.reached = memory.median < MEMORY_MAX_MB
            rates = result["rates"]
            row = report.add(
                f"{query}: speed", rates, "events/s", reach="no slower at the end than in the second fifth"
            )
            row.reached = rates[-1] >= (1 - SLOWER_MAX) * rates[1]
            row.note = "by fifths, M events/s: " + ", ".join(f"{rate / 1e6:.1f}" for rate in rates)
    return report


def main(path: str, query: str, count: str) -> None:
    """Catch up in this process; print the rates and the memory as JSON."""
    total = int(count)
    with opened(Path(path), "fsync") as log:
        reader = StreamReader(
            log.topic("events"), description=lambda s: STREAMS[query](s).to(f"out-{query}"), name=query
        )
        run = reader.open()
        rates = []
        done, begun = 0, time.perf_counter()
        part = 1
        while read := run.step():
            done += read
            if done >= total * part // PARTS:
                now = time.perf_counter()
                rates.append(total / PARTS / (now - begun))
                begun, part = now, part + 1
    print(json.dumps({"rates": rates, "memory_mb": _memory_mb()}))


def _memory_mb() -> float:
    """Return the most memory that this process held; Linux. (`ru_maxrss` begins with that of its parent.)"""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1000
    raise RuntimeError("this system does not tell a process's memory")


if __name__ == "__main__":
    main(*sys.argv[1:])
