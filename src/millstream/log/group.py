"""Group: what readers stand on. One consumer group of one topic."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Generic, TypeVar

from millstream.durations import duration as as_duration
from millstream.engines.protocol import Append, GroupInfo, Lease, OffsetMove, Settlement, StateChange
from millstream.log.batches import BadRecord
from millstream.log.reading import BatchReader
from millstream.records import Position, Record

if TYPE_CHECKING:
    from millstream.log.topic import Topic

T = TypeVar("T")


class Group(Generic[T]):
    """Readers that share the work of a topic; every group sees every record."""

    def __init__(self, topic: Topic[T], name: str, reader: BatchReader[T]) -> None:
        self.topic = topic
        self.name = name
        self._engine = topic.engine
        self._reader = reader

    def __repr__(self) -> str:
        return f"<Group {self.name!r} of {self.topic.name!r}>"

    def info(self) -> GroupInfo:
        """Return committed offsets, the ledger and when something is due next, without a scan."""
        return self._engine.describe_group(self.topic.name, self.name)

    def lease(
        self, *, worker: str, records_max: int, duration: timedelta | str | float, lifo: bool = False
    ) -> list[Lease]:
        """Take records for a worker; see `Engine.lease`."""
        return self._engine.lease(
            self.topic.name,
            self.name,
            worker=worker,
            records_max=records_max,
            duration_us=_us(duration),
            lifo=lifo,
        )

    def records(self, lease: Lease) -> list[Record[T] | BadRecord]:
        """Return the records of a lease; those that the topic's type refuses as `BadRecord`."""
        return self._reader.records_each(lease.partition, lease.start, lease.end)

    def settle(self, settlements: Sequence[Settlement], *, appends: Sequence[Append] = ()) -> list[Position]:
        """Record outcomes, with appends in the same transaction; see `Engine.settle`."""
        return self._engine.settle(settlements, appends=appends)

    def extend(self, leases: Sequence[Lease], duration: timedelta | str | float) -> list[Lease]:
        """Keep leases longer; return those still held; see `Engine.extend`."""
        return self._engine.extend(leases, _us(duration))

    def commit(
        self, moves: Sequence[OffsetMove], *, state: Sequence[StateChange] = (), appends: Sequence[Append] = ()
    ) -> list[Position]:
        """Move offsets, change state and append in one transaction; see `Engine.commit`."""
        return self._engine.commit(self.topic.name, self.name, moves, state=state, appends=appends)

    def state(self, partition: int, keys: Sequence[bytes] | None = None) -> dict[bytes, bytes]:
        """Return the group's state of a partition: all of it, or the given keys that exist."""
        return self._engine.state(self.topic.name, self.name, partition, keys)


def _us(value: timedelta | str | float) -> int:
    return as_duration(value) // timedelta(microseconds=1)
