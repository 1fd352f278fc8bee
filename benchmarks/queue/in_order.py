"""Jobs in another order than that of the log: by key, by priority, at a rate."""

from __future__ import annotations

import itertools
import threading
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.harness import Options, Report, alternate, folder, seconds
from millstream import App

JOBS_MIN = 25_000
KEYS = 1000
CALL = 1000


class Job(msgspec.Struct):
    number: int
    customer: str
    urgency: int


def measure(options: Options) -> Report:
    count = options.records(20_000)
    report = Report(
        "queue_in_order",
        f"In the order of keys or priorities, or at a rate, a worker gets through {JOBS_MIN:,} jobs a second.",
        {"jobs": f"{count:,} that do nothing, of {KEYS:,} keys and 10 priorities; one worker, one process, relaxed"},
    )
    values = [Job(number, f"customer-{number % KEYS}", number % 10) for number in range(count)]
    options_of: dict[str, dict[str, Any]] = {
        'order_by="customer"': {"order_by": "customer"},
        'priority="urgency"': {"priority": "urgency"},
        'rate="1000000/s"': {"rate": "1000000/s"},
    }
    with folder(options) as directory:
        names = itertools.count()

        def work_off(path: Path, declared: dict[str, Any]) -> float:
            with App(f"sqlite:///{path}", durability="relaxed") as app:
                topic = app.topic("jobs", Job)

                @app.queue(topic, **declared)
                def work(job: Job) -> None:
                    """Do nothing."""

                for start in range(0, count, CALL):
                    topic.extend(values[start : start + CALL])
                took = seconds(lambda: work.run_now(threading.Event()))
                assert work.info().ledger.done == count
            return count / took

        works = [
            lambda declared=declared: work_off(directory / f"{next(names)}.db", declared)  # type: ignore[misc]
            for declared in options_of.values()
        ]
        measured = alternate(options.runs, *works)
    for name, rates in zip(options_of, measured, strict=True):
        row = report.add(f"@app.queue(..., {name})", rates, "jobs/s", reach=f"{JOBS_MIN:,}/s")
        row.reached = row.median >= JOBS_MIN
    return report
