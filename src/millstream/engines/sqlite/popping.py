"""Handing one record over for good in one transaction: it is done when that is committed, and was never leased."""

from __future__ import annotations

from collections.abc import Callable

from millstream.engines.handing import WANTS_ROOM, Pop, Popped
from millstream.engines.sqlite import leases, records, sorting
from millstream.engines.sqlite.transaction import Transaction


def pop(
    transaction: Transaction,
    topic: str,
    group: str,
    *,
    lifo: bool,
    kept: Callable[[int, int], bool],
    holds: Callable[[str, int], bool],
) -> Popped | Pop:
    """Pop, see `HandingOver.pop`; for `holds`, see `LeaseRequest`."""
    row = transaction.row("group_to_pop", topic, group, transaction.now_us, WANTS_ROOM)
    if row is None:
        transaction.group(topic, group)
        return Pop.NOTHING
    topic_id, group_id, paused, parallel, fresh, leased, waiting, skipped, wants_room = row
    if leased:
        waiting += leases.take_back_expired(transaction, group_id, holds)
    if paused:
        return Pop.NOTHING
    if parallel is None:
        place = _next(transaction, group_id, lifo=lifo, waiting=bool(waiting), skipped=bool(skipped))
    elif fresh:
        return Pop.UNSORTED
    else:
        place = _first(transaction, group_id, parallel) if waiting or skipped else None
    if place is None:
        return Pop.NOTHING
    partition_id, number, offset = place
    if wants_room:
        transaction.changed.add(topic_id)
    batch = None if kept(number, offset) else records.batch_at(transaction, partition_id, number, offset)
    return Popped(number, offset, batch)


def _next(
    transaction: Transaction, group_id: int, *, lifo: bool, waiting: bool, skipped: bool
) -> tuple[int, int, int] | None:
    for partition_id, number, start, _, _ in leases.ranges(
        transaction, group_id, 1, lifo=lifo, waiting=waiting, skipped=skipped
    ):
        # Counted as leased just now.
        transaction.count(group_id, partition_id, done=1, leased=-1)
        return partition_id, number, start
    return None


def _first(transaction: Transaction, group_id: int, parallel: int) -> tuple[int, int, int] | None:
    transaction.do("promote_sorted", group_id, transaction.now_us)
    row = transaction.row("due_sorted", group_id, 1)
    if row is None:
        return None
    key, offset, partition_id, number, _, given_back = row
    settled = sorting.Settled(transaction)
    settled.add(group_id, partition_id, key, offset, offset + 1, parallel)
    settled.write()
    transaction.count(group_id, partition_id, done=1, waiting=-given_back, skipped=given_back - 1)
    return partition_id, number, offset
