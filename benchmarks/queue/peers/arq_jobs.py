"""arq: asyncio workers on Redis, no results kept."""

from __future__ import annotations

import os
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from arq import create_pool
from arq.connections import ArqRedis, RedisSettings

from benchmarks.queue.tally import note

_settings = RedisSettings.from_dsn(os.environ["PEER_URL"])
_pool: ArqRedis | None = None


async def job(context: dict[str, Any], sent_ns: int) -> None:
    note(sent_ns)


class Worker:
    functions = (job,)
    redis_settings = _settings
    keep_result = 0
    max_jobs = 100
    # Its default, half a second, would decide over its latency.
    poll_delay = 0.01


async def start() -> None:
    global _pool
    _pool = await create_pool(_settings)


async def stop() -> None:
    assert _pool is not None
    await _pool.aclose()


def sender() -> Callable[[int], Awaitable[Any]]:
    pool = _pool
    assert pool is not None

    async def send(sent_ns: int) -> None:
        await pool.enqueue_job("job", sent_ns)

    return send


def workers(processes: int) -> list[list[str]]:
    arq = os.path.join(os.path.dirname(sys.executable), "arq")
    return [[arq, f"{__name__}.Worker"]] * processes
