"""Where a standard queue keeps its items: a topic, its group, and a few marks in the group's state."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Generic, NamedTuple, TypeVar

from millstream import limits
from millstream.clock import SystemClock
from millstream.engines.connect import connect
from millstream.engines.handing import Pop, Tally
from millstream.engines.protocol import Bound, Entry, Lease, Ledger, Settlement, StateChange
from millstream.errors import SchemaError, UsageError
from millstream.log.handover import HandOver
from millstream.log.log import Log
from millstream.queue.standard.items import Items

T = TypeVar("T")

GROUP: Final = "queue"

LEASE_US: Final = 86_400_000_000
"""A lease ends when its process does. Only where that cannot be seen (a copy of the file elsewhere) does this count; a
clock that is set by hours must not end it."""

WANTS_ROOM_US: Final = 10_000_000
_ORDER: Final = b"standard.order"
_KIND: Final = b"standard.kind"
_SHUTDOWN: Final = b"standard.shutdown"
_MARKS: Final = (_SHUTDOWN, _KIND)
_FIFO_BATCH: Final = limits.ROWS_RECORDS_MAX - 1
_OTHER_BATCH: Final = 128
"""Who takes one record reads its whole batch: in another order than that of the log, batches are small."""

_SORT_RECORDS: Final = 10_000
"""Records that are sorted in one transaction."""

_SPARE_BYTES: Final = 64 * 1024 * 1024


class Marks(NamedTuple):
    """What is said about a queue beside its items."""

    is_shut_down: bool
    """Since it was opened here."""
    kind: str | None
    """Of the items of a sorted queue."""


class Bad(Generic[T]):
    """In place of an item that cannot be read; raised when it is its turn."""

    __slots__ = ("error",)

    def __init__(self, error: Exception) -> None:
        self.error = error


class Store(Generic[T]):
    """The file side of one queue. Safe to use from many threads, but `items_of` and `sort` by one at a time."""

    def __init__(self, url: str, name: str, *, order: str, durability: str | None, type: Any) -> None:
        """Open a queue, and make it where there is none.

        Raises:
            UsageError: There is a queue of that name, of another order.
            SchemaError: The type cannot be a schema, or is not what the queue holds.
        """
        self._order = order
        self._marks = _MARKS if order == "priority" else _MARKS[:1]
        self.log = Log(connect(url, durability=durability), housekeeping=False)
        try:
            self._open(name, order, type)
        except BaseException:
            self.log.close()
            raise
        self.name = name
        self._clock = SystemClock()

    def _open(self, name: str, order: str, type: Any) -> None:
        engine = self.log.engine
        is_new = name not in engine.topics()
        is_ours = not is_new and GROUP in engine.groups(name)
        if is_ours:
            self._check_order(name, order, engine.state(name, GROUP, 0, [_ORDER]))
        self.topic = self.log.topic(name, type)
        if self.topic.partitions != 1:
            raise UsageError(f"topic {name!r} has {self.topic.partitions} partitions; a standard queue is one line")
        begun = self.topic.info().records > 0 or bool(self.topic.groups())
        self.group = self.topic.group(GROUP, parallel=1 if order == "priority" else None)
        if not is_ours:
            # Records that were there before are somebody's log: what is taken from it stays in it.
            mark = f"{order} keep" if begun and not is_new else order
            self.group.commit([], state=[StateChange(0, _ORDER, mark.encode())])
        marks = self.group.state(0, [_ORDER, *self._marks])
        self._check_order(name, order, marks)
        self._keeps = marks[_ORDER].endswith(b" keep")
        self._shutdown = marks.get(_SHUTDOWN)
        self._found: Mapping[bytes, bytes] = {mark: marks[mark] for mark in self._marks if mark in marks}
        self._hand_over: HandOver[Any] = HandOver(self.group)
        self.items: Items[T] = Items(raw=self.topic.type is bytes)

    def _check_order(self, name: str, order: str, marks: Mapping[bytes, bytes]) -> None:
        kept = marks.get(_ORDER, order.encode()).decode().split()[0]
        if kept != order:
            classes = {"fifo": "Queue", "lifo": "LifoQueue", "priority": "PriorityQueue"}
            raise UsageError(
                f"{name!r} in {self.log.engine.url} is a {classes.get(kept, kept)}: open it as one, or give this "
                "queue another name="
            )

    def close(self) -> None:
        self.log.close()

    # --- in -------------------------------------------------------------------------------------------------------

    def put(self, values: Sequence[Any], maxsize: int) -> None:
        """Append values, durable when this returns.

        Raises:
            TypeError: A value is not of the queue's type.
            QueueFullError: More would be in the queue than `maxsize` (0: any number).
            CommitConflictError: The marks are not as they were last `seen`; only without a `maxsize`.
        """
        batch_records = _FIFO_BATCH if self._order == "fifo" else _OTHER_BATCH
        bound = Bound(self.name, GROUP, maxsize) if maxsize > 0 else None
        # To look at the marks with the append takes a fifth of the time of a look before it.
        expect = () if bound is not None else self._expected()
        try:
            self._hand_over.put(values, batch_records=batch_records, bound=bound, expect=expect)
        except SchemaError as error:
            raise TypeError(str(error)) from error

    def say_that_room_is_wanted(self) -> None:
        """Have those who take items wake those who wait for room, for so long (`WANTS_ROOM_US`)."""
        self._hand_over.say_that_room_is_wanted(self._clock.now_us() + WANTS_ROOM_US)

    # --- out ------------------------------------------------------------------------------------------------------

    def take(self, records_max: int, settlements: Sequence[Settlement] = ()) -> list[Lease]:
        """Settle what was taken before, and lease more."""
        return self._hand_over.take(
            worker=f"{GROUP}-{os.getpid()}",
            records_max=records_max,
            duration_us=LEASE_US,
            lifo=self._order == "lifo",
            settlements=settlements,
        )

    def pop(self) -> list[Any] | Pop:
        """Take one item for good, in one transaction; `Bad` in place of one that cannot be read."""
        value = self._hand_over.pop(lifo=self._order == "lifo")
        return value if isinstance(value, Pop) else [self._item(value)]

    def settle(self, settlements: Sequence[Settlement]) -> None:
        if settlements:
            self._hand_over.take(worker="", records_max=0, settlements=settlements)

    def extend(self, leases: Sequence[Lease]) -> None:
        """Keep leases for another day."""
        self.group.extend(leases, LEASE_US / 1e6)

    def tally(self, lease: Lease) -> Tally:
        return self._hand_over.tally(lease)

    def items_of(self, lease: Lease) -> list[Any]:
        """Return the items of a lease in the order of the log; `Bad` in place of one that cannot be read."""
        values = self._hand_over.values(lease.partition, lease.start, lease.end)
        decode = self.items.decode
        try:
            if self.items.raw:
                return list(map(decode, values))
        except ValueError:
            pass
        return [self._item(value) for value in values]

    def _item(self, value: Any) -> Any:
        if isinstance(value, SchemaError):
            return Bad[T](value)
        try:
            return self.items.decode(value)
        except ValueError as error:
            return Bad[T](error)

    def sort(self, rank: Callable[[Any], bytes]) -> None:
        """Tell the engine the order of what has come since the last call."""
        while True:
            start, end = self._hand_over.untold()
            if start >= end:
                return
            end = min(end, start + _SORT_RECORDS)
            items = self.items_of(Lease(0, self.name, GROUP, 0, start, end, 1, 0, ""))
            # What cannot be read comes first: it is raised, and out of the way.
            self.group.sort(0, start, [Entry(rank=b"" if type(item) is Bad else rank(item)) for item in items])

    # --- looking --------------------------------------------------------------------------------------------------

    def ledger(self) -> Ledger:
        return self.group.info().ledger

    def end(self) -> tuple[int, int]:
        """Return the first offset that was never taken (or sorted), and the one that the next item will have."""
        return self._hand_over.untold()

    def wait(self, seen: Mapping[int, int], timeout: float, *, until: Callable[[], bool] | None = None) -> None:
        """Sleep until something is put, given back, or marked, at most so many seconds.

        A mark that is made between the caller's look and the wait ends it only if `until` finds it.
        """
        self.topic.wait(seen, timeout, until=until)

    # --- counting who is done -------------------------------------------------------------------------------------

    def finish(self, count: int) -> int:
        """Count items as finished; return how many are not.

        Raises:
            UsageError: More than were put.
        """
        return self._hand_over.finish(count)

    def unfinished(self) -> int:
        return self._hand_over.unfinished()

    # --- marks ----------------------------------------------------------------------------------------------------

    def say_shutdown(self) -> None:
        """Tell everyone who has the queue open now that it is shut down; who opens it later does not care."""
        self.group.commit([], state=[StateChange(0, _SHUTDOWN, secrets.token_bytes(8))])

    def marks(self) -> Marks:
        """Return what others have said about the queue."""
        self._found = self.group.state(0, self._marks)
        return self.seen

    @property
    def seen(self) -> Marks:
        """The marks as they were at the last look."""
        kind = self._found.get(_KIND)
        return Marks(self._found.get(_SHUTDOWN) != self._shutdown, None if kind is None else kind.decode())

    def say_kind(self, kind: str) -> None:
        """Tell everyone what kind of items a sorted queue holds from now on.

        Raises:
            CommitConflictError: The marks are not as they were last `seen`.
        """
        change = StateChange(0, _KIND, kind.encode())
        self.group.commit([], state=[change], expect=self._expected())
        self._found = {**self._found, _KIND: kind.encode()}

    def _expected(self) -> list[StateChange]:
        return [StateChange(0, mark, self._found.get(mark)) for mark in self._marks]

    # --- keeping the file small -----------------------------------------------------------------------------------

    def forget_taken(self) -> None:
        """Delete what was taken by everybody."""
        if not self._keeps:
            self._hand_over.forget_settled()

    def give_space_back(self) -> None:
        if not self._keeps:
            self._hand_over.give_space_back(_SPARE_BYTES)
