"""`doctor`: is the file sound, and does it say of itself what can be counted?"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from millstream.engines.protocol import Finding
from millstream.engines.sqlite.transaction import OFFSET_BITS, Transaction, first_id

_OFFSET_MASK = (1 << OFFSET_BITS) - 1
_RESTORE = "restore a backup"


def check(transaction: Transaction, progress: Callable[[int, int], None] | None) -> list[Finding]:
    """Check structure and meaning, all of one moment.

    Args:
        progress: Called with steps done and steps in all.
    """
    steps = (_structure, _partitions, _orphans, _ledgers, _ranges)
    findings: list[Finding] = []
    transaction.connection.execute("BEGIN")
    try:
        for number, step in enumerate(steps):
            if progress is not None:
                progress(number, len(steps))
            findings += step(transaction)
            if findings and step is _structure:
                break  # what follows would read a damaged file
    finally:
        transaction.connection.execute("ROLLBACK")
    if progress is not None:
        progress(len(steps), len(steps))
    return findings


def _structure(transaction: Transaction) -> Iterator[Finding]:
    for (line,) in transaction.rows("check_structure"):
        if line != "ok":
            yield Finding("file", line, f"{_RESTORE}, or copy what can be read with `millstream tail --json`")


def _partitions(transaction: Transaction) -> Iterator[Finding]:
    for name, number, partition_id, start, end, size_bytes, batches in transaction.rows("check_partitions").fetchall():
        where = f"{name}/{number}"
        expected, total_bytes, total = start, 0, 0
        for batch_id, count, size in transaction.rows(
            "check_batches", first_id(partition_id), first_id(partition_id + 1)
        ):
            offset = batch_id & _OFFSET_MASK
            if offset != expected:
                kind = "gap" if offset > expected else "overlap"
                yield Finding(where, f"{kind} between offsets {expected} and {offset}", _RESTORE)
            expected = offset + count
            total_bytes += size
            total += 1
        if expected != end:
            yield Finding(where, f"records end at {expected}, the partition says {end}", _RESTORE)
        if (total_bytes, total) != (size_bytes, batches):
            yield Finding(
                where,
                f"{total} batches of {total_bytes} bytes, the partition says {batches} of {size_bytes}",
                "sizes shown are wrong; records are not affected",
            )


def _orphans(transaction: Transaction) -> Iterator[Finding]:
    for table, count in transaction.rows("check_orphans"):
        if count:
            yield Finding(table, f"{count} rows belong to nothing", "they take space and do nothing else")
    for (count,) in transaction.rows("check_schemas"):
        if count:
            yield Finding("batch", f"{count} batches have a schema that is missing", _RESTORE)


def _ledgers(transaction: Transaction) -> Iterator[Finding]:
    for name, number, group, accepted, accounted, *counts, astray in transaction.rows("check_ledgers"):
        where = f"{name}/{number} group {group}"
        if accepted != accounted:
            yield Finding(where, f"{accepted} records accepted, {accounted} accounted for", _RESTORE)
        for kind, kept, counted in zip(("leased", "waiting", "skipped"), counts[0::2], counts[1::2], strict=True):
            if kept != counted:
                yield Finding(where, f"{kept} records {kind} by the ledger, {counted} in fact", _RESTORE)
        if astray:
            yield Finding(where, "the position of the group is outside the log", _RESTORE)


def _ranges(transaction: Transaction) -> Iterator[Finding]:
    owner: tuple[str, int] | None = None
    free_from = 0
    for group, partition_id, first, past, following in transaction.rows("check_ranges"):
        where = f"group {group} partition {partition_id}"
        if first >= past or past > following:
            yield Finding(where, f"the range [{first}, {past}) is empty or was never handed over", _RESTORE)
        if owner == (group, partition_id) and first < free_from:
            yield Finding(where, f"offset {first} has two owners", _RESTORE)
        owner, free_from = (group, partition_id), past
