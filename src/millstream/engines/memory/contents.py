"""What the engine keeps: topics by name, and what its methods look up, check and change in them."""

from __future__ import annotations

from collections.abc import Sequence

from millstream import limits
from millstream.engines.memory.checks import check_limit
from millstream.engines.memory.group import Group
from millstream.engines.memory.topic import Partition, Topic
from millstream.engines.protocol import Append, Lease, OffsetMove, StateChange
from millstream.errors import (
    ClosedError,
    CommitConflictError,
    GroupNotFoundError,
    LimitExceededError,
    TopicNotFoundError,
    UsageError,
)
from millstream.records import Position


class Contents:
    """All of it is used with the engine's lock held. What cannot be found raises, as `Engine` says."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.topics: dict[str, Topic] = {}
        self.closed = False

    def check_open(self) -> None:
        if self.closed:
            raise ClosedError(f"the engine {self._url} was closed")

    def topic(self, topic: str) -> Topic:
        self.check_open()
        if topic not in self.topics:
            raise TopicNotFoundError(topic, self._url)
        return self.topics[topic]

    def partition(self, topic: str, partition: int) -> Partition:
        partitions = self.topic(topic).partitions
        if not 0 <= partition < len(partitions):
            raise TopicNotFoundError(f"{topic}/{partition}", self._url)
        return partitions[partition]

    def group(self, topic: str, group: str) -> Group:
        groups = self.topic(topic).groups
        if group not in groups:
            raise GroupNotFoundError(topic, group)
        return groups[group]

    def draft_of(self, lease: Lease) -> Group | None:
        """Return a copy of the group a lease is of; None when it was deleted, and the lease with it."""
        topic = self.topics.get(lease.topic)
        return topic.groups[lease.group].draft() if topic and lease.group in topic.groups else None

    def sort_existing(self, topic: Topic, group: Group, parallel: int) -> None:
        """Change a group to sorted order, where all it has left was never handed over."""
        ends = {number: partition.end_offset for number, partition in enumerate(topic.partitions)}
        not_tail = group.ledger().in_progress - sum(end - group.tail(number, end) for number, end in ends.items())
        if group.parallel is None and not_tail:
            raise UsageError(
                f"group {group.name!r} of {group.topic!r} hands over runs of offsets, and {not_tail} records of it are "
                "out or were given back: let it finish them before it changes to sorted order"
            )
        group.parallel = parallel

    def check_state(self, topic: str, changes: Sequence[StateChange]) -> None:
        for change in changes:
            self.partition(topic, change.partition)

    def move(self, group: Group, move: OffsetMove) -> None:
        """Settle what a group read."""
        where = f"{group.topic}/{move.partition}"
        partition = self.partition(group.topic, move.partition)
        tail = group.tail(move.partition, partition.end_offset)
        if move.start != tail:
            raise CommitConflictError(
                f"group {group.name!r} is at offset {tail} of {where}, not at {move.start}: another reader of the "
                "group was faster; read the group's position and go on from there"
            )
        if move.end < move.start:
            raise UsageError(f"a move of [{move.start}, {move.end}) of {where} goes backwards")
        partition.check_offset(move.end)
        group.put(move.partition, move.start, move.end)
        group.done += move.end - move.start

    def check_appends(self, appends: Sequence[Append]) -> None:
        """Raise what `append` would, before anything is changed."""
        for append in appends:
            self.partition(append.topic, append.partition)
            where = f"{append.topic}/{append.partition}"
            check_limit(f"the number of records of a batch for {where}", append.batch.count, limits.EXTEND_RECORDS_MAX)
            if append.batch.size_bytes > limits.BATCH_BYTES_MAX:
                raise LimitExceededError(
                    f"the number of bytes of a batch for {where}",
                    limit=limits.BATCH_BYTES_MAX,
                    size=append.batch.size_bytes,
                )

    def append(self, appends: Sequence[Append], now_us: int) -> list[Position]:
        """Append what was checked; return where each is, of one with a known `unique` where that is."""
        positions = []
        for append in appends:
            topic = self.topics[append.topic]
            if append.unique is not None and topic.once.get(append.unique, (0,))[0] > now_us:
                positions.append(topic.once[append.unique][1])
                continue
            stored = topic.partitions[append.partition].append(append.batch, now_us)
            for group in topic.groups.values():
                group.grow(append.partition, stored.offset, stored.end_offset)
            positions.append(Position(append.partition, stored.offset))
            if append.unique is not None:
                topic.once[append.unique] = append.unique_until_us, positions[-1]
        return positions
