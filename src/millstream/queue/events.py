"""What can be seen of a queue at work."""

from __future__ import annotations

from enum import StrEnum
from typing import Protocol

import msgspec

from millstream.records import Position


class QueueEventKind(StrEnum):
    """What happened to a record."""

    TAKEN = "taken"
    """A worker starts on it."""
    DONE = "done"
    """Its handler returned, and the log knows."""
    RETRY = "retry"
    """Its handler raised; it is tried again from `due_us` on."""
    DEAD = "dead"
    """Given up on; it is in the dead letters."""
    RELEASED = "released"
    """Given back unstarted: the worker stops, or is busy with another record."""
    LOST = "lost"
    """Its lease ran out before the outcome was recorded; it is delivered again."""


class QueueEvent(msgspec.Struct, frozen=True):
    """One step of one record."""

    kind: QueueEventKind
    queue: str
    worker: str
    position: Position
    attempt: int
    """1 for the first delivery."""
    time_us: int
    error: str | None = None
    """Of retry and dead: the exception's type and message."""
    due_us: int | None = None
    """Of retry: when it is tried again at the earliest."""


class QueueObserver(Protocol):
    """Sees every event of a queue of this process.

    Called in the worker's thread, between records: be quick and do not block. What it raises is logged and otherwise
    ignored; it cannot change what happens to a record.
    """

    def __call__(self, event: QueueEvent, /) -> None: ...


class WorkerStatus(StrEnum):
    IDLE = "idle"
    BUSY = "busy"
    STOPPED = "stopped"


class WorkerState(msgspec.Struct, frozen=True):
    """What one worker does right now."""

    name: str
    state: WorkerStatus
    since_us: int
    position: Position | None = None
    """The record it is busy with."""
    attempt: int = 0
    handled: int = 0
    """Deliveries that it has ended since it was started."""
    failed: int = 0
    """Of these: retried or given up on."""
    busy_us: int = 0
    """Time spent in the handler, all of them together."""
    last_us: int = 0
    """Of that, what the last delivery took."""
