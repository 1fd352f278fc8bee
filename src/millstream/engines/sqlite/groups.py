"""Consumer groups: where they are, their ledger, commits and state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from millstream.engines.protocol import Append, GroupInfo, Ledger, OffsetMove, StateChange
from millstream.engines.sqlite.records import Appending
from millstream.engines.sqlite.transaction import Transaction
from millstream.errors import CommitConflictError, OffsetOutOfRangeError, TopicNotFoundError, UsageError
from millstream.records import Position, check_name


def create(transaction: Transaction, topic: str, group: str, start: Mapping[int, int] | None) -> GroupInfo:
    check_name("group", group)
    topic_id = transaction.topic_id(topic)
    if transaction.row("group_by_name", topic_id, group) is None:
        inserted = transaction.row("insert_group", topic_id, group)
        assert inserted is not None
        partitions = transaction.rows("partitions_of", topic_id).fetchall()
        unknown = set(start or ()) - {row[1] for row in partitions}
        if unknown:
            raise TopicNotFoundError(f"{topic}/{min(unknown)}", transaction.url)
        for partition_id, number, first, end, *_ in partitions:
            begin = first if start is None else start.get(number, first)
            if not first <= begin <= end:
                raise OffsetOutOfRangeError(topic, number, begin, start_offset=first, end_offset=end)
            transaction.do("insert_progress", inserted[0], partition_id, begin, begin)
    return describe(transaction, topic, group)


def describe(transaction: Transaction, topic: str, group: str) -> GroupInfo:
    _, group_id = transaction.group_id(topic, group)
    lowest_lease: dict[int, int] = {}
    due: list[int] = []
    for number, first, deadline_us in transaction.rows("group_leases", group_id):
        lowest_lease[number] = first
        due.append(deadline_us)
    committed: dict[int, int] = {}
    end_offsets: dict[int, int] = {}
    accepted = done = dead = expired = ready = leased = waiting = 0
    for number, end, begin, following, *counts, lowest_waiting in transaction.rows("group_progress", group_id):
        committed[number] = min(
            offset for offset in (following, lowest_lease.get(number), lowest_waiting) if offset is not None
        )
        end_offsets[number] = end
        accepted += end - begin
        done += counts[0]
        dead += counts[1]
        expired += counts[2]
        leased += counts[3]
        waiting += counts[4]
        ready += end - following + counts[5]
    row = transaction.row("next_waiting", group_id)
    if row is not None:
        due.append(row[0])
    return GroupInfo(
        topic=topic,
        group=group,
        committed=committed,
        end_offsets=end_offsets,
        ledger=Ledger(accepted, done, dead, expired, ready, leased, waiting),
        next_due_us=min(due, default=None),
    )


def names(transaction: Transaction, topic: str) -> list[str]:
    return [row[0] for row in transaction.rows("group_names", transaction.topic_id(topic))]


def commit(
    transaction: Transaction,
    topic: str,
    group: str,
    moves: Sequence[OffsetMove],
    state: Sequence[StateChange],
    appends: Sequence[Append],
) -> list[Position]:
    topic_id, group_id = transaction.group_id(topic, group)
    for move in moves:
        if move.end < move.start:
            raise UsageError(f"a commit of {topic}/{move.partition} cannot go back from {move.start} to {move.end}")
        if not transaction.do("move_offset", group_id, move.start, move.end, topic_id, move.partition):
            _explain_conflict(transaction, topic, group, move)
    if state:
        partitions: dict[int, int] = dict(transaction.rows("group_partitions", group_id))
        for change in state:
            if change.partition not in partitions:
                raise TopicNotFoundError(f"{topic}/{change.partition}", transaction.url)
        # Of several changes of one key the last one wins.
        last = {(partitions[change.partition], change.key): change.value for change in state}
        transaction.do_many("put_state", ((group_id, *at, value) for at, value in last.items() if value is not None))
        transaction.do_many("delete_state", ((group_id, *at) for at, value in last.items() if value is None))
    return Appending(appends)(transaction) if appends else []


def _explain_conflict(transaction: Transaction, topic: str, group: str, move: OffsetMove) -> None:
    transaction.partition_id(topic, move.partition)
    info = describe(transaction, topic, group)
    if move.end > info.end_offsets[move.partition]:
        raise OffsetOutOfRangeError(
            topic, move.partition, move.end, start_offset=move.start, end_offset=info.end_offsets[move.partition]
        )
    raise CommitConflictError(
        f"group {group!r} is at offset {info.committed[move.partition]} of {topic}/{move.partition}, this commit "
        f"starts at {move.start}: another process of the group was faster; read the state anew and go on from there"
    )


def state(
    transaction: Transaction, topic: str, group: str, partition: int, keys: Sequence[bytes] | None
) -> dict[bytes, bytes]:
    _, group_id = transaction.group_id(topic, group)
    _, partition_id = transaction.partition_id(topic, partition)
    if keys is None:
        return dict(transaction.rows("read_state", group_id, partition_id))
    found: dict[bytes, bytes] = {}
    for key in keys:
        row = transaction.row("read_state_key", group_id, partition_id, key)
        if row is not None:
            found[key] = row[0]
    return found
