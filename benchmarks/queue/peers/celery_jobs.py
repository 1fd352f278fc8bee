"""Celery: prefork pool, messages acknowledged after the job, no results kept."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

from celery import Celery

from benchmarks.queue.tally import note

app = Celery("benchmark", broker=os.environ["PEER_URL"])
app.conf.update(
    task_acks_late=True,
    task_ignore_result=True,
    worker_prefetch_multiplier=64,
    broker_connection_retry_on_startup=True,
    worker_hijack_root_logger=False,
)


@app.task(name="job")
def job(sent_ns: int) -> None:
    note(sent_ns)


def sender() -> Callable[[int], Any]:
    return job.delay


def workers(processes: int) -> list[list[str]]:
    options = ["--loglevel=ERROR", "--without-gossip", "--without-mingle", "--without-heartbeat"]
    worker = [sys.executable, "-m", "celery", "-A", __name__, "worker", f"--concurrency={processes}", *options]
    return [worker]
