"""What a rule remembers of one key, and what it lets go of when that is enough.

Events may come in any order, and two files that are read at the same time may be days apart. So all is kept in the
order in which it came, and what came first goes first: an old file does not push out what belongs to the next new
event, nor the other way round.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from millstream.logs.gathering import Mark, kept

REMEMBERED: Final = 4
"""Times the count of a rule: so many events of a key are remembered, the last."""

TOLD_MAX: Final = 16
"""Alerts of a key that are remembered: as many files with old events may be read beside the new ones."""

THENS_MAX: Final = 4
"""Events of a second condition that are remembered: what has to come before them may come after."""


class Then(msgspec.Struct, array_like=True):
    """An event of a sequence's second condition, which so far had too few before it."""

    at_us: int
    event: dict[str, Any]
    """What the message of the rule names."""
    raw: str


class Memory(msgspec.Struct, omit_defaults=True, gc=False):
    """What a rule remembers of one key; each kind uses its part of it.

    There may be a million: what a kind does not use takes no room (an empty tuple is one for all, a list is not).
    """

    come_us: int | None = None
    """How far event time had come with the last event of the key."""
    times: tuple[int, ...] = ()
    """Of the last events (us)."""
    told: tuple[int, ...] = ()
    """Event times of the last alerts (us)."""
    windows: dict[int, int] | None = None
    """Start of a window (us) -> events in it."""
    by: dict[str, Any] | None = None
    values: tuple[tuple[int, str], ...] = ()
    """When (us) an event had which value: of rules that count different values."""
    thens: tuple[Then, ...] = ()
    marks: tuple[Mark, ...] = ()
    """Of rules whose events are of several conditions."""

    def was_told(self, first_us: int, past_us: int) -> bool:
        """Return whether an alert was at or after the first time and before the other."""
        return any(first_us <= told_us < past_us for told_us in self.told)

    def is_quiet(self, at_us: int, quiet_us: int) -> bool:
        """Return whether an alert was at the same moment, or less than `quiet_us` before or after."""
        quiet_us = max(quiet_us, 1)
        return bool(self.told) and self.was_told(at_us - quiet_us + 1, at_us + quiet_us)

    def tell(self, at_us: int, quiet_us: int) -> bool:
        """Note an alert, and return True; unless one was less than `quiet_us` before or after."""
        if self.is_quiet(at_us, quiet_us):
            return False
        self.told = (*self.told, at_us)[-TOLD_MAX:]
        return True

    def add_time(self, at_us: int, count: int) -> None:
        """Add an event.

        Args:
            count: Of events that the rule waits for.
        """
        self.times = (*self.times, at_us)[-REMEMBERED * count :]

    def add_value(self, at_us: int, value: str, count: int) -> None:
        """Add a value; once there are too many, of each the last few stay, so that one that comes often leaves some.

        Args:
            count: Of different values that the rule waits for.
        """
        self.values = (*self.values, (at_us, value))
        most = 2 * REMEMBERED * count
        if len(self.values) <= most:
            return
        kept: list[tuple[int, str]] = []
        of_value: dict[str, int] = {}
        # A quarter is let go of at a time: it takes a look at all of them.
        for entry in reversed(self.values):
            if len(kept) < most - most // 4 and (same := of_value.get(entry[1], 0)) < REMEMBERED:
                of_value[entry[1]] = same + 1
                kept.append(entry)
        self.values = tuple(reversed(kept))

    def add_window(self, start_us: int, most: int) -> int:
        """Count an event of a window; return how many it has."""
        windows = self.windows = self.windows or {}
        # Put at the end: the window that was counted in longest ago goes first.
        count = windows[start_us] = windows.pop(start_us, 0) + 1
        if len(windows) > most:
            del windows[next(iter(windows))]
        return count

    def add_mark(self, mark: Mark, count: int, *, ordered: bool) -> None:
        """Add an event that meets some of `count` conditions."""
        self.marks = kept((*self.marks, mark), count, ordered=ordered)

    def add_then(self, then: Then) -> None:
        self.thens = (*self.thens, then)[-THENS_MAX:]


def run_of_times(times: Sequence[int], at_us: int, count: int, within_us: int) -> tuple[int, int] | None:
    """Return when the first run of `count` events began and ended that is short enough and has one at `at_us` in it.

    Args:
        times: Of events, in any order; `at_us` is one of them.
    """
    if len(times) < count:
        return None
    near = [time for time in times if -within_us < time - at_us < within_us]
    if len(near) < count:
        return None
    near.sort()
    for first, last in zip(near, near[count - 1 :], strict=False):
        if first <= at_us <= last and last - first < within_us:
            return first, last
    return None


def run_of_values(
    values: Sequence[tuple[int, str]], at_us: int, count: int, within_us: int
) -> tuple[tuple[int, int], list[str]] | None:
    """Return when the first run of `count` different values began and ended that has one at `at_us`, and the values.

    A run is all events from one on that are within the time.

    Args:
        values: In any order.
    """
    near = [entry for entry in values if -within_us < entry[0] - at_us < within_us]
    if len(near) < count or len({value for _, value in near}) < count:
        return None
    near.sort()
    end = 0
    seen: dict[str, int] = {}
    for first_us, value in near:
        while end < len(near) and near[end][0] - first_us < within_us:
            seen[near[end][1]] = seen.get(near[end][1], 0) + 1
            end += 1
        if len(seen) >= count:
            return (first_us, near[end - 1][0]), sorted(seen)
        if end == len(near):
            return None  # a run that begins later has no more; the one from this event on has all after it
        seen[value] -= 1
        if not seen[value]:
            del seen[value]
    return None
