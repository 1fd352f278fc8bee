"""How long single deliveries took: a sample is kept with a queue, so that the spread is known, not the mean alone.

With each heartbeat every worker tells what its last delivery took, if that is a new one. Which one is the last at a
moment that nobody chose does not depend on how long it took itself: short and long ones are found as often as they
occur. The mean is that of all deliveries, not of the sample: near full load, waiting goes up ten percent with each
percent of work. Both are state of the group that holds the heartbeats (see `presence`), for a month: whoever asks how
many workers a queue needs may ask when nobody works on it.
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


HANDLED_MAX: Final = 20_000
"""Deliveries of which the mean is; at twice as many, older ones count half: work changes."""


class Served(msgspec.Struct, frozen=True, array_like=True):
    """How long deliveries of a queue took."""

    times_us: list[int]
    """Of a sample, oldest first, at most `KEPT`."""
    handled: int = 0
    """Deliveries that the mean is of."""
    busy_us: int = 0
    """What these took together."""

    @property
    def mean_s(self) -> float | None:
        """Of all deliveries; None where none was told."""
        return self.busy_us / self.handled / 1e6 if self.handled else None

    @property
    def times_s(self) -> list[float]:
        """The sample with the mean of all: what is left of chance is in the spread."""
        total, mean_s = sum(self.times_us), self.mean_s
        scale = 1e-6 if mean_s is None or not total else mean_s * len(self.times_us) / total
        return [took_us * scale for took_us in self.times_us]


class ServiceTimes:
    """Gathers the service times of the workers of one queue in one process."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[int, int]] = {}
        self._fresh: deque[int] = deque(maxlen=KEPT)
        self._handled = 0
        self._busy_us = 0

    def look(self, workers: Sequence[WorkerState]) -> None:
        """Take what each worker has ended since the last look: the last of it, and the sums."""
        before = self._known
        self._known = {worker.name: (worker.handled, worker.busy_us) for worker in workers}
        for worker in workers:
            handled, busy_us = before.get(worker.name, (0, 0))
            if worker.handled > handled:
                self._fresh.append(worker.last_us)
                self._handled += worker.handled - handled
                self._busy_us += worker.busy_us - busy_us

    def __bool__(self) -> bool:
        return bool(self._fresh)

    def change(self, key: bytes, found: bytes | None, now_us: int) -> StateChange:
        """Return the change that adds what was gathered to what is kept, and begin anew."""
        kept = _decoded(found)
        older = 2 if kept.handled >= HANDLED_MAX else 1
        served = Served(
            times_us=[*kept.times_us, *self._fresh][-KEPT:],
            handled=kept.handled // older + self._handled,
            busy_us=kept.busy_us // older + self._busy_us,
        )
        self._fresh.clear()
        self._handled = self._busy_us = 0
        return StateChange(0, key, msgspec.msgpack.encode(served), now_us + EXPIRES_US)


def service_key(topic: str, group: str) -> bytes:
    return f"service/{topic}/{group}".encode()


def served(log: Log, topic: str, group: str) -> Served:
    """Return how long deliveries of a queue took; empty where none were told."""
    from millstream.queue.presence import WORKERS_GROUP, WORKERS_TOPIC

    key = service_key(topic, group)
    try:
        found = log.engine.state(WORKERS_TOPIC, WORKERS_GROUP, 0, [key])
    except (TopicNotFoundError, GroupNotFoundError):
        found = {}
    return _decoded(found.get(key))


def _decoded(found: bytes | None) -> Served:
    if found is None:
        return Served([])
    try:
        return msgspec.msgpack.decode(found, type=Served)
    except msgspec.MsgspecError:
        # Written by another version.
        return Served([])
