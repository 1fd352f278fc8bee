"""Queue: first in, first out, in a file."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from queue import Empty, Full
from types import TracebackType
from typing import Any, ClassVar, Final, Generic, Self, TypeVar

from millstream.engines.protocol import Outcome
from millstream.errors import CommitConflictError, QueueFullError, UsageError
from millstream.queue.standard.open_queues import OPEN_QUEUES
from millstream.queue.standard.order import rank
from millstream.queue.standard.room import Room
from millstream.queue.standard.shut_down import ShutDown
from millstream.queue.standard.store import Bad, Marks, Store
from millstream.queue.standard.taker import Taker
from millstream.settings import Settings

T = TypeVar("T")

_FOR_EVER_S: Final = 3600.0
_JOIN_NAP_S: Final = 1.0


class Queue(Generic[T]):
    """A first in, first out queue in a file, for any number of threads and processes at once."""

    _order: ClassVar[str] = "fifo"
    _default_name: ClassVar[str] = "queue"

    def __init__(
        self,
        path: str | os.PathLike[str] | int | None = None,
        maxsize: int = 0,
        name: str | None = None,
        durability: str | None = None,
        type: Any = None,
    ) -> None:
        """Open a queue, and make it where there is none.

        Args:
            path: The file; others may hold it open. None is $MILLSTREAM_URL or ./millstream.db, where the first queue
                that a program opens without a name is `queue`, the second `queue-2`, and so on. A number is `maxsize`,
                as in `queue.Queue(10)`.
            maxsize: How many items `put` lets in, 0 any number. Give all that open the queue the same.
            name: Queues of one file are told apart by it.
            durability: `fsync` (the default: what was put survives power loss) or `relaxed` (a killed process).
            type: A Struct or dataclass that all items are of. None: any data, see `put`.

        Raises:
            UsageError: The file has a queue of that name and of another class.
            StorageError: The file cannot be used.
        """
        if isinstance(path, int):
            maxsize, path = path, None
        if path is None:
            name = name or OPEN_QUEUES.next_name(self._default_name)
        url = Settings.from_environment(os.environ).url if path is None else os.fspath(path)
        name = name or self._default_name
        self.maxsize = maxsize
        self.is_shutdown = False
        self._arguments = (url, maxsize, name, durability, type)
        self._store: Store[T] = Store(url, name, order=self._order, durability=durability, type=type)
        self._taker: Taker[T] = Taker(
            self._store,
            one_by_one=self._order != "fifo" or maxsize > 0,
            before=self._sort if self._order == "priority" else None,
        )
        OPEN_QUEUES.add(self)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._store.name!r} in {self._store.log.engine.url}>"

    def __reduce__(self) -> tuple[Any, ...]:
        """Return how another process opens the same queue: its file, not its items."""
        return type(self), self._arguments

    # --- put ------------------------------------------------------------------------------------------------------

    def put(self, item: T, block: bool = True, timeout: float | None = None) -> None:
        """Put an item; it is on disk when this returns.

        Args:
            item: Data: None, numbers, text, bytes, dates and times, Decimal, UUID, and lists, tuples, sets and dicts of
                them. It comes back equal and of the same types.
            block: Wait for room where the queue is full.
            timeout: At most so many seconds.

        Raises:
            Full: There was no room.
            ShutDown: The queue was shut down.
            TypeError: Something in the item is no data; says what, and where.
            ValueError: A negative timeout.
        """
        self._put([item], block, timeout)

    def put_nowait(self, item: T) -> None:
        """Put an item if there is room now; else raise `Full`."""
        self._put([item], False, None)

    def put_many(self, items: Iterable[T], block: bool = True, timeout: float | None = None) -> None:
        """Put many items, in order and all or nothing; with a `maxsize`, as many at a time as there is room for."""
        self._put(list(items), block, timeout)

    def _put(self, items: list[T], block: bool, timeout: float | None) -> None:
        marks = self._marks() if self.maxsize > 0 else self._store.seen
        while True:
            try:
                values = self._values(items, marks)
                if self.maxsize <= 0:
                    self._store.put(values, 0)
                    return
                break
            except CommitConflictError:
                marks = self._marks()  # somebody has shut the queue down, or put another kind of items
        if block and timeout is not None and timeout < 0:
            raise ValueError("'timeout' must be a non-negative number")
        self._put_bounded(values, block, timeout)

    def _values(self, items: list[T], marks: Marks) -> list[Any]:
        """Return items as they are stored, where they may be put."""
        if self.is_shutdown or marks.is_shut_down:
            self.is_shutdown = True
            raise ShutDown
        self._check(items, marks.kind)
        encode = self._store.items.encode
        return [encode(item) for item in items]

    def _put_bounded(self, values: list[Any], block: bool, timeout: float | None) -> None:
        until = time.monotonic() + (_FOR_EVER_S * 24 * 365 if timeout is None else timeout)
        room = Room(self._store)
        while values:
            part = values[: room.count] if room.count else values
            try:
                self._store.put(part, self.maxsize)
            except QueueFullError as error:
                room.count = max(0, error.limit - error.size + len(part))
                if room.count:
                    continue
                left = until - time.monotonic()
                if not block or left <= 0:
                    raise Full from None
                room.wait(left)
                if self._is_shut_down():
                    raise ShutDown from None
            else:
                values = values[len(part) :]

    def _check(self, items: list[T], kind: str | None) -> None:
        """Raise TypeError for items that this class of queue cannot hold, or not beside those of a kind."""

    # --- get ------------------------------------------------------------------------------------------------------

    def get(self, block: bool = True, timeout: float | None = None, *, ack: bool = False) -> T:
        """Take the next item out of the queue, for good: nobody else gets it, whatever becomes of this process.

        Args:
            block: Wait for an item where there is none.
            timeout: At most so many seconds.
            ack: Leave it leased: nobody else gets it until this process gives it back with `nack`, closes the queue or
                ends; `ack` takes it out.

        Raises:
            Empty: There was no item.
            ShutDown: There is none, and the queue was shut down.
            ValueError: A negative timeout. Or the item was written by a newer release; it is taken.
            SchemaError: The item does not fit the queue's type; it is taken.
        """
        if not ack and (timeout is None or timeout >= 0):
            taker = self._taker
            with taker.mutex:
                hand = taker.hand
                if hand.items:
                    # As `Hand.pop`, and the reason why a million items a second can be handed out.
                    item: Any = hand.items.pop()
                    hand.next = hand.cell[0] = hand.next + 1
                    if type(item) is Bad:
                        raise item.error
                    found: T = item
                    return found
        [found] = self._get(block, timeout, count=1, ack=ack)
        return found

    def get_nowait(self) -> T:
        """Take an item if there is one now; else raise `Empty`."""
        return self.get(False)

    def get_many(self, count: int, block: bool = True, timeout: float | None = None) -> list[T]:
        """Take up to so many items; waits only while there is none.

        Raises:
            Empty: There was no item.
            ShutDown: There is none, and the queue was shut down.
        """
        if count < 1:
            raise ValueError("'count' must be a positive number")
        items = self._get(block, timeout, count=count, ack=False)
        while len(items) < count and (more := self._taker.take(count - len(items), at_once=True)):
            items += more
        for item in items:
            if type(item) is Bad:
                raise item.error
        return items

    def _get(self, block: bool, timeout: float | None, *, count: int, ack: bool) -> list[Any]:
        negative = block and timeout is not None and timeout < 0
        if negative and not (self._is_shut_down() and self.empty()):
            raise ValueError("'timeout' must be a non-negative number")
        until = time.monotonic() + (_FOR_EVER_S * 24 * 365 if timeout is None else timeout)
        seen = -1
        while True:
            items = self._taker.take_leased() if ack else self._taker.take(count, at_once=count > 1)
            if items:
                if count == 1 and type(items[0]) is Bad:
                    raise items[0].error
                return items
            if self._is_shut_down():
                raise ShutDown
            left = until - time.monotonic()
            if not block or left <= 0:
                raise Empty
            taken, end = self._store.end()
            # What came after the look ends the wait; what came between look and `end` needs another look. In other
            # orders than that of the log, what was never taken may also be below `taken`.
            if end == seen or (taken == end and self._order == "fifo"):
                self._store.wait({0: end}, min(left, _FOR_EVER_S), until=self._is_shut_down)
            seen = end

    # --- leased items ---------------------------------------------------------------------------------------------

    def ack(self, item: T) -> None:
        """Take an item that `get(ack=True)` returned out of the queue: it is done, and counted as by `task_done`.

        Raises:
            ValueError: It is not such an item of this object; it is found by identity, not by value.
            LeaseLostError: The lease was lost; somebody else may have the item.
        """
        self._taker.settle(item, Outcome.ACK)
        with contextlib.suppress(UsageError):
            self._store.finish(1)

    def nack(self, item: T) -> None:
        """Give an item that `get(ack=True)` returned back; it is the next one to be taken.

        Raises:
            ValueError: As for `ack`.
            LeaseLostError: As for `ack`.
        """
        self._taker.settle(item, Outcome.NACK)

    @contextmanager
    def receiving(self, block: bool = True, timeout: float | None = None) -> Iterator[T]:
        """Take an item, and acknowledge it at the end of the block; where the block raises, give it back.

        Raises:
            Empty: There was no item.
            ShutDown: There is none, and the queue was shut down.
        """
        item = self.get(block, timeout, ack=True)
        try:
            yield item
        except BaseException:
            self.nack(item)
            raise
        self.ack(item)

    # --- looking --------------------------------------------------------------------------------------------------

    def qsize(self) -> int:
        """Return about how many items there are to get; without those leased by `get(ack=True)`."""
        return self._taker.size()

    def empty(self) -> bool:
        """Return whether there was no item to get."""
        taker = self._taker
        with taker.mutex:
            if taker.hand.items:
                return False
        return self.qsize() == 0

    def full(self) -> bool:
        """Return whether there was no room."""
        return 0 < self.maxsize <= self._store.ledger().in_progress

    # --- counting who is done -------------------------------------------------------------------------------------

    def task_done(self) -> None:
        """Say that an item which was taken by `get` is done with.

        Raises:
            ValueError: More often than items were put.
        """
        try:
            self._store.finish(1)
        except UsageError:
            raise ValueError("task_done() called too many times") from None

    @property
    def unfinished_tasks(self) -> int:
        """How many items were put, by anybody, that nobody has called `task_done` for."""
        return self._store.unfinished()

    def join(self) -> None:
        """Wait until every item that was put is done with: `task_done` was called for each, in whatever process."""
        while True:
            _, end = self._store.end()
            if self._store.unfinished() == 0:
                return
            self._store.wait({0: end}, _JOIN_NAP_S)

    # --- the end --------------------------------------------------------------------------------------------------

    def shutdown(self, immediate: bool = False) -> None:
        """Let nobody put any more, and nobody wait for what is not there: they get `ShutDown`.

        Counts for everyone who has the queue open now, in any process; who opens it later finds it as usual, with the
        items that are left.

        Args:
            immediate: Take out what is there, for nobody, and count it as done with.
        """
        self.is_shutdown = True
        self._store.say_shutdown()
        if immediate:
            drained = self._taker.drain()
            with contextlib.suppress(UsageError):
                self._store.finish(min(drained, self._store.unfinished()))

    def _is_shut_down(self) -> bool:
        self._marks()
        return self.is_shutdown

    def _marks(self) -> Marks:
        marks = self._store.marks()
        self.is_shutdown = self.is_shutdown or marks.is_shut_down
        return marks

    def close(self) -> None:
        """Give back what is leased and close the file; the items stay. Closing twice is fine."""
        if OPEN_QUEUES.discard(self):
            self._taker.close()
            self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _sort(self) -> None:
        """Put what has come in order."""
        self._store.sort(rank)
