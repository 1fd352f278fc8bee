"""Peak memory of writing and of reading ten million records, each in a process of its own."""

from __future__ import annotations

import argparse
import random
import resource
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import polars as pl

from benchmarks.events import PageView
from benchmarks.harness import Options, Report, child, folder
from millstream import App, Topic

LIMIT_MB = 300
CALL = 10_000


def measure(options: Options) -> Report:
    count = options.records(10_000_000)
    report = Report(
        "memory",
        "Memory does not grow with the log.",
        {
            "records": f"{count:,} of five fields, extend with {CALL:,} a call",
            "counted": "peak resident memory of the whole process, Python and Polars included",
        },
    )
    peaks: dict[str, list[float]] = {name: [] for name in WORKS}
    rates: dict[str, list[float]] = {name: [] for name in WORKS}
    with folder(options) as directory:
        for run in range(options.runs):
            for name in WORKS:
                path = directory / f"{run}.db"
                result = child("benchmarks.memory", name, str(path), str(count))
                peaks[name].append(result["peak_mb"])
                rates[name].append(count / result["seconds"])
            for file in directory.iterdir():
                file.unlink()
    for name in WORKS:
        row = report.add(DESCRIPTIONS[name], peaks[name], "MB", reach=f"under {LIMIT_MB} MB")
        row.reached = row.median < LIMIT_MB
        row.note = f"{sorted(rates[name])[len(rates[name]) // 2]:,.0f} records/s"
    return report


def write(topic: Topic[PageView], count: int) -> None:
    for call in _calls(count):
        topic.extend(call)


def read_structs(topic: Topic[PageView], count: int) -> None:
    offset = seen = 0
    while offset < count:
        records = topic.read(offset, records_max=CALL)
        seen += len(records)
        offset = records[-1].offset + 1
    assert seen == count


def read_aggregate(topic: Topic[PageView], count: int) -> None:
    pages = topic.frame().group_by("page").agg(pl.col("load_ms").mean(), pl.len()).collect(engine="streaming")
    assert pages["len"].sum() == count


WORKS: dict[str, Callable[[Topic[PageView], int], None]] = {
    "write": write,
    "read_structs": read_structs,
    "read_aggregate": read_aggregate,
}
DESCRIPTIONS = {
    "write": "writing: extend",
    "read_structs": f"reading as structs: Topic.read, {CALL:,} a call",
    "read_aggregate": "reading as columns: mean by page over frame(), streaming",
}


def _calls(count: int) -> Iterator[list[PageView]]:
    """Yield records made on the way, so that the input takes no memory itself."""
    choose = random.Random(1)
    visitors = [f"{choose.getrandbits(64):016x}" for _ in range(100_000)]
    pages = [f"/section/{i % 12}/article-{i}.html" for i in range(200)]
    for start in range(0, count, CALL):
        yield [
            PageView(
                visitors[int(100_000 * choose.random())],
                pages[int(200 * choose.random())],
                int(1000 * choose.random()),
                int(2_000_000 * choose.random()),
                choose.random(),
            )
            for _ in range(min(CALL, count - start))
        ]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("work", choices=WORKS)
    parser.add_argument("path", type=Path)
    parser.add_argument("count", type=int)
    arguments = parser.parse_args()
    with App(f"sqlite:///{arguments.path}") as app:
        topic = app.topic("views", PageView)
        started = time.perf_counter()
        WORKS[arguments.work](topic, arguments.count)
        taken = time.perf_counter() - started
    # Linux gives kilobytes, macOS bytes.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    print(msgspec.json.encode({"peak_mb": peak / 1e6, "seconds": taken}).decode())


if __name__ == "__main__":
    main()
