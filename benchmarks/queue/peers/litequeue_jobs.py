"""litequeue: SQLite in WAL mode with synchronous=NORMAL; a library without workers."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from litequeue import LiteQueue


def sender() -> Callable[[int], Any]:
    queue = LiteQueue(os.environ["PEER_URL"])

    def send(sent_ns: int) -> None:
        queue.put(str(sent_ns))

    return send


def receiver() -> Callable[[], None]:
    queue = LiteQueue(os.environ["PEER_URL"])

    def receive() -> None:
        message = queue.pop()
        assert message is not None
        queue.done(message.message_id)

    return receive
