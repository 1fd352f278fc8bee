"""Dramatiq on Redis: its default middleware, 8 threads a process."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

import dramatiq
from dramatiq.brokers.redis import RedisBroker

from benchmarks.queue.tally import note

dramatiq.set_broker(RedisBroker(url=os.environ["PEER_URL"]))


@dramatiq.actor
def job(sent_ns: int) -> None:
    note(sent_ns)


def sender() -> Callable[[int], Any]:
    return job.send


def workers(processes: int) -> list[list[str]]:
    return [[sys.executable, "-m", "dramatiq", "--processes", str(processes), __name__]]
