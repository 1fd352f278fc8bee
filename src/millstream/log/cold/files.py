"""The cold files that a log refers to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from millstream import limits
from millstream.engines.protocol import BatchHeader, Engine, Maintenance
from millstream.errors import TopicNotFoundError
from millstream.log.cold.reference import Reference, reference_of
from millstream.records import Coding, StoredBatch

_HEADERS_AT_ONCE: Final = 4096


def cold_batches(
    engine: Engine, topic: str, partition: int, start: int = 0, end: int | None = None
) -> Iterator[StoredBatch]:
    """Yield the cold batches of a partition that overlap [start, end): they come first in it."""
    if not isinstance(engine, Maintenance):
        return
    info = engine.describe_topic(topic).partitions[partition]
    start = max(start, info.start_offset)
    past = min(info.end_offset, info.end_offset if end is None else end)
    while start < past:
        headers = engine.batch_headers(topic, partition, start, past, headers_max=_HEADERS_AT_ONCE)
        cold_past = _cold_until(headers, start)
        while start < cold_past:
            # A read ends with the batch that reaches the limit: no data of hot batches comes along.
            batches = engine.read(topic, partition, start, records_max=min(cold_past - start, limits.READ_RECORDS_MAX))
            yield from batches
            start = batches[-1].end_offset
        if not headers or headers[-1].offset + headers[-1].count > cold_past:
            return


def _cold_until(headers: list[BatchHeader], start: int) -> int:
    for header in headers:
        if header.coding != Coding.COLD:
            break
        start = header.offset + header.count
    return start


def cold_files(engine: Engine) -> dict[str, tuple[str, Reference]]:
    """Return the files that a log refers to by location (as it is written there), with `topic/partition` of each."""
    files: dict[str, tuple[str, Reference]] = {}
    for topic in engine.topics():
        try:
            for part in engine.describe_topic(topic).partitions:
                for batch in cold_batches(engine, topic, part.partition):
                    reference = reference_of(batch)
                    files.setdefault(reference.location, (f"{topic}/{part.partition}", reference))
        except TopicNotFoundError:
            continue  # deleted meanwhile
    return files


def bytes_of(batch: StoredBatch) -> int:
    """Return a cold batch's share of its file."""
    reference = reference_of(batch)
    return reference.file_bytes * batch.count // max(1, reference.file_rows)
