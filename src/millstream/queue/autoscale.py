"""How many workers a queue should have: between a minimum and a maximum, by time to drain, without flapping.

`decide` is pure: what was seen and what was wanted before come in, what to do comes out. Up at once, though at most
doubling at a time; down only when fewer would have been enough for a while, and no further than the most that was
wanted in it. So a pause of a second between two bursts does not cost the workers, and a burst of a second does not
leave them standing for longer than that while.

Source: scaling policies and stabilisation window of the Kubernetes Horizontal Pod Autoscaler (autoscaling/v2).
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

import msgspec

from millstream.durations import duration_us
from millstream.engines.protocol import GroupInfo
from millstream.errors import SettingsError
from millstream.queue import capacity

WINDOW_US: Final = 10_000_000
"""Rates are taken over this time: longer than a garbage collection or a slow record, short enough to follow a burst."""

STEP_US: Final = 1_000_000
"""Not more than one step in this time: what the last one did has to show first."""


OVERDUE_US: Final = 1_000_000
"""A record that is due for this long found no worker: idle ones look more often."""


class Scaling(msgspec.Struct, frozen=True):
    """What `workers=(minimum, maximum)` of a queue means.

    Raises:
        SettingsError: A value is out of range.
        UsageError: A duration is none.
    """

    minimum: int
    maximum: int
    drain: timedelta | str | float = "30s"
    """In which time what is in the queue should be done."""
    utilisation: float = capacity.UTILISATION
    """Share of their time that workers should be busy."""
    down_after: timedelta | str | float = "60s"
    """Fewer workers only after fewer have been enough for so long."""

    def __post_init__(self) -> None:
        if not 1 <= self.minimum <= self.maximum:
            raise SettingsError(
                f"workers=({self.minimum}, {self.maximum}): give a minimum of 1 or more and a maximum not below it"
            )
        if not 0 < self.utilisation <= 1:
            raise SettingsError(
                f"Scaling(utilisation={self.utilisation}): a share of time; give more than 0, at most 1"
            )
        if not duration_us(self.drain):
            raise SettingsError("Scaling(drain=0): nothing is done in no time; give a duration above 0")
        duration_us(self.down_after)

    def clamp(self, workers: int) -> int:
        return min(self.maximum, max(self.minimum, workers))


class Load(msgspec.Struct, frozen=True):
    """A queue and the workers of this process; `accepted`, `handled` and `busy_us` are sums that never go back."""

    at_us: int
    """Monotonic."""
    workers: int
    """That run now."""
    accepted: int
    """Records the group was ever given, of all processes."""
    backlog: int
    """Records that wait for a worker and are due; see `backlog`."""
    handled: int
    """Deliveries ended by workers of this process."""
    busy_us: int
    """Time that they spent in handlers, what is running now included where it is known."""
    processes: int = 1
    """That share the work; each scales for its part of it. The most of the window count: one that is not heard of for
    a moment comes back."""


def backlog(info: GroupInfo, now_us: int) -> int:
    """Return how many records of a queue wait for a worker.

    What was given back counts where some of it has been due for a while: then there are too few workers for it, and how
    much of it waits for a later time is not known.
    """
    overdue = info.next_due_us is not None and info.next_due_us <= now_us - OVERDUE_US
    return info.ledger.ready + (info.ledger.waiting if overdue else 0)


class Memory(msgspec.Struct, frozen=True):
    """What a decision needs to know of the past; bounded by the windows."""

    loads: tuple[Load, ...] = ()
    wanted: tuple[tuple[int, int], ...] = ()
    """(moment, workers) of earlier looks, oldest first."""
    service_s: float | None = None
    """The last that was measured: between two bursts nothing is."""
    changed_us: int | None = None


class Decision(msgspec.Struct, frozen=True):
    """How many workers there should be now, and why."""

    workers: int
    reason: str


def decide(scaling: Scaling, memory: Memory, load: Load) -> tuple[Decision, Memory]:
    """Say how many workers there should be from now on, and what to remember for the next time.

    To be called about once a second; the answer does not depend on how regularly.
    """
    loads = (*_within(memory.loads, load.at_us - WINDOW_US), load)
    service_s = _service_s(loads) or memory.service_s
    wanted_now, reason = _wanted(scaling, loads, service_s)
    keep_from_us = load.at_us - duration_us(scaling.down_after)
    wanted = (*((at, count) for at, count in memory.wanted if at >= keep_from_us), (load.at_us, wanted_now))
    # A process that has just begun has no past that says that fewer are enough.
    seen_long_enough = bool(memory.wanted) and memory.wanted[0][0] <= keep_from_us
    workers, changed_us = scaling.clamp(load.workers), memory.changed_us
    rested = changed_us is None or load.at_us - changed_us >= STEP_US
    if wanted_now > workers and rested:
        workers = min(wanted_now, workers * 2)
    elif wanted_now < workers and seen_long_enough and rested:
        most = max(count for _, count in wanted)
        if most < workers:
            workers, reason = most, f"at most {most} were needed for {duration_us(scaling.down_after) / 1e6:g} s"
    if workers != load.workers:
        changed_us = load.at_us
    else:
        reason = f"stays: {reason}"
    # One look from before the window stays, as proof that the window is full.
    before = [(at, count) for at, count in memory.wanted if at < keep_from_us][-1:]
    return Decision(workers, reason), Memory(loads, (*before, *wanted), service_s, changed_us)


class Scaler:
    """`decide` with its memory, for one queue of one process."""

    def __init__(self, scaling: Scaling) -> None:
        self.scaling = scaling
        self._memory = Memory()

    def decide(self, load: Load) -> Decision:
        """Say how many workers there should be now; see the function of this name."""
        decision, self._memory = decide(self.scaling, self._memory, load)
        return decision


def _within(loads: tuple[Load, ...], from_us: int) -> tuple[Load, ...]:
    """Return the loads since a moment, and one before it: a rate needs its beginning."""
    inside = tuple(load for load in loads if load.at_us >= from_us)
    before = tuple(load for load in loads if load.at_us < from_us)[-1:]
    return (*before, *inside)


def _service_s(loads: tuple[Load, ...]) -> float | None:
    first, last = loads[0], loads[-1]
    handled, busy_us = last.handled - first.handled, last.busy_us - first.busy_us
    if handled > 0:
        return capacity.service_s(busy_us, handled)
    # Nothing ended in the window, and yet all were busy in it: a record takes that long at least.
    elapsed_us = last.at_us - first.at_us
    return elapsed_us / 1e6 if elapsed_us > 0 and last.backlog and busy_us >= elapsed_us * last.workers / 2 else None


def _wanted(scaling: Scaling, loads: tuple[Load, ...], service_s: float | None) -> tuple[int, str]:
    first, last = loads[0], loads[-1]
    elapsed_s = (last.at_us - first.at_us) / 1e6
    processes = max(load.processes for load in loads)
    arrival = (last.accepted - first.accepted) / elapsed_s / processes if elapsed_s > 0 else 0.0
    backlog = last.backlog // processes
    if service_s is None:
        # Nothing is known of the work yet. Where some waits, one worker more finds out sooner than a formula.
        workers = scaling.clamp(last.workers + 1 if backlog > last.workers else last.workers)
        return workers, f"{backlog} wait, and how long one takes is not known yet"
    needed = capacity.workers_needed(
        arrival_per_s=arrival,
        backlog=backlog,
        service_s=service_s,
        drain_s=duration_us(scaling.drain) / 1e6,
        utilisation=scaling.utilisation,
    )
    return scaling.clamp(needed), f"{arrival:.3g} arrive a second, {backlog} wait, {service_s:.3g} s each: {needed}"
