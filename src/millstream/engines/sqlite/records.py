"""Records: append and read batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from millstream import limits
from millstream.engines.joining import join_rows
from millstream.engines.protocol import Append, Bound
from millstream.engines.sqlite.transaction import OFFSET_BITS, Transaction, first_id
from millstream.errors import LimitExceededError, OffsetOutOfRangeError, QueueFullError, TopicNotFoundError, UsageError
from millstream.records import Coding, EncodedBatch, Position, StoredBatch

_CODINGS = (Coding.ROWS, Coding.COLUMNS, Coding.COLD)


def check_appends(appends: Sequence[Append]) -> None:
    """Refuse batches that could never be stored, before anything waits for them."""
    for append in appends:
        batch = append.batch
        if batch.count < 1:
            raise UsageError(f"an empty batch cannot be appended to {append.topic!r}")
        if batch.size_bytes > limits.BATCH_BYTES_MAX:
            raise LimitExceededError(
                f"a batch of {append.topic!r} in bytes", limit=limits.BATCH_BYTES_MAX, size=batch.size_bytes
            )


class Appending:
    """The operation that appends; neighbours in a group are written together by `write` unless they are conditional."""

    def __init__(self, appends: Sequence[Append], bound: Bound | None = None) -> None:
        self.appends = appends
        self.bound = bound
        self.conditional = bound is not None or any(append.unique is not None for append in appends)

    def __call__(self, transaction: Transaction) -> list[Position]:
        if self.bound is not None:
            _check_bound(transaction, self.bound, self.appends)
        if not self.conditional:
            if len(self.appends) == 1:
                append = self.appends[0]
                return [_write_batch(transaction, append.topic, append.partition, append.batch)]
            return write(transaction, [self])[0]
        return [_append_once(transaction, append) for append in self.appends]


def _check_bound(transaction: Transaction, bound: Bound, appends: Sequence[Append]) -> None:
    _, group_id = transaction.group_id(bound.topic, bound.group)
    row = transaction.row("unsettled", group_id)
    assert row is not None
    size = row[0] + sum(append.batch.count for append in appends if append.topic == bound.topic)
    if size > bound.records_max:
        raise QueueFullError(bound.topic, bound.group, limit=bound.records_max, size=size)


def _append_once(transaction: Transaction, append: Append) -> Position:
    if append.unique is None:
        return _write_batch(transaction, append.topic, append.partition, append.batch)
    topic_id, _ = transaction.partition_id(append.topic, append.partition)
    row = transaction.row("find_once", topic_id, append.unique, transaction.now_us)
    if row is not None:
        return Position(*row)
    position = _write_batch(transaction, append.topic, append.partition, append.batch)
    transaction.do("put_once", topic_id, append.unique, append.unique_until_us, position.partition, position.offset)
    return position


def write(transaction: Transaction, operations: Sequence[Appending]) -> list[list[Position]]:
    """Write the batches of several appends, joining small ones of the same partition; return the positions of each."""
    by_partition: dict[tuple[str, int], list[tuple[int, int, EncodedBatch]]] = {}
    for order, operation in enumerate(operations):
        for place, append in enumerate(operation.appends):
            by_partition.setdefault((append.topic, append.partition), []).append((order, place, append.batch))
    positions: list[list[Position]] = [[_NOWHERE] * len(operation.appends) for operation in operations]
    for (topic, partition), entries in by_partition.items():
        for run in _runs(entries):
            batch = run[0][2] if len(run) == 1 else join_rows([entry[2] for entry in run], transaction.now_us)
            offset = _write_batch(transaction, topic, partition, batch).offset
            for order, place, part in run:
                positions[order][place] = Position(partition, offset)
                offset += part.count
    return positions


_NOWHERE = Position(-1, -1)


def _write_batch(transaction: Transaction, topic: str, partition: int, batch: EncodedBatch) -> Position:
    count, size_bytes = batch.count, batch.size_bytes
    grown = transaction.row("grow_partition", count, size_bytes, topic, partition)
    if grown is None:
        transaction.topic_id(topic)
        raise TopicNotFoundError(f"{topic}/{partition}", transaction.url)
    topic_id, partition_id, end_offset = grown
    transaction.changed.add(topic_id)
    offset = end_offset - count
    transaction.do(
        "insert_batch",
        first_id(partition_id) + offset,
        count,
        _CODINGS.index(batch.coding),
        batch.schema_id,
        transaction.now_us,
        batch.event_time_min_us,
        batch.event_time_max_us,
        size_bytes,
        batch.meta,
        batch.data,
    )
    return Position(partition, offset)


def _runs(entries: list[tuple[int, int, EncodedBatch]]) -> Iterator[list[tuple[int, int, EncodedBatch]]]:
    run: list[tuple[int, int, EncodedBatch]] = []
    count = size_bytes = 0
    for entry in entries:
        batch = entry[2]
        if run and not (
            batch.coding is Coding.ROWS
            and run[0][2].coding is Coding.ROWS
            and batch.schema_id == run[0][2].schema_id
            and count + batch.count <= limits.ROWS_RECORDS_MAX
            and size_bytes + batch.size_bytes <= limits.ROWS_BYTES_MAX
        ):
            yield run
            run, count, size_bytes = [], 0, 0
        run.append(entry)
        count += batch.count
        size_bytes += batch.size_bytes
    if run:
        yield run


def insert_stored(transaction: Transaction, partition_id: int, batch: StoredBatch) -> int:
    """Write a batch at its own offset and return its size in bytes."""
    size_bytes = len(batch.data) + len(batch.meta or b"")
    transaction.do(
        "insert_batch",
        first_id(partition_id) + batch.offset,
        batch.count,
        _CODINGS.index(batch.coding),
        batch.schema_id,
        batch.append_time_us,
        batch.event_time_min_us,
        batch.event_time_max_us,
        size_bytes,
        batch.meta,
        batch.data,
    )
    return size_bytes


def read(
    transaction: Transaction, topic: str, partition: int, offset: int, *, records_max: int, bytes_max: int
) -> list[StoredBatch]:
    _, partition_id = transaction.partition_id(topic, partition)
    floor = first_id(partition_id)
    batches: list[StoredBatch] = []
    count = size_bytes = 0
    if offset >= 0:
        for row in transaction.rows("read_batches", floor, floor + offset, first_id(partition_id + 1)):
            batch = stored(partition, row)
            if batch.end_offset <= offset:
                break  # the last batch of the log, and it ends before: nothing is there
            if batch.offset >= offset + records_max and batches:
                break
            batches.append(batch)
            count += batch.end_offset - max(batch.offset, offset)
            size_bytes += row[7]
            if count >= records_max or size_bytes >= bytes_max:
                break
    if not batches:
        check_range(transaction, topic, partition, partition_id, offset)
    return batches


def batch_at(transaction: Transaction, partition_id: int, partition: int, offset: int) -> StoredBatch | None:
    """Return the batch that holds a record, None where the log no longer has it."""
    floor = first_id(partition_id)
    row = transaction.row("batch_at", floor, floor + offset)
    batch = None if row is None else stored(partition, row)
    return batch if batch is not None and offset < batch.end_offset else None


def check_range(transaction: Transaction, topic: str, partition: int, partition_id: int, offset: int) -> None:
    """Raise OffsetOutOfRangeError unless a reader may stand at this offset."""
    row = transaction.row("partition_range", partition_id)
    if row is None:
        raise TopicNotFoundError(f"{topic}/{partition}", transaction.url)
    if not row[0] <= offset <= row[1]:
        raise OffsetOutOfRangeError(topic, partition, offset, start_offset=row[0], end_offset=row[1])


def stored(partition: int, row: tuple[Any, ...]) -> StoredBatch:
    """Return a batch from its row."""
    batch_id, count, coding, schema_id, append_us, event_min_us, event_max_us, _, meta, data = row
    return StoredBatch(
        partition=partition,
        offset=batch_id & ((1 << OFFSET_BITS) - 1),
        coding=_CODINGS[coding],
        count=count,
        data=data,
        meta=meta,
        schema_id=schema_id,
        append_time_us=append_us,
        event_time_min_us=event_min_us,
        event_time_max_us=event_max_us,
    )
