"""Hand: what a process has taken over in a run and hands out one by one."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Final

from millstream.engines.handing import Cell, Tally
from millstream.engines.protocol import Lease, Outcome, Settlement

RUN_S: Final = 0.004
"""A run is as long as its items last, by the pace of the last one: others who wait for items are not kept waiting."""

RUN_ITEMS_MAX: Final = 8192
_GROWTH: Final = 4


class Part:
    """One lease of a run."""

    __slots__ = ("items", "lease", "tally")

    def __init__(self, lease: Lease, tally: Tally, items: list[Any]) -> None:
        """Take the items in the order of the log."""
        items.reverse()
        self.lease = lease
        self.tally = tally
        self.items = items


class Hand:
    """A run of items, the next one last. Not thread-safe: the taker's mutex guards it."""

    __slots__ = ("_done", "_part", "_rest", "begun", "cell", "items", "next")

    def __init__(self, parts: Sequence[Part] = ()) -> None:
        self._rest = list(parts)
        self._done: list[Part] = []
        self._part: Part | None = None
        self.items: list[Any] = []
        """Of the lease at hand. Who pops one adds 1 to `next`, and writes that to `cell[0]`."""
        self.cell: Cell = [0]
        """Tells whoever finds this process dead how far it came."""
        self.next = 0
        """Offset of the next item."""
        self.begun = time.monotonic()
        self.turn()

    def turn(self) -> bool:
        """Go on with the next lease when the one at hand is empty; False: there is none."""
        if not self._rest:
            return False
        if self._part is not None:
            self._done.append(self._part)
        self._part = self._rest.pop(0)
        self.items = self._part.items
        self.cell = self._part.tally.cell
        self.next = self._part.lease.start
        return True

    def pop(self, count: int) -> list[Any]:
        """Hand out up to so many items of the lease at hand, or of the next one."""
        if not self.items and not self.turn():
            return []
        popped = self.items[-count:]
        del self.items[-count:]
        self.next += len(popped)
        self.cell[0] = self.next
        return popped[::-1]

    def __len__(self) -> int:
        return len(self.items) + sum(len(part.items) for part in self._rest)

    @property
    def settled(self) -> bool:
        """Whether there is nothing to settle."""
        return self._part is None

    def settlements(self) -> list[Settlement]:
        """Return how it ended: what was handed out is done, the rest goes back."""
        found = [_all(part.lease, Outcome.ACK) for part in self._done]
        if self._part is not None:
            lease, at = self._part.lease, self.next
            if at > lease.start:
                found.append(Settlement(lease, lease.start, at, Outcome.ACK))
            if at < lease.end:
                found.append(Settlement(lease, at, lease.end, Outcome.RELEASE))
        return found + [_all(part.lease, Outcome.RELEASE) for part in self._rest]

    def close(self) -> None:
        """Forget the tallies, after it has been settled."""
        for part in (*self._done, *self._rest, *([self._part] if self._part else [])):
            part.tally.close()


def _all(lease: Lease, outcome: Outcome) -> Settlement:
    return Settlement(lease, lease.start, lease.end, outcome)


class Pace:
    """How many items to take at once, by how fast they were handed out so far."""

    __slots__ = ("_count", "_since")

    def __init__(self) -> None:
        self._count = 0
        self._since = 0.0

    def next_count(self) -> int:
        """Return how many to take now, 1 up."""
        elapsed = max(time.monotonic() - self._since, 1e-6)
        return max(1, min(int(self._count * RUN_S / elapsed), self._count * _GROWTH, RUN_ITEMS_MAX))

    def taken(self, count: int) -> None:
        """Note how many were there; 0: the queue was empty, and there is no pace."""
        self._count = count
        self._since = time.monotonic()
