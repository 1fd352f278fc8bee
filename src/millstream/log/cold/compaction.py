"""From hot to cold: the oldest batches of a partition become files, from its start on."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from typing import Final

import msgspec

from millstream.engines.protocol import BatchHeader, Engine, Maintenance
from millstream.errors import CapabilityError, StorageError
from millstream.log.cold.reference import Reference
from millstream.log.cold.store import ColdStore
from millstream.log.cold.writing import Stopped, WrittenFile, write_file
from millstream.log.merging import headers_of
from millstream.log.schema import RAW, Schema
from millstream.records import Coding, StoredBatch

_logger = logging.getLogger("millstream.cold")

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
    for headers in _files(engine, range_, start):
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


def cold_headers(engine: Engine, storage: Maintenance, topic: str, partition: int) -> Iterator[BatchHeader]:
    """Yield the headers of a partition's cold batches."""
    info = engine.describe_topic(topic).partitions[partition]
    for header in headers_of(storage, topic, partition, info.start_offset, info.end_offset):
        if header.coding != Coding.COLD:
            return
        yield header


def _files(storage: Maintenance, range_: ColdRange, start: int) -> Iterator[list[BatchHeader]]:
    """Yield the batches of one file after the other."""
    run: list[BatchHeader] = []
    records = size_bytes = 0
    for header in _old(storage, range_, start):
        full = records + header.count > FILE_RECORDS or size_bytes + header.size_bytes > FILE_BYTES
        if run and (full or len(run) >= FILE_BATCHES):
            yield run
            run, records, size_bytes = [], 0, 0
        run.append(header)
        records += header.count
        size_bytes += header.size_bytes
    if run:
        yield run


def _old(storage: Maintenance, range_: ColdRange, start: int) -> Iterator[BatchHeader]:
    """Yield the batches, all records of which are old enough.

    A header tells the first append of a merged batch, and that of the next one bounds its last. Of the last batch of
    the log nothing does, so it waits for the next one.
    """
    info = storage.batch_headers(range_.topic, range_.partition, range_.end, range_.end + 1, headers_max=1)
    following = info[0] if info else None
    before: BatchHeader | None = None
    for header in headers_of(storage, range_.topic, range_.partition, start, range_.end):
        if before is not None:
            if not _older(before, header, range_.before_us):
                return
            yield before
        before = header if header.offset + header.count <= range_.end else None
    if before is not None and _older(before, following, range_.before_us):
        yield before


def _older(header: BatchHeader, following: BatchHeader | None, before_us: int | None) -> bool:
    if before_us is None:
        return True
    if header.append_time_us >= before_us:
        return False
    if header.coding == Coding.ROWS:
        return True
    return following is not None and following.append_time_us <= before_us


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
    partial = store.partial(name)
    try:
        written = write_file(
            partial, _batches(engine, topic, partition, start, end, stopping), schemas, schemas[target_id]
        )
        if written.rows != end - start:
            return None
        location = store.publish(partial, name)
    except (Stopped, StorageError):
        partial.unlink(missing_ok=True)
        raise
    new = [*_references(partition, start, target_id, location, written)]
    if not storage.replace(topic, partition, headers, new):
        store.delete(name)
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
