"""What two engines are compared by: answers, offsets, content, and how a group stands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TypeVar

import msgspec

from millstream.engines.protocol import Engine, GroupInfo, Lease, TopicSpec
from millstream.errors import MillstreamError
from millstream.records import StoredBatch
from millstream.testing.fake_clock import FakeClock
from millstream.testing.raw_batches import values

R = TypeVar("R")

TOPICS = {"a": 1, "b": 2, "gone": 1}
"""Topics and their partitions. Only "gone" is deleted, so that the histories of the others grow long."""


def part_of(pair: tuple[Lease, Lease], start: int, end: int) -> tuple[Lease, Lease]:
    return tuple(msgspec.structs.replace(lease, start=start, end=end) for lease in pair)  # type: ignore[return-value]


def without_ids(leases: Sequence[Lease] | None) -> list[Lease] | None:
    return None if leases is None else [msgspec.structs.replace(lease, lease_id=0) for lease in leases]


def outcome_of(call: Callable[[Engine], R], engine: Engine) -> tuple[R | None, MillstreamError | None]:
    try:
        return call(engine), None
    except MillstreamError as error:
        return None, error


def seen(info: GroupInfo, clock: FakeClock) -> GroupInfo:
    """Return what of a description engines agree on: all times that are past say "due now"."""
    due_us = info.next_due_us
    if info.parallel is not None:
        # Of a group in sorted order an engine may also say that something is due that was never handed over.
        due_us = None
    return msgspec.structs.replace(info, next_due_us=None if due_us is None else max(due_us, clock.now_us()))


def offsets_of(engine: Engine, topic: str) -> tuple[object, ...]:
    info = engine.describe_topic(topic)
    partitions = [(p.partition, p.start_offset, p.end_offset) for p in info.partitions]
    return info.spec, info.created_us, dict(info.schemas), partitions, info.size_bytes


def content_of(engine: Engine, topic: str, partition: int) -> dict[int, bytes]:
    start = engine.describe_topic(topic).partitions[partition].start_offset
    return values(engine.read(topic, partition, start, records_max=1_000_000))


def check_whole(batches: Sequence[StoredBatch], offset: int, records_max: int) -> None:
    """Assert that a read gave consecutive batches, from the one that holds the offset to the one that is enough."""
    for batch, following in pairwise(batches):
        assert batch.end_offset == following.offset
        assert batch.end_offset < offset + records_max, "read went on after it had enough"
    if batches:
        assert batches[0].offset <= offset < batches[0].end_offset


def spec_of(topic: str) -> TopicSpec:
    return TopicSpec(topic, partitions=TOPICS[topic])


def group_of(engine: Engine, topic: str, group: str, clock: FakeClock) -> tuple[GroupInfo, list[dict[bytes, bytes]]]:
    states = [engine.state(topic, group, partition) for partition in range(TOPICS[topic])]
    return seen(engine.describe_group(topic, group), clock), states


def offset_in(model: Engine, topic: str, partition: int, quarters: int) -> int:
    """Return an offset so many quarters into what the partition holds; -1 and 5 are outside of it."""
    if not is_there(model, topic, partition):
        return max(quarters, 0)
    info = model.describe_topic(topic).partitions[partition]
    if quarters < 0:
        return info.start_offset - 1
    return info.start_offset + (info.end_offset - info.start_offset) * quarters // 4 + (quarters > 4)


def is_there(model: Engine, topic: str, partition: int) -> bool:
    return topic in model.topics() and 0 <= partition < TOPICS[topic]


def position_in(model: Engine, topic: str, group: str, partition: int) -> int:
    """Return where the group goes on as a stream."""
    if not is_there(model, topic, partition) or group not in model.groups(topic):
        return 0
    return model.describe_group(topic, group).next_offsets[partition]
