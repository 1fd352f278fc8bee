"""Which keys are due when: an index in order of time, of which memory holds the nearest part."""

from __future__ import annotations

import heapq
from itertools import chain
from typing import Final

from millstream.engines.protocol import StateRange
from millstream.stream.keyed.entry import MEMORY, Memory
from millstream.stream.keyed.store import Key
from millstream.stream.operators import StateReader, StateWrite

_SIGN: Final = 1 << 63


class DueIndex:
    """Keys by time, each place stored as a key of its own without a value: 8 bytes of time, then the key.

    Memory holds all that comes before a horizon; beyond it places are only stored, and what has changed there lately is
    laid over what is read.
    """

    def __init__(self, prefix: bytes, kind: bytes, memory: Memory = MEMORY) -> None:
        self._prefix = prefix + kind
        self._page_keys = memory.page_keys
        self._held_max = memory.due_keys
        self._reader: StateReader | None = None
        self._heap: list[bytes] = []
        self._live: set[bytes] = set()
        self._horizon: bytes | None = None
        """Places from here on are not in memory; None: all are."""
        self._changed: dict[bytes, bool] = {}
        """Places that came (True) or went since the last call of `changes`."""
        self._sent: dict[bytes, bool] = {}
        """The same of the time before: the commit that stores them may still be under way."""

    def attach(self, reader: StateReader) -> None:
        self._reader = reader
        self._horizon = b""

    def put(self, at_us: int, key: Key) -> None:
        place = _place(at_us, key)
        self._note(place, True)
        if self._horizon is None or place < self._horizon:
            self._hold(place)

    def remove(self, at_us: int, key: Key) -> None:
        place = _place(at_us, key)
        self._note(place, False)
        self._live.discard(place)

    def first_us(self) -> int | None:
        """Return the time of the first place."""
        place = self._first()
        return None if place is None else _time(place)

    def last_us(self) -> int | None:
        """Return the time of the last place; where not all are in memory, of one before it."""
        return _time(max(self._live)) if self._first() is not None else None

    def pop(self, until_us: int, count_max: int) -> list[tuple[int, Key]]:
        """Take out the first places up to a time, inclusive, in order; return their times and keys."""
        taken: list[tuple[int, Key]] = []
        while len(taken) < count_max and (place := self._first()) is not None and _time(place) <= until_us:
            heapq.heappop(self._heap)
            self._live.discard(place)
            self._note(place, False)
            taken.append((_time(place), _key(place)))
        return taken

    @property
    def held(self) -> int:
        return len(self._live)

    def changes(self) -> list[StateWrite]:
        """Return what must be stored since the last call; places that are far away may then leave memory."""
        changed, self._changed = self._changed, {}
        self._sent = changed
        if len(self._live) > self._held_max:
            self._heap = sorted(self._live)
            del self._heap[self._held_max // 2 :]
            kept = set(self._heap)
            self._horizon = min(self._live - kept)
            self._live = kept
        return [(self._prefix + place, b"" if there else None) for place, there in changed.items()]

    # --- inside -----------------------------------------------------------------------------------------------------

    def _first(self) -> bytes | None:
        while True:
            while self._heap and self._heap[0] not in self._live:
                heapq.heappop(self._heap)
            if self._heap:
                return self._heap[0]
            if self._horizon is None:
                return None
            self._read_page()

    def _read_page(self) -> None:
        """Bring the places after the horizon into memory, a page of them."""
        assert self._reader is not None
        assert self._horizon is not None
        whole = StateRange.of_prefix(self._prefix)
        page = self._reader(within=StateRange(self._prefix + self._horizon, whole.past, self._page_keys))
        places = {key[len(self._prefix) :] for key in page}
        start, self._horizon = self._horizon, max(places) + b"\0" if len(places) == self._page_keys else None
        for place, there in chain(self._sent.items(), self._changed.items()):
            if place >= start and (self._horizon is None or place < self._horizon):
                (places.add if there else places.discard)(place)
        for place in places:
            self._hold(place)

    def _note(self, place: bytes, there: bool) -> None:
        if self._changed.get(place) is (not there):
            # It went and came back, or came and went: what is stored is right.
            del self._changed[place]
        else:
            self._changed[place] = there

    def _hold(self, place: bytes) -> None:
        if place not in self._live:
            self._live.add(place)
            heapq.heappush(self._heap, place)


def _place(at_us: int, key: Key) -> bytes:
    return (at_us + _SIGN).to_bytes(8, "big") + (b"\0" if key is None else b"\1" + key)


def _time(place: bytes) -> int:
    return int.from_bytes(place[:8], "big") - _SIGN


def _key(place: bytes) -> Key:
    return None if place[8:9] == b"\0" else place[9:]
