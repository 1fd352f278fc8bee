"""Reading batches of a topic as records or frames, exactly the offsets asked for."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from millstream import limits
from millstream.engines.protocol import BatchHeader, Engine, Maintenance
from millstream.log.batches import BadRecord, frame_schema
from millstream.log.schemas import TopicSchemas
from millstream.records import Record, StoredBatch, time_to_us

if TYPE_CHECKING:
    import polars as pl

T = TypeVar("T")

_KEPT_BATCHES = 4
"""Decoded batches kept: readers that take a few records at a time come back for the rest of the same batch."""

_KEPT_FROM_RECORDS = 64
_HEADERS_AT_ONCE = 1000


class BatchReader(Generic[T]):
    """Reads one topic. Safe to use from many threads."""

    def __init__(self, engine: Engine, topic: str, schemas: TopicSchemas[T]) -> None:
        self._engine = engine
        self._topic = topic
        self._schemas = schemas
        self._mutex = threading.Lock()
        self._kept: OrderedDict[tuple[int, int], tuple[StoredBatch, list[Any]]] = OrderedDict()

    def records(self, partition: int, offset: int, records_max: int) -> list[Record[T]]:
        """Return records from an offset on.

        Raises:
            SchemaError: The topic's type refuses one of them.
        """
        return self._collect(
            partition, offset, records_max, lambda batch, written: self._schemas.coding.records(batch, written)
        )

    def records_each(self, partition: int, start: int, end: int) -> list[Record[T] | BadRecord]:
        """Return the records [start, end); those that the topic's type refuses as `BadRecord`."""
        found: list[Any] = []
        while start < end:
            part = self._collect(
                partition, start, end - start, lambda batch, written: self._schemas.coding.records_each(batch, written)
            )
            if not part:
                break
            found += part
            start += len(part)
        return found

    def _collect(
        self, partition: int, offset: int, records_max: int, decode: Callable[[StoredBatch, Any], list[Any]]
    ) -> list[Any]:
        kept = self._from_kept(partition, offset, records_max)
        if kept:
            return kept
        found: list[Any] = []
        for batch in self._engine.read(self._topic, partition, offset, records_max=records_max):
            records = decode(batch, self._schemas.written(batch.schema_id))
            if batch.count >= _KEPT_FROM_RECORDS:
                self._keep(batch, records)
            first = max(0, offset - batch.offset)
            last = min(batch.count, offset + records_max - batch.offset)
            found += records if first == 0 and last == batch.count else records[first:last]
        return found

    def _from_kept(self, partition: int, offset: int, records_max: int) -> list[Any]:
        with self._mutex:
            for batch, records in reversed(self._kept.values()):
                if batch.partition == partition and batch.offset <= offset < batch.end_offset:
                    first = offset - batch.offset
                    return records[first : first + records_max]
        return []

    def _keep(self, batch: StoredBatch, records: list[Any]) -> None:
        with self._mutex:
            self._kept[batch.partition, batch.offset] = (batch, records)
            self._kept.move_to_end((batch.partition, batch.offset))
            while len(self._kept) > _KEPT_BATCHES:
                self._kept.popitem(last=False)

    def frame(self, partition: int, start: int, end: int, columns: Sequence[str] | None = None) -> pl.DataFrame:
        """Return exactly the records [start, end) as a frame."""
        import polars as pl

        frames = list(self.frames(partition, start, end, columns))
        if frames:
            return pl.concat(frames) if len(frames) > 1 else frames[0]
        dtypes = frame_schema(self._schemas.coding.schema)
        return pl.DataFrame(schema=dtypes if columns is None else {name: dtypes[name] for name in columns})

    def frames(
        self, partition: int, start: int, end: int, columns: Sequence[str] | None = None
    ) -> Iterator[pl.DataFrame]:
        """Yield the records [start, end) as frames, one a batch: memory does not grow with the range."""
        # One coding for all: an open topic that grows meanwhile does not change the columns halfway.
        coding = self._schemas.coding
        while start < end:
            batches = self._engine.read(
                self._topic, partition, start, records_max=min(end - start, limits.COLUMNS_RECORDS_MAX)
            )
            if not batches:
                return
            for batch in batches:
                frame = coding.frame(batch, self._schemas.written(batch.schema_id), columns)
                first = max(0, start - batch.offset)
                last = min(batch.count, end - batch.offset)
                if first < last:
                    yield frame if last - first == batch.count else frame.slice(first, last - first)
            start = batches[-1].end_offset

    def offsets_at(self, moment: datetime) -> dict[int, int]:
        """Return, for each partition, the offset of the first record appended at or after a time."""
        moment_us = time_to_us(moment)
        offsets: dict[int, int] = {}
        for partition in self._engine.describe_topic(self._topic).partitions:
            number, end = partition.partition, partition.end_offset
            at = end
            for header in self.headers(number, partition.start_offset, end):
                if header.append_time_us >= moment_us:
                    at = header.offset
                    break
                if header.coding == "columns":
                    # Merged batches hold a range of append times, of which the header tells the first.
                    frame = self.frame(number, header.offset, header.offset + header.count, ["_append_time"])
                    later = frame.get_column("_append_time") >= moment
                    if later.any():
                        at = header.offset + int(later.arg_max() or 0)
                        break
            offsets[number] = at
        return offsets

    def headers(self, partition: int, start: int, end: int) -> Iterator[BatchHeader]:
        """Yield the headers of the batches that overlap [start, end)."""
        engine = self._engine
        while start < end:
            if isinstance(engine, Maintenance) and engine.capabilities.maintenance:
                headers = engine.batch_headers(self._topic, partition, start, end, headers_max=_HEADERS_AT_ONCE)
            else:
                batches = engine.read(
                    self._topic, partition, start, records_max=min(end - start, limits.COLUMNS_RECORDS_MAX)
                )
                headers = [header_of(batch) for batch in batches]
            if not headers:
                return
            yield from headers
            start = headers[-1].offset + headers[-1].count


def header_of(batch: StoredBatch) -> BatchHeader:
    """Return what an engine would tell of a batch without its records."""
    return BatchHeader(
        partition=batch.partition,
        offset=batch.offset,
        coding=str(batch.coding),
        count=batch.count,
        schema_id=batch.schema_id,
        size_bytes=len(batch.data) + len(batch.meta or b""),
        append_time_us=batch.append_time_us,
        event_time_min_us=batch.event_time_min_us,
        event_time_max_us=batch.event_time_max_us,
    )
