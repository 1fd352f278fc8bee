"""Merging small batches of a partition into large ones of columns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Final

import msgspec

from millstream import limits
from millstream.engines.protocol import BatchHeader, Engine, Maintenance
from millstream.log import columns as stored
from millstream.log.frames import evolve, key_column, stored_frame, time_column
from millstream.log.row_runs import BatchRun, runs_of
from millstream.log.schema import RAW, Schema
from millstream.records import Coding, StoredBatch

if TYPE_CHECKING:
    import polars as pl

BATCHES_MIN: Final = 16
"""Fewer small batches than this are left as they are."""

SMALL_RECORDS: Final = limits.COLUMNS_RECORDS_MAX // 2
"""A columns batch of fewer records is merged with its neighbours."""

_HEADERS_AT_FIRST: Final = 16
"""Who asks whether the oldest batch is to be deleted needs no more; each header is a page of the file."""

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
    headers = headers_of(engine, name, number, range_.start, range_.end)
    for run, _ in _runs(headers, range_.end):
        if not _is_worth_it(run):
            continue
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
    at_once = _HEADERS_AT_FIRST
    while start < end:
        headers = engine.batch_headers(topic, partition, start, end, headers_max=at_once)
        if not headers:
            return
        yield from headers
        start = headers[-1].offset + headers[-1].count
        at_once = min(2 * at_once, _HEADERS_AT_ONCE)


def is_small(header: BatchHeader) -> bool:
    return header.coding == "rows" or (header.coding == "columns" and header.count < SMALL_RECORDS)


class Survey(msgspec.Struct, frozen=True):
    """What there is to merge in a part of a partition."""

    settled: int
    """Everything below is merged as far as it ever will be."""
    batches: int
    """Small ones, from `settled` on."""
    records: int
    """In them."""
    newest_us: int
    """When the newest batch was appended; 0 where there is none."""


def survey(headers: Iterable[BatchHeader], start: int, end: int) -> Survey:
    """Look at the batches in [start, end).

    Neighbours that fill one good batch, and yet are too few to be worth it, count as settled: nothing that comes later
    changes them, and a topic of them alone would be looked through as a whole, round by round.
    """
    newest_us = 0

    def seen() -> Iterator[BatchHeader]:
        nonlocal newest_us
        for header in headers:
            newest_us = max(newest_us, header.append_time_us)
            yield header

    settled, batches, records = start, 0, 0
    for run, full in _runs(seen(), end):
        if not full or _is_worth_it(run):
            batches += len(run)
            records += sum(header.count for header in run)
        elif batches == 0:
            settled = run[-1].offset + run[-1].count
    return Survey(settled, batches, records, newest_us)


def _runs(headers: Iterable[BatchHeader], end: int) -> Iterator[tuple[list[BatchHeader], bool]]:
    """Yield adjacent small batches that make one good batch, and whether no other one fits behind them.

    A large batch comes as a full run of its own.
    """
    run: list[BatchHeader] = []
    count = size_bytes = 0
    for header in headers:
        if header.offset + header.count > end:
            break
        fits = count + header.count <= limits.COLUMNS_RECORDS_MAX and size_bytes + header.size_bytes <= _MERGE_BYTES
        if run and not (is_small(header) and fits):
            yield run, True
            run, count, size_bytes = [], 0, 0
        if is_small(header):
            run.append(header)
            count += header.count
            size_bytes += header.size_bytes
        else:
            yield [header], True
    if run:
        yield run, False


def _is_worth_it(run: list[BatchHeader]) -> bool:
    if not is_small(run[0]):
        return False
    return len(run) >= BATCHES_MIN or any(header.coding == "rows" and header.count >= 1000 for header in run)


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


def merge(batches: Sequence[StoredBatch], written: Sequence[Schema], target: Schema, schema_id: int) -> StoredBatch:
    """Return adjacent batches of one partition as one batch of columns.

    Guarantees that each record keeps its offset, value, key, headers, event time and append time.

    Args:
        written: The schema of each batch.
        target: A schema that all of them can be read as, usually the newest; `schema_id` is its id.
    """
    import polars as pl

    frames = []
    for schema, run in _runs_by_schema(batches, written):
        frame = stored_frame(run, schema, [name for name in schema.names if name in target.by_name], stored.METADATA)
        evolved = evolve(frame, schema.fields, target.fields, run.batch.count)
        frames.append(pl.DataFrame([*evolved, *map(frame.get_column, stored.METADATA)]))
    whole = pl.concat(frames)
    times = whole.select(
        pl.col(stored.EVENT_TIME).cast(pl.Int64).min().alias("low"),
        pl.col(stored.EVENT_TIME).cast(pl.Int64).max().alias("high"),
        pl.col(stored.APPEND_TIME).cast(pl.Int64).min().alias("append"),
    ).row(0, named=True)
    # Without a range, readers take the append time of the batch for the event time of every record.
    known = times["low"] != times["append"] or times["high"] != times["append"]
    return StoredBatch(
        partition=batches[0].partition,
        offset=batches[0].offset,
        coding=Coding.COLUMNS,
        count=whole.height,
        data=stored.write(_without_the_obvious(whole, target)),
        meta=None,
        schema_id=schema_id,
        append_time_us=times["append"],
        event_time_min_us=times["low"] if known else None,
        event_time_max_us=times["high"] if known else None,
    )


def _runs_by_schema(batches: Sequence[StoredBatch], written: Sequence[Schema]) -> Iterator[tuple[Schema, BatchRun]]:
    for schema, pairs in groupby(zip(batches, written, strict=True), key=itemgetter(1)):
        for run in runs_of(batch for batch, _ in pairs):
            yield schema, run


def _without_the_obvious(frame: pl.DataFrame, schema: Schema) -> pl.DataFrame:
    """Drop the metadata columns that a reader derives from the schema anyway."""
    import polars as pl

    derived = key_column(frame, schema)
    key, event, appended = (frame.get_column(name) for name in (stored.KEY, stored.EVENT_TIME, stored.APPEND_TIME))
    obvious = []
    if (derived is None and key.null_count() == frame.height) or (derived is not None and key.equals(derived)):
        obvious.append(stored.KEY)
    moment = time_column(frame, schema)
    if event.equals(appended if moment is None else moment):
        obvious.append(stored.EVENT_TIME)
    if appended.n_unique() == 1:
        obvious.append(stored.APPEND_TIME)
    if frame.get_column(stored.HEADERS).null_count() == frame.height:
        obvious.append(stored.HEADERS)
    return pl.DataFrame([column for column in frame if column.name not in obvious])
