"""Ranges of a log as pieces: cold files that Polars scans itself, and the rest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

from millstream.engines.protocol import BatchHeader
from millstream.log.cold.reading import check_there, scan_files
from millstream.log.cold.reference import Reference, reference_of
from millstream.log.ranges import OffsetRange
from millstream.log.reading import BatchReader, header_of
from millstream.records import StoredBatch

if TYPE_CHECKING:
    import polars as pl


def split(
    reader: BatchReader[Any],
    part: OffsetRange,
    dtypes: Mapping[str, pl.DataType],
    times: tuple[int | None, int | None],
) -> Iterator[pl.LazyFrame | OffsetRange]:
    """Yield a range in pieces, in order: cold files as LazyFrames, what is to be read batch by batch as ranges.

    Files of an older schema are read batch by batch: what they lack has to be made.

    Raises:
        StorageCorruptError: A cold file is missing or has another size.
    """
    at = part.start
    for schema_id, group in groupby(
        reader.cold_batches(part.partition, part.start, part.end), key=lambda batch: batch.schema_id
    ):
        batches = list(group)
        if not reader.reads_as_written(schema_id, list(dtypes)):
            continue
        first, past = max(part.start, batches[0].offset), min(part.end, batches[-1].end_offset)
        if at < first:
            yield OffsetRange(part.partition, at, first)
        yield from _scan(batches, first, past, list(dtypes), times)
        at = past
    if at < part.end:
        yield OffsetRange(part.partition, at, part.end)


def may_hold(header: BatchHeader, times: tuple[int | None, int | None]) -> bool:
    """Whether a batch can have an event time within the bounds: records without one have the append time."""
    low = high = header.append_time_us
    if header.event_time_min_us is not None and header.event_time_max_us is not None:
        merged = header.coding != "rows"
        low = header.event_time_min_us if merged else min(low, header.event_time_min_us)
        high = header.event_time_max_us if merged else max(high, header.event_time_max_us)
    start, end = times
    return (start is None or high >= start) and (end is None or low < end)


def _scan(
    batches: Sequence[StoredBatch], start: int, end: int, names: Sequence[str], times: tuple[int | None, int | None]
) -> Iterator[pl.LazyFrame]:
    import polars as pl

    wanted = [batch for batch in batches if may_hold(header_of(batch), times)]
    files: dict[str, Reference] = {}
    for batch in wanted:
        reference = reference_of(batch)
        files.setdefault(reference.location, reference)
    if not files:
        return
    for reference in files.values():
        check_there(reference)
    lazy = scan_files(list(files.values())).select(pl.selectors.by_name(*names))
    # Rows before and behind are those of the same files that the range, or the log since a trim, does not have.
    if start > wanted[0].offset - reference_of(wanted[0]).first:
        lazy = lazy.filter(pl.col("_offset") >= start)
    last = reference_of(wanted[-1])
    if end < wanted[-1].offset - last.first + last.file_rows:
        lazy = lazy.filter(pl.col("_offset") < end)
    yield lazy
