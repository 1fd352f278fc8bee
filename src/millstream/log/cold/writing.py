"""Writing batches as one Parquet file."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from millstream import limits
from millstream.log import columns as stored
from millstream.log.cold.form import outward
from millstream.log.frames import evolve, metadata_dtypes, stored_frame
from millstream.log.row_runs import BatchRun, runs_of
from millstream.log.schema import METADATA_COLUMNS, Schema
from millstream.records import StoredBatch, time_to_us

if TYPE_CHECKING:
    import polars as pl

GROUP_ROWS: Final = limits.COLUMNS_RECORDS_MAX
"""Rows of a row group, and records of a cold batch: what readers expect of a batch is one row group."""

_COMPRESSION_LEVEL: Final = 1
"""Of zstd. On five fields, 3 takes a fifth more time and saves 3% of the size."""

_READ_BYTES: Final = 1024 * 1024


class Part(msgspec.Struct, frozen=True):
    """What the log tells of one row group, [first, first + count) of the file's rows."""

    first: int
    count: int
    append_time_min_us: int
    append_time_max_us: int
    event_time_min_us: int
    event_time_max_us: int


class WrittenFile(msgspec.Struct, frozen=True):
    """A complete file, on disk."""

    parts: tuple[Part, ...]
    rows: int
    size_bytes: int
    checksum: str


class Stopped(Exception):  # noqa: N818 - control flow between this module and its caller
    """The process is about to end: the file was not finished."""


def write_file(path: Path, batches: Iterable[StoredBatch], schemas: dict[int, Schema], target: Schema) -> WrittenFile:
    """Write batches of one partition as one file, synced to disk; memory holds a few row groups.

    Args:
        schemas: By id, of all the batches.
        target: What all of them are written as.
    """
    from polars.io.plugins import register_io_source

    parts: list[Part] = []
    failures: list[BaseException] = []
    groups = _groups(_frames(batches, schemas, target))
    first = next(groups)

    def produce(*_: object) -> Iterator[pl.DataFrame]:
        try:
            for group in chain([first], groups):
                parts.append(_part(group, sum(part.count for part in parts[-1:]) + (parts[-1].first if parts else 0)))
                yield group
        except BaseException as error:
            failures.append(error)
            raise

    source = register_io_source(produce, schema=first.schema, validate_schema=False, is_pure=True)
    try:
        source.sink_parquet(
            path,
            compression="zstd",
            compression_level=_COMPRESSION_LEVEL,
            statistics=True,
            row_group_size=GROUP_ROWS,
            maintain_order=True,
        )
    except Exception:
        # Polars tells in words of its own what the batches' side raised.
        if failures:
            raise failures[0] from None
        raise
    size_bytes, checksum = sync_and_sum(path)
    return WrittenFile(tuple(parts), sum(part.count for part in parts), size_bytes, checksum)


def sync_and_sum(path: Path) -> tuple[int, str]:
    """Put a file onto the disk; return its size in bytes and its checksum."""
    digest = hashlib.sha256()
    with path.open("rb+") as file:
        os.fsync(file.fileno())
        while data := file.read(_READ_BYTES):
            digest.update(data)
        return file.tell(), digest.hexdigest()


def _frames(batches: Iterable[StoredBatch], schemas: dict[int, Schema], target: Schema) -> Iterator[pl.DataFrame]:
    for run in runs_of(batches):
        yield parquet_frame(run, schemas[run.batch.schema_id], target)


def parquet_frame(run: BatchRun, written: Schema, target: Schema) -> pl.DataFrame:
    """Return a batch as the columns of a file."""
    import polars as pl

    batch = run.batch
    there = [name for name in written.names if name in target.by_name]
    frame = stored_frame(run, written, there, stored.METADATA)
    made = pl.DataFrame(evolve(frame, written.fields, target.fields, batch.count))
    types = metadata_dtypes()
    offset = pl.int_range(batch.offset, batch.end_offset, dtype=pl.Int64(), eager=True).alias("_offset")
    partition = pl.Series("_partition", [batch.partition], dtype=types["_partition"]).new_from_index(0, batch.count)
    given = {column.name: column for column in (partition, offset, *map(frame.get_column, stored.METADATA))}
    return pl.DataFrame([*outward(made, target), *(given[name] for name in METADATA_COLUMNS)])


def _groups(frames: Iterator[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    """Cut and join frames so that each but the last has the rows of a row group."""
    import polars as pl

    gathered: list[pl.DataFrame] = []
    rows = 0
    for frame in frames:
        gathered.append(frame)
        rows += frame.height
        while rows >= GROUP_ROWS:
            whole = pl.concat(gathered) if len(gathered) > 1 else gathered[0]
            yield whole.head(GROUP_ROWS)
            rest = whole.slice(GROUP_ROWS)
            gathered, rows = ([rest], rest.height) if rest.height else ([], 0)
    if gathered:
        yield pl.concat(gathered) if len(gathered) > 1 else gathered[0]


def _part(group: pl.DataFrame, first: int) -> Part:
    append, event = group.get_column(stored.APPEND_TIME), group.get_column(stored.EVENT_TIME)
    return Part(first, group.height, *map(_us, (append.min(), append.max(), event.min(), event.max())))


def _us(moment: object) -> int:
    assert isinstance(moment, datetime)
    return time_to_us(moment)
