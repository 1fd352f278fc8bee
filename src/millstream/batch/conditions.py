"""When enough has gathered: `gathered(records=10_000, size="64MB", age="10m")`, whichever is first."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import msgspec

from millstream.durations import duration_us, span_text
from millstream.engines.protocol import Maintenance
from millstream.errors import CapabilityError, UsageError
from millstream.triggers.sizes import size_bytes

if TYPE_CHECKING:
    from millstream.engines.protocol import Engine, GroupInfo

HEADERS_MAX = 1000
"""Batches looked at when sizes are added up; more of them than this are more than any sensible size."""


class Gathered(msgspec.Struct, frozen=True):
    """What has to be there before a run starts: so many records, or bytes, or a record as old."""

    records: int | None = None
    bytes: int | None = None
    """As stored."""
    age_us: int | None = None
    """Of the oldest new record, by its append time."""

    def __str__(self) -> str:
        parts = []
        if self.records is not None:
            parts.append(f"{self.records:,} records")
        if self.bytes is not None:
            parts.append(f"{self.bytes:,} bytes")
        if self.age_us is not None:
            parts.append(f"a record {span_text(self.age_us)} old")
        return " or ".join(parts)

    def check(self, engine: Engine) -> None:
        """Raise CapabilityError where an engine cannot tell."""
        if self.bytes is not None and not isinstance(engine, Maintenance):
            raise CapabilityError(engine.capabilities.name, "tell how large batches are", "use gathered(records=...)")

    def met(self, engine: Engine, infos: list[GroupInfo], now_us: int) -> bool:
        """Return whether a run should start, over the new records of all topics together."""
        lag = sum(info.lag for info in infos)
        if not lag:
            return False
        if self.records is not None and lag >= self.records:
            return True
        if self.age_us is not None:
            oldest_us = oldest(engine, infos)
            if oldest_us is not None and now_us - oldest_us >= self.age_us:
                return True
        return self.bytes is not None and _bytes(engine, infos, self.bytes) >= self.bytes

    def due_us(self, engine: Engine, infos: list[GroupInfo]) -> int | None:
        """Return when the oldest new record is old enough; None: nothing is waited for."""
        oldest_us = oldest(engine, infos) if self.age_us is not None else None
        return None if oldest_us is None or self.age_us is None else oldest_us + self.age_us


def gathered(
    *, records: int | None = None, size: int | str | None = None, age: timedelta | str | float | None = None
) -> Gathered:
    """Start a batch when enough new records are there: `when=gathered(records=10_000, age="10m")`, whichever is first.

    Args:
        records: So many.
        size: So many bytes, as stored, such as "64MB".
        age: The oldest was appended so long ago, such as "10m".

    Raises:
        UsageError: None of them is given, or one is not what it should be.
    """
    if records is None and size is None and age is None:
        raise UsageError('gathered() says nothing; give records=10_000, size="64MB" or age="10m", or several')
    if records is not None and (type(records) is not int or records < 1):
        raise UsageError(f"gathered(records={records!r}): give a whole number above 0")
    return Gathered(records, None if size is None else size_bytes(size), None if age is None else duration_us(age))


def oldest(engine: Engine, infos: list[GroupInfo]) -> int | None:
    """Return the append time of the oldest new record; None where there is none."""
    times = [
        batches[0].append_time_us
        for info in infos
        for partition, end in info.end_offsets.items()
        if info.committed[partition] < end
        and (batches := engine.read(info.topic, partition, info.committed[partition], records_max=1))
    ]
    return min(times, default=None)


def _bytes(engine: Engine, infos: list[GroupInfo], enough: int) -> int:
    total = 0
    assert isinstance(engine, Maintenance)
    for info in infos:
        for partition, end in info.end_offsets.items():
            start = info.committed[partition]
            if start >= end:
                continue
            for header in engine.batch_headers(info.topic, partition, start, end, headers_max=HEADERS_MAX):
                share = min(end, header.offset + header.count) - max(start, header.offset)
                total += header.size_bytes * share // header.count
            if total >= enough:
                return total
    return total
