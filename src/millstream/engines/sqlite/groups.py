"""Consumer groups: where they are, their ledger, commits and state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from millstream.engines.protocol import Append, Found, GroupInfo, Ledger, OffsetMove, Place, StateChange, StateRange
from millstream.engines.sqlite.records import Appending
from millstream.engines.sqlite.transaction import Transaction
from millstream.errors import (
    CommitConflictError,
    GroupNotFoundError,
    OffsetOutOfRangeError,
    TopicNotFoundError,
    UsageError,
)
from millstream.records import Position, check_name


def create(
    transaction: Transaction, topic: str, group: str, start: Mapping[int, int] | None, parallel: int | None
) -> GroupInfo:
    check_name("group", group)
    if parallel is not None and parallel < 1:
        raise UsageError(f"of a key at least one record has to be handed over at once, not {parallel}")
    topic_id = transaction.topic_id(topic)
    existing = transaction.row("group_by_name", topic_id, group)
    if existing is not None:
        if parallel is not None and existing[2] != parallel:
            _sort_existing(transaction, topic, group, existing[0], existing[2], parallel)
    else:
        inserted = transaction.row("insert_group", topic_id, group, parallel)
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


def _sort_existing(
    transaction: Transaction, topic: str, group: str, group_id: int, was: int | None, parallel: int
) -> None:
    ledger = describe(transaction, topic, group).ledger
    ready = sum(end - following for _, end, _, following, *_ in transaction.rows("group_progress", group_id))
    if was is None and ledger.in_progress != ready:
        raise UsageError(
            f"group {group!r} of {topic!r} hands over runs of offsets, and {ledger.in_progress - ready} records of it "
            "are out or were given back: let it finish them before it changes to sorted order"
        )
    transaction.do("sort_group", parallel, group_id)
    transaction.do("heads_of_key", parallel, group_id)


def describe(transaction: Transaction, topic: str, group: str) -> GroupInfo:
    topic_id = transaction.topic_id(topic)
    row = transaction.row("group_by_name", topic_id, group)
    if row is None:
        raise GroupNotFoundError(topic, group)
    group_id, paused, parallel = row
    lowest_lease: dict[int, int] = {}
    due: list[int] = []
    for number, first, deadline_us in transaction.rows("group_leases", group_id):
        lowest_lease[number] = first
        due.append(transaction.wall_us(deadline_us))
    committed: dict[int, int] = {}
    next_offsets: dict[int, int] = {}
    end_offsets: dict[int, int] = {}
    parts: list[tuple[int, ...]] = []
    for row in transaction.rows("group_progress", group_id):
        number, end, begin, following, *counts, lowest_waiting, lowest_sorted = row
        done, dead, expired, leased, waiting, skipped = counts
        parts.append((end - begin, done, dead, expired, end - following + skipped, leased, waiting))
        lowest = (following, lowest_lease.get(number), lowest_waiting, lowest_sorted)
        committed[number] = min(offset for offset in lowest if offset is not None)
        next_offsets[number] = following
        end_offsets[number] = end
    ledger = Ledger(*map(sum, zip(*parts, strict=True)))
    due += _due_us(transaction, group_id, waiting=ledger.waiting)
    return GroupInfo(
        topic=topic,
        group=group,
        committed=committed,
        next_offsets=next_offsets,
        end_offsets=end_offsets,
        ledger=ledger,
        next_due_us=min(due, default=None),
        paused=bool(paused),
        parallel=parallel,
    )


def _due_us(transaction: Transaction, group_id: int, *, waiting: int) -> list[int]:
    """Return when the next record that is not leased is due, of each order there may be."""
    due: list[int] = []
    for statement in ("next_waiting", "next_sorted"):
        row = transaction.row(statement, group_id)
        # In sorted order what was never handed over is due at once, and nothing to wait for.
        if row is not None and (statement == "next_waiting" or row[0] > 0 or waiting):
            due.append(row[0])
    return due


def find(transaction: Transaction, topic: str, group: str, partition: int, offset: int) -> Found:
    _, group_id = transaction.group_id(topic, group)
    _, partition_id = transaction.partition_id(topic, partition)
    start, end = transaction.row("partition_range", partition_id) or (0, 0)
    if not 0 <= offset < end:
        raise OffsetOutOfRangeError(topic, partition, offset, start_offset=start, end_offset=end)
    if row := transaction.row("find_lease", group_id, partition_id, offset):
        attempt, deadline_us, worker = row
        return Found(Place.LEASED, attempt, transaction.wall_us(deadline_us), worker)
    if row := transaction.row("find_sorted", group_id, partition_id, offset):
        attempt, due_us, given_back = row
        return Found(Place.WAITING if given_back else Place.READY, attempt, due_us)
    row = transaction.row("find_waiting", group_id, partition_id, offset)
    if row is not None and row[0] > offset:
        _, attempt, due_us = row
        return Found(Place.WAITING, attempt, due_us) if due_us >= 0 else Found(Place.READY, attempt)
    row = transaction.row("next_offset", group_id, partition_id)
    if row is not None and offset >= row[0]:
        return Found(Place.READY, 1)
    return Found(Place.SETTLED)


def names(transaction: Transaction, topic: str) -> list[str]:
    return [row[0] for row in transaction.rows("group_names", transaction.topic_id(topic))]


def delete(transaction: Transaction, topic: str, group: str) -> None:
    topic_id, group_id = transaction.group_id(topic, group)
    for statement in (
        "delete_state_of_group",
        "delete_sorted_of_group",
        "delete_rate_of_group",
        "delete_waiting_of_group",
        "delete_leases_of_group",
        "delete_progress_of_group",
        "delete_group",
    ):
        transaction.do(statement, group_id)
    transaction.changed.add(topic_id)


def pause(transaction: Transaction, topic: str, group: str, *, paused: bool) -> None:
    topic_id, group_id = transaction.group_id(topic, group)
    transaction.do("pause_group", int(paused), group_id)
    transaction.changed.add(topic_id)


def commit(
    transaction: Transaction,
    topic: str,
    group: str,
    moves: Sequence[OffsetMove],
    state: Sequence[StateChange],
    appends: Sequence[Append],
    others: Mapping[str, Sequence[OffsetMove]],
    expect: Sequence[StateChange],
) -> list[Position]:
    topic_id, group_id = transaction.group_id(topic, group)
    _check_state(transaction, topic, group, group_id, expect)
    _move(transaction, topic, group, moves)
    for other, some in others.items():
        _move(transaction, other, group, some)
    if state:
        change_state(transaction, topic, topic_id, group_id, state)
    return Appending(appends)(transaction) if appends else []


def _move(transaction: Transaction, topic: str, group: str, moves: Sequence[OffsetMove]) -> None:
    topic_id, group_id = transaction.group_id(topic, group)
    for move in moves:
        if move.end < move.start:
            raise UsageError(f"a commit of {topic}/{move.partition} cannot go back from {move.start} to {move.end}")
        if not transaction.do("move_offset", group_id, move.start, move.end, topic_id, move.partition):
            _explain_conflict(transaction, topic, group, move)


def _check_state(
    transaction: Transaction, topic: str, group: str, group_id: int, expect: Sequence[StateChange]
) -> None:
    for wanted in expect:
        _, partition_id = transaction.partition_id(topic, wanted.partition)
        row = transaction.row("read_state_key", group_id, partition_id, wanted.key, transaction.now_us)
        if (row[0] if row else None) != wanted.value:
            raise CommitConflictError(
                f"group {group!r} of {topic!r}: its state {wanted.key!r} is not what this reader left: another process "
                "has taken over; read the state anew and go on from there"
            )


def change_state(
    transaction: Transaction, topic: str, topic_id: int, group_id: int, state: Sequence[StateChange]
) -> None:
    partitions: dict[int, int] = dict(transaction.rows("group_partitions", group_id))
    if unknown := {change.partition for change in state} - partitions.keys():
        raise TopicNotFoundError(f"{topic}/{min(unknown)}", transaction.url)
    # Of several changes of one key the last one wins.
    last = {(change.partition, change.key): change for change in state}.values()
    puts = [(group_id, partitions[c.partition], c.key, c.value, c.expires_us) for c in last if c.value is not None]
    # In order of the keys, what is changed is written in the order of the file's pages: a third of the time.
    transaction.do_many("put_state", sorted(puts))
    transaction.do_many(
        "delete_state", sorted((group_id, partitions[c.partition], c.key) for c in last if c.value is None)
    )
    transaction.changed.add(topic_id)


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
    transaction: Transaction,
    topic: str,
    group: str,
    partition: int,
    keys: Sequence[bytes] | None,
    within: StateRange | None,
) -> dict[bytes, bytes]:
    _, group_id = transaction.group_id(topic, group)
    _, partition_id = transaction.partition_id(topic, partition)
    now_us = transaction.now_us
    if within is not None:
        limits = (within.first, within.past, now_us, within.keys_max)
        found: dict[bytes, bytes] = dict(transaction.rows("read_state_range", group_id, partition_id, *limits))
        return found if keys is None else {key: found[key] for key in keys if key in found}
    if keys is None:
        return dict(transaction.rows("read_state", group_id, partition_id, now_us))
    # In order of the keys, neighbours are on one page.
    wanted = [(group_id, partition_id, key, now_us) for key in sorted(keys)]
    return dict(transaction.rows_each("read_state_keys", wanted))
