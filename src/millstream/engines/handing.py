"""What an engine offers to queues that hand a record over for good: the HandingOver protocol.

A worker's lease comes back when the worker dies. Here whoever got a record keeps it: nobody gets it again, whatever
becomes of the process. Where a process takes a run of records at once to hand them out one by one, it notes each in a
*tally*, without a transaction; should it die, those in the tally are done, and the others go back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum, IntEnum
from typing import Final, NamedTuple, Protocol, runtime_checkable

from millstream.engines.protocol import Lease, Outcome, Settlement
from millstream.records import StoredBatch

TALLIES_MAX: Final = 1024
"""Open at once in a process; each costs 24 bytes of a file that a dead process leaves to be read."""

WANTS_ROOM: Final = b"millstream.wants-room"
"""Key of a group's state (partition 0): while it is there, somebody waits for the queue to become shorter."""


class TallyOrder(IntEnum):
    """In which order the records of a lease are handed out, and what the tally says."""

    UP = 1
    """Lowest offset first; the tally is the next offset."""
    WORK_UP = 2
    """As UP, by a worker, who has to finish a record before it is done; the tally is a `stage`."""
    WORK_DOWN = 3
    """The same from the highest offset down."""
    WORK_PLACE = 4
    """Of a group in sorted order: the leases of one call, one after another; the place is how many were before."""
    WORK_ALL = 5
    """All of the lease is worked on at the same time."""

    def begin(self, lease: Lease) -> int:
        """Return the tally of a lease of which nothing has been handed out."""
        match self:
            case TallyOrder.UP:
                return lease.start
            case TallyOrder.WORK_UP:
                return stage(lease.start)
            case TallyOrder.WORK_DOWN:
                return stage(lease.end)
            case _:
                return 0


BUSY: Final = 1
KEPT: Final = 2
PASSED: Final = 4


def stage(place: int, flags: int = 0) -> int:
    """Return the tally of a worker that is at a place (an offset, or how many were before in the call).

    Args:
        flags: BUSY: the record there is being worked on, and what was before it is done unless its outcome was settled.
            KEPT: what was before it is not done before it is settled.
            PASSED: the record there is behind the worker, like those before it.
    """
    return place << 3 | flags


def ended(order: int, number: int, first: int, past: int, place: int) -> list[tuple[int, int, Outcome]]:
    """Return what becomes of a range [first, past) of a dead process's lease: pieces with their outcomes.

    A record that was being worked on counts an attempt: it may have killed the process. Those after it do not.

    Args:
        place: Of `first` among the leases of one call; only for WORK_PLACE.
    """
    match order:
        case TallyOrder.UP:
            return _pieces((first, min(past, number), Outcome.ACK))
        case TallyOrder.WORK_ALL:
            return [(first, past, Outcome.NACK)]
    at, flags = number >> 3, number & 7
    behind = Outcome.RELEASE if flags & KEPT else Outcome.ACK
    here = behind if flags & PASSED else Outcome.NACK if flags & BUSY else Outcome.RELEASE
    if order == TallyOrder.WORK_PLACE:
        return [(first, past, behind if place < at else here if place == at else Outcome.RELEASE)]
    low, high = min(max(at, first), past), min(max(at + 1, first), past)
    below, above = (behind, Outcome.RELEASE) if order == TallyOrder.WORK_UP else (Outcome.RELEASE, behind)
    return _pieces((first, low, below), (low, high, here), (high, past, above))


def _pieces(*pieces: tuple[int, int, Outcome]) -> list[tuple[int, int, Outcome]]:
    return [piece for piece in pieces if piece[0] < piece[1]]


class Popped(NamedTuple):
    """A record that was handed over for good."""

    partition: int
    offset: int
    batch: StoredBatch | None
    """The batch that holds it. None where the caller has it, or retention has deleted it."""


class Pop(Enum):
    """Why no record was handed over."""

    NOTHING = "nothing"
    """There is none, or none that is due, or the group is paused."""
    UNSORTED = "unsorted"
    """There are fresh ones that a group in sorted order was not told about: what comes first is not known."""


class Cell(Protocol):
    """A place for one number, 0."""

    def __setitem__(self, place: int, number: int, /) -> None: ...


class Tally(Protocol):
    """How far a lease has been handed out; kept until it is closed, also if the process is killed."""

    @property
    def cell(self) -> Cell:
        """Where the number is written, by the order of the tally, at every hand-over: it costs no more than that."""
        ...

    def close(self) -> None:
        """Forget it: the lease has been settled."""
        ...


@runtime_checkable
class HandingOver(Protocol):
    """What an engine offers to queues that hand records over for good."""

    def take(
        self,
        topic: str,
        group: str,
        *,
        worker: str,
        records_max: int,
        duration_us: int,
        lifo: bool = False,
        settlements: Sequence[Settlement] = (),
    ) -> list[Lease]:
        """Settle what was taken before, and lease more, in one transaction; as `Engine.settle` and `Engine.lease`.

        Those who wait for a bounded queue to become shorter are woken: see `WANTS_ROOM`.

        Args:
            records_max: 0 settles only.

        Raises:
            LeaseLostError: A lease is no longer held for some record settled. Nothing was changed.
        """
        ...

    def pop(self, topic: str, group: str, *, kept: Callable[[int, int], bool], lifo: bool = False) -> Popped | Pop:
        """Hand the next record over for good, in one transaction; it is done when this returns.

        Synced as leases are. Those who wait for a bounded queue to become shorter are woken, as by `take`.

        Args:
            kept: Whether the caller has the batch that holds a record, by partition and offset; it then does not get it
                again. Called in the transaction: it must not use the engine.
        """
        ...

    def tally(self, lease: Lease, order: TallyOrder) -> Tally:
        """Open a tally of a lease of this process: nothing of it is handed out yet.

        Raises:
            LimitExceededError: Too many are open.
        """
        ...

    def finish(self, topic: str, group: str, count: int) -> int:
        """Count records that whoever got them is done with; return how many of all that were appended are not.

        Wakes those who wait when that is 0. Durable as settling is.

        Raises:
            UsageError: More than were appended; nothing was counted.
        """
        ...

    def untold(self, topic: str, group: str, partition: int) -> tuple[int, int]:
        """Return the records [start, end) that a group has not been handed, or in sorted order not been told about."""
        ...

    def unfinished(self, topic: str, group: str) -> int:
        """Return how many of all records that were appended have not been counted by `finish`."""
        ...
