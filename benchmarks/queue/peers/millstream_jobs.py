"""Millstream: one file; a job is a record of one field. Runs in the Python that runs the benchmark."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

import msgspec

from benchmarks.queue.tally import note
from millstream import App


class Job(msgspec.Struct):
    sent_ns: int


app = App(f"sqlite:///{os.environ['PEER_URL']}", durability=os.environ["PEER_DURABILITY"])
jobs = app.topic("jobs", Job)


@app.queue(jobs)
def work(job: Job) -> None:
    note(job.sent_ns)


def sender() -> Callable[[int], Any]:
    append = jobs.append

    def send(sent_ns: int) -> None:
        append(Job(sent_ns))

    return send


def send_many(sent_ns: list[int]) -> None:
    for start in range(0, len(sent_ns), 1000):
        jobs.extend([Job(sent) for sent in sent_ns[start : start + 1000]])


def done() -> int:
    return work.info().ledger.done


def workers(processes: int) -> list[list[str]]:
    return [[sys.executable, "-m", __name__]] * processes


if __name__ == "__main__":
    app.run()
