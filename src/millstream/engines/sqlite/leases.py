"""Leases: hand records over, take outcomes, take back what was not finished in time.

All of it is ranges. A range that is handed over whole and acknowledged whole costs one row in and one row out.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from millstream import limits
from millstream.engines.protocol import Lease
from millstream.engines.sqlite import sorting
from millstream.engines.sqlite.lease_request import LeaseRequest
from millstream.engines.sqlite.transaction import Transaction
from millstream.errors import GroupNotFoundError, LimitExceededError, UsageError

RELEASED_US = 0
_SKIPPED_US = -1


Fresh = tuple[Any, ...]
"""Partition id, number, first and past of a range."""


class View(NamedTuple):
    """A group as leasing sees it, read in one statement: after another process wrote, looking means reading pages."""

    topic_id: int
    group_id: int
    paused: bool
    parallel: int | None
    leased: int
    waiting: int
    skipped: int
    flagged: bool
    """Some partition has the state key that was looked for."""
    fresh: list[Fresh]
    """What was never handed over."""


class HandedOver(NamedTuple):
    """What `hand_over` has found and done."""

    view: View
    leases: list[Lease]
    partition_ids: dict[int, int]
    """By number, of the leases; not in sorted order."""


def view(transaction: Transaction, topic: str, group: str, flag: bytes = b"") -> View:
    """Look at a group.

    Args:
        flag: A state key to look for.
    """
    rows = transaction.rows("group_to_lease", topic, group, flag).fetchall()
    if not rows:
        transaction.topic_id(topic)
        raise GroupNotFoundError(topic, group)
    topic_id, group_id, paused, parallel, *_ = rows[0]
    leased, waiting, skipped, flagged = (sum(row[place] for row in rows) for place in (8, 9, 10, 11))
    fresh = [row[4:8] for row in rows if row[6] < row[7]]
    return View(topic_id, group_id, bool(paused), parallel, leased, waiting, skipped, bool(flagged), fresh)


def hand_over(transaction: Transaction, request: LeaseRequest) -> HandedOver:
    """Lease, see `Engine.lease`."""
    records_max = request.records_max
    if records_max < 1 or request.duration_us < 1:
        raise UsageError(
            f"a lease needs at least one record and microsecond, not {records_max} and {request.duration_us}"
        )
    if records_max > limits.LEASE_RECORDS_MAX:
        raise LimitExceededError("a lease's records", limit=limits.LEASE_RECORDS_MAX, size=records_max)
    found = view(transaction, request.topic, request.group, request.flag)
    # Each table that has nothing of the group is left alone.
    if found.leased:
        back = take_back_expired(transaction, found.group_id, request.holds)
        found = found._replace(waiting=found.waiting + back)
    if found.paused:
        return HandedOver(found, [], {})
    deadline_us = transaction.steady_us + request.duration_us
    if found.parallel is not None:
        return HandedOver(found, sorting.lease(transaction, request, found.group_id, found.parallel, deadline_us), {})
    return _hand_over_ranges(transaction, request, found, deadline_us)


def _hand_over_ranges(transaction: Transaction, request: LeaseRequest, found: View, deadline_us: int) -> HandedOver:
    topic, group, worker, owner, group_id = request.topic, request.group, request.worker, request.owner, found.group_id
    due_us = transaction.wall_us(deadline_us)
    leases: list[Lease] = []
    partition_ids: dict[int, int] = {}
    for partition_id, number, start, end, attempt in ranges(
        transaction,
        group_id,
        request.records_max,
        lifo=request.lifo,
        waiting=bool(found.waiting),
        skipped=bool(found.skipped),
        fresh=found.fresh,
    ):
        # Ids are random: nobody has to count, and an id is never given twice.
        lease_id = random.getrandbits(62)
        row = (lease_id, start, end, group_id, partition_id, attempt, deadline_us, worker, owner, start, None)
        transaction.do("insert_lease", *row)
        leases.append(Lease(lease_id, topic, group, number, start, end, attempt, due_us, worker))
        partition_ids[number] = partition_id
    return HandedOver(found, leases, partition_ids)


def take_back_expired(transaction: Transaction, group_id: int, holds: Callable[[str, int], bool]) -> int:
    """Give back what expired, and return how many records that is.

    The first record still held may have killed the worker: that one counts an attempt.
    """
    blamed = taken = 0
    for lease_id, first, past, partition_id, attempt, key, deadline_us, owner in transaction.rows(
        "expired_leases", group_id, transaction.steady_us
    ).fetchall():
        if deadline_us and holds(owner, transaction.steady_us):
            continue
        transaction.do("delete_lease", lease_id, first)
        rest = first
        if lease_id != blamed:
            blamed, rest = lease_id, first + 1
            give_back(transaction, group_id, partition_id, key, first, rest, attempt + 1, RELEASED_US)
        if rest < past:
            give_back(transaction, group_id, partition_id, key, rest, past, attempt, RELEASED_US)
        transaction.count(group_id, partition_id, leased=first - past, waiting=past - first)
        taken += past - first
    return taken


def give_back(
    transaction: Transaction,
    group_id: int,
    partition_id: int,
    key: bytes | None,
    first: int,
    past: int,
    attempt: int,
    due_us: int,
) -> None:
    if key is None:
        transaction.do("insert_waiting", group_id, partition_id, first, past, attempt, due_us)
    else:
        sorting.give_back(transaction, group_id, partition_id, key, first, past, attempt, due_us)


def ranges(
    transaction: Transaction,
    group_id: int,
    records_max: int,
    *,
    lifo: bool,
    waiting: bool,
    skipped: bool,
    fresh: Sequence[Fresh] | None = None,
) -> Iterator[tuple[int, int, int, int, int]]:
    """Take ranges from where they are, in the order in which they are handed over, until the caller has enough.

    Args:
        fresh: Partition id, number, first and past of what was never handed over, where the caller has read that.
    """
    wanted = records_max
    for partition_id, number, first, past, attempt in _due(transaction, group_id, wanted, lifo=lifo) if waiting else ():
        start, end = _cut(first, past, wanted, lifo=lifo)
        transaction.do("delete_waiting", group_id, partition_id, first)
        _keep_rest(transaction, group_id, partition_id, (first, start), attempt, RELEASED_US)
        _keep_rest(transaction, group_id, partition_id, (end, past), attempt, RELEASED_US)
        transaction.count(group_id, partition_id, leased=end - start, waiting=start - end)
        wanted -= end - start
        yield partition_id, number, start, end, attempt
        if not wanted:
            return
    if fresh is None:
        fresh = transaction.rows("fresh_ranges", group_id).fetchall()
    yield from _fresh(transaction, group_id, wanted, fresh, lifo=lifo, skipped=skipped)


def _due(transaction: Transaction, group_id: int, wanted: int, *, lifo: bool) -> list[tuple[int, int, int, int, int]]:
    transaction.do("promote_due", group_id, transaction.now_us)
    due: list[Any] = transaction.rows("due_lifo" if lifo else "due_fifo", group_id, wanted).fetchall()
    return due


def _fresh(
    transaction: Transaction, group_id: int, wanted: int, fresh: Sequence[Fresh], *, lifo: bool, skipped: bool
) -> Iterator[tuple[int, int, int, int, int]]:
    """What nobody had: what is new, and the skipped ranges that taking the newest first left below it."""
    ranges: list[Any] = [(*of, False) for of in fresh]
    if skipped:
        left = transaction.rows("skipped_lifo" if lifo else "skipped_fifo", group_id, wanted).fetchall()
        ranges += [(*of, True) for of in left]
    ranges.sort(key=lambda of: (-of[2] if lifo else of[2], of[1]))
    for partition_id, number, first, past, was_skipped in ranges:
        start, end = _cut(first, past, wanted, lifo=lifo)
        if was_skipped:
            transaction.do("delete_waiting", group_id, partition_id, first)
            _keep_rest(transaction, group_id, partition_id, (end, past), 1, _SKIPPED_US)
            transaction.count(group_id, partition_id, leased=end - start, skipped=start - end)
        else:
            transaction.do("advance_leased", end, end - start, start - first, group_id, partition_id)
        _keep_rest(transaction, group_id, partition_id, (first, start), 1, _SKIPPED_US)
        wanted -= end - start
        yield partition_id, number, start, end, 1
        if not wanted:
            return


def _cut(first: int, past: int, wanted: int, *, lifo: bool) -> tuple[int, int]:
    return (max(first, past - wanted), past) if lifo else (first, min(past, first + wanted))


def _keep_rest(
    transaction: Transaction, group_id: int, partition_id: int, rest: tuple[int, int], attempt: int, due_us: int
) -> None:
    if rest[0] < rest[1]:
        transaction.do("insert_waiting", group_id, partition_id, *rest, attempt, due_us)


def extend(transaction: Transaction, leases: Sequence[Lease], duration_us: int) -> list[Lease]:
    deadline_us = transaction.steady_us + duration_us
    renewed: list[Lease] = []
    for held in leases:
        ranges = transaction.rows("lease_ranges", held.lease_id, transaction.steady_us).fetchall()
        inside = [(max(first, held.start), min(past, held.end)) for first, past in ranges]
        inside = [(first, past) for first, past in inside if first < past]
        if inside:
            transaction.do("renew_lease", deadline_us, held.lease_id, transaction.steady_us)
        for first, past in inside:
            renewed.append(
                Lease(
                    held.lease_id,
                    held.topic,
                    held.group,
                    held.partition,
                    first,
                    past,
                    held.attempt,
                    transaction.wall_us(deadline_us),
                    held.worker,
                )
            )
    return renewed
