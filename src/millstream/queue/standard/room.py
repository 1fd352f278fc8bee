"""Waiting for room in a bounded queue."""

from __future__ import annotations

import time
from typing import Any, Final

from millstream.queue.standard.store import WANTS_ROOM_US, Store

_NAPS_S: Final = (0.01, 0.05, 0.25, 1.0)
"""How long to wait for room before looking again, should the news of it be missed between a look and the wait."""


class Room:
    """One wait of one `put`."""

    def __init__(self, store: Store[Any]) -> None:
        self.count = 0
        """How many items there was room for at the last look; 0: not known."""
        self._store = store
        self._end: int | None = None
        self._naps = iter(_NAPS_S)
        self._said = 0.0

    def wait(self, timeout: float) -> None:
        """Sleep until there may be room; the first time only say that it is wanted, to look once more after that."""
        if self._end is not None:
            self._store.wait({0: self._end}, min(timeout, next(self._naps, _NAPS_S[-1])))
        if time.monotonic() - self._said > WANTS_ROOM_US / 2e6:
            self._said = time.monotonic()
            self._store.say_that_room_is_wanted()
        _, self._end = self._store.end()
