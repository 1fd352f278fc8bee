"""From append to the output readable in another process, at a steady 1,000 events/s: three processes and one file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

import msgspec

from benchmarks.harness import ROOT, Options, Report, folder, percentiles, sync_ms

PER_SECOND: Final = 1000
SECONDS: Final = 10
P50_MS: Final = 3.0
P99_MS: Final = 15.0
SYNCS: Final = 2
"""One fsync of the append, one of the stream's commit."""

DESCRIPTIONS: Final = {
    "stateless": "from just before the append of a record to its result in the reading process",
    "window": "from the end of a window of 1 s to its result in the reading process",
}


def measure(options: Options) -> Report:
    report = Report(
        "stream_latency",
        "A result can be read in another process within milliseconds of the append that caused it.",
        {
            "input": f"{PER_SECOND:,} events/s, appended one by one, for {SECONDS} s a run",
            "processes": "one appends, one runs the stream, one follows its output; one file, the system's clock",
            **DESCRIPTIONS,
        },
    )
    with folder(options) as directory:
        sync = sync_ms(directory)
        for kind in DESCRIPTIONS:
            for durability in ("relaxed", "fsync"):
                runs = [
                    _once(directory / f"{kind}-{durability}-{run}.db", kind, durability) for run in range(options.runs)
                ]
                _add(report, kind, durability, runs, SYNCS * sync if durability == "fsync" else 0.0)
    report.findings.append(f"a bare write and fdatasync takes {sync:.2f} ms here: fsync may take two of them more")
    return report


def _add(report: Report, kind: str, durability: str, runs: list[list[float]], more_ms: float) -> None:
    everything = percentiles(latency for run in runs for latency in run)
    p50 = report.add(f"{kind}, {durability}: p50", [_at(run, 0.50) for run in runs], "ms", note=everything)
    p99 = report.add(f"{kind}, {durability}: p99", [_at(run, 0.99) for run in runs], "ms")
    for row, limit in ((p50, P50_MS + more_ms), (p99, P99_MS + more_ms)):
        row.reach, row.reached = f"under {limit:.1f} ms", row.median < limit


def _at(latencies: list[float], share: float) -> float:
    return sorted(latencies)[min(len(latencies) - 1, int(len(latencies) * share))] * 1000


def _once(path: Path, kind: str, durability: str) -> list[float]:
    """Return the latencies in seconds of one run, without those of the first second."""

    def start(role: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "benchmarks.stream.pace", role, str(path), kind, durability]
        return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True)

    stream = start("stream")
    try:
        _ready(stream)
        reader = start("read")
        _ready(reader)
        writer = start("append")
        writer.communicate(timeout=SECONDS * 20)
        output, _ = reader.communicate("stop\n", timeout=60)
    finally:
        stream.communicate("stop\n", timeout=60)
    found: list[float] = msgspec.json.decode(output.splitlines()[-1])
    return found


def _ready(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    line = process.stdout.readline()
    if line != "ready\n":
        raise RuntimeError(f"a process of the benchmark ended early: {line!r}")
