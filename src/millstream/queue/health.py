"""Is a queue stuck? A watchdog: work that is due, and nothing moves for a while.

Alive and not working is what no process monitor sees. A queue moves when a record of it is done or given up on, or when
a worker ends a delivery. A queue that is paused, empty, or waits for a later time is not stuck.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

import msgspec

from millstream.clock import Clock
from millstream.durations import duration_text, duration_us
from millstream.queue.events import WorkerState, WorkerStatus
from millstream.queue.presence import ProcessReport
from millstream.queue.stats import QueueStats

STALL: Final = timedelta(minutes=10)
"""Longer than most handlers take; a queue of longer ones needs a longer time (`millstream run --stall 2h`)."""


class Stall(msgspec.Struct, frozen=True):
    """A queue that does not move."""

    topic: str
    group: str
    for_s: float
    """Without progress."""
    ready: int
    leased: int
    waiting: int
    partition: int | None
    """With `offset`: the record that holds it up, which its longest busy worker is at, or the oldest one."""
    offset: int | None
    worker: str | None
    """The longest busy one."""
    process: str | None
    """`host:pid` of it."""
    attempt: int | None
    busy_s: float | None
    message: str


class _Progress(msgspec.Struct, frozen=True):
    finished: tuple[int, int, int]
    handled: int
    since_us: int


class Watchdog:
    """Remembers when each queue last moved. Ask it regularly, at least a few times within `stall`."""

    def __init__(self, clock: Clock, *, stall: timedelta | str | float = STALL) -> None:
        self._clock = clock
        self._stall_us = duration_us(stall)
        self._progress: dict[str, _Progress] = {}

    def look(self, queues: Sequence[QueueStats]) -> list[Stall]:
        """Return those of the queues that have not moved for `stall` although they could have."""
        now_us = self._clock.monotonic_us()
        stalls: list[Stall] = []
        for queue in queues:
            finished, handled = (queue.done, queue.dead, queue.expired), queue.handled
            before = self._progress.get(queue.name)
            # A sum that fell lost a process, and one that came anew has done nothing yet: neither is progress, or a
            # worker that dies again and again would look like one that works.
            moved = before is None or before.finished != finished or handled > before.handled
            since_us = now_us if before is None or moved or queue.paused or not queue.due else before.since_us
            self._progress[queue.name] = _Progress(finished, handled, since_us)
            if now_us - since_us >= self._stall_us:
                stalls.append(stall_of(queue, (now_us - since_us) / 1e6))
        known = {queue.name for queue in queues}
        self._progress = {name: progress for name, progress in self._progress.items() if name in known}
        return stalls


def stall_of(queue: QueueStats, for_s: float) -> Stall:
    """Say what a queue that has not moved for so long is stuck at."""
    longest = _longest_busy(queue)
    record = queue.oldest
    if longest is not None and longest[1].position is not None:
        record = (longest[1].position.partition, longest[1].position.offset)
    busy_s = None if longest is None else max(0.0, (queue.at_us - longest[1].since_us) / 1e6)
    return Stall(
        topic=queue.topic,
        group=queue.group,
        for_s=for_s,
        ready=queue.ready,
        leased=queue.leased,
        waiting=queue.waiting,
        partition=record[0] if record else None,
        offset=record[1] if record else None,
        worker=longest[1].name if longest else None,
        process=longest[0].process if longest else None,
        attempt=longest[1].attempt if longest else None,
        busy_s=busy_s,
        message=f"queue {queue.group} of topic {queue.topic}: nothing has moved for {duration_text(for_s)}, with "
        f"{queue.ready:,} ready, {queue.leased:,} leased, {queue.waiting:,} waiting; {_cause(queue, longest, record)}",
    )


def _longest_busy(queue: QueueStats) -> tuple[ProcessReport, WorkerState] | None:
    busy = [
        (report, worker)
        for report in queue.processes
        for worker in report.states
        if worker.state is WorkerStatus.BUSY and worker.position is not None
    ]
    return min(busy, key=lambda pair: pair[1].since_us, default=None)


def _cause(queue: QueueStats, longest: tuple[ProcessReport, WorkerState] | None, record: tuple[int, int] | None) -> str:
    place = f"record {queue.topic}/{record[0]}:{record[1]}" if record else "its records"
    if longest is not None:
        report, worker = longest
        busy = duration_text(max(0.0, (queue.at_us - worker.since_us) / 1e6))
        return f"worker {worker.name} ({report.process}) has been at {place} for {busy}, attempt {worker.attempt}"
    if not queue.workers:
        return f"no worker of it is alive, and {place} is the oldest"
    return f"{queue.workers} workers are alive and idle, and {place} is the oldest"
