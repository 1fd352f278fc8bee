"""How long single deliveries took: a sample is kept with a queue, so that the spread is known, not the mean alone.

With each heartbeat every worker tells what its last delivery took, if that is a new one. Which one is the last at a
moment that nobody chose does not depend on how long it took itself: short and long ones are found as often as they
occur. They are state of the group that holds the heartbeats (see `presence`), the newest of them, for a month: whoever
asks how many workers a queue needs may ask when nobody works on it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

import msgspec

from millstream.engines.protocol import StateChange
from millstream.errors import GroupNotFoundError, TopicNotFoundError
from millstream.log.log import Log
from millstream.queue.events import WorkerState

KEPT: Final = 512
"""Of one queue: enough for a 95th percentile within a few percent, and a kilobyte or two to write."""

EXPIRES_US: Final = 30 * 86_400_000_000
"""After the last of them: work of a month ago may be other work."""


class ServiceTimes:
    """Gathers the service times of the workers of one queue in one process."""

    def __init__(self) -> None:
        self._handled: dict[str, int] = {}
        self._fresh: deque[int] = deque(maxlen=KEPT)

    def look(self, workers: Sequence[WorkerState]) -> None:
        """Take the last delivery of each worker that has ended one since the last look."""
        before = self._handled
        self._handled = {worker.name: worker.handled for worker in workers}
        self._fresh += (worker.last_us for worker in workers if worker.handled > before.get(worker.name, 0))

    def __bool__(self) -> bool:
        return bool(self._fresh)

    def change(self, key: bytes, found: bytes | None, now_us: int) -> StateChange:
        """Return the change that adds what was gathered to what is kept, and begin anew."""
        kept = [*_decoded(found), *self._fresh][-KEPT:]
        self._fresh.clear()
        return StateChange(0, key, msgspec.msgpack.encode(kept), now_us + EXPIRES_US)


def service_key(topic: str, group: str) -> bytes:
    return f"service/{topic}/{group}".encode()


def service_times_us(log: Log, topic: str, group: str) -> list[int]:
    """Return how long deliveries of a queue took (us), oldest first, at most `KEPT`; empty where none were told."""
    from millstream.queue.presence import WORKERS_GROUP, WORKERS_TOPIC

    key = service_key(topic, group)
    try:
        found = log.engine.state(WORKERS_TOPIC, WORKERS_GROUP, 0, [key])
    except (TopicNotFoundError, GroupNotFoundError):
        return []
    return _decoded(found.get(key))


def _decoded(found: bytes | None) -> list[int]:
    if found is None:
        return []
    try:
        return msgspec.msgpack.decode(found, type=list[int])
    except msgspec.MsgspecError:
        # Written by another version.
        return []
