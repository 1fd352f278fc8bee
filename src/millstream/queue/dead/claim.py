"""The right to settle open dead letters, held while it is done."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Final, Self

import msgspec

from millstream import limits
from millstream.clock import Clock
from millstream.engines.protocol import Append, Lease, Outcome, Settlement, StateChange
from millstream.errors import LeaseLostError
from millstream.log.dead_letter import DeadLetter
from millstream.log.group import Group
from millstream.queue.dead.filter import DeadFilter
from millstream.records import Position, Record

LEASE_S: Final = 60.0
RENEW_US: Final = 15_000_000
"""Leases are renewed when this old; a pause of the rate is never longer."""

PAGE_RECORDS: Final = 200
"""Settled in one transaction: it takes milliseconds, so that workers do not wait for the file."""

FORGET_MAX: Final = 10_000


class Settled(msgspec.Struct, frozen=True):
    """What became of a dead letter that is not open any more."""

    how: str
    """redriven, edited, purged."""
    at_us: int
    to: tuple[int, int] | None = None
    """Partition and offset of the changed letter."""


class Held(msgspec.Struct, frozen=True):
    """A dead letter with the lease on it."""

    record: Record[DeadLetter]
    lease: Lease


class Closing(msgspec.Struct, frozen=True):
    """How a dead letter is settled, and what is appended with it."""

    held: Held
    outcome: Outcome
    how: str
    appends: tuple[Append, ...] = ()


class Claim:
    """Leases on the open dead letters that a filter may mean; what was not settled is given back at the end.

    Letters that come meanwhile are not in it, and those that somebody else holds neither.
    """

    def __init__(self, group: Group[DeadLetter], filter_: DeadFilter) -> None:
        self._group = group
        self._filter = filter_
        self._clock: Clock = group.topic.log.clock
        self._leases: list[Lease] = []
        self._settled: dict[int, list[tuple[int, int]]] = {}
        self._renewed_us = 0
        self._before: dict[int, int] = {}

    def __enter__(self) -> Self:
        self._before = dict(self._group.info().committed)
        wanted = set(self._filter.at or ())
        worker = f"{socket.gethostname()}:{os.getpid()}"
        self._renewed_us = self._clock.monotonic_us()
        while leases := self._group.lease(worker=worker, records_max=limits.LEASE_RECORDS_MAX, duration=LEASE_S):
            self._leases += leases
            if wanted:
                wanted = {place for place in wanted if not any(_holds(lease, place) for lease in leases)}
                if not wanted:
                    break
        self._leases.sort(key=lambda lease: (lease.partition, lease.start))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        rest = [
            Settlement(lease, start, end, Outcome.RELEASE)
            for lease in self._leases
            for start, end in _rest(lease, self._settled.get(lease.lease_id, []))
        ]
        if rest:
            # Lost to somebody else: then they are given back already.
            with contextlib.suppress(LeaseLostError):
                self._group.settle(rest)
        if kind is None:
            self._forget()

    def matching(self) -> Iterator[list[Held]]:
        """Yield what the filter means, in pages, oldest first. Where it names places, only those are read."""
        for lease in self._leases:
            for start, end in _wanted(lease, self._filter):
                while start < end:
                    self.renew()
                    records = self._group.topic.read(
                        start, partition=lease.partition, records_max=min(PAGE_RECORDS, end - start)
                    )
                    if not records:
                        break
                    start = records[-1].offset + 1
                    page = [Held(record, lease) for record in records if self._filter.matches(record)]
                    if page:
                        yield page

    def close(self, closings: Sequence[Closing]) -> list[Position]:
        """Settle dead letters with what is appended for them, in one transaction; return where the appends are.

        Raises:
            LeaseLostError: Somebody else has them by now. Nothing was changed.
        """
        if not closings:
            return []
        now_us = self._clock.now_us()
        positions = self._group.settle(
            [
                Settlement(one.held.lease, one.held.record.offset, one.held.record.offset + 1, one.outcome)
                for one in closings
            ],
            appends=[append for one in closings for append in one.appends],
            state=[
                StateChange(
                    one.held.record.partition,
                    marker_key(one.held.record.offset),
                    msgspec.msgpack.encode(Settled(one.how, now_us)),
                )
                for one in closings
            ],
        )
        for one in closings:
            offset = one.held.record.offset
            self._settled.setdefault(one.held.lease.lease_id, []).append((offset, offset + 1))
        return positions

    def renew(self) -> None:
        """Keep the leases, where it is time to."""
        now_us = self._clock.monotonic_us()
        if now_us - self._renewed_us >= RENEW_US:
            self._renewed_us = now_us
            self._group.extend(self._leases, LEASE_S)

    def _forget(self) -> None:
        """Delete what is remembered of letters below the committed offset: all of those are settled."""
        for partition, end in self._group.info().committed.items():
            start = self._before.get(partition, end)
            while start < end:
                past = min(end, start + FORGET_MAX)
                self._group.commit(
                    [], state=[StateChange(partition, marker_key(offset), None) for offset in range(start, past)]
                )
                start = past


def marker_key(offset: int) -> bytes:
    """Return the key of the group's state that says that a dead letter is settled."""
    return str(offset).encode()


def _holds(lease: Lease, place: Position) -> bool:
    return lease.partition == place.partition and lease.start <= place.offset < lease.end


def _wanted(lease: Lease, filter_: DeadFilter) -> list[tuple[int, int]]:
    """Return the ranges of a lease to look at."""
    if filter_.at is None:
        return [(lease.start, lease.end)]
    return [(place.offset, place.offset + 1) for place in sorted(filter_.at) if _holds(lease, place)]


def _rest(lease: Lease, settled: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Yield what is left of a lease, as runs."""
    start = lease.start
    for first, past in sorted(settled):
        if start < first:
            yield start, first
        start = past
    if start < lease.end:
        yield start, lease.end
