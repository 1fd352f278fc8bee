"""What a queue will have to do: arrivals and service times, recorded or assumed."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from itertools import pairwise
from statistics import NormalDist
from typing import Final

import msgspec

from millstream.advise.arrivals import generated_s, squared_variation
from millstream.advise.formulas import Load
from millstream.advise.simulation import Work
from millstream.errors import UsageError

PLAYED_MAX: Final = 20_000
"""Arrivals that a simulation plays: a 95th percentile of so many is known within some percent, and each takes a
microsecond for each number of workers that is tried."""

RECORDED_MIN: Final = 50
"""With fewer arrivals or service times on record, those of a known mean are drawn instead."""

ASSUMED: Final = 512
"""Service times that stand for a distribution that is assumed."""


class Demand(msgspec.Struct, frozen=True):
    """Arrivals and service times for the formulas and the simulation."""

    load: Load
    arrivals_s: list[float]
    """From the first on, ascending."""
    services_s: list[float]
    """A sample, in no order."""
    arrivals_recorded: bool
    """False: drawn at random with the stated rate."""
    services_recorded: bool
    backlog: int = 0
    """Records that wait already."""

    def work(self, seed: int) -> Work:
        """Return the arrivals with a service time each, drawn from the sample."""
        # Not the numbers that arrivals were drawn with: long gaps would go with long work.
        draw = random.Random(f"services {seed}")
        return Work(self.arrivals_s, draw.choices(self.services_s, k=len(self.arrivals_s)))

    def backlog_s(self, seed: int) -> list[float]:
        """Return a service time for each record of the backlog."""
        return random.Random(f"backlog {seed}").choices(self.services_s, k=self.backlog)


def demand_of(
    *,
    times_us: Sequence[int] = (),
    rate_per_s: float | None = None,
    growth: float = 1.0,
    services_s: Sequence[float] = (),
    service_s: float | None = None,
    spread: float = 1.0,
    backlog: int = 0,
    seed: int = 0,
) -> Demand:
    """Return a demand from what was recorded, or where that is too little, from means.

    Args:
        times_us: Recorded moments of arrivals, ascending; the newest `PLAYED_MAX` count.
        rate_per_s: In place of them: arrivals at random, so many a second.
        growth: So many times as many arrivals as were recorded: their course is played so many times as fast.
        services_s: Recorded service times.
        service_s: In place of them: the mean.
        spread: Coefficient of variation around that mean: 0 regular, 1 exponential, others log-normal.

    Raises:
        UsageError: Neither is known, or a number is out of range; says what to give.
    """
    if not growth > 0:
        raise UsageError(f"--growth {growth:g}: give how many times as many arrivals, above 0")
    services, services_recorded = _services(services_s, service_s, spread)
    recorded = rate_per_s is None and len(times_us) >= RECORDED_MIN and times_us[-1] > times_us[0]
    if recorded:
        newest = times_us[-PLAYED_MAX:]
        arrivals = [(moment - newest[0]) / 1e6 / growth for moment in newest]
    else:
        rate_per_s = _rate(times_us) if rate_per_s is None else rate_per_s
        arrivals = generated_s(rate_per_s * growth, PLAYED_MAX, seed)
    gaps = [later - earlier for earlier, later in pairwise(arrivals)]
    load = Load(
        rate_per_s=len(gaps) / arrivals[-1] if recorded else (rate_per_s or 0.0) * growth,
        service_s=sum(services) / len(services),
        arrival_cv2=squared_variation(gaps) if recorded else 1.0,
        service_cv2=squared_variation(services),
    )
    return Demand(load, arrivals, services, recorded, services_recorded, backlog)


def _rate(times_us: Sequence[int]) -> float:
    if len(times_us) < 2 or times_us[-1] == times_us[0]:
        raise UsageError(
            "how many records arrive is not known: there are fewer than two moments on record; give --rate 5"
        )
    return (len(times_us) - 1) / (times_us[-1] - times_us[0]) * 1e6


def _services(recorded_s: Sequence[float], mean_s: float | None, spread: float) -> tuple[list[float], bool]:
    if not 0 <= spread <= 10:
        raise UsageError(f"--spread {spread:g}: give 0 (all take the same) to 10; 1 is exponential")
    if mean_s is None:
        if len(recorded_s) >= RECORDED_MIN:
            return list(recorded_s), True
        if not recorded_s:
            raise UsageError(
                "how long work on one record takes is not known: no worker of a queue of this topic has told yet; "
                "run one for a minute, or give --service 200ms"
            )
        mean_s = sum(recorded_s) / len(recorded_s)
    if not mean_s > 0:
        raise UsageError(f"work that takes {mean_s:g} s: give --service above 0")
    if spread == 0:
        return [mean_s], False
    places = [(place + 0.5) / ASSUMED for place in range(ASSUMED)]
    if spread == 1:
        values = [-math.log(1 - place) for place in places]
    else:
        sigma, normal = math.sqrt(math.log(1 + spread**2)), NormalDist()
        values = [math.exp(sigma * normal.inv_cdf(place)) for place in places]
    # Exactly the mean that was stated: a percent off would be ten percent of waiting.
    scale = mean_s * len(values) / sum(values)
    return [value * scale for value in values], False
