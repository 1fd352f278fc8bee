"""Groups in sorted order: by key, by priority, by rate. One row a record, where the others have ranges.

Of each key the first `parallel` records are *heads*; only heads are handed over. With one head a key is strictly in
order: while its head waits for another attempt, what follows of the key waits too, and other keys go on.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from millstream.engines.protocol import Entry, Lease, Rate
from millstream.engines.sqlite.lease_request import LeaseRequest
from millstream.engines.sqlite.records import check_range
from millstream.engines.sqlite.transaction import Transaction
from millstream.errors import UsageError

_FOLLOWERS_MAX = 16
"""Records of one key in one lease: few enough that other keys get a turn, many enough for a key that comes alone."""


def sort(
    transaction: Transaction, topic: str, group: str, partition: int, start: int, entries: Sequence[Entry]
) -> bool:
    _, group_id, parallel = transaction.group(topic, group)
    if parallel is None:
        raise UsageError(f"group {group!r} of {topic!r} hands over runs of offsets and sorts nothing")
    _, partition_id = transaction.partition_id(topic, partition)
    row = transaction.row("next_offset", group_id, partition_id)
    if row is None or row[0] != start:
        return False
    check_range(transaction, topic, partition, partition_id, start + len(entries))
    heads = _heads(transaction, group_id, parallel, entries)
    transaction.do_many(
        "insert_sorted",
        (
            (group_id, e.key, offset, partition_id, e.rank, e.due_us, head)
            for offset, (e, head) in enumerate(zip(entries, heads, strict=True), start)
        ),
    )
    transaction.do("advance", start + len(entries), group_id, partition_id)
    transaction.count(group_id, partition_id, skipped=len(entries))
    return True


def _heads(transaction: Transaction, group_id: int, parallel: int, entries: Sequence[Entry]) -> list[bool]:
    """Return which entries become heads: those without a key, and of each key as many as there is room for."""
    room: dict[bytes, int] = {}
    heads: list[bool] = []
    for entry in entries:
        key = entry.key
        if not key:
            heads.append(True)
            continue
        left = room.get(key)
        if left is None:
            # Counted once: of a key with thousands of records this takes long.
            row = transaction.row("count_of_key", group_id, key, parallel)
            assert row is not None
            left = parallel - int(row[0])
        room[key] = left - 1
        heads.append(left > 0)
    return heads


def lease(
    transaction: Transaction, request: LeaseRequest, group_id: int, parallel: int, deadline_us: int
) -> list[Lease]:
    """Hand over what is due, by rank and offset."""
    topic, group, worker, owner = request.topic, request.group, request.worker, request.owner
    transaction.do("promote_sorted", group_id, transaction.now_us)
    ids: dict[int, int] = {}
    leases: list[Lease] = []
    taken: list[tuple[int | str | bytes | None, ...]] = []
    for key, offset, partition_id, number, attempt, given_back in _due(
        transaction, group_id, parallel, request.records_max, request.rate
    ):
        lease_id = ids.get(partition_id) or ids.setdefault(partition_id, random.getrandbits(62))
        place = len(leases)
        taken.append(
            (lease_id, offset, offset + 1, group_id, partition_id, attempt, deadline_us, worker, owner, place, key)
        )
        transaction.count(group_id, partition_id, leased=1, waiting=-given_back, skipped=given_back - 1)
        due_us = transaction.wall_us(deadline_us)
        leases.append(Lease(lease_id, topic, group, number, offset, offset + 1, attempt, due_us, worker))
    transaction.do_many("take_sorted", ((group_id, row[10], row[1], row[4]) for row in taken))
    transaction.do_many("insert_lease", taken)
    return leases


_Row = tuple[bytes, int, int, int, int, int]


def _due(transaction: Transaction, group_id: int, parallel: int, wanted: int, rate: Rate | None) -> Iterator[_Row]:
    """Yield what to hand over: heads, and after the only head of a key what follows it."""
    heads = transaction.rows("due_sorted", group_id, wanted).fetchall()
    for head in heads:
        if wanted <= 0:
            return
        key = head[0]
        if rate is not None and key and not _within(transaction, group_id, key, rate):
            at = transaction.row("rate_of", group_id, key)
            assert at is not None
            transaction.do("postpone_sorted", at[0] - rate.per_us + _gap(rate), group_id, key, head[1], head[2])
            continue
        yield head
        wanted -= 1
        # Others come first: followers only where there are fewer heads than wanted.
        if key and parallel == 1 and rate is None and len(heads) < wanted:
            for follower in _followers(transaction, group_id, head, min(_FOLLOWERS_MAX, wanted - len(heads) + 1)):
                yield follower
                wanted -= 1


def _followers(transaction: Transaction, group_id: int, head: _Row, wanted: int) -> list[_Row]:
    key, first, partition_id, *_ = head
    found: list[_Row] = []
    rows = transaction.rows("followers", group_id, key, first, partition_id, wanted).fetchall()
    for offset, its_partition_id, number, attempt, given_back, leased, due_us in rows:
        if leased or due_us:
            break
        found.append((key, offset, its_partition_id, number, attempt, given_back))
    return found


def _within(transaction: Transaction, group_id: int, key: bytes, rate: Rate) -> bool:
    """Count a delivery of a key if it is within its rate.

    Source: generic cell rate algorithm, ITU-T I.371 (virtual scheduling), with a burst of `records`.
    """
    row = transaction.row("rate_of", group_id, key)
    arrival_us = max(transaction.now_us, row[0] if row is not None else 0)
    if arrival_us + _gap(rate) - transaction.now_us > rate.per_us:
        return False
    transaction.do("put_rate", group_id, key, arrival_us + _gap(rate))
    return True


def _gap(rate: Rate) -> int:
    return max(1, rate.per_us // rate.records)


def give_back(
    transaction: Transaction,
    group_id: int,
    partition_id: int,
    key: bytes,
    first: int,
    past: int,
    attempt: int,
    due_us: int,
) -> None:
    """Take records back from a lease: they are handed over again when due."""
    for offset in range(first, past):
        transaction.do("give_back_sorted", attempt, due_us, group_id, key, offset, partition_id)


class Settled:
    """Records of one call that are done or dead: forgotten together, and the next of each key come up."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction
        self._gone: list[tuple[int, bytes, int, int]] = []
        self._keys: dict[tuple[int, bytes], int] = {}

    def add(self, group_id: int, partition_id: int, key: bytes, first: int, past: int, parallel: int) -> None:
        self._gone += [(group_id, key, offset, partition_id) for offset in range(first, past)]
        if key:
            self._keys[group_id, key] = parallel

    def write(self) -> None:
        self._transaction.do_many("delete_sorted", self._gone)
        self._transaction.do_many("promote_heads", ((*key, parallel) for key, parallel in self._keys.items()))


def expire(
    transaction: Transaction, group_id: int, partition_id: int, parallel: int, new_start: int
) -> tuple[int, int]:
    """Forget unleased records below an offset; return how many were waiting and how many skipped."""
    waiting = skipped = 0
    settled = Settled(transaction)
    for key, first, leased, given_back in transaction.rows(
        "sorted_below", group_id, partition_id, new_start
    ).fetchall():
        settled.add(group_id, partition_id, key, first, first + 1, parallel)
        if not leased:
            waiting += given_back
            skipped += 1 - given_back
    settled.write()
    return waiting, skipped
