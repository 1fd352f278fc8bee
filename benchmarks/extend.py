"""`Topic.extend` of typed records, 1,000 a call, durable, against putting them one by one into a `queue.Queue`."""

from __future__ import annotations

import itertools
import os
import queue
from pathlib import Path

import msgspec

from benchmarks.events import PageView, page_views
from benchmarks.harness import Options, Report, alternate, folder, seconds
from millstream import App

CALL = 1000


def measure(options: Options) -> Report:
    total = options.records(500_000)
    report = Report(
        "extend",
        "Typed records go to disk, 1,000 a call, as fast as they go one by one into an in-memory queue.",
        {"records": f"{total:,} of five fields, {CALL:,} a call, one thread, new file each run"},
    )
    values = page_views(total)
    calls = [values[start : start + CALL] for start in range(0, total, CALL)]
    with folder(options) as directory:
        names = itertools.count()

        def into_memory() -> float:
            target: queue.Queue[PageView] = queue.Queue()

            def put() -> None:
                for value in values:
                    target.put(value)

            return total / seconds(put)

        def bare() -> float:
            """Write the same calls to one file without any order, place or check: what nothing durable can beat."""
            path = directory / f"{next(names)}.bare"
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
            sync = getattr(os, "fdatasync", os.fsync)

            def write() -> None:
                offset = 0
                for call in calls:
                    offset += os.pwrite(descriptor, msgspec.msgpack.encode(call), offset)
                    sync(descriptor)

            rate = total / seconds(write)
            os.close(descriptor)
            path.unlink()
            return rate

        def into_topic(durability: str) -> float:
            path = directory / f"{next(names)}.db"
            with App(f"sqlite:///{path}", durability=durability) as app:
                topic = app.topic("views", PageView)

                def extend() -> None:
                    for call in calls:
                        topic.extend(call)

                rate = total / seconds(extend)
                assert topic.end_offsets() == {0: total}
            remove(path)
            return rate

        memory, plain, fsync, relaxed = alternate(
            options.runs, into_memory, bare, lambda: into_topic("fsync"), lambda: into_topic("relaxed")
        )
    peer = report.add("queue.Queue.put, in memory, one by one", memory, "records/s")
    report.add(
        "bare: encode, pwrite, fdatasync", plain, "records/s", note=f"{_ratio(plain, memory):.2f} of queue.Queue"
    )
    row = report.add("Topic.extend, fsync", fsync, "records/s", reach="as many as queue.Queue")
    row.reached = row.median >= peer.median
    row.note = f"{row.median / peer.median:.2f} of queue.Queue, {_ratio(fsync, plain):.2f} of the bare loop"
    report.add("Topic.extend, relaxed", relaxed, "records/s", note=f"{_ratio(relaxed, memory):.2f} of queue.Queue")
    return report


def _ratio(ours: list[float], theirs: list[float]) -> float:
    return sorted(ours)[len(ours) // 2] / sorted(theirs)[len(theirs) // 2]


def remove(path: Path) -> None:
    """Delete a log file with what lies beside it."""
    for file in path.parent.glob(f"{path.name}*"):
        file.unlink()
