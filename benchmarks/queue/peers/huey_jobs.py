"""Huey: worker processes; on Redis, or on a SQLite file."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

from huey import RedisHuey, SqliteHuey

from benchmarks.queue.tally import note

_url = os.environ["PEER_URL"]
if _url.startswith("redis:"):
    huey = RedisHuey("benchmark", url=_url, results=False)
else:
    huey = SqliteHuey("benchmark", filename=_url, results=False, fsync=os.environ["PEER_DURABILITY"] == "fsync")


@huey.task()
def job(sent_ns: int) -> None:
    note(sent_ns)


def sender() -> Callable[[int], Any]:
    return job


def workers(processes: int) -> list[list[str]]:
    consumer = os.path.join(os.path.dirname(sys.executable), "huey_consumer")
    # Polls each 1 ms to 10 ms: its defaults, 100 ms to 10 s, would decide over its latency.
    options = ["--workers", str(processes), "--worker-type", "process", "--delay", "0.001", "--max-delay", "0.01"]
    return [[consumer, f"{__name__}.huey", *options, "--no-periodic", "--quiet"]]
