"""From hot to cold: the oldest batches of a partition become files, from its start on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from itertools import chain, pairwise
from typing import Final

import msgspec

from millstream.engines.protocol import BatchHeader, Engine, Maintenance
from millstream.errors import CapabilityError
from millstream.log import columns
from millstream.log.cold.reference import Reference
from millstream.log.cold.store import ColdStore, stored_at
from millstream.log.cold.writing import Stopped, WrittenFile, write_file
from millstream.log.merging import headers_of
from millstream.log.schema import RAW, Schema
from millstream.records import Coding, StoredBatch, time_to_us

FILE_RECORDS: Final = 64 * 65_536
"""A file ends here: large enough that readers spend their time inside of files, small enough to be deleted one by
one."""

FILE_BYTES: Final = 256 * 1024 * 1024
"""Of the batches that go into one file."""

FILE_BATCHES: Final = 65_536
"""The same; they are replaced in one transaction, which holds their headers."""

_READ_RECORDS: Final = 65_536


class ColdRange(msgspec.Struct, frozen=True, tag="cold"):
    """What is to become cold: the whole batches of a partition below an offset and appended before a time."""

    topic: str
    partition: int
    end: int
    before_us: int | None = None
    location: str | None = None


class Compacted(msgspec.Struct, frozen=True):
    """What has become cold."""

    files: int = 0
    records: int = 0
    bytes_before: int = 0
    bytes_after: int = 0

    def __add__(self, other: Compacted) -> Compacted:
        return Compacted(
            self.files + other.files,
            self.records + other.records,
            self.bytes_before + other.bytes_before,
            self.bytes_after + other.bytes_after,
        )


def never() -> bool:
    return False


def compact(
    engine: Engine,
    store: ColdStore,
    range_: ColdRange,
    stopping: Callable[[], bool] = never,
    progress: Callable[[int], None] | None = None,
) -> Compacted:
    """Make records cold, a file at a time, each in one transaction; the caller holds the store's lock.

    Nothing is changed where another process was faster (it merged or deleted some of the batches); what is left is for
    the next call.

    Args:
        progress: Called with the records that became cold since the last call.
    """
    if not isinstance(engine, Maintenance):
        raise CapabilityError(engine.capabilities.name, "put old records into files")
    done = Compacted()
    start = hot_start(engine, engine, range_.topic, range_.partition)
    for headers in _files(engine, engine, range_, start):
        if stopping():
            break
        made = _compact_file(engine, engine, store, range_, headers, stopping)
        if made is None:
            break
        done += made
        if progress is not None:
            progress(made.records)
    return done


def hot_start(engine: Engine, storage: Maintenance, topic: str, partition: int) -> int:
    """Return the offset from which on a partition's batches are not cold: cold ones come first."""
    info = engine.describe_topic(topic).partitions[partition]
    low, end = info.start_offset, info.end_offset
    for header in headers_of(storage, topic, partition, low, end):
        if header.coding != Coding.COLD:
            return header.offset
    return end


def _files(engine: Engine, storage: Maintenance, range_: ColdRange, start: int) -> Iterator[list[BatchHeader]]:
    """Yield the batches of one file after the other."""
    run: list[BatchHeader] = []
    records = size_bytes = 0
    for header in old_headers(storage, range_, start, lambda header: newest_append_us(engine, range_, header)):
        full = records + header.count > FILE_RECORDS or size_bytes + header.size_bytes > FILE_BYTES
        if run and (full or len(run) >= FILE_BATCHES):
            yield run
            run, records, size_bytes = [], 0, 0
        run.append(header)
        records += header.count
        size_bytes += header.size_bytes
    if run:
        yield run


def old_headers(
    storage: Maintenance, range_: ColdRange, start: int, newest_us: Callable[[BatchHeader], int | None]
) -> Iterator[BatchHeader]:
    """Yield the batches from an offset on, all records of which are old enough.

    A header tells the first append of a merged batch, and that of the next one bounds its last; where that is too
    late, or there is none, the batch is looked at.

    Args:
        newest_us: Tells the last append of a batch; None: not known.
    """
    headers = headers_of(storage, range_.topic, range_.partition, start, range_.end)
    for header, following in pairwise(chain(headers, [None])):
        assert header is not None
        if header.offset + header.count > range_.end:
            return
        if range_.before_us is not None:
            if header.append_time_us >= range_.before_us:
                return
            if header.coding != Coding.ROWS:
                bounded = following is not None and following.append_time_us <= range_.before_us
                last_us = range_.before_us if bounded else newest_us(header)
                if last_us is None or last_us > range_.before_us:
                    return
        yield header


def newest_append_us(engine: Engine, range_: ColdRange, header: BatchHeader) -> int:
    """Return the last append time of a hot batch."""
    [batch] = engine.read(range_.topic, range_.partition, header.offset, records_max=1)
    appended = columns.read(batch.data, [columns.APPEND_TIME])
    newest = appended.to_series().max() if appended.width else None
    return time_to_us(newest) if isinstance(newest, datetime) else batch.append_time_us


def _compact_file(
    engine: Engine,
    storage: Maintenance,
    store: ColdStore,
    range_: ColdRange,
    headers: list[BatchHeader],
    stopping: Callable[[], bool],
) -> Compacted | None:
    topic, partition = range_.topic, range_.partition
    start, end = headers[0].offset, headers[-1].offset + headers[-1].count
    schemas = {id: Schema.decode(data) for id, data in engine.describe_topic(topic).schemas.items()} | {0: RAW}
    target_id = max(header.schema_id for header in headers)
    name = store.new_name(topic, partition, start, end)
    with stored_at(store.location(name)):
        partial = store.partial(name)
        try:
            batches = _batches(engine, topic, partition, start, end, stopping)
            written = write_file(partial, batches, schemas, schemas[target_id])
            if written.rows == end - start:
                store.publish(partial, name)
        finally:
            partial.unlink(missing_ok=True)
    if written.rows != end - start:
        return None  # some of them were deleted meanwhile
    new = [*_references(partition, start, target_id, store.location(name), written)]
    if not storage.replace(topic, partition, headers, new):
        store.delete(store.location(name))
        return None
    return Compacted(1, end - start, sum(header.size_bytes for header in headers), written.size_bytes)


def _batches(
    engine: Engine, topic: str, partition: int, start: int, end: int, stopping: Callable[[], bool]
) -> Iterator[StoredBatch]:
    while start < end:
        if stopping():
            raise Stopped
        batches = engine.read(topic, partition, start, records_max=min(_READ_RECORDS, end - start))
        if not batches:
            return
        yield from (batch for batch in batches if batch.offset < end)
        start = batches[-1].end_offset


def _references(
    partition: int, start: int, schema_id: int, location: str, written: WrittenFile
) -> Iterable[StoredBatch]:
    for part in written.parts:
        reference = Reference(
            location, part.first, written.rows, written.size_bytes, written.checksum, part.append_time_max_us
        )
        yield StoredBatch(
            partition=partition,
            offset=start + part.first,
            coding=Coding.COLD,
            count=part.count,
            data=reference.encode(),
            meta=None,
            schema_id=schema_id,
            append_time_us=part.append_time_min_us,
            event_time_min_us=part.event_time_min_us,
            event_time_max_us=part.event_time_max_us,
        )
