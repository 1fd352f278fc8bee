"""Reading batches of a topic as records or frames, exactly the offsets asked for."""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from millstream import limits
from millstream.engines.protocol import BatchHeader, Engine, Maintenance
from millstream.errors import StorageCorruptError
from millstream.log.batches import BadRecord, RecordCoding
from millstream.log.cold.files import cold_batches
from millstream.log.cold.form import reads_alike
from millstream.log.cold.reference import cold_folder, located
from millstream.log.frames import frame_schema
from millstream.log.row_runs import BatchRun, runs_of
from millstream.log.schemas import TopicSchemas
from millstream.records import Coding, Record, StoredBatch, time_to_us

if TYPE_CHECKING:
    import polars as pl

T = TypeVar("T")

_KEPT_BATCHES = 4
"""Decoded batches kept: readers that take a few records at a time come back for the rest of the same batch."""

_KEPT_FROM_RECORDS = 64

_READ_RECORDS = limits.COLUMNS_RECORDS_MAX
"""Of one read of the engine for frames: what a batch of columns holds, so that memory holds a few of them."""

_DECODING_THREADS = 2
"""Polars decodes without the interpreter's lock; two threads are 1.6 times as fast as one, four not much more."""

_AHEAD = 3
"""Batches that are decoded before they are asked for."""
_HEADERS_AT_ONCE = 1000


class _View(NamedTuple):
    """What a decoded batch was decoded as."""

    coding: RecordCoding[Any]
    columns: Sequence[str] | None
    partition: int
    with_values: bool = False

    def same(self, other: _View) -> bool:
        return (
            self.coding is other.coding
            and self.partition == other.partition
            and self.with_values == other.with_values
            and self._names() == other._names()
        )

    def _names(self) -> list[str] | None:
        return None if self.columns is None else list(self.columns)


class _Decoded(NamedTuple):
    """The records [offset, offset + records) as a frame, and as values where they were asked for."""

    offset: int
    frame: pl.DataFrame
    records: int
    """The frame's height, but a frame without columns has none."""
    values: list[Any] | None = None

    @property
    def end_offset(self) -> int:
        return self.offset + self.records

    def within(self, first: int, last: int) -> _Decoded:
        """Return the records [first, last) of it."""
        if last - first == self.records:
            return self
        at, end = first - self.offset, last - self.offset
        values = None if self.values is None else self.values[at:end]
        return _Decoded(first, self.frame.slice(at, end - at), end - at, values)


class _CutBatches:
    """Batches of which the last reader took a part: the next piece begins in the middle, and must not decode again."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._kept: deque[tuple[_View, int, _Decoded]] = deque(maxlen=_KEPT_BATCHES)

    def keep(self, view: _View, following: int, decoded: _Decoded) -> None:
        """Keep a batch for who goes on at the offset `following`."""
        with self._mutex:
            for i, (kept_view, _, _) in enumerate(self._kept):
                if kept_view.same(view):
                    del self._kept[i]
                    break
            self._kept.append((view, following, decoded))

    def find(self, view: _View, offset: int) -> _Decoded | None:
        """Return the batch for who goes on there. Nobody gets a value again, which its first user may have changed."""
        with self._mutex:
            for kept_view, following, decoded in self._kept:
                if following == offset and kept_view.same(view):
                    return decoded
        return None


def _in_threads(decode: Callable[[BatchRun], _Decoded], runs: Iterator[BatchRun]) -> Iterator[_Decoded]:
    """Decode in a few threads, a few batches ahead, and yield in order; the engine is read in the caller's thread.

    The threads are this call's own: a forked child could not use those of its parent.
    """
    pool = ThreadPoolExecutor(_DECODING_THREADS, thread_name_prefix="millstream-decode")
    ahead: deque[Future[_Decoded]] = deque()
    try:
        for run in runs:
            ahead.append(pool.submit(decode, run))
            if len(ahead) > _AHEAD:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


class BatchReader(Generic[T]):
    """Reads one topic. Safe to use from many threads."""

    def __init__(self, engine: Engine, topic: str, schemas: TopicSchemas[T]) -> None:
        self._engine = engine
        self._topic = topic
        self._schemas = schemas
        self._mutex = threading.Lock()
        self._kept: OrderedDict[tuple[int, int], tuple[StoredBatch, list[Any]]] = OrderedDict()
        self._cut = _CutBatches()
        self._cold_folder = cold_folder(engine.url)

    def _read(self, partition: int, offset: int, records_max: int) -> list[StoredBatch]:
        batches = self._engine.read(self._topic, partition, offset, records_max=records_max)
        return located(batches, self._cold_folder)

    @contextmanager
    def _still_there(self, batch: StoredBatch) -> Iterator[None]:
        """Tell a cold file that is missing from one that retention deleted after the log was asked where it is."""
        try:
            yield
        except StorageCorruptError:
            if batch.coding is Coding.COLD:
                # Raises OffsetOutOfRangeError where the record is gone.
                self._engine.read(self._topic, batch.partition, batch.end_offset - 1, records_max=1)
            raise

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

    def decode(self, batch: StoredBatch) -> list[Record[T] | BadRecord]:
        """Return the records of a batch; those that the topic's type refuses as `BadRecord`."""
        [batch] = located([batch], self._cold_folder)
        # First: a schema that was not known yet makes the coding another one.
        written = self._schemas.written(batch.schema_id)
        return self._schemas.coding.records_each(batch, written)

    def of_batches(self, batches: Sequence[StoredBatch], start: int, end: int) -> list[Record[T] | BadRecord]:
        """Return the records [start, end) of batches that were read already, as `records_each`."""
        found: list[Record[T] | BadRecord] = []
        for batch in batches:
            found += self.decode(batch)[max(0, start - batch.offset) : max(0, end - batch.offset)]
        return found

    def _collect(
        self, partition: int, offset: int, records_max: int, decode: Callable[[StoredBatch, Any], list[Any]]
    ) -> list[Any]:
        kept = self._from_kept(partition, offset, records_max)
        if kept:
            return kept
        found: list[Any] = []
        for batch in self._read(partition, offset, records_max):
            with self._still_there(batch):
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
        view = _View(coding, columns, partition)

        def decode(run: BatchRun) -> _Decoded:
            batch = run.batch
            with self._still_there(batch):
                frame = coding.frame(run, self._schemas.written(batch.schema_id), columns)
            return _Decoded(batch.offset, frame, batch.count)

        for piece in self._pieces(view, start, end, decode, in_threads=end - start > _READ_RECORDS):
            yield piece.frame

    def values(self, partition: int, start: int, end: int) -> Iterator[tuple[list[T], pl.DataFrame]]:
        """Yield the records [start, end) as values, and beside them `_key`, `_event_time`, `_append_time`, `_headers`
        and `_offset` as a frame; a batch at a time.

        Raises:
            SchemaError: The topic's type refuses one of them.
        """
        coding = self._schemas.coding

        def decode(run: BatchRun) -> _Decoded:
            batch = run.batch
            with self._still_there(batch):
                values, metadata = coding.values(run, self._schemas.written(batch.schema_id))
            return _Decoded(batch.offset, metadata, batch.count, values)

        for piece in self._pieces(_View(coding, None, partition, True), start, end, decode, in_threads=False):
            yield piece.values or [], piece.frame

    def _pieces(
        self, view: _View, start: int, end: int, decode: Callable[[BatchRun], _Decoded], *, in_threads: bool
    ) -> Iterator[_Decoded]:
        """Yield exactly the records [start, end), and keep a batch that has more behind them."""
        cut = self._cut.find(view, start)
        if cut is not None and start < end:
            last = min(end, cut.end_offset)
            yield self._piece(view, cut, start, last)
            start = last
        runs = self._runs(view.partition, start, end)
        for decoded in _in_threads(decode, runs) if in_threads else map(decode, runs):
            first, last = max(start, decoded.offset), min(end, decoded.end_offset)
            if first < last:
                yield self._piece(view, decoded, first, last)

    def _piece(self, view: _View, decoded: _Decoded, first: int, last: int) -> _Decoded:
        if last < decoded.end_offset and decoded.records >= _KEPT_FROM_RECORDS:
            self._cut.keep(view, last, decoded)
        return decoded.within(first, last)

    def _runs(self, partition: int, start: int, end: int) -> Iterator[BatchRun]:
        while start < end:
            batches = self._read(partition, start, min(end - start, _READ_RECORDS))
            if not batches:
                return
            yield from runs_of(batches)
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
                if header.coding != "rows":
                    # Merged batches hold a range of append times, of which the header tells the first.
                    frame = self.frame(number, header.offset, header.offset + header.count, ["_append_time"])
                    later = frame.get_column("_append_time") >= moment
                    if later.any():
                        at = header.offset + int(later.arg_max() or 0)
                        break
            offsets[number] = at
        return offsets

    def cold_batches(self, partition: int, start: int, end: int) -> list[StoredBatch]:
        """Return the cold batches that overlap [start, end); in a partition they come first."""
        return located(cold_batches(self._engine, self._topic, partition, start, end), self._cold_folder)

    def reads_as_written(self, schema_id: int, names: Sequence[str]) -> bool:
        """Whether a cold file of this schema has these columns as frames have them."""
        written, current = self._schemas.written(schema_id).by_name, self._schemas.coding.schema.by_name
        fields = [name for name in names if name in current]
        return all(written.get(name) == current[name] and reads_alike(current[name].type) for name in fields)

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
