"""Taker: how items leave the file and reach those who call `get`, in one process.

Items are taken in runs and handed out from memory, each noted in a tally that survives the process: who is killed has
taken exactly what was handed out, and the rest of the run goes back at once. Where the next item has to be the next of
all processes (the newest, the lowest, or with somebody waiting for room), a transaction of its own takes it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any, Final, Generic, TypeVar

from millstream import limits
from millstream.engines.handing import Pop
from millstream.engines.protocol import Lease, Outcome, Settlement
from millstream.errors import LeaseLostError
from millstream.queue.standard.hand import Hand, Pace, Part
from millstream.queue.standard.keeper import Keeper
from millstream.queue.standard.store import Store

T = TypeVar("T")
R = TypeVar("R")

_logger = logging.getLogger("millstream.queue")

STALE_S: Final = 0.05
"""A run that has lasted so much longer than it should is given back."""

_PARTS_MAX: Final = 256
_FORGET_S: Final = 1.0
_SPACE_S: Final = 60.0
_RENEW_S: Final = 3600.0


class Taker(Generic[T]):
    """The items that one queue object has taken out of its file."""

    def __init__(self, store: Store[T], *, one_by_one: bool, before: Callable[[], None] | None = None) -> None:
        """Take from a store.

        Args:
            one_by_one: Take no runs: what is put next may be the next to leave, or somebody waits for room.
            before: Called before what has come is taken.
        """
        self._store = store
        self._one_by_one = one_by_one
        self._before = before
        self.reset()

    def reset(self) -> None:
        """Begin with empty hands: in a forked child, what is in them belongs to the parent."""
        self.mutex = threading.Lock()
        """Guards the hand; held for a moment only."""
        self._taking = threading.Lock()
        """Held by the one thread that takes from the file, gives back, or counts."""
        self.hand = Hand()
        self._pace = Pace()
        self._out: dict[int, list[tuple[T, Lease]]] = {}
        self._taken = False
        """Something was, since the file was cleaned up."""
        self._forgotten = self._space_given = self._renewed = time.monotonic()
        self._keeper = Keeper(self)

    # --- taking ---------------------------------------------------------------------------------------------------

    def take(self, count: int = 1, *, at_once: bool = False) -> list[Any]:
        """Return up to so many items, those at hand first; none where there are none.

        Args:
            at_once: Take as many as asked for in one run where none are at hand.
        """
        with self._taking:
            with self.mutex:
                items = self.hand.pop(count)
            if items:
                return items
            if self._one_by_one:
                return self._take_one()
            leases = self._next_run(max(self._pace.next_count(), count if at_once else 1))
            parts = self._parts(leases)
            with self.mutex:
                self.hand = Hand(parts)
                items = self.hand.pop(count)
            self._pace.taken(sum(lease.end - lease.start for lease in leases))
        if leases:
            self._taken = True
            self._keeper.notice()
        return items

    def _take_one(self) -> list[Any]:
        while (popped := self._store.pop()) is Pop.UNSORTED:
            self._sort()
        if popped is Pop.NOTHING:
            return []
        self._taken = True
        self._keeper.notice()
        return popped

    def _sort(self) -> None:
        if self._before is not None:
            self._before()

    def _next_run(self, count: int) -> list[Lease]:
        """Settle the run at hand, give back what is left of it, and take the next one."""
        return self._settle_hand(lambda settlements: self._store.take(count, settlements))

    def _parts(self, leases: list[Lease]) -> list[Part]:
        try:
            if len(leases) > _PARTS_MAX:
                # Of many single records, which somebody gave back: no room to note each.
                self._store.settle([_whole(lease, Outcome.RELEASE) for lease in leases[_PARTS_MAX:]])
                del leases[_PARTS_MAX:]
            items = [self._store.items_of(lease) for lease in leases]
        except BaseException:
            self._store.settle([_whole(lease, Outcome.RELEASE) for lease in leases])
            raise
        return [Part(lease, self._store.tally(lease), found) for lease, found in zip(leases, items, strict=True)]

    def _settle_hand(self, settle: Callable[[list[Settlement]], R]) -> R:
        with self.mutex:
            old = self.hand
            settlements = old.settlements()
            self.hand = Hand()  # nobody gets anything of the old one from here on
        try:
            try:
                result = settle(settlements)
            except LeaseLostError as error:
                _logger.warning("items of %r were taken back while they were handed out: %s", self._store.name, error)
                result = settle([])
        except BaseException:
            with self.mutex:
                self.hand = old  # as it was: the next one tries again
            raise
        old.close()
        return result

    def _give_back(self) -> None:
        if not self.hand.settled:
            self._settle_hand(self._store.settle)

    # --- leased items ---------------------------------------------------------------------------------------------

    def take_leased(self) -> list[Any]:
        """Return one item that stays leased, or none."""
        with self._taking:
            self._sort()
            leases = self._next_run(1)
            if not leases:
                return []
            [lease] = leases
            try:
                [item] = self._store.items_of(lease)
            except BaseException:
                self._store.settle([_whole(lease, Outcome.RELEASE)])
                raise
            self._out.setdefault(id(item), []).append((item, lease))
        self._taken = True
        self._keeper.notice()
        return [item]

    def settle(self, item: T, outcome: Outcome) -> None:
        """End the lease of an item.

        Raises:
            ValueError: It is not leased here.
            LeaseLostError: The lease was lost.
        """
        with self._taking:
            held = self._out.get(id(item))
            if not held:
                raise ValueError(
                    f"{item!r} is not an item that get(ack=True) of this queue returned, or settled before"
                )
            _, lease = held.pop()
            if not held:
                del self._out[id(item)]
        self._store.settle([_whole(lease, outcome)])

    # --- looking --------------------------------------------------------------------------------------------------

    def size(self) -> int:
        """Return how many items there are to get: in the file, and at hand."""
        with self._taking:
            ledger = self._store.ledger()
            with self.mutex:
                return ledger.ready + ledger.waiting + len(self.hand)

    # --- giving back ----------------------------------------------------------------------------------------------

    def give_back(self) -> None:
        """Give back what is at hand."""
        with self._taking:
            self._give_back()

    def drain(self) -> int:
        """Take all there is, for nobody; return how many."""
        count = 0
        with self._taking:
            with self.mutex:
                while items := self.hand.pop(limits.LEASE_RECORDS_MAX):
                    count += len(items)
            while True:
                self._sort()
                leases = self._next_run(limits.LEASE_RECORDS_MAX)
                if not leases:
                    return count
                self._store.settle([_whole(lease, Outcome.ACK) for lease in leases])
                count += sum(lease.end - lease.start for lease in leases)

    def close(self) -> None:
        """Give everything back, leased items too."""
        self._keeper.stop()
        with self._taking:
            self._give_back()
            held = [_whole(lease, Outcome.RELEASE) for entries in self._out.values() for _, lease in entries]
            self._out.clear()
            for settlement in held:
                try:
                    self._store.settle([settlement])
                except LeaseLostError:
                    continue  # somebody else has it
            if self._taken:
                self._store.forget_taken()

    # --- the keeper's round ---------------------------------------------------------------------------------------

    def keep(self) -> float | None:
        """Do what is due; see `Kept`."""
        now = time.monotonic()
        with self.mutex:
            age = None if self.hand.settled else now - self.hand.begun
        if age is not None and age >= STALE_S:
            self.give_back()
            age = None
        if self._taken and now - self._forgotten >= _FORGET_S:
            self._taken = False
            self._forgotten = now
            self._store.forget_taken()
            if now - self._space_given >= _SPACE_S:
                self._space_given = now
                self._store.give_space_back()
        if self._out and now - self._renewed >= _RENEW_S:
            self._renewed = now
            with self._taking:
                leases = [lease for entries in self._out.values() for _, lease in entries]
            self._store.extend(leases)
        if age is not None:
            return STALE_S
        if self._taken:
            return _FORGET_S
        return _RENEW_S if self._out else None


def _whole(lease: Lease, outcome: Outcome) -> Settlement:
    return Settlement(lease, lease.start, lease.end, outcome)
