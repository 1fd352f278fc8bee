"""A worker's next records: outcomes, lease, batches and a flag in one transaction of the writer's connection."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from millstream.engines.fetching import READ_RECORDS_MAX
from millstream.engines.protocol import Lease, Settlement
from millstream.engines.sqlite import leases, records, settling
from millstream.engines.sqlite.lease_request import LeaseRequest
from millstream.engines.sqlite.transaction import Transaction, first_id
from millstream.records import StoredBatch

READ_BYTES_MAX = 256 * 1024
"""Larger batches are read outside of the transaction that others wait for."""


class Taken(NamedTuple):
    """As `Fetched`, without what the transaction does not know."""

    topic_id: int
    leases: list[Lease]
    next_due_us: int | None
    batches: list[StoredBatch] | None
    flagged: bool


def fetch(transaction: Transaction, request: LeaseRequest, settlements: Sequence[Settlement]) -> Taken:
    """See `Fetching.fetch`."""
    if settlements:
        settling.settle(transaction, settlements, (), ())
        transaction.write_counts()  # leasing looks at them
    found, taken, partition_ids = leases.hand_over(transaction, request)
    batches = None
    if len(taken) == 1 and taken[0].partition in partition_ids:
        batches = _read(transaction, partition_ids[taken[0].partition], taken[0])
    return Taken(found.topic_id, taken, _next_due_us(transaction, found), batches, found.flagged)


def has_news(transaction: Transaction, topic: str, group: str) -> bool:
    """Whether a fetch may find something: for those whom no push reaches."""
    found = leases.view(transaction, topic, group)
    if found.fresh and not found.paused:
        return True
    row = transaction.row("topic_is_due", found.topic_id, transaction.now_us, transaction.steady_us)
    return bool(row and row[0])


def _next_due_us(transaction: Transaction, found: leases.View) -> int | None:
    """Return when there is more, apart from news; what was handed over just now is not meant."""
    if not (found.leased or found.waiting or found.parallel is not None):
        return None
    row = transaction.row("next_due", found.group_id)
    assert row is not None
    deadline_us, *due = row
    if deadline_us is not None:
        due.append(transaction.wall_us(deadline_us))
    return min((due_us for due_us in due if due_us is not None), default=None)


def _read(transaction: Transaction, partition_id: int, lease: Lease) -> list[StoredBatch] | None:
    """Return the batches of a lease; None where they are large, or gone."""
    if lease.end - lease.start >= READ_RECORDS_MAX:
        return None
    floor = first_id(partition_id)
    found = [
        records.stored(lease.partition, row)
        for row in transaction.rows(
            "read_small_batches", floor, floor + lease.start, floor + lease.end, READ_RECORDS_MAX, READ_BYTES_MAX
        )
    ]
    at = lease.start
    for batch in found:
        if not batch.offset <= at < batch.end_offset:
            return None
        at = batch.end_offset
    return found if at >= lease.end else None
