"""Adjacent batches of rows as one: a thousand appends of one record are decoded like one append of a thousand."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import TYPE_CHECKING, Final

import msgspec

from millstream import limits
from millstream.engines.joining import join_meta
from millstream.log.columns import APPEND_TIME, instants
from millstream.records import Coding, StoredBatch

if TYPE_CHECKING:
    import polars as pl

RUN_RECORDS_MAX: Final = limits.COLUMNS_RECORDS_MAX
"""Of one run: what readers expect of a batch."""


class BatchRun(msgspec.Struct, frozen=True):
    """What is decoded at once: one batch, or adjacent ones in rows, of one schema, as one batch."""

    batch: StoredBatch
    append_times: tuple[tuple[int, int], ...] = ()
    """Of the records, as (us, number of records) in order; empty: that of the batch, or in its data."""

    def append_time_column(self) -> pl.Series:
        """Return `_append_time` of all records, as far as the data does not have it."""
        if not self.append_times:
            return instants(APPEND_TIME, [self.batch.append_time_us]).new_from_index(0, self.batch.count)
        times = chain.from_iterable([time_us] * count for time_us, count in self.append_times)
        return instants(APPEND_TIME, list(times))


def runs_of(batches: Iterable[StoredBatch]) -> Iterator[BatchRun]:
    """Yield batches in order, those that can be decoded together as one run."""
    run: list[StoredBatch] = []
    records = 0
    for batch in batches:
        if run and (records + batch.count > RUN_RECORDS_MAX or not _joins(run[-1], batch)):
            yield _run(run)
            run, records = [], 0
        run.append(batch)
        records += batch.count
    if run:
        yield _run(run)


def _joins(before: StoredBatch, batch: StoredBatch) -> bool:
    return (
        before.coding is Coding.ROWS
        and batch.coding is Coding.ROWS
        and before.schema_id == batch.schema_id
        and before.partition == batch.partition
        and before.end_offset == batch.offset
    )


def _run(batches: list[StoredBatch]) -> BatchRun:
    first = batches[0]
    if len(batches) == 1:
        return BatchRun(first)
    joined = msgspec.structs.replace(
        first,
        count=sum(batch.count for batch in batches),
        data=b"".join([batch.data for batch in batches]),
        meta=join_meta([(batch.meta, batch.count) for batch in batches]),
    )
    return BatchRun(joined, tuple((batch.append_time_us, batch.count) for batch in batches))
