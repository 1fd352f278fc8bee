"""What a log knows of a topic by itself: arrivals, sizes, keys, who reads it, how long their work takes."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from millstream.advise.arrivals import Pattern, arrivals_us, pattern_of, record_bytes
from millstream.advise.facts import Approach, Facts, ReaderFacts
from millstream.batch.runs import runs_topic_name
from millstream.engines.protocol import GroupInfo
from millstream.log.log import Log
from millstream.log.topic import Topic
from millstream.queue.service_times import served
from millstream.queue.stats import REDRIVE_GROUP, QueueStats, QueueWatch
from millstream.sources.listener_signs import GROUP as LISTENERS_GROUP
from millstream.stream.info import reader_groups

KEY_PIECES: Final = 8
KEY_RECORDS: Final = 2_000
"""Keys are counted in so many pieces of so many records, spread evenly over the log: a sample."""


class Keys(msgspec.Struct, frozen=True):
    """The keys of a sample of records."""

    sampled: int
    with_key: int
    distinct: int
    top: bytes
    top_share: float
    """Of the sampled records with a key."""


class QueueFacts(msgspec.Struct, frozen=True):
    """A queue of the topic, and how long its work takes."""

    name: str
    stats: QueueStats
    services_s: list[float]
    """A sample of what single deliveries took, with the mean of all."""
    service_s: float | None
    """Mean time of work; None where no worker has told."""

    @property
    def backlog(self) -> int:
        return self.stats.ready + self.stats.waiting


class Observed(msgspec.Struct, frozen=True):
    """A topic as the log has seen it."""

    topic: str
    records: int
    record_bytes: float | None
    times_us: list[int]
    """Append times of the newest records, ascending."""
    pattern: Pattern | None
    quiet_s: float | None
    """Since the last record came."""
    keys: Keys | None
    readers: tuple[ReaderFacts, ...]
    queues: tuple[QueueFacts, ...]
    facts: Facts


def observe(log: Log, name: str, *, since_us: int | None = None) -> Observed:
    """Return what the log knows of a topic; values are not decoded, but for a sample of keys.

    Raises:
        TopicNotFoundError: There is none of that name.
    """
    log.engine.describe_topic(name)
    topic: Topic[Any] = log.topic(name)
    info = topic.info()
    times_us = arrivals_us(log, topic, since_us=since_us)
    pattern, keys = pattern_of(times_us), _keys(topic)
    readers, queues = _readers(log, topic)
    schema = topic.schema
    facts = Facts(
        topic=name,
        service_s=next((queue.service_s for queue in queues if queue.service_s is not None), None),
        rate_per_s=pattern.rate_per_s if pattern else None,
        dispersion=pattern.dispersion if pattern else None,
        peak_ratio=pattern.peak_ratio if pattern else None,
        window_s=pattern.window_s if pattern else None,
        records=info.records,
        records_per_append=len(times_us) / len(set(times_us)) if times_us else None,
        record_bytes=record_bytes(log, topic),
        key_share=keys.top_share if keys else None,
        key_field=schema.key,
        time_field=schema.time,
        fields=() if schema.raw else schema.names,
        raw=schema.raw and info.records > 0,
        readers=readers,
    )
    return Observed(
        topic=name,
        records=info.records,
        record_bytes=facts.record_bytes,
        times_us=times_us,
        pattern=pattern,
        quiet_s=max(0.0, (log.clock.now_us() - times_us[-1]) / 1e6) if times_us else None,
        keys=keys,
        readers=readers,
        queues=queues,
        facts=facts,
    )


def _readers(log: Log, topic: Topic[Any]) -> tuple[tuple[ReaderFacts, ...], tuple[QueueFacts, ...]]:
    streams, topics = reader_groups(log), set(log.topics())
    readers, queue_names = [], []
    for name, info in topic.groups().items():
        if name in (REDRIVE_GROUP, LISTENERS_GROUP):
            continue
        approach = _approach(info, streams, topics)
        readers.append(ReaderFacts(approach, name, info.ledger.in_progress))
        if approach is Approach.QUEUE:
            queue_names.append((topic.name, name))
    stats = QueueWatch(log).look(queue_names)
    return tuple(readers), tuple(_queue(log, one) for one in stats)


def _queue(log: Log, stats: QueueStats) -> QueueFacts:
    told = served(log, stats.topic, stats.group)
    mean_s = stats.service_s if told.mean_s is None else told.mean_s
    return QueueFacts(stats.group, stats, told.times_s, mean_s)


def _approach(info: GroupInfo, streams: set[tuple[str, str]], topics: set[str]) -> Approach:
    if (info.topic, info.group) in streams:
        return Approach.STREAM
    return Approach.BATCH if runs_topic_name(info.group) in topics else Approach.QUEUE


def _keys(topic: Topic[Any]) -> Keys | None:
    """Return the keys of a sample; None where no record of it has one."""
    import polars as pl

    pieces = []
    partitions = topic.info().partitions
    for partition in partitions:
        start, count = partition.start_offset, partition.end_offset - partition.start_offset
        pieces_of = max(1, KEY_PIECES // len(partitions))
        for piece in range(pieces_of):
            first = start + count * piece // pieces_of
            last = min(first + KEY_RECORDS, start + count * (piece + 1) // pieces_of)
            if first < last:
                frame = topic.read_frame(first, last, partition=partition.partition, columns=["_key"])
                pieces.append(frame.get_column("_key"))
    if not pieces:
        return None
    keys = pl.concat(pieces)
    there = keys.drop_nulls()
    if not there.len():
        return None
    counts = there.value_counts(sort=True)
    return Keys(
        sampled=keys.len(),
        with_key=there.len(),
        distinct=counts.height,
        top=counts.get_column("_key")[0],
        top_share=int(counts.get_column("count")[0]) / there.len(),
    )
