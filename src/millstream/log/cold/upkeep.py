"""What should become cold now: asked by housekeeping, round by round."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Final

from millstream.clock import Clock
from millstream.engines.protocol import BatchHeader, Engine, Maintenance, PartitionInfo
from millstream.log.cold.compaction import ColdRange, Compacted, compact, hot_start, newest_append_us, old_headers
from millstream.log.cold.policy import Cold
from millstream.log.cold.store import ColdStore
from millstream.log.cold.writing import Stopped
from millstream.log.merging import headers_of

WORTH_RECORDS: Final = 4 * 65_536
"""A file of fewer records is not made in the background: many small files are slow to read."""

WORTH_BYTES: Final = 64 * 1024 * 1024
"""Or of fewer bytes, whichever comes first."""

LOOK_US: Final = 60_000_000
"""Between two looks at a partition: each reads the headers of what is hot and old."""


class ColdUpkeep:
    """Finds what should become cold in a log.

    Args:
        eager: What is due at all is worth it.
    """

    def __init__(self, engine: Engine, clock: Clock, *, eager: bool = False) -> None:
        self.policies: dict[str, Cold] = {}
        self._engine = engine
        self._clock = clock
        self._eager = eager
        self._looked: dict[tuple[str, int], int] = {}

    def due(
        self, storage: Maintenance, topic: str, partition: PartitionInfo, unread_from: Callable[[], int]
    ) -> ColdRange | None:
        """Return what of a partition should become cold now.

        Args:
            unread_from: Tells the first offset that a group at work has not settled: what it is about to read stays.
        """
        policy = self.policies.get(topic)
        if policy is None or not self._is_time(topic, partition, policy):
            return None
        start = hot_start(self._engine, storage, topic, partition.partition)
        bounds = []
        if policy.after_us is not None:
            bounds.append(self._by_age(storage, topic, partition, start, policy.after_us))
        if policy.size_bytes is not None:
            bounds.append(self._by_size(storage, topic, partition, start, policy.size_bytes))
        end = max(bounds, default=start)
        if end > start and not self._eager:
            end = min(end, unread_from())
        if end <= start:
            return None
        return ColdRange(topic, partition.partition, end, location=policy.location)

    def _is_time(self, topic: str, partition: PartitionInfo, policy: Cold) -> bool:
        now_us = self._clock.now_us()
        last_us = self._looked.get((topic, partition.partition))
        pause_us = LOOK_US if policy.after_us is None else min(LOOK_US, policy.after_us // 10)
        if last_us is not None and not self._eager and 0 <= now_us - last_us < pause_us:
            return False
        self._looked[topic, partition.partition] = now_us
        return True

    def _by_age(self, storage: Maintenance, topic: str, partition: PartitionInfo, start: int, after_us: int) -> int:
        """Return the offset below which all is old enough, if that is worth a file."""
        before_us = self._clock.now_us() - after_us
        range_ = ColdRange(topic, partition.partition, partition.end_offset, before_us)
        found = list(old_headers(storage, range_, start, lambda header: self._newest_us(range_, header)))
        waited = bool(found) and found[0].append_time_us < before_us - after_us
        if found and (self._eager or waited or is_worth_it(found)):
            return found[-1].offset + found[-1].count
        return start

    def _newest_us(self, range_: ColdRange, header: BatchHeader) -> int | None:
        if not self._eager and "polars" not in sys.modules:
            return None  # not worth loading Polars for: the batch is old enough once the next one is
        return newest_append_us(self._engine, range_, header)

    def _by_size(self, storage: Maintenance, topic: str, partition: PartitionInfo, start: int, size_bytes: int) -> int:
        """Return the offset below which a partition has more than it should keep, if that is worth a file."""
        excess = partition.size_bytes - size_bytes
        if excess <= 0:
            return start
        found: list[BatchHeader] = []
        for header in headers_of(storage, topic, partition.partition, start, partition.end_offset):
            if excess <= 0:
                break
            found.append(header)
            excess -= header.size_bytes
        if found and (self._eager or is_worth_it(found)):
            return found[-1].offset + found[-1].count
        return start


def is_worth_it(headers: Sequence[BatchHeader]) -> bool:
    records, size_bytes = sum(h.count for h in headers), sum(h.size_bytes for h in headers)
    return records >= WORTH_RECORDS or size_bytes >= WORTH_BYTES


def make_cold(engine: Engine, range_: ColdRange, stopping: Callable[[], bool]) -> Compacted:
    """Compact a range, unless another process is at it."""
    store = ColdStore.of(engine, range_.location)
    with store.exclusive(wait=False) as held:
        if not held:
            return Compacted()
        try:
            return compact(engine, store, range_, stopping)
        except Stopped:
            return Compacted()
