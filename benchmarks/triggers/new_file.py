"""A new file: from the moment that it is complete to the first line of its handler."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

from benchmarks.harness import Options, Report, folder, percentiles
from millstream import App, File, files

P50_MS_MAX = 50.0
RATE = 10
"""Files a second, evenly spread."""


def measure(options: Options) -> Report:
    count = max(20, int(100 * options.scale))
    report = Report(
        "triggers_new_file",
        "A new file is with its handler within 50 ms of being complete (median).",
        {
            "files": f"{count} a run, {RATE} a second, 1 kB each; settle='closed'",
            "durability": "fsync: the event is on disk before the handler is called",
        },
    )
    for what, drop in (("renamed into place", _rename), ("written and closed", _close)):
        medians: list[float] = []
        latencies: list[float] = []
        for _ in range(options.runs):
            run = _latencies(options, count, drop)
            latencies += run
            medians.append(sorted(run)[len(run) // 2] * 1000)
        row = report.add(what, medians, "ms", reach=f"p50 < {P50_MS_MAX:.0f} ms", note=percentiles(latencies))
        row.reached = row.median < P50_MS_MAX
    return report


def _rename(path: Path) -> float:
    hidden = path.with_name(f".{path.name}")
    hidden.write_bytes(b"x" * 1000)
    os.rename(hidden, path)
    return time.perf_counter()


def _close(path: Path) -> float:
    with path.open("wb") as file:
        file.write(b"x" * 1000)
    return time.perf_counter()


def _latencies(options: Options, count: int, drop: object) -> list[float]:
    assert callable(drop)
    began: dict[str, float] = {}
    ended: dict[str, float] = {}
    all_there = threading.Event()
    with folder(options) as directory, App(str(directory / "log.db")) as app:
        inbox = directory / "inbox"

        @app.on(files(inbox / "*.bin", settle="closed"))
        def handle(file: File) -> None:
            ended[file.name] = time.perf_counter()
            if len(ended) == count:
                all_there.set()

        with app.start():
            time.sleep(0.5)  # the folder is watched by now
            for number in range(count):
                began[f"{number}.bin"] = drop(inbox / f"{number}.bin")
                time.sleep(1 / RATE)
            if not all_there.wait(30):
                raise RuntimeError(f"only {len(ended)} of {count} files came")
    return [ended[name] - began[name] for name in began]
