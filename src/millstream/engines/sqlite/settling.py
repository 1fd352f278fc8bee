"""Outcomes of leased records.

A call settles hundreds of records: each lease is looked at once, its ranges are cut in memory, and what has changed is
written at the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from millstream.engines.protocol import Append, Outcome, Settlement, StateChange
from millstream.engines.sqlite import sorting
from millstream.engines.sqlite.groups import change_state
from millstream.engines.sqlite.leases import RELEASED_US, give_back
from millstream.engines.sqlite.records import Appending
from millstream.engines.sqlite.transaction import Transaction
from millstream.errors import LeaseLostError, UsageError
from millstream.records import Position


class _Range(NamedTuple):
    """A range of a lease, as its row."""

    first: int
    past: int
    group_id: int
    partition_id: int
    attempt: int
    deadline_us: int
    worker: str
    owner: str
    place: int
    key: bytes | None
    parallel: int | None


def settle(
    transaction: Transaction,
    settlements: Sequence[Settlement],
    appends: Sequence[Append],
    state: Sequence[StateChange],
) -> list[Position]:
    held = _Held(transaction)
    settled = sorting.Settled(transaction)
    for settlement in settlements:
        _settle(transaction, settlement, held.take(settlement), settled)
    held.write()
    settled.write()
    if state:
        of = {(settlement.lease.topic, settlement.lease.group) for settlement in settlements}
        if len(of) != 1:
            raise UsageError("state is changed with settlements of one group, and these are of several or none")
        [(topic, group)] = of
        change_state(transaction, topic, *transaction.group_id(topic, group), state)
    return Appending(appends)(transaction) if appends else []


def _settle(transaction: Transaction, settlement: Settlement, row: _Range, settled: sorting.Settled) -> None:
    start, end = settlement.start, settlement.end
    count = end - start
    match settlement.outcome:
        case Outcome.ACK:
            transaction.count(row.group_id, row.partition_id, done=count, leased=-count)
        case Outcome.REJECT:
            transaction.count(row.group_id, row.partition_id, dead=count, leased=-count)
        case Outcome.NACK | Outcome.RELEASE:
            attempt = row.attempt + (settlement.outcome is Outcome.NACK)
            due_us = settlement.due_us if settlement.due_us > transaction.now_us else RELEASED_US
            give_back(transaction, row.group_id, row.partition_id, row.key, start, end, attempt, due_us)
            transaction.count(row.group_id, row.partition_id, leased=-count, waiting=count)
            transaction.changed.add(transaction.topic_id(settlement.lease.topic))
            return
    if row.key is not None and row.parallel is not None:
        settled.add(row.group_id, row.partition_id, row.key, start, end, row.parallel)


class _Held:
    """The ranges of the leases of one call: read once, cut in memory, written at the end."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction
        self._before: dict[int, dict[int, _Range]] = {}
        self._ranges: dict[int, dict[int, _Range]] = {}

    def take(self, settlement: Settlement) -> _Range:
        """Take [start, end) out of its lease and return the range it was part of.

        Raises:
            LeaseLostError: It is not there, or its time has passed.
        """
        lease, start, end = settlement.lease, settlement.start, settlement.end
        if end <= start:
            raise UsageError(f"a settlement needs at least one record, not [{start}, {end}) of {lease.topic}")
        ranges = self._of(lease.lease_id)
        row = ranges.get(start)
        if row is None:
            row = next((r for r in ranges.values() if r.first <= start < r.past), None)
        if row is None or row.past < end or row.deadline_us <= self._transaction.steady_us:
            raise LeaseLostError(
                f"the lease of {lease.worker!r} on [{start}, {end}) of {lease.topic}/{lease.partition} is no longer "
                "held: it expired or was settled before; the records may be with another worker"
            )
        del ranges[row.first]
        for first, past in ((row.first, start), (end, row.past)):
            if first < past:
                ranges[first] = row._replace(first=first, past=past, place=first if row.key is None else row.place)
        return row

    def _of(self, lease_id: int) -> dict[int, _Range]:
        ranges = self._ranges.get(lease_id)
        if ranges is None:
            rows: list[Any] = self._transaction.rows("ranges_of_lease", lease_id).fetchall()
            self._before[lease_id] = {row[0]: _Range(*row) for row in rows}
            ranges = self._ranges[lease_id] = dict(self._before[lease_id])
        return ranges

    def write(self) -> None:
        """Write what has changed."""
        gone: list[tuple[int, int]] = []
        new: list[tuple[int | str | bytes | None, ...]] = []
        for lease_id, ranges in self._ranges.items():
            before = self._before[lease_id]
            gone += [(lease_id, first) for first, row in before.items() if ranges.get(first) is not row]
            new += [(lease_id, *row[:-1]) for first, row in ranges.items() if before.get(first) is not row]
        self._transaction.do_many("delete_lease", gone)
        self._transaction.do_many("insert_lease", new)
