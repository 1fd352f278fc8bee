"""Following a topic: where reading starts, and records of all partitions as they come."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, Final, Literal, TypeAlias, TypeVar

from millstream.durations import duration
from millstream.engines.protocol import PartitionInfo, TopicInfo
from millstream.errors import UsageError
from millstream.log.reading import BatchReader
from millstream.records import Record

T = TypeVar("T")

Start: TypeAlias = Literal["start", "end"] | int | datetime
"""Where reading begins: an int is an offset, of every partition; a time finds the first record appended since."""

_STOP_CHECK_S: Final = 0.2
_READ_RECORDS: Final = 10_000
_NAP_S_MAX: Final = 3600.0


def positions_at(start: Start, info: TopicInfo, reader: BatchReader[Any]) -> dict[int, int]:
    """Return the offset at which reading starts, by partition.

    Raises:
        UsageError: It is none of the ways to say where.
    """
    if isinstance(start, datetime):
        return reader.offsets_at(start)
    if start == "end":
        return {p.partition: p.end_offset for p in info.partitions}
    if start == "start":
        return {p.partition: p.start_offset for p in info.partitions}
    if isinstance(start, int):
        return {p.partition: _within(start, p) for p in info.partitions}
    raise UsageError(f"tail starts at 'start', 'end', an offset or a datetime, not at {start!r}")


def tail(
    reader: BatchReader[T],
    positions: dict[int, int],
    news: Callable[[Mapping[int, int], float], bool],
    *,
    wait: timedelta | str | float | None,
    stop: Callable[[], bool] | None,
) -> Iterator[Record[T]]:
    """Yield records from positions on, as `Topic.tail` says.

    Args:
        positions: Changed as records are yielded.
        news: Waits so many seconds for records behind positions.
    """
    patience = None if wait is None else duration(wait).total_seconds()
    quiet_since = time.monotonic()
    while stop is None or not stop():
        quiet = True
        for partition, offset in positions.items():
            for record in reader.records(partition, offset, _READ_RECORDS):
                quiet = False
                yield record
                positions[partition] = record.offset + 1
                if stop is not None and stop():
                    return
        if not quiet:
            quiet_since = time.monotonic()
            continue
        nap = _STOP_CHECK_S if stop is not None else _NAP_S_MAX
        if patience is not None:
            left = quiet_since + patience - time.monotonic()
            if left <= 0:
                return
            nap = min(nap, left)
        news(positions, nap)


def _within(offset: int, partition: PartitionInfo) -> int:
    if offset < 0:
        raise UsageError(f"an offset is 0 or more, not {offset}")
    return min(max(offset, partition.start_offset), partition.end_offset)
