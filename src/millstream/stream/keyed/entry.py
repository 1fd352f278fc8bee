"""What is kept of one key."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from millstream import limits

NEVER_US: Final = 1 << 62
"""A time that does not come."""


class Memory(msgspec.Struct, frozen=True):
    """How much of what is stored a step holds in memory."""

    state_bytes: int = limits.STATE_MEMORY_BYTES
    """Of entries, about."""
    few_keys: int = 64
    """Changed by a commit, up to which each is written to its place: half a megabyte of pages at most."""
    due_keys: int = 100_000
    """Places in an index of times; later ones are read again when their time has come near."""
    page_keys: int = 10_000
    """Read and fired at a time; reading so many takes less than a tenth of a second."""


MEMORY: Final = Memory()


class Entry(msgspec.Struct, gc=False):
    """The state of a key and its timers, in memory."""

    state: Any = None
    """None: nothing is kept; the function is given a new one."""
    touched_us: int | None = None
    """The latest event time of the key's records and timers, where state has a time to live."""
    timers: dict[str, int] | None = None
    """Event time by name."""
    clock_timers: dict[str, int] | None = None
    """Wall-clock time by name."""
    woken_us: int = NEVER_US
    """Where the key stands in the index of event times: at its next timer or expiry, or before."""
    clock_woken_us: int = NEVER_US
    """The same of the wall clock."""
    due_us: int = NEVER_US
    """Its next timer or expiry."""

    def plan(self, ttl_us: int | None) -> None:
        """Find out what is due next."""
        due_us = min(self.timers.values()) if self.timers else NEVER_US
        if ttl_us is not None and self.touched_us is not None and self.state is not None:
            expires_us = self.touched_us + ttl_us
            if expires_us < due_us:
                due_us = expires_us
        self.due_us = due_us

    def next_timer(self) -> tuple[int, str] | None:
        """Return time and name of the next timer of event time."""
        return min((at, name) for name, at in self.timers.items()) if self.timers else None

    def next_clock_timer(self) -> tuple[int, str] | None:
        return min((at, name) for name, at in self.clock_timers.items()) if self.clock_timers else None


class Stored(msgspec.Struct, array_like=True):
    """An entry as it is stored; without times and timers it is no more than its state in a list."""

    state: msgspec.Raw
    touched_us: int | None = None
    timers: dict[str, int] | None = None
    clock_timers: dict[str, int] | None = None
    woken_us: int = NEVER_US
    clock_woken_us: int = NEVER_US
