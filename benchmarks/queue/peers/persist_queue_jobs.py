"""persist-queue: SQLite, acknowledged gets; a library without workers."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import persistqueue


def sender() -> Callable[[int], Any]:
    queue = persistqueue.SQLiteAckQueue(os.environ["PEER_URL"], auto_commit=True, multithreading=True)
    return queue.put


def receiver() -> Callable[[], None]:
    queue = persistqueue.SQLiteAckQueue(os.environ["PEER_URL"], auto_commit=True, multithreading=True)

    def receive() -> None:
        queue.ack(queue.get(block=False))

    return receive
