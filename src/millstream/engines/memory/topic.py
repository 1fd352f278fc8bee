"""A topic and its partitions: lists of batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from millstream.engines.memory.group import Group
from millstream.engines.protocol import BatchHeader, Finding, PartitionInfo, TopicInfo, TopicSpec
from millstream.errors import OffsetOutOfRangeError
from millstream.records import EncodedBatch, Position, StoredBatch


@dataclass
class Partition:
    """Records [start_offset, end_offset); not thread-safe."""

    topic: str
    number: int
    start_offset: int = 0
    end_offset: int = 0
    batches: list[StoredBatch] = field(default_factory=list)

    def check_offset(self, offset: int) -> None:
        """Raise OffsetOutOfRangeError unless the offset is in the log or its end."""
        if not self.start_offset <= offset <= self.end_offset:
            raise OffsetOutOfRangeError(
                self.topic, self.number, offset, start_offset=self.start_offset, end_offset=self.end_offset
            )

    def append(self, batch: EncodedBatch, now_us: int) -> StoredBatch:
        """Keep a batch at the end."""
        stored = StoredBatch(
            partition=self.number,
            offset=self.end_offset,
            coding=batch.coding,
            count=batch.count,
            data=batch.data,
            meta=batch.meta,
            schema_id=batch.schema_id,
            append_time_us=now_us,
            event_time_min_us=batch.event_time_min_us,
            event_time_max_us=batch.event_time_max_us,
        )
        self.batches.append(stored)
        self.end_offset = stored.end_offset
        return stored

    def read(self, offset: int, records_max: int, bytes_max: int) -> list[StoredBatch]:
        """Return whole batches from the one that holds the offset to the one that reaches a limit."""
        result: list[StoredBatch] = []
        size_bytes = 0
        for batch in self.batches:
            if batch.end_offset > offset:
                result.append(batch)
                size_bytes += _header(batch).size_bytes
                if batch.end_offset >= offset + records_max or size_bytes >= bytes_max:
                    break
        return result

    def headers(self, start: int, end: int) -> list[BatchHeader]:
        """Return the batches that overlap [start, end), without their records."""
        return [_header(batch) for batch in self.batches if batch.offset < end and start < batch.end_offset]

    def put(self, start: int, end: int, batches: Sequence[StoredBatch]) -> None:
        """Put batches in place of those of [start, end)."""
        below = [batch for batch in self.batches if batch.end_offset <= start]
        above = [batch for batch in self.batches if batch.offset >= end]
        self.batches = [*below, *batches, *above]

    def trim(self, before: int) -> int:
        """Drop whole batches below an offset; return the new start."""
        self.batches = [batch for batch in self.batches if batch.end_offset > before]
        self.start_offset = self.batches[0].offset if self.batches else self.end_offset
        return self.start_offset

    def info(self) -> PartitionInfo:
        return PartitionInfo(
            partition=self.number,
            start_offset=self.start_offset,
            end_offset=self.end_offset,
            size_bytes=sum(_header(batch).size_bytes for batch in self.batches),
            batches=len(self.batches),
        )


@dataclass
class Topic:
    """A topic with what belongs to it; not thread-safe."""

    spec: TopicSpec
    created_us: int
    partitions: list[Partition]
    schemas: list[bytes] = field(default_factory=list)
    groups: dict[str, Group] = field(default_factory=dict)
    once: dict[bytes, tuple[int, Position]] = field(default_factory=dict)
    """Where a unique value was appended, and until when it counts."""
    changes: int = 0
    """Counts changes of the groups' queue state, for `wait`."""

    def info(self) -> TopicInfo:
        partitions = tuple(partition.info() for partition in self.partitions)
        return TopicInfo(self.spec, self.created_us, partitions, dict(enumerate(self.schemas, start=1)))

    def check(self) -> Iterator[Finding]:
        """Yield what is wrong: a defect of this engine, for there is no disk to blame."""
        advice = "report this as a bug"
        for number, partition in enumerate(self.partitions):
            edges = [partition.start_offset, *(batch.end_offset for batch in partition.batches)]
            if edges != [*(batch.offset for batch in partition.batches), partition.end_offset]:
                yield Finding(f"{self.spec.name}/{number}", "the batches overlap or leave a gap", advice)
        for group in self.groups.values():
            if not group.ledger().balanced:
                yield Finding(f"{self.spec.name}, group {group.name}", "the ledger does not balance", advice)


def _header(batch: StoredBatch) -> BatchHeader:
    return BatchHeader(
        partition=batch.partition,
        offset=batch.offset,
        coding=batch.coding,
        count=batch.count,
        schema_id=batch.schema_id,
        size_bytes=len(batch.data) + len(batch.meta or b""),
        append_time_us=batch.append_time_us,
        event_time_min_us=batch.event_time_min_us,
        event_time_max_us=batch.event_time_max_us,
    )
