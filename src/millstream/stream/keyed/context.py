"""What a function with state may ask beside the value, and set beside its state."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TypeAlias

from millstream.durations import duration_us
from millstream.errors import UsageError
from millstream.records import time_from_us, time_to_us
from millstream.stream.keyed.entry import Entry

When: TypeAlias = datetime | timedelta | str | float
"""A moment, or how long after the record (for timers of the clock: from now)."""


class Context:
    """Given as the third argument to a function with state, and to `on_timer`. Good for that call only."""

    __slots__ = ("_can_fire", "_entry", "_from_us", "_now_us", "_step", "_timer_at_us", "clock", "key", "timer")

    def __init__(self, step: str, *, can_fire: bool) -> None:
        self._step = step
        self._can_fire = can_fire
        self._entry = Entry()
        self._from_us = 0
        self._now_us: int | None = None
        self._timer_at_us: int | None = None
        self.key: bytes | None = None
        """Of the record, or of the one that set the timer."""
        self.timer: str | None = None
        """The name of the timer that fires; None while a record is handled."""
        self.clock = False
        """Whether it is a timer of the wall clock."""

    @property
    def event_time(self) -> datetime:
        """When the record happened; of a timer, the time for which it was set."""
        return time_from_us(self._from_us)

    @property
    def watermark(self) -> datetime | None:
        """How far event time had come before the record; None before the first. Of a timer, its own time."""
        return None if self._now_us is None else time_from_us(self._now_us)

    def set_timer(self, at: When, name: str = "", *, clock: bool = False) -> None:
        """Have `on_timer` called for this key, once event time has come so far. Of each name a key has one timer.

        Args:
            at: A moment, or how long after `event_time`: `"30m"`. A moment that has passed already fires at once.
            clock: By the wall clock instead, whether records come or not: for polling and timeouts of the world
                outside. When it fires depends on when the stream runs, so that the answer does too.

        Raises:
            UsageError: The step has no `on_timer`, or a timer sets one that is not later than itself.
        """
        if not self._can_fire:
            raise UsageError(f"{self._step}: set_timer needs a function to call; give the step on_timer=")
        at_us = time_to_us(at) if isinstance(at, datetime) else self._from_us + duration_us(at)
        if self._timer_at_us is not None and clock is self.clock and at_us <= self._timer_at_us:
            raise UsageError(
                f"{self._step}: a timer at {time_from_us(self._timer_at_us)} set one at {time_from_us(at_us)}; "
                "it must be later, or it would fire for ever"
            )
        if clock:
            self._entry.clock_timers = {**(self._entry.clock_timers or {}), name: at_us}
            return
        if self._now_us is not None:
            at_us = max(at_us, self._now_us)
        self._entry.timers = {**(self._entry.timers or {}), name: at_us}

    def clear_timer(self, name: str = "", *, clock: bool = False) -> None:
        """Forget a timer of this key; nothing happens where there is none."""
        # A new dict: the old one is wanted where the function raises.
        entry = self._entry
        if clock and entry.clock_timers:
            entry.clock_timers = {of: at for of, at in entry.clock_timers.items() if of != name}
        elif not clock and entry.timers:
            entry.timers = {of: at for of, at in entry.timers.items() if of != name}

    def _begin(
        self,
        key: bytes | None,
        entry: Entry,
        from_us: int,
        now_us: int | None,
        timer: tuple[int, str] | None = None,
        clock: bool = False,
    ) -> Context:
        self.key = key
        self._entry = entry
        self._from_us = from_us
        self._now_us = now_us
        self._timer_at_us, self.timer = (None, None) if timer is None else timer
        self.clock = clock
        return self
