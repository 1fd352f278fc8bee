"""Ranges of offsets: where a call's records are."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from millstream.engines.protocol import Append
from millstream.records import Position


class OffsetRange(msgspec.Struct, frozen=True):
    """The records [start, end) of a partition."""

    partition: int
    start: int
    end: int

    def __len__(self) -> int:
        return self.end - self.start


def ranges_of(appends: Sequence[Append], positions: Sequence[Position]) -> list[OffsetRange]:
    """Return one range for each partition that got batches: they follow one another without a gap."""
    ranges: dict[int, OffsetRange] = {}
    for append, position in zip(appends, positions, strict=True):
        start = ranges[position.partition].start if position.partition in ranges else position.offset
        ranges[position.partition] = OffsetRange(position.partition, start, position.offset + append.batch.count)
    return list(ranges.values())
