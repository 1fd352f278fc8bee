"""Merging small batches of a partition into large ones of columns."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import msgspec

from millstream import limits
from millstream.engines.protocol import BatchHeader, Engine, Maintenance
from millstream.log.batches import merge
from millstream.log.schema import RAW, Schema
from millstream.records import StoredBatch

BATCHES_MIN: Final = 16
"""Fewer small batches than this are left as they are."""

SMALL_RECORDS: Final = limits.COLUMNS_RECORDS_MAX // 2
"""A columns batch of fewer records is merged with its neighbours."""

_HEADERS_AT_ONCE: Final = 4096
_MERGE_BYTES: Final = 16 * 1024 * 1024


class MergeRange(msgspec.Struct, frozen=True, tag="merge"):
    """Offsets [start, end) of a partition, the small batches of which are to be merged."""

    topic: str
    partition: int
    start: int
    end: int


def merge_range(engine: Engine, range_: MergeRange, stopping: Callable[[], bool]) -> None:
    """Merge what is worth it, a transaction for each new batch; nothing where another was faster."""
    assert isinstance(engine, Maintenance)
    name, number = range_.topic, range_.partition
    written = engine.describe_topic(name).schemas
    schemas = {schema_id: Schema.decode(data) for schema_id, data in written.items()} | {0: RAW}
    for run in _runs(engine, range_):
        if stopping():
            return
        batches = _read(engine, name, number, run)
        if batches is None:
            return
        target_id = max(header.schema_id for header in run)
        merged = merge(batches, [schemas[batch.schema_id] for batch in batches], schemas[target_id], target_id)
        engine.replace(name, number, run, [merged])


def headers_of(engine: Maintenance, topic: str, partition: int, start: int, end: int) -> Iterator[BatchHeader]:
    """Yield the headers of the batches that overlap [start, end)."""
    while start < end:
        headers = engine.batch_headers(topic, partition, start, end, headers_max=_HEADERS_AT_ONCE)
        if not headers:
            return
        yield from headers
        start = headers[-1].offset + headers[-1].count


def is_small(header: BatchHeader) -> bool:
    return header.coding == "rows" or (header.coding == "columns" and header.count < SMALL_RECORDS)


def _runs(engine: Maintenance, range_: MergeRange) -> Iterator[list[BatchHeader]]:
    """Yield runs of adjacent small batches that make one good batch each."""
    run: list[BatchHeader] = []
    count = size_bytes = 0
    for header in headers_of(engine, range_.topic, range_.partition, range_.start, range_.end):
        small = is_small(header) and header.offset + header.count <= range_.end
        fits = count + header.count <= limits.COLUMNS_RECORDS_MAX and size_bytes + header.size_bytes <= _MERGE_BYTES
        if run and not (small and fits):
            if _is_worth_it(run):
                yield run
            run, count, size_bytes = [], 0, 0
        if small:
            run.append(header)
            count += header.count
            size_bytes += header.size_bytes
    if _is_worth_it(run):
        yield run


def _is_worth_it(run: list[BatchHeader]) -> bool:
    return len(run) >= BATCHES_MIN or (len(run) >= 1 and any(h.coding == "rows" and h.count >= 1000 for h in run))


def _read(engine: Engine, topic: str, partition: int, run: list[BatchHeader]) -> list[StoredBatch] | None:
    """Return the batches of a run, None where they are not there any more."""
    start, end = run[0].offset, run[-1].offset + run[-1].count
    batches: list[StoredBatch] = []
    while start < end:
        part = engine.read(topic, partition, start, records_max=end - start)
        if not part:
            return None
        batches += [batch for batch in part if batch.offset < end]
        start = part[-1].end_offset
    return batches
