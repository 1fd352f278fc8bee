"""A topic as a LazyFrame: Polars asks for columns and rows, and gets the batches that have them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any

from millstream.engines.protocol import TopicInfo
from millstream.errors import UsageError
from millstream.log.addressed import rows_for
from millstream.log.cold.scan import may_hold, split
from millstream.log.columns import HEADERS
from millstream.log.frames import frame_schema
from millstream.log.ranges import OffsetRange
from millstream.log.reading import BatchReader
from millstream.log.schemas import TopicSchemas
from millstream.records import time_from_us, time_to_us

if TYPE_CHECKING:
    import polars as pl

_ROWS_AT_ONCE = 65_536


def scan(
    reader: BatchReader[Any],
    info: TopicInfo,
    schemas: TopicSchemas[Any],
    start: int | datetime | None,
    end: int | datetime | None,
    group: str | None = None,
) -> pl.LazyFrame:
    """Return the records of a topic from `start` up to `end` (offsets or event times) as a LazyFrame.

    Args:
        group: Leave out what is for another consumer group.

    Source: Polars IO plugins (`register_io_source`).
    """
    import polars as pl

    ranges = [OffsetRange(p.partition, *_bounds(p.start_offset, p.end_offset, start, end)) for p in info.partitions]
    times = _times(start, end)
    schemas.refresh()
    dtypes = frame_schema(schemas.coding.schema)
    lazy = scan_ranges(reader, ranges, dtypes, times, group)
    if times[0] is not None:
        lazy = lazy.filter(pl.col("_event_time") >= time_from_us(times[0]))
    if times[1] is not None:
        lazy = lazy.filter(pl.col("_event_time") < time_from_us(times[1]))
    return lazy


def scan_ranges(
    reader: BatchReader[Any],
    ranges: list[OffsetRange],
    dtypes: dict[str, pl.DataType],
    times: tuple[int | None, int | None] = (None, None),
    group: str | None = None,
) -> pl.LazyFrame:
    """Return exactly these ranges as a LazyFrame; batches wholly outside the event times may be left out.

    Cold files are scanned by Polars itself, which reads the columns and row groups that a query needs.
    """
    import polars as pl

    pieces: list[pl.LazyFrame] = []
    hot: list[OffsetRange] = []
    for part in ranges:
        # What is for one group only is told by headers, which are decoded record by record.
        for piece in [part] if group is not None else split(reader, part, dtypes, times):
            if isinstance(piece, OffsetRange):
                hot.append(piece)
                continue
            if hot:
                pieces.append(_scan_batches(reader, hot, dtypes, times, group))
                hot = []
            pieces.append(piece)
    if hot or not pieces:
        pieces.append(_scan_batches(reader, hot, dtypes, times, group))
    return pl.concat(pieces) if len(pieces) > 1 else pieces[0]


def _scan_batches(
    reader: BatchReader[Any],
    ranges: list[OffsetRange],
    dtypes: dict[str, pl.DataType],
    times: tuple[int | None, int | None],
    group: str | None,
) -> pl.LazyFrame:
    import polars as pl
    from polars.io.plugins import register_io_source

    def batches(
        with_columns: list[str] | None, predicate: pl.Expr | None, n_rows: int | None, batch_size: int | None
    ) -> Iterator[pl.DataFrame]:
        columns = list(dtypes) if with_columns is None else with_columns
        needed = columns
        if predicate is not None:
            needed = [*columns, *(name for name in predicate.meta.root_names() if name not in columns)]
        if group is not None and HEADERS not in needed:
            needed = [*needed, HEADERS]
        left = n_rows
        for frame in _frames(reader, ranges, needed, times):
            if group is not None:
                frame = rows_for(frame, group)
            if predicate is not None:
                frame = frame.filter(predicate)
            frame = frame.select(columns)
            if left is not None:
                frame = frame.head(left)
                left -= frame.height
            if frame.height:
                yield frame
            if left == 0:
                return

    return register_io_source(batches, schema=pl.Schema(dtypes), validate_schema=False, is_pure=True)


def _frames(
    reader: BatchReader[Any], ranges: list[OffsetRange], columns: list[str], times: tuple[int | None, int | None]
) -> Iterator[pl.DataFrame]:
    """Yield frames, small neighbours together: Polars is slow over many small ones."""
    import polars as pl

    gathered: list[pl.DataFrame] = []
    rows = 0
    for frame in _pieces(reader, ranges, columns, times):
        gathered.append(frame)
        rows += frame.height
        if rows >= _ROWS_AT_ONCE:
            yield pl.concat(gathered) if len(gathered) > 1 else gathered[0]
            gathered, rows = [], 0
    if gathered:
        yield pl.concat(gathered) if len(gathered) > 1 else gathered[0]


def _pieces(
    reader: BatchReader[Any], ranges: list[OffsetRange], columns: list[str], times: tuple[int | None, int | None]
) -> Iterator[pl.DataFrame]:
    for part in ranges:
        if times == (None, None):
            yield from reader.frames(part.partition, part.start, part.end, columns)
            continue
        for header in reader.headers(part.partition, part.start, part.end):
            if may_hold(header, times):
                first, last = max(part.start, header.offset), min(part.end, header.offset + header.count)
                yield from reader.frames(part.partition, first, last, columns)


def _bounds(first: int, past: int, start: int | datetime | None, end: int | datetime | None) -> tuple[int, int]:
    low = max(first, _offset(start)) if isinstance(start, int) else first
    high = min(past, _offset(end)) if isinstance(end, int) else past
    return low, max(low, high)


def _offset(offset: int) -> int:
    if offset < 0:
        raise UsageError(f"an offset is 0 or more, not {offset}")
    return offset


def _times(start: int | datetime | None, end: int | datetime | None) -> tuple[int | None, int | None]:
    return (
        time_to_us(start) if isinstance(start, datetime) else None,
        time_to_us(end) if isinstance(end, datetime) else None,
    )
