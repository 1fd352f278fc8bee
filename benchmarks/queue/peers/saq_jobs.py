"""SAQ: asyncio workers on Redis, no results kept."""

from __future__ import annotations

import os
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from saq import Queue

from benchmarks.queue.tally import note

queue = Queue.from_url(os.environ["PEER_URL"], name="benchmark")


async def job(context: dict[str, Any], *, sent_ns: int) -> None:
    note(sent_ns)


settings = {"queue": queue, "functions": [job], "concurrency": 100}


async def start() -> None:
    await queue.connect()


async def stop() -> None:
    await queue.disconnect()


def sender() -> Callable[[int], Awaitable[Any]]:
    async def send(sent_ns: int) -> None:
        await queue.enqueue("job", sent_ns=sent_ns, ttl=-1)

    return send


def workers(processes: int) -> list[list[str]]:
    saq = os.path.join(os.path.dirname(sys.executable), "saq")
    return [[saq, f"{__name__}.settings", "--quiet"]] * processes
