"""Keeping the file small and safe: replace, trim, vacuum, backup."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence

import apsw

from millstream.engines.protocol import BatchHeader
from millstream.engines.sqlite import driver, sorting
from millstream.engines.sqlite.records import insert_stored
from millstream.engines.sqlite.transaction import OFFSET_BITS, Transaction, first_id
from millstream.errors import UsageError
from millstream.records import StoredBatch

_CODINGS = ("rows", "columns", "cold")
_OFFSET_MASK = (1 << OFFSET_BITS) - 1
_BACKUP_PAGES = 4096


def batch_headers(
    transaction: Transaction, topic: str, partition: int, start: int, end: int, headers_max: int
) -> list[BatchHeader]:
    _, partition_id = transaction.partition_id(topic, partition)
    floor = first_id(partition_id)
    start = max(start, 0)
    row = transaction.row("last_batch_start", floor, floor + start)
    at = row[0] if row is not None and row[0] is not None else floor
    ceiling = min(first_id(partition_id + 1), floor + max(end, 0))
    headers = [
        BatchHeader(
            partition=partition,
            offset=batch_id & _OFFSET_MASK,
            coding=_CODINGS[coding],
            count=count,
            schema_id=schema_id,
            size_bytes=size_bytes,
            append_time_us=append_us,
            event_time_min_us=event_min_us,
            event_time_max_us=event_max_us,
        )
        for batch_id, count, coding, schema_id, append_us, event_min_us, event_max_us, size_bytes in transaction.rows(
            "read_headers_from", at, ceiling, headers_max + 1
        )
    ]
    return [header for header in headers if header.offset + header.count > start][:headers_max]


def replace(
    transaction: Transaction, topic: str, partition: int, old: Sequence[BatchHeader], new: Sequence[StoredBatch]
) -> bool:
    if not old or not new:
        raise UsageError("replacing needs old and new batches")
    start, end = old[0].offset, old[-1].offset + old[-1].count
    if new[0].offset != start or new[-1].end_offset != end or sum(b.count for b in new) != end - start:
        raise UsageError(f"the new batches do not cover [{start}, {end}) of {topic}/{partition}")
    _, partition_id = transaction.partition_id(topic, partition)
    now = batch_headers(transaction, topic, partition, start, end, len(old) + 1)
    if now != list(old):
        return False
    floor = first_id(partition_id)
    transaction.do("delete_batches", floor + start, floor + end)
    size_bytes = sum(insert_stored(transaction, partition_id, batch) for batch in new)
    transaction.do("resize_partition", size_bytes - sum(h.size_bytes for h in old), len(new) - len(old), partition_id)
    return True


def trim(transaction: Transaction, topic: str, partition: int, before: int, *, force: bool) -> int:
    _, partition_id = transaction.partition_id(topic, partition)
    row = transaction.row("partition_range", partition_id)
    assert row is not None
    start, end = row
    before = min(before, end)
    if not force:
        needed = transaction.row("needed_from", partition_id)
        if needed is not None and needed[0] is not None:
            before = min(before, needed[0])
    if before <= start:
        return int(start)
    floor = first_id(partition_id)
    cut = floor + before
    if before < end:
        last = transaction.row("last_batch_start", floor, cut)
        assert last is not None
        cut = last[0]
    new_start = int(cut - floor)
    if new_start <= start:
        return int(start)
    _, size_bytes, batches = transaction.row("sum_batches", floor, cut) or (0, 0, 0)
    transaction.do("delete_batches", floor, cut)
    transaction.do("shrink_partition", new_start, size_bytes, batches, partition_id)
    if force:
        for group_id, following, parallel in transaction.rows("groups_of_partition", partition_id).fetchall():
            _expire(transaction, group_id, partition_id, following, parallel, new_start)
    return new_start


def _expire(
    transaction: Transaction, group_id: int, partition_id: int, following: int, parallel: int | None, new_start: int
) -> None:
    """Take records below the new start from a group and count them as expired."""
    expired = max(0, new_start - following)
    if expired:
        transaction.do("advance", new_start, group_id, partition_id)
    waiting = skipped = 0
    if parallel is not None:
        waiting, skipped = sorting.expire(transaction, group_id, partition_id, parallel, new_start)
    leased = _expire_leased(transaction, group_id, partition_id, new_start)
    given_back, left_below = _expire_waiting(transaction, group_id, partition_id, new_start)
    waiting, skipped = waiting + given_back, skipped + left_below
    transaction.count(
        group_id,
        partition_id,
        expired=expired + leased + waiting + skipped,
        leased=-leased,
        waiting=-waiting,
        skipped=-skipped,
    )


def _expire_leased(transaction: Transaction, group_id: int, partition_id: int, new_start: int) -> int:
    """Cut leases off below the new start; return how many records that is."""
    cut = 0
    for lease_id, first, past, *rest in transaction.rows("leases_below", group_id, partition_id, new_start).fetchall():
        transaction.do("delete_lease", lease_id, first)
        if past > new_start:
            transaction.do("insert_lease", lease_id, new_start, past, group_id, partition_id, *rest)
        cut += min(past, new_start) - first
    return cut


def _expire_waiting(transaction: Transaction, group_id: int, partition_id: int, new_start: int) -> tuple[int, int]:
    """Cut off what waits below the new start; return how many records had been given back, and how many skipped."""
    given_back = skipped = 0
    for first, past, attempt, due_us in transaction.rows("waiting_below", group_id, partition_id, new_start).fetchall():
        transaction.do("delete_waiting", group_id, partition_id, first)
        if past > new_start:
            transaction.do("insert_waiting", group_id, partition_id, new_start, past, attempt, due_us)
        count = min(past, new_start) - first
        if due_us < 0:
            skipped += count
        else:
            given_back += count
    return given_back, skipped


def vacuum(transaction: Transaction, bytes_max: int) -> int:
    """Forget what has expired, and give free pages back; return the bytes of those that are left."""
    transaction.do("forget_state", transaction.now_us)
    transaction.do("forget_once", transaction.now_us)
    page_bytes = transaction.connection.pragma("page_size")
    # Stepping to the end matters: each step of this statement frees one page.
    transaction.connection.execute(f"PRAGMA incremental_vacuum({max(1, bytes_max // page_bytes)})").fetchall()
    return int(transaction.connection.pragma("freelist_count") * page_bytes)


def backup(connection: apsw.Connection, path: str, progress: Callable[[int, int], None] | None) -> None:
    """Copy the file page by page to a new one, as of one moment; appears under its name when it is complete.

    Raises:
        UsageError: The target exists.
        StorageError: It cannot be written; nothing is left of it.
    """
    if os.path.exists(path):
        raise UsageError(f"{path} exists: name a new file for the backup")
    partial = path + ".partial"
    if os.path.exists(partial):
        os.unlink(partial)
    try:
        # What goes wrong from here on is nearly always the copy's: its folder, its disk.
        with driver.wrapped(path):
            _copy(connection, partial, progress)
            os.replace(partial, path)
    except BaseException:
        for left in (partial, f"{partial}-journal"):
            with contextlib.suppress(OSError):
                os.unlink(left)
        raise


def _copy(connection: apsw.Connection, partial: str, progress: Callable[[int, int], None] | None) -> None:
    # A read transaction pins the moment: writers go on, and the copy does not start again.
    connection.execute("BEGIN; SELECT count(*) FROM topic")
    try:
        target = apsw.Connection(partial)
        try:
            with target.backup("main", connection, "main") as copying:
                while not copying.done:
                    copying.step(_BACKUP_PAGES)
                    if progress is not None:
                        progress(copying.page_count - copying.remaining, copying.page_count)
            # The copy says WAL; as one closed file it needs no second one beside it.
            target.execute("PRAGMA journal_mode = DELETE").fetchall()
        finally:
            target.close()
    finally:
        connection.execute("ROLLBACK")
    descriptor = os.open(partial, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
