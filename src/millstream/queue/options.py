"""How a queue hands over its records, beyond the plain case: what `@app.queue(...)` takes, checked."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from enum import StrEnum
from typing import Any, Final

import msgspec

from millstream import limits
from millstream.durations import duration, duration_us
from millstream.errors import LimitExceededError, SettingsError
from millstream.queue.rate import RateLimit

Chosen = str | Callable[[Any], Any] | None
"""A field of the value, or a function of it."""

WORKERS_MAX: Final = 1024
"""Threads, tasks or processes of one process; beyond, more processes are what helps."""

FREE: Final = WORKERS_MAX
"""Of a key without a limit, so many may be out at once."""


class Mode(StrEnum):
    FIFO = "fifo"
    LIFO = "lifo"


class Kind(StrEnum):
    """Where handlers run."""

    THREADS = "threads"
    ASYNC = "async"
    """On one event loop: for `async def` handlers."""
    PROCESSES = "processes"
    """Each worker a process of its own: for work in Python that needs a core, that leaks, or that may crash."""


class WhenFull(StrEnum):
    """What an append through a queue at its bound does."""

    BLOCK = "block"
    RAISE = "raise"
    SHED = "shed"
    """The record goes to the dead letters instead."""


class Recycle(msgspec.Struct, frozen=True):
    """When a worker process is replaced by a new one, between two records.

    Raises:
        SettingsError: Neither limit is given, or one is not above 0.
    """

    jobs: int | None = None
    """After so many deliveries."""
    bytes: int | None = None
    """When its resident memory is beyond this."""

    def __post_init__(self) -> None:
        given = [limit for limit in (self.jobs, self.bytes) if limit is not None]
        if not given or min(given) < 1:
            raise SettingsError(f"{self}: give jobs or bytes, above 0")


class Batching(msgspec.Struct, frozen=True):
    """A handler gets up to `records` at once; it waits for more until `wait` has passed since the first."""

    records: int
    wait: timedelta = timedelta(0)

    @classmethod
    def of(cls, value: Batching | tuple[int, timedelta | str | float] | int | None) -> Batching | None:
        """Return what `batch=` means: `(100, "1s")`, or 100: what is there, at most so many."""
        if value is None or isinstance(value, Batching):
            return value
        records, wait = value if isinstance(value, tuple) else (value, 0)
        if records < 1:
            raise SettingsError(f"batch is {value!r}; give (records, time), as in (100, '1s')")
        if records > limits.LEASE_RECORDS_MAX:
            raise LimitExceededError("the records of a batch", limit=limits.LEASE_RECORDS_MAX, size=records)
        return cls(records, duration(wait))


class QueueOptions(msgspec.Struct, frozen=True, kw_only=True):
    """See `App.queue` for what each means.

    Raises:
        SettingsError: A value is out of range, or two do not go together.
        UsageError: A time is not a duration.
    """

    order_by: Chosen = None
    concurrency: int | None = None
    rate: RateLimit | str | None = None
    timeout: timedelta | str | float | None = None
    priority: Chosen | bool = None
    mode: Mode | str = Mode.FIFO
    batch: Batching | tuple[int, timedelta | str | float] | int | None = None
    kind: Kind | str | None = None
    maxsize: int | None = None
    full: WhenFull | str = WhenFull.BLOCK
    recycle: Recycle | None = None

    def __post_init__(self) -> None:
        for name, words, given in (("mode", Mode, self.mode), ("full", WhenFull, self.full), ("kind", Kind, self.kind)):
            if given is not None and given not in [str(word) for word in words]:
                raise SettingsError(f"{name} is {given!r}; give one of {', '.join(repr(str(word)) for word in words)}")
        for name, number in (("concurrency", self.concurrency), ("maxsize", self.maxsize)):
            if number is not None and number < 1:
                raise SettingsError(f"{name} is {number}; give 1 or more, or leave it out")
        if self.timeout is not None and not duration_us(self.timeout):
            raise SettingsError("timeout is 0; give a time above it, or leave it out")
        if self.recycle is not None and self.kind != Kind.PROCESSES:
            raise SettingsError('recycle is for worker processes; give kind="processes" with it')
        if self.sorted and self.mode == Mode.LIFO:
            raise SettingsError(
                'mode="lifo" hands over the newest first; leave order_by, concurrency, rate, priority out'
            )
        if self.limit is not None and not self.limit.per_key and self.order_by is not None:
            raise SettingsError('with order_by, a rate is that of each key; write it so, as in "10/s per key"')
        Batching.of(self.batch)

    @property
    def sorted(self) -> bool:
        """Records are handed over by key, priority or rate, not in runs of offsets."""
        asked = (self.order_by, self.concurrency, self.rate, self.priority or None)
        return any(given is not None for given in asked)

    @property
    def parallel(self) -> int | None:
        """How many records of one key may be out at once; None where the queue is not sorted."""
        if not self.sorted:
            return None
        return self.concurrency or (1 if self.order_by is not None else FREE)

    @property
    def limit(self) -> RateLimit | None:
        return None if self.rate is None else RateLimit.of(self.rate)

    @property
    def batching(self) -> Batching | None:
        return Batching.of(self.batch)

    @property
    def timeout_us(self) -> int | None:
        return None if self.timeout is None else duration_us(self.timeout)
