"""One thread, one record at a time, against a bare write + fdatasync loop on the same disk."""

from __future__ import annotations

import itertools
import os
import time

import msgspec

from benchmarks.events import PageView, page_views
from benchmarks.extend import remove
from benchmarks.harness import Options, Report, alternate, folder, percentiles
from millstream import App

RELAXED_MIN = 10_000


def measure(options: Options) -> Report:
    count = options.records(3_000)
    report = Report(
        "append_single",
        "One append costs about as much as the disk asks for.",
        {"records": f"{count:,} of five fields ({10 * count:,} relaxed), one thread, new file each run"},
    )
    values = page_views(10 * count)
    latencies: dict[str, list[float]] = {"bare": [], "fsync": [], "relaxed": []}
    encode = msgspec.msgpack.encode
    sync = getattr(os, "fdatasync", os.fsync)
    with folder(options) as directory:
        names = itertools.count()

        def bare() -> float:
            path = directory / f"{next(names)}.bare"
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
            offset = 0
            begun = time.perf_counter()
            for value in values[:count]:
                started = time.perf_counter()
                offset += os.pwrite(descriptor, encode(value), offset)
                sync(descriptor)
                latencies["bare"].append(time.perf_counter() - started)
            rate = count / (time.perf_counter() - begun)
            os.close(descriptor)
            path.unlink()
            return rate

        def ours(durability: str, records: list[PageView]) -> float:
            path = directory / f"{next(names)}.db"
            with App(f"sqlite:///{path}", durability=durability) as app:
                topic = app.topic("views", PageView)
                begun = time.perf_counter()
                for value in records:
                    started = time.perf_counter()
                    topic.append(value)
                    latencies[durability].append(time.perf_counter() - started)
                rate = len(records) / (time.perf_counter() - begun)
                assert topic.end_offsets() == {0: len(records)}
            remove(path)
            return rate

        plain, fsync, relaxed = alternate(
            options.runs, bare, lambda: ours("fsync", values[:count]), lambda: ours("relaxed", values)
        )
    peer = report.add("bare pwrite + fdatasync", plain, "records/s", note=percentiles(latencies["bare"]))
    row = report.add("Topic.append, fsync", fsync, "records/s", reach="0.5 of the bare loop")
    row.reached = row.median >= 0.5 * peer.median
    row.note = f"{row.median / peer.median:.2f} of the bare loop; {percentiles(latencies['fsync'])}"
    row = report.add("Topic.append, relaxed", relaxed, "records/s", reach=f"{RELAXED_MIN:,}/s")
    row.reached = row.median >= RELAXED_MIN
    row.note = percentiles(latencies["relaxed"])
    return report
