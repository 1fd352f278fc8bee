"""Which due times are run, which wait, which are left out: pure decisions of a schedule.

Each due time is looked at once, by whichever process is first: the plan says up to which moment that was done, and is
changed only in commits that expect it as it was read.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Final, Literal, NamedTuple, TypeAlias

import msgspec

from millstream.triggers.schedule import Schedule, dues_between

Missed: TypeAlias = Literal["skip", "once", "all"]
Overlap: TypeAlias = Literal["skip", "queue"]

PLAN: Final = b"plan"
"""The key of the group's state that holds it."""

LATE_US: Final = 60_000_000
"""A due time that is first looked at later than this was missed: even a loaded machine is not so late."""

WAITING_MAX: Final = 1000
"""Due times that wait for their run; they are one value in the log."""

COUNTED_MAX: Final = 10_000
"""Due times that are left out are counted up to here."""

CLOCK_US: Final = 86_400_000_000
"""A plan that is further ahead than this was made by a clock that was wrong, and is begun anew."""


class Plan(msgspec.Struct, frozen=True, array_like=True):
    """Where a schedule is."""

    looked_us: int
    """Due times up to this one were looked at."""
    waiting: tuple[int, ...] = ()
    """Those to be run, oldest first."""


class Look(NamedTuple):
    """What came of a look at the time."""

    plan: Plan
    dropped: int = 0
    """Due times that are not run, by policy."""
    why: str = ""


class Together(msgspec.Struct, frozen=True):
    """Several schedules as one."""

    schedules: tuple[Schedule, ...]

    def __str__(self) -> str:
        return ", ".join(str(one) for one in self.schedules)

    def next_after(self, us: int) -> int | None:
        return min((due for one in self.schedules if (due := one.next_after(us)) is not None), default=None)

    def last_at(self, us: int) -> int | None:
        return max((due for one in self.schedules if (due := one.last_at(us)) is not None), default=None)


def look(plan: Plan, schedule: Schedule, now_us: int, *, running: bool, missed: Missed, overlap: Overlap) -> Look:
    """Return the plan after a look at the time.

    Args:
        running: A run is in progress, in whatever process.
    """
    if plan.looked_us > now_us + CLOCK_US:
        return Look(Plan(now_us, plan.waiting), 0, "the clock was set back by more than a day: begun anew from now")
    late_us = now_us - LATE_US
    late = _late(plan, schedule, late_us, missed)
    if late.plan.looked_us < late_us and missed == "all" and len(late.plan.waiting) >= WAITING_MAX:
        return late
    on_time = [*dues_between(schedule, max(late.plan.looked_us, late_us), now_us)]
    if not on_time:
        return late
    if running and overlap == "skip":
        why = late.why or "the run before had not ended"
        return Look(Plan(on_time[-1], late.plan.waiting), late.dropped + len(on_time), why)
    room = max(0, WAITING_MAX - len(late.plan.waiting))
    waiting = (*late.plan.waiting, *on_time[:room])
    dropped = len(on_time) - len(on_time[:room])
    why = f"{WAITING_MAX} due times wait already" if dropped else late.why
    return Look(Plan(on_time[-1], waiting), late.dropped + dropped, why)


def _late(plan: Plan, schedule: Schedule, late_us: int, missed: Missed) -> Look:
    """Return the plan after what was missed."""
    last = schedule.last_at(late_us)
    if last is None or last <= plan.looked_us:
        return Look(plan)
    why = "no process was there"
    if missed == "all":
        room = max(0, WAITING_MAX - len(plan.waiting))
        taken = _some(schedule, plan.looked_us, last, room)
        return Look(Plan(taken[-1], (*plan.waiting, *taken)) if taken else plan)
    count = len(_some(schedule, plan.looked_us, last, COUNTED_MAX))
    if missed == "once":
        return Look(Plan(last, (*plan.waiting, last)), count - 1, why if count > 1 else "")
    return Look(Plan(last, plan.waiting), count, why)


def _some(schedule: Schedule, after_us: int, until_us: int, most: int) -> Sequence[int]:
    return [*itertools.islice(dues_between(schedule, after_us, until_us), most)]
