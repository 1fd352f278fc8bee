"""64 threads, or 64 asyncio tasks, each appending one record at a time: what group commit gives over one thread."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from pathlib import Path

from benchmarks.events import PageView, page_views
from benchmarks.extend import remove
from benchmarks.harness import Options, Report, alternate, folder, percentiles, sync_ms
from millstream import App

WRITERS = 64
RATE_MIN = 15_000
SLOW_SYNC_MS = 1.0


def measure(options: Options) -> Report:
    count = options.records(64_000)
    report = Report(
        "append_concurrent",
        "Appends that wait at the same moment share one fsync.",
        {
            "records": f"{count:,} of five fields, {WRITERS} writers; each appends the next when the last is durable",
            "durability": "fsync",
        },
    )
    values = page_views(count)
    latencies: dict[str, list[float]] = {"one": [], "threads": [], "tasks": []}
    with folder(options) as directory:
        sync = sync_ms(directory)
        names = itertools.count()

        def new() -> Path:
            return directory / f"{next(names)}.db"

        def one_thread() -> float:
            return _threads(new(), values[: max(1000, count // 32)], 1, latencies["one"])

        def threads() -> float:
            return _threads(new(), values, WRITERS, latencies["threads"])

        def tasks() -> float:
            return asyncio.run(_tasks(new(), values, WRITERS, latencies["tasks"]))

        one, many, asynchronous = alternate(options.runs, one_thread, threads, tasks)
    single = report.add("one thread", one, "records/s", note=percentiles(latencies["one"]))
    for what, rates, key in ((f"{WRITERS} threads", many, "threads"), (f"{WRITERS} tasks", asynchronous, "tasks")):
        row = report.add(what, rates, "records/s", note=percentiles(latencies[key]))
        times = row.median / single.median
        row.reach = f"{RATE_MIN:,}/s" + ("; 10x one thread" if sync >= SLOW_SYNC_MS else "")
        row.reached = row.median >= RATE_MIN and (sync < SLOW_SYNC_MS or times >= 10)
        row.note = f"{times:.1f}x one thread; {row.note}"
    report.findings.append(
        f"a bare fdatasync takes {sync:.2f} ms here"
        + ("" if sync >= SLOW_SYNC_MS else f", under {SLOW_SYNC_MS:.0f} ms: the 10x is not asked for")
    )
    return report


def _threads(path: Path, values: list[PageView], writers: int, latencies: list[float]) -> float:
    with App(f"sqlite:///{path}", durability="fsync") as app:
        topic = app.topic("views", PageView)
        kept: list[list[float]] = [[] for _ in range(writers)]
        gate = threading.Barrier(writers + 1)

        def write(number: int) -> None:
            times = kept[number]
            gate.wait()
            for value in values[number::writers]:
                started = time.perf_counter()
                topic.append(value)
                times.append(time.perf_counter() - started)

        threads = [threading.Thread(target=write, args=(number,)) for number in range(writers)]
        for thread in threads:
            thread.start()
        gate.wait()
        started = time.perf_counter()
        for thread in threads:
            thread.join()
        rate = len(values) / (time.perf_counter() - started)
        assert topic.end_offsets() == {0: len(values)}
    latencies += itertools.chain.from_iterable(kept)
    remove(path)
    return rate


async def _tasks(path: Path, values: list[PageView], writers: int, latencies: list[float]) -> float:
    with App(f"sqlite:///{path}", durability="fsync") as app:
        topic = app.topic("views", PageView)

        async def write(number: int) -> None:
            for value in values[number::writers]:
                started = time.perf_counter()
                await topic.append_async(value)
                latencies.append(time.perf_counter() - started)

        started = time.perf_counter()
        await asyncio.gather(*(write(number) for number in range(writers)))
        rate = len(values) / (time.perf_counter() - started)
        assert topic.end_offsets() == {0: len(values)}
    remove(path)
    return rate
