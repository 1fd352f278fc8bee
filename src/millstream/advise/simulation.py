"""A queue played: arrivals come as they came, work takes as long as it took, the first come is the first served.

No distribution is assumed: bursts, pauses and days are in the arrivals. One heap of the moments at which workers are
free is all there is to it.

Source: Kiefer, Wolfowitz, "On the theory of queues with many servers", Transactions of the AMS 78, 1955; ranges by the
moving-block bootstrap, Kuensch, Annals of Statistics 17, 1989.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from heapq import heapify, heappop, heappush, heapreplace
from itertools import accumulate, pairwise
from typing import Final

import msgspec

RESAMPLES: Final = 20
"""Of the bootstrap: the range is from the second smallest to the second largest, 5% to 95%."""

BLOCKS_MIN: Final = 20
"""A resample is put together from pieces of a twentieth of the arrivals: a burst stays whole, and there is a choice."""


class Work(msgspec.Struct, frozen=True):
    """Records with their work, in the order of their arrival."""

    arrivals_s: Sequence[float]
    """Moments, ascending."""
    services_s: Sequence[float]
    """How long each takes."""


class Played(msgspec.Struct, frozen=True):
    """What became of the records of one simulation."""

    workers: int
    wait_s: float
    """Mean time from arrival to the start of work."""
    waits: float
    """Share that waited at all."""
    latency_s: float
    """The time from arrival within which the wanted share was done."""
    length: float
    """Mean number of records that waited, over the time from the first to the last arrival."""
    length_max: int
    utilisation: float
    """Share of the workers' time from the first arrival to the last end that they were busy."""
    ended_s: float
    """When the last was done, after the first arrival."""


def play(work: Work, workers: int, *, share: float = 0.95) -> Played:
    """Play the records with so many workers.

    Args:
        work: At least one record.
        workers: 1 or more.
        share: Of `Played.latency_s`, 0 to 1.
    """
    waits = waits_of(work, workers)
    arrivals, services = work.arrivals_s, work.services_s
    begun, count = arrivals[0], len(arrivals)
    latencies = sorted(wait + service for wait, service in zip(waits, services, strict=True))
    ended = max(at + wait + service for at, wait, service in zip(arrivals, waits, services, strict=True)) - begun
    wait_s = sum(waits) / count
    span = arrivals[-1] - begun or ended
    return Played(
        workers=workers,
        wait_s=wait_s,
        waits=sum(wait > 0 for wait in waits) / count,
        latency_s=quantile(latencies, share),
        length=sum(waits) / span if span else 0.0,
        length_max=_longest(arrivals, waits),
        utilisation=min(1.0, sum(services) / (workers * ended)) if ended else 0.0,
        ended_s=ended,
    )


def waits_of(work: Work, workers: int) -> list[float]:
    """Return how long each record waits for a worker, in seconds."""
    waits: list[float] = []
    append = waits.append
    if workers == 1:
        free_at = -math.inf
        for at, service in zip(work.arrivals_s, work.services_s, strict=True):
            begins = free_at if free_at > at else at
            append(begins - at)
            free_at = begins + service
        return waits
    free = [-math.inf] * workers
    heapify(free)
    for at, service in zip(work.arrivals_s, work.services_s, strict=True):
        begins = free[0] if free[0] > at else at
        append(begins - at)
        heapreplace(free, begins + service)
    return waits


def lengths_of(work: Work, workers: int, points: int) -> list[tuple[float, int]]:
    """Return (seconds since the first arrival, records that wait) at `points` moments, evenly spread; for charts."""
    arrivals = work.arrivals_s
    starts = sorted(at + wait for at, wait in zip(arrivals, waits_of(work, workers), strict=True))
    begun, span = arrivals[0], max(starts[-1], arrivals[-1]) - arrivals[0]
    found = []
    came = began = 0
    for point in range(points):
        moment = begun + span * point / max(1, points - 1)
        while came < len(arrivals) and arrivals[came] <= moment:
            came += 1
        while began < len(starts) and starts[began] <= moment:
            began += 1
        found.append((moment - begun, came - began))
    return found


def drain(services_s: Sequence[float], workers: int) -> float:
    """Return the seconds until all of a backlog is done, the first come being the first begun."""
    free = [0.0] * min(workers, len(services_s))
    for service in services_s:
        heapreplace(free, free[0] + service)
    return max(free, default=0.0)


def resampled(work: Work, services_s: Sequence[float], seed: int) -> Work:
    """Return another course that things could have taken: blocks of the gaps, service times drawn anew.

    Args:
        services_s: Those that were measured.
    """
    draw = random.Random(f"course {seed}")
    arrivals = work.arrivals_s
    gaps = [later - earlier for earlier, later in pairwise(arrivals)]
    block = max(1, len(gaps) // BLOCKS_MIN)
    chosen: list[float] = []
    while len(chosen) < len(gaps):
        start = draw.randrange(len(gaps) - block + 1)
        chosen += gaps[start : start + block]
    times = list(accumulate(chosen[: len(gaps)], initial=0.0))
    return Work(times, draw.choices(services_s, k=len(times)))


def quantile(ordered: Sequence[float], share: float) -> float:
    """Return the smallest value that at least this share of the ordered values does not exceed."""
    return ordered[max(0, min(len(ordered) - 1, math.ceil(share * len(ordered) - 1e-9) - 1))]


def inner_range(values: Sequence[float]) -> tuple[float, float]:
    """Return the range from 5% to 95% of some values."""
    ordered = sorted(values)
    cut = len(ordered) // 20
    return ordered[cut], ordered[len(ordered) - 1 - cut]


def _longest(arrivals: Sequence[float], waits: Sequence[float]) -> int:
    """Return how many records waited at most at the same time: a record leaves when its work starts."""
    waiting: list[float] = []
    longest = 0
    for at, wait in zip(arrivals, waits, strict=True):
        while waiting and waiting[0] <= at:
            heappop(waiting)
        if wait > 0:
            heappush(waiting, at + wait)
            longest = max(longest, len(waiting))
    return longest
