"""What a worker holds of a lease: records ahead, and those behind that are not settled."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

from millstream.engines.handing import BUSY, Cell, stage
from millstream.engines.protocol import Lease, Outcome, Settlement
from millstream.records import Record


class Part:
    """A run of leased records that a worker handles one after another, in the order of `ahead`.

    The worker takes from the left of `ahead`; the keeper may take all of it from the right, under the worker's lock.
    Each record goes to one of them. Offsets that the log no longer has go with the record after them, or with the end.

    Args:
        records: In the order of handling: offsets going up, or down with `down`.
        place: In sorted order, of the one record among those of its call; None counts offsets.
        key: In sorted order.
    """

    __slots__ = ("ahead", "cell", "down", "end", "flags", "high", "key", "lease", "low", "place", "start")

    def __init__(
        self,
        lease: Lease,
        start: int,
        end: int,
        records: Sequence[Record[Any]],
        *,
        down: bool = False,
        place: int | None = None,
        key: bytes = b"",
    ) -> None:
        self.lease = lease
        self.start = start
        self.end = end
        self.ahead = deque(records)
        self.down = down
        self.key = key
        self.place = place
        self.cell: Cell = [0]
        self.flags = BUSY
        # Handled and not settled: [low, high).
        self.low = self.high = end if down else start

    def stage(self, record: Record[Any]) -> int:
        """Return what the tally of the lease says while a record is being worked on."""
        return stage(record.offset if self.place is None else self.place, self.flags)

    def passed(self, record: Record[Any]) -> None:
        """Count a record as handled."""
        if self.down:
            self.low = record.offset
        else:
            self.high = record.offset + 1

    def finish(self) -> None:
        """Count what is left of the range as handled: nothing is ahead."""
        if self.down:
            self.low = self.start
        else:
            self.high = self.end

    def taken(self, record: Record[Any]) -> tuple[int, int]:
        """Leave a record out of what was handled, as its outcome is its own; return the offsets that go with it.

        What was handled before has to be taken by `acknowledged` first.
        """
        if self.down:
            past = self.high
            self.low = self.high = record.offset
            return record.offset, past
        first = self.low
        self.low = self.high = record.offset + 1
        return first, record.offset + 1

    def acknowledged(self) -> tuple[int, int] | None:
        """Return the range of what was handled, and begin anew behind it; None where it is empty."""
        if self.low == self.high:
            return None
        handled = (self.low, self.high)
        if self.down:
            self.high = self.low
        else:
            self.low = self.high
        return handled

    def give_up_ahead(self, *, running: bool) -> tuple[list[Record[Any]], Settlement | None]:
        """Take everything that is ahead; return it with the settlement that gives it back.

        Args:
            running: A record of this part is with the handler: the offsets up to the next one go with it.
        """
        given: list[Record[Any]] = []
        while True:
            try:
                given.append(self.ahead.pop())
            except IndexError:
                break
        if not given:
            return [], None
        nearest = given[-1].offset
        if self.down:
            first, past = self.start, nearest + 1 if running else self.low
            self.start = past
        else:
            first, past = nearest if running else self.high, self.end
            self.end = first
        return given[::-1], Settlement(self.lease, first, past, Outcome.RELEASE)


class Run:
    """What a worker got at once: parts one after another, and the tallies of their leases."""

    def __init__(self, parts: Sequence[Part], close: Sequence[Any]) -> None:
        self.parts = deque(parts)
        self._tallies = list(close)

    def close(self) -> None:
        """Forget the tallies: everything is settled."""
        for tally in self._tallies:
            tally.close()
        self._tallies.clear()
