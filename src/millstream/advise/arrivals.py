"""When the records of a topic came: from the append times of its batches, without a look at the values.

Group commit gives records that were appended together one append time, and so they count as having come at once. Of
batches that were merged or became cold since, the column of append times is read, and no other.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise
from typing import Any, Final

import msgspec

from millstream.engines.protocol import BatchHeader, Maintenance
from millstream.errors import UsageError
from millstream.limits import COLUMNS_RECORDS_MAX
from millstream.log.log import Log
from millstream.log.reading import header_of
from millstream.log.topic import Topic
from millstream.records import Coding

RECORDS_MAX: Final = 200_000
"""The newest so many are looked at: enough for every number here, and read in well under a second."""

SPAN_S_MIN: Final = 5.0
"""What came within a few seconds is a load, or a try: its rate says how fast somebody appended."""

SIZE_RECORDS: Final = 10_000
"""The newest of a partition, whose mean size is that of a record."""

HEADERS_AT_ONCE: Final = 1000

WINDOWS_S: Final = (0.1, 1.0, 10.0, 60.0, 600.0, 3600.0, 86_400.0)
"""Lengths of the windows in which arrivals are counted."""

WINDOWS_MIN: Final = 20
WINDOW_RECORDS_MIN: Final = 25
"""With fewer in a window, chance alone makes some of them twice as full as others."""

US: Final = 1_000_000


class Pattern(msgspec.Struct, frozen=True):
    """How records arrive, in numbers."""

    records: int
    span_s: float
    """From the first to the last."""
    rate_per_s: float
    gap_cv2: float
    """Squared coefficient of variation of the gaps: 0 regular, 1 at random (Poisson), more in bursts."""
    appends: int
    """Moments at which some came."""
    window_s: float
    """Of the next two: records are counted in windows of this length."""
    dispersion: float
    """Index of dispersion of the counts: variance / mean; 0 regular, 1 at random, more in waves.

    Source: Cox, Lewis, "The Statistical Analysis of Series of Events", 1966, chapter 4.
    """
    peak_ratio: float
    """The fullest window / the mean one."""

    @property
    def records_per_append(self) -> float:
        return self.records / self.appends


def arrivals_us(log: Log, topic: Topic[Any], *, since_us: int | None = None) -> list[int]:
    """Return the append times of the newest records (us), ascending, at most `RECORDS_MAX`.

    Args:
        since_us: Not older than this.
    """
    partitions = topic.info().partitions
    share = max(1, RECORDS_MAX // len(partitions))
    found: list[int] = []
    known_from_us = since_us or 0
    for partition in partitions:
        start = max(partition.start_offset, partition.end_offset - share)
        times = [
            moment
            for header in _headers(log, topic.name, partition.partition, start, partition.end_offset)
            for moment in _times_of(topic, header, start)
        ]
        if times and start > partition.start_offset:
            # Of this partition nothing older is known: what is older in others would look like a thinner stream.
            known_from_us = max(known_from_us, min(times))
        found += times
    return sorted(moment for moment in found if moment >= known_from_us)


def record_bytes(log: Log, topic: Topic[Any]) -> float | None:
    """Return what a record takes in the log, by the newest batches of each partition; None where they are all cold."""
    size = count = 0
    for partition in topic.info().partitions:
        start = max(partition.start_offset, partition.end_offset - SIZE_RECORDS)
        for header in _headers(log, topic.name, partition.partition, start, partition.end_offset):
            if header.coding != Coding.COLD:
                size, count = size + header.size_bytes, count + header.count
    return size / count if count else None


def pattern_of(times_us: Sequence[int]) -> Pattern | None:
    """Return how records arrive; None where they came within `SPAN_S_MIN`, which makes no rate."""
    if not times_us or times_us[-1] - times_us[0] < SPAN_S_MIN * US:
        return None
    span_s = (times_us[-1] - times_us[0]) / US
    gaps = [later - earlier for earlier, later in pairwise(times_us)]
    window_s, counts = _counted(times_us)
    mean = sum(counts) / len(counts)
    return Pattern(
        records=len(times_us),
        span_s=span_s,
        # The first record begins the time that is measured, and so is not of it.
        rate_per_s=len(gaps) / span_s,
        gap_cv2=squared_variation(gaps),
        appends=len(set(times_us)),
        window_s=window_s,
        dispersion=squared_variation(counts) * mean,
        peak_ratio=max(counts) / mean,
    )


def generated_s(rate_per_s: float, count: int, seed: int) -> list[float]:
    """Return moments of arrivals at random (Poisson), in seconds from the first.

    Raises:
        UsageError: The rate is not above 0.
    """
    if not rate_per_s > 0:
        raise UsageError(f"a rate of {rate_per_s:g} records a second: give one above 0")
    draw = random.Random(f"arrivals {seed}")
    return list(accumulate((draw.expovariate(rate_per_s) for _ in range(count - 1)), initial=0.0))


def squared_variation(values: Sequence[float]) -> float:
    """Return variance / mean^2; 0 where the mean is 0."""
    mean = sum(values) / len(values)
    return sum((value - mean) ** 2 for value in values) / len(values) / mean**2 if mean else 0.0


def _counted(times_us: Sequence[int]) -> tuple[float, list[int]]:
    """Return the length of the windows, and how many came in each that was there from its begin to its end."""
    span_us = times_us[-1] - times_us[0]
    fitting = [window_s for window_s in WINDOWS_S if window_s * US * WINDOWS_MIN <= span_us]
    full = [window_s for window_s in fitting if len(times_us) * window_s * US / span_us >= WINDOW_RECORDS_MIN]
    window_s = full[0] if full else fitting[-1] if fitting else span_us / US / WINDOWS_MIN
    width_us = window_s * US
    windows = max(1, int(span_us / width_us))
    counts = Counter(int((moment - times_us[0]) / width_us) for moment in times_us)
    return window_s, [counts[window] for window in range(windows)]


def _headers(log: Log, topic: str, partition: int, start: int, end: int) -> Iterator[BatchHeader]:
    engine: Any = log.engine
    while start < end:
        if isinstance(engine, Maintenance) and log.engine.capabilities.maintenance:
            headers = engine.batch_headers(topic, partition, start, end, headers_max=HEADERS_AT_ONCE)
        else:
            batches = log.engine.read(topic, partition, start, records_max=min(end - start, COLUMNS_RECORDS_MAX))
            headers = [header_of(batch) for batch in batches]
        if not headers:
            return
        yield from headers
        start = headers[-1].offset + headers[-1].count


def _times_of(topic: Topic[Any], header: BatchHeader, start: int) -> list[int]:
    """Return the append times of the records of a batch from an offset on."""
    first, end = max(start, header.offset), header.offset + header.count
    if header.coding == Coding.ROWS:
        return [header.append_time_us] * (end - first)
    frame = topic.read_frame(first, end, partition=header.partition, columns=["_append_time"])
    column = frame.get_column("_append_time")
    return [int(moment) for moment in column.to_physical().to_list()]
