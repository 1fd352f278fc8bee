"""HandOver: a group whose records are handed over for good, as a plain queue does it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, Final, Generic, TypeVar

import msgspec

from millstream.engines.handing import WANTS_ROOM, HandingOver, Pop, Popped, Tally, TallyOrder
from millstream.engines.protocol import Bound, Lease, Maintenance, Settlement, StateChange
from millstream.errors import CapabilityError, SchemaError
from millstream.log.batches import BadRecord
from millstream.log.group import Group
from millstream.log.rows import array_header
from millstream.records import Coding, StoredBatch

T = TypeVar("T")

_KEPT_BATCHES: Final = 8
"""Decoded batches kept: who takes a few records at a time comes back for the rest of the same batch."""

_values_decoder: Final = msgspec.msgpack.Decoder(list[bytes])


class HandOver(Generic[T]):
    """Takes records of a group over, and counts who is done with them. Safe to use from many threads but `values`
    and `pop`."""

    def __init__(self, group: Group[T]) -> None:
        """Take a group.

        Raises:
            CapabilityError: Its engine cannot hand over for good.
        """
        engine = group.topic.log.engine
        if not isinstance(engine, HandingOver):
            raise CapabilityError(engine.capabilities.name, "hand records over for good", "use a file")
        self.group = group
        self._topic = group.topic.name
        self._engine = engine
        self._maintenance = engine if isinstance(engine, Maintenance) else None
        self._raw = group.topic.type is bytes
        self._kept: OrderedDict[tuple[int, int], list[Any]] = OrderedDict()

    def take(
        self,
        *,
        worker: str,
        records_max: int,
        duration_us: int = 1_000_000,
        lifo: bool = False,
        settlements: Sequence[Settlement] = (),
    ) -> list[Lease]:
        """Settle what was taken before, and lease more, in one transaction; see `HandingOver.take`."""
        return self._engine.take(
            self._topic,
            self.group.name,
            worker=worker,
            records_max=records_max,
            duration_us=duration_us,
            lifo=lifo,
            settlements=settlements,
        )

    def pop(self, *, lifo: bool = False) -> T | SchemaError | Pop:
        """Take the next record over for good and return its value, or the error where the topic's type refuses it."""
        while True:
            found = self._engine.pop(self._topic, self.group.name, kept=self._is_kept, lifo=lifo)
            if isinstance(found, Pop):
                return found
            offset, values = self._opened(found)
            if values:
                value: T | SchemaError = values[found.offset - offset]
                return value
            # Retention deleted it: the next one.

    def put(
        self, values: Sequence[T], *, batch_records: int, bound: Bound | None, expect: Sequence[StateChange] = ()
    ) -> None:
        """Append values, all or nothing, in batches of rows of so many records.

        Args:
            expect: The group's state as it has to be; not together with a bound.

        Raises:
            CommitConflictError: The state is not as expected.
            QueueFullError: The queue of `bound` would grow beyond it.
            SchemaError: A value does not fit the topic's type.
        """
        topic = self.group.topic
        appends = [
            append
            for start in range(0, len(values), batch_records)
            for append in topic.encode(values[start : start + batch_records])
        ]
        if expect:
            self.group.commit([], appends=appends, expect=expect)
        elif appends:
            topic.log.engine.append(appends, bound=bound)

    def say_that_room_is_wanted(self, until_us: int) -> None:
        """Have those who take records wake those who wait for a shorter queue, until a time."""
        self.group.commit([], state=[StateChange(0, WANTS_ROOM, b"", until_us)])

    def tally(self, lease: Lease) -> Tally:
        """Open a tally of a lease whose records are handed out in their order; see `HandingOver.tally`."""
        return self._engine.tally(lease, TallyOrder.UP)

    def finish(self, count: int) -> int:
        """Count records as finished; return how many are not; see `HandingOver.finish`."""
        return self._engine.finish(self._topic, self.group.name, count)

    def untold(self) -> tuple[int, int]:
        """Return the records [start, end) of the first partition that were not handed over, or not sorted."""
        return self._engine.untold(self._topic, self.group.name, 0)

    def unfinished(self) -> int:
        """Return how many records have not been counted as finished."""
        return self._engine.unfinished(self._topic, self.group.name)

    def forget_settled(self) -> None:
        """Delete what no group of the topic needs any more."""
        if self._maintenance is not None:
            for partition in range(self.group.topic.partitions):
                self._maintenance.trim(self._topic, partition, 1 << 62)

    def give_space_back(self, bytes_max: int) -> None:
        """Return unused space of the file to the file system."""
        if self._maintenance is not None:
            self._maintenance.vacuum(bytes_max)

    # --- values ---------------------------------------------------------------------------------------------------

    def values(self, partition: int, start: int, end: int) -> list[T | SchemaError]:
        """Return the values of [start, end), in place of one that the topic's type refuses the error."""
        if not self._raw:
            return self._by_type(partition, start, end)
        found: list[Any] = []
        while start < end:
            batches = self._batches(partition, start, end)
            if not batches:
                break
            for offset, values in batches:
                part = values[start - offset : end - offset]
                found += part
                start += len(part)
        return found

    def _is_kept(self, partition: int, offset: int) -> bool:
        return self._kept_at(partition, offset) is not None

    def _kept_at(self, partition: int, offset: int) -> tuple[int, list[Any]] | None:
        for (of, start), values in reversed(self._kept.items()):
            if of == partition and start <= offset < start + len(values):
                return start, values
        return None

    def _opened(self, found: Popped) -> tuple[int, list[Any]]:
        """Return the values of a record's batch, with the offset of the first."""
        if found.batch is None:
            return self._kept_at(found.partition, found.offset) or (found.offset, [])
        values = self._decoded(found.batch)
        self._keep(found.partition, found.batch.offset, values)
        return found.batch.offset, values

    def _decoded(self, batch: StoredBatch) -> list[Any]:
        if self._raw and batch.coding is Coding.ROWS:
            return _values_decoder.decode(array_header(batch.count) + batch.data)
        return [
            SchemaError(record.error) if isinstance(record, BadRecord) else record.value
            for record in self.group.decode(batch)
        ]

    def _keep(self, partition: int, offset: int, values: list[Any]) -> None:
        if len(values) > 1:
            self._kept[partition, offset] = values
            if len(self._kept) > _KEPT_BATCHES:
                self._kept.popitem(last=False)

    def _by_type(self, partition: int, start: int, end: int) -> list[Any]:
        lease = Lease(0, self._topic, self.group.name, partition, start, end, 1, 0, "")
        return [
            SchemaError(record.error) if isinstance(record, BadRecord) else record.value
            for record in self.group.records(lease)
        ]

    def _batches(self, partition: int, start: int, end: int) -> list[tuple[int, list[Any]]]:
        """Return batches of bytes from the one that holds an offset on, each with the offset of its first record."""
        if (kept := self._kept_at(partition, start)) is not None:
            return [kept]
        found: list[tuple[int, list[Any]]] = []
        for batch in self.group.topic.log.engine.read(self._topic, partition, start, records_max=end - start):
            found.append((batch.offset, self._decoded(batch)))
        if found:
            self._keep(partition, *found[-1])
        return found
