"""Group: what readers stand on. One consumer group of one topic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from millstream.durations import duration as as_duration
from millstream.engines.fetching import Fetched
from millstream.engines.handing import HandingOver, Tally, TallyOrder
from millstream.engines.protocol import (
    NO_MOVES,
    Append,
    Entry,
    Found,
    GroupInfo,
    Lease,
    OffsetMove,
    Rate,
    Settlement,
    StateChange,
    StateRange,
)
from millstream.errors import LimitExceededError
from millstream.log.batches import BadRecord
from millstream.log.fetching import fetching_of
from millstream.log.reading import BatchReader
from millstream.records import Position, Record, StoredBatch

if TYPE_CHECKING:
    from millstream.log.topic import Topic

T = TypeVar("T")


class Group(Generic[T]):
    """Readers that share the work of a topic; every group sees every record."""

    def __init__(self, topic: Topic[T], name: str, reader: BatchReader[T]) -> None:
        self.topic = topic
        self.name = name
        self._engine = topic.engine
        self._fetching = fetching_of(topic.engine)
        self._handing = topic.engine if isinstance(topic.engine, HandingOver) else None
        self._reader = reader

    def __repr__(self) -> str:
        return f"<Group {self.name!r} of {self.topic.name!r}>"

    def info(self) -> GroupInfo:
        """Return committed offsets, the ledger and when something is due next, without a scan."""
        return self._engine.describe_group(self.topic.name, self.name)

    def find(self, partition: int, offset: int) -> Found:
        """Return how one record stands, without a scan."""
        return self._engine.find(self.topic.name, self.name, partition, offset)

    def pause(self, *, paused: bool = True) -> None:
        """Hand over nothing more, in any process, or (False) go on; survives restarts."""
        self._engine.pause(self.topic.name, self.name, paused=paused)

    def sort(self, partition: int, start: int, entries: Sequence[Entry]) -> bool:
        """Tell a group in sorted order about the records from `start` on; False: another was faster."""
        return self._engine.sort(self.topic.name, self.name, partition, start, entries)

    def lease(
        self,
        *,
        worker: str,
        records_max: int,
        duration: timedelta | str | float,
        lifo: bool = False,
        rate: Rate | None = None,
    ) -> list[Lease]:
        """Take records for a worker; see `Engine.lease`."""
        return self._engine.lease(
            self.topic.name,
            self.name,
            worker=worker,
            records_max=records_max,
            duration_us=_us(duration),
            lifo=lifo,
            rate=rate,
        )

    def fetch(
        self,
        *,
        worker: str,
        records_max: int,
        duration: timedelta | str | float,
        lifo: bool = False,
        rate: Rate | None = None,
        settlements: Sequence[Settlement] = (),
        flag: bytes,
    ) -> Fetched:
        """Settle what was taken before, take more and look for a flag, in one transaction; see `Fetching.fetch`."""
        return self._fetching.fetch(
            self.topic.name,
            self.name,
            worker=worker,
            records_max=records_max,
            duration_us=_us(duration),
            lifo=lifo,
            rate=rate,
            settlements=settlements,
            flag=flag,
        )

    def wait_news(self, mark: Any, timeout: timedelta) -> bool:
        """Block until something has changed since a fetch; False when the time passed."""
        return self._fetching.wait_news(self.topic.name, self.name, mark, _us(timeout))

    def fetched_records(self, fetched: Fetched) -> list[Record[T] | BadRecord]:
        """Return the records of the only lease of a fetch, as `records` does."""
        [lease] = fetched.leases
        if fetched.batches is None:
            return self.records(lease)
        return self._reader.of_batches(fetched.batches, lease.start, lease.end)

    def records(self, lease: Lease) -> list[Record[T] | BadRecord]:
        """Return the records of a lease; those that the topic's type refuses as `BadRecord`."""
        return self._reader.records_each(lease.partition, lease.start, lease.end)

    def decode(self, batch: StoredBatch) -> list[Record[T] | BadRecord]:
        """Return the records of a batch of the topic; those that the topic's type refuses as `BadRecord`."""
        return self._reader.decode(batch)

    def peek(self, partition: int, start: int, end: int) -> list[Record[T] | BadRecord]:
        """Return the records [start, end) of a partition, leased or not; those that are refused as `BadRecord`."""
        return self._reader.records_each(partition, start, end)

    def settle(
        self,
        settlements: Sequence[Settlement],
        *,
        appends: Sequence[Append] = (),
        state: Sequence[StateChange] = (),
    ) -> list[Position]:
        """Record outcomes, with appends and changes of state in the same transaction; see `Engine.settle`."""
        return self._engine.settle(settlements, appends=appends, state=state)

    def extend(self, leases: Sequence[Lease], duration: timedelta | str | float) -> list[Lease]:
        """Keep leases longer; return those still held; see `Engine.extend`."""
        return self._engine.extend(leases, _us(duration))

    def tally(self, lease: Lease, order: TallyOrder) -> Tally | None:
        """Open a tally of a lease of this process; None where the engine keeps none, or has no room for one more."""
        if self._handing is None:
            return None
        try:
            return self._handing.tally(lease, order)
        except LimitExceededError:
            return None

    def commit(
        self,
        moves: Sequence[OffsetMove],
        *,
        state: Sequence[StateChange] = (),
        appends: Sequence[Append] = (),
        others: Mapping[str, Sequence[OffsetMove]] = NO_MOVES,
        expect: Sequence[StateChange] = (),
    ) -> list[Position]:
        """Move offsets, change state and append in one transaction; see `Engine.commit`."""
        return self._engine.commit(
            self.topic.name, self.name, moves, state=state, appends=appends, others=others, expect=expect
        )

    def state(
        self, partition: int, keys: Sequence[bytes] | None = None, *, within: StateRange | None = None
    ) -> dict[bytes, bytes]:
        """Return the group's state of a partition: all of it, or those of the given keys or range that exist."""
        return self._engine.state(self.topic.name, self.name, partition, keys, within=within)


def _us(value: timedelta | str | float) -> int:
    return as_duration(value) // timedelta(microseconds=1)
