"""taskiq: on a Redis stream, or on NATS JetStream; no results kept."""

from __future__ import annotations

import os
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from benchmarks.queue.tally import note

_url = os.environ["PEER_URL"]
if _url.startswith("nats:"):
    from taskiq_nats import PullBasedJetStreamBroker

    broker: Any = PullBasedJetStreamBroker(_url, queue="benchmark", pull_consume_batch=100, pull_consume_timeout=0.1)
else:
    from taskiq_redis import RedisStreamBroker

    broker = RedisStreamBroker(_url, queue_name="benchmark")


@broker.task
async def job(sent_ns: int) -> None:
    note(sent_ns)


async def start() -> None:
    await broker.startup()


async def stop() -> None:
    await broker.shutdown()


def sender() -> Callable[[int], Awaitable[Any]]:
    return job.kiq


def workers(processes: int) -> list[list[str]]:
    taskiq = [sys.executable, "-m", "taskiq", "worker", f"{__name__}:broker"]
    return [[*taskiq, "--workers", str(processes), "--log-level", "ERROR", "--max-async-tasks", "100"]]
