"""One process, one thread: records into a durable queue and out again, each acknowledged, beside `queue.Queue`."""

from __future__ import annotations

import itertools
import queue
import threading
from collections.abc import Callable
from pathlib import Path

import msgspec

from benchmarks.harness import Options, Report, alternate, folder, seconds
from millstream import App

CALL = 1000


class Job(msgspec.Struct):
    number: int


def measure(options: Options) -> Report:
    count = options.records(200_000)
    report = Report(
        "queue_put_get",
        "A durable queue takes records in and hands them out, each acknowledged, as fast as `queue.Queue` in memory.",
        {
            "records": f"{count:,} of one integer, put {CALL:,} a call, one process, new file each run",
            "compared": "put and get of `queue.Queue`, with `task_done` as the acknowledgement",
        },
    )
    values = [Job(number) for number in range(count)]
    with folder(options) as directory:
        names = itertools.count()

        def new() -> Path:
            return directory / f"{next(names)}.db"

        def memory() -> float:
            return count / seconds(lambda: _memory(values))

        works: list[tuple[str, Callable[[], float]]] = [("queue.Queue: put, get, task_done", memory)]
        for durability in ("fsync", "relaxed"):
            works.append((f"Topic.extend, then a handler, {durability}", _handler(new, values, durability)))
        measured = alternate(options.runs, *(work for _, work in works))
    peer = report.add(works[0][0], measured[0], "records/s")
    for (what, _), rates in zip(works[1:], measured[1:], strict=True):
        row = report.add(what, rates, "records/s", reach="as fast as queue.Queue")
        row.reached = row.median >= peer.median
        row.note = f"{row.median / peer.median:.2f} of queue.Queue"
    return report


def _memory(values: list[Job]) -> None:
    target: queue.Queue[Job] = queue.Queue()
    for value in values:
        target.put(value)
    for _ in values:
        target.get()
        target.task_done()


def _handler(new: Callable[[], Path], values: list[Job], durability: str) -> Callable[[], float]:
    def run() -> float:
        with App(f"sqlite:///{new()}", durability=durability) as app:
            topic = app.topic("jobs", Job)

            @app.queue(topic)
            def work(job: Job) -> None:
                """Do nothing."""

            def put_and_get() -> None:
                for start in range(0, len(values), CALL):
                    topic.extend(values[start : start + CALL])
                work.run_now(threading.Event())

            took = seconds(put_and_get)
            assert work.info().ledger.done == len(values)
        return len(values) / took

    return run
