"""Handing records over for good: in one transaction, or noted in a tally that outlives the process."""

from __future__ import annotations

import mmap
import os
import threading
from collections.abc import Mapping, Sequence
from typing import Final

from millstream.engines.handing import TALLIES_MAX, WANTS_ROOM, TallyOrder, ended
from millstream.engines.protocol import Lease, Outcome, Settlement
from millstream.engines.sqlite import leases, settling
from millstream.engines.sqlite.lease_request import LeaseRequest
from millstream.engines.sqlite.transaction import Transaction
from millstream.errors import LeaseLostError, LimitExceededError, TopicNotFoundError, UsageError

FINISHED: Final = b"millstream.finished"
"""State key: how many records `finish` has counted, as decimal text."""

_WORDS = 3  # lease id (0: free), order, number
_HELD_UNTIL = TALLIES_MAX * _WORDS
"""The word behind them: until when (steady clock) nobody may take this process's leases, whatever their deadlines."""

_SIZE = (_HELD_UNTIL + 1) * 8


class Tallies:
    """The tallies of this process, in a file that whoever finds the process dead reads."""

    def __init__(self, file: int) -> None:
        """Take an open file.

        Raises:
            OSError: There is no room for it.
        """
        # Written, not only made longer: a full disk shows here, and not as a signal at the first note.
        os.lseek(file, 0, os.SEEK_SET)
        os.write(file, bytes(_SIZE))
        self._words = memoryview(mmap.mmap(file, _SIZE)).cast("Q")
        self._mutex = threading.Lock()
        self._free = list(range(TALLIES_MAX))

    @property
    def held_until_us(self) -> int:
        return self._words[_HELD_UNTIL]

    def hold_until(self, steady_us: int) -> None:
        self._words[_HELD_UNTIL] = steady_us

    def open(self, lease: Lease, order: TallyOrder) -> FileTally:
        with self._mutex:
            if not self._free:
                raise LimitExceededError("the number of open tallies", limit=TALLIES_MAX, size=TALLIES_MAX + 1)
            slot = self._free.pop()
        at = slot * _WORDS
        self._words[at + 2] = order.begin(lease)
        self._words[at + 1] = order
        self._words[at] = lease.lease_id  # last: now it counts
        return FileTally(self, slot, self._words[at + 2 : at + 3])

    def close(self, slot: int) -> None:
        self._words[slot * _WORDS] = 0
        with self._mutex:
            self._free.append(slot)


class FileTally:
    """One tally in the file."""

    __slots__ = ("_slot", "_tallies", "cell")

    def __init__(self, tallies: Tallies, slot: int, cell: memoryview[int]) -> None:
        self._tallies = tallies
        self._slot = slot
        self.cell = cell

    def close(self) -> None:
        self._tallies.close(self._slot)


def read_tallies(file: int) -> dict[int, tuple[int, int]]:
    """Return order and number by lease, from the file of a dead process."""
    os.lseek(file, 0, os.SEEK_SET)
    data = os.read(file, _SIZE)
    words = memoryview(data[: len(data) // 8 * 8]).cast("Q")
    found = {}
    for at in range(0, len(words) - _WORDS + 1, _WORDS):
        if words[at]:
            found[words[at]] = (words[at + 1], words[at + 2])
    return found


def read_held_until_us(file: int) -> int:
    """Return until when the process of a file holds its leases; 0: their deadlines say."""
    os.lseek(file, _HELD_UNTIL * 8, os.SEEK_SET)
    data = os.read(file, 8)
    return memoryview(data).cast("Q")[0] if len(data) == 8 else 0


def settle_tallied(transaction: Transaction, owner: str, tallies: Mapping[int, tuple[int, int]]) -> None:
    """Settle what a dead process held and kept a tally of, as `ended` says."""
    for lease_id, first, past, place, attempt, deadline_us, worker, topic, group, partition in transaction.rows(
        "leases_of_owner", owner
    ).fetchall():
        if lease_id not in tallies:
            continue
        held = Lease(lease_id, topic, group, partition, first, past, attempt, deadline_us, worker)
        pieces = ended(*tallies[lease_id], first, past, place)
        try:
            settling.settle(transaction, [Settlement(held, *piece) for piece in pieces], (), ())
        except LeaseLostError:
            continue  # its deadline has passed: taken back already
        if any(outcome is Outcome.ACK for _, _, outcome in pieces):
            _make_room(transaction, topic, group)


def take(transaction: Transaction, request: LeaseRequest, settlements: Sequence[Settlement]) -> list[Lease]:
    """See `HandingOver.take`."""
    if settlements:
        settling.settle(transaction, settlements, (), ())
        transaction.write_counts()  # leasing looks at them
        _make_room(transaction, request.topic, request.group)
    return leases.hand_over(transaction, request).leases if request.records_max else []


def _make_room(transaction: Transaction, topic: str, group: str) -> None:
    """Wake those who wait for room, if there are any."""
    topic_id, group_id = transaction.group_id(topic, group)
    _, partition_id = transaction.partition_id(topic, 0)
    if transaction.row("read_state_key", group_id, partition_id, WANTS_ROOM, transaction.now_us):
        transaction.changed.add(topic_id)


def finish(transaction: Transaction, topic: str, group: str, count: int) -> int:
    topic_id, group_id = transaction.group_id(topic, group)
    _, partition_id = transaction.partition_id(topic, 0)
    unfinished = _unfinished(transaction, group_id, partition_id) - count
    if unfinished < 0:
        raise UsageError(f"{count} more records of {topic!r} cannot be finished: {unfinished + count} are not yet")
    row = transaction.row("read_state_key", group_id, partition_id, FINISHED, transaction.now_us)
    finished = count + (int(row[0]) if row is not None else 0)
    transaction.do("put_state", group_id, partition_id, FINISHED, b"%d" % finished, None)
    if unfinished == 0:
        transaction.changed.add(topic_id)
    return unfinished


def untold(transaction: Transaction, topic: str, group: str, partition: int) -> tuple[int, int]:
    row = transaction.row("untold", topic, group, partition)
    if row is None:
        transaction.group_id(topic, group)
        raise TopicNotFoundError(f"{topic}/{partition}", transaction.url)
    return row[0], row[1]


def unfinished(transaction: Transaction, topic: str, group: str) -> int:
    _, group_id = transaction.group_id(topic, group)
    _, partition_id = transaction.partition_id(topic, 0)
    return _unfinished(transaction, group_id, partition_id)


def _unfinished(transaction: Transaction, group_id: int, partition_id: int) -> int:
    row = transaction.row("read_state_key", group_id, partition_id, FINISHED, transaction.now_us)
    accepted = transaction.row("accepted_by", group_id)
    assert accepted is not None
    return int(accepted[0]) - (int(row[0]) if row is not None else 0)
