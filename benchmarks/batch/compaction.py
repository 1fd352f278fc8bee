"""Making records cold: how fast, and with how much memory."""

from __future__ import annotations

import subprocess
import sys

import msgspec

from benchmarks.batch.views import filled
from benchmarks.harness import ROOT, Options, Report, folder
from millstream import App

RECORDS_MIN = 2_000_000
MEMORY_MB_MAX = 300

_SCRIPT = """
import re, sys, time
from millstream.engines.sqlite import SqliteEngine
from millstream.log.cold.compaction import ColdRange, compact
from millstream.log.cold.store import ColdStore
engine = SqliteEngine(sys.argv[1])
end = engine.describe_topic("views").partitions[0].end_offset
started = time.perf_counter()
made = compact(engine, ColdStore.of(engine), ColdRange("views", 0, end))
taken = time.perf_counter() - started
engine.close()
# ru_maxrss begins with what the parent had when it forked; this begins with the program.
peak = int(re.search(r"VmHWM:\\s+([0-9]+)", open("/proc/self/status").read())[1]) / 1024
print([made.records, taken, time.process_time(), peak, made.bytes_before, made.bytes_after])
"""


def measure(options: Options) -> Report:
    count = options.records(10_000_000)
    report = Report(
        "batch_compaction",
        "Making records cold takes seconds for tens of millions, and little memory.",
        {"records": f"{count:,} of five fields in columns; durability fsync; a process of its own"},
    )
    rates, cpu, memory = [], [], []
    for _ in range(options.runs):
        with folder(options) as directory:
            path = directory / "views.db"
            with App(f"sqlite:///{path}", durability="relaxed") as app:
                filled(app, "views", count)
            done = subprocess.run(
                [sys.executable, "-c", _SCRIPT, str(path)], cwd=ROOT, capture_output=True, text=True, check=True
            )
            records, taken, cpu_s, peak_mb, before, after = msgspec.json.decode(done.stdout)
            assert records == count
            rates.append(count / taken)
            cpu.append(count / cpu_s)
            memory.append(peak_mb)
    row = report.add("records made cold", rates, "records/s", reach=f"{RECORDS_MIN:,}/s")
    row.reached = row.median >= RECORDS_MIN
    report.add("records a second of CPU", cpu, "records/s")
    row = report.add("memory of the process at most", memory, "MB", reach=f"under {MEMORY_MB_MAX} MB")
    row.reached = row.median < MEMORY_MB_MAX
    report.findings.append(f"{after / before:.2f} of the bytes that the columns took in the log")
    return report
