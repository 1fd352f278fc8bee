"""RQ: its SimpleWorker, which does not fork for each job (the default one does, and is several times slower)."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

from redis import Redis
from rq import Queue

from benchmarks.queue.tally import note


def job(sent_ns: int) -> None:
    note(sent_ns)


def sender() -> Callable[[int], Any]:
    queue = Queue("benchmark", connection=Redis.from_url(os.environ["PEER_URL"]))

    def send(sent_ns: int) -> None:
        queue.enqueue(job, sent_ns, result_ttl=0)

    return send


def workers(processes: int) -> list[list[str]]:
    options = ["--url", os.environ["PEER_URL"], "--worker-class", "rq.worker.SimpleWorker", "--quiet"]
    rq = os.path.join(os.path.dirname(sys.executable), "rq")
    return [[rq, "worker", *options, "benchmark"]] * processes
