"""How many workers a queue needs for what is wanted of it: by formula and by simulation, with the range."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final, NamedTuple

import msgspec

from millstream.advise.demand import Demand
from millstream.advise.formulas import WORKERS_MAX, Prediction, latency_s, predict
from millstream.advise.simulation import (
    RESAMPLES,
    Played,
    Work,
    drain,
    inner_range,
    play,
    quantile,
    resampled,
    waits_of,
)
from millstream.advise.wording import percent_text, time_text
from millstream.errors import UsageError

AROUND: Final = 2
"""Numbers of workers that are shown below and above the answer."""

SERVICES_SHOWN: Final = 128
"""Service times that stand for all where a formula needs them again and again."""

AXIS_WANTED: Final = 4.0
"""A chart ends at so many times what is wanted, at most."""

UTILISATION_MAX: Final = 0.95
"""Workers that are busier than this on average are not planned with: how long the queue gets is then up to chance, and
a simulation of an hour says little about the next one."""

WAIT_SERVICES: Final = 1.0
"""Where nothing is stated, a record should not wait longer, on average, than work on it takes."""


class Target(msgspec.Struct, frozen=True):
    """What is wanted. None: not stated."""

    latency_s: float | None = None
    """`share` of the records are to be done within this time after their append."""
    share: float = 0.95
    deadline_s: float | None = None
    """What waits now is to be done within this time."""

    @property
    def about_backlog(self) -> bool:
        return self.latency_s is None and self.deadline_s is not None

    @property
    def wanted_s(self) -> float | None:
        """The time of `Level.outcome` that is wanted."""
        return self.deadline_s if self.about_backlog else self.latency_s

    @property
    def subject(self) -> str:
        """What `Level.outcome` is, in words."""
        return "what waits now is done within" if self.about_backlog else f"{percent_text(self.share)} are done within"


class Level(msgspec.Struct, frozen=True):
    """How the queue fares with one number of workers."""

    formula: Prediction
    formula_latency_s: float
    played: Played
    wait_range_s: tuple[float, float]
    """Of the mean wait: 5% to 95% of the courses that things could have taken."""
    latency_range_s: tuple[float, float]
    drain_s: float
    """Until what waits now is done."""
    drain_formula_s: float
    """The same as work / workers: each has its share until the end."""

    @property
    def workers(self) -> int:
        return self.formula.workers

    def outcome(self, target: Target) -> Outcome:
        """Return what the target is about: the backlog's end where only a deadline is stated, else the latency."""
        if target.about_backlog:
            return Outcome(self.drain_s, self.drain_s, self.drain_s, self.drain_formula_s)
        low, high = self.latency_range_s
        return Outcome(self.played.latency_s, min(low, self.played.latency_s), high, self.formula_latency_s)


class Outcome(NamedTuple):
    """A time, simulated, with its range, and by formula; seconds."""

    simulated: float
    low: float
    high: float
    formula: float


class Plan(msgspec.Struct, frozen=True):
    """An answer to "how many workers?"."""

    target: Target
    wanted: str
    """The target in words."""
    formula: int | None
    """Workers by formula; None: no number of them is enough."""
    simulation: int | None
    range: tuple[int, int] | None
    """Workers by simulation of resampled arrivals, 5% to 95%."""
    levels: tuple[Level, ...]
    notes: tuple[str, ...]

    @property
    def workers(self) -> int | None:
        """The answer: what the simulation says, as it knows the bursts."""
        return self.simulation

    @property
    def axis_s(self) -> float:
        """Where a chart of the outcomes should end: what takes far longer than is wanted must not flatten the rest."""
        outcomes = [level.outcome(self.target) for level in self.levels]
        highest = max(max(one.high, one.formula) if math.isfinite(one.formula) else one.high for one in outcomes)
        wanted = self.target.wanted_s
        return highest if wanted is None else max(wanted * 1.25, min(highest, wanted * AXIS_WANTED))


def plan(demand: Demand, target: Target, *, current: int = 0, seed: int = 0) -> Plan:
    """Return how many workers the demand needs for the target.

    Args:
        current: Workers that there are now; shown among the others.

    Raises:
        UsageError: A target is out of range, or the load beyond any number of workers.
    """
    _check(target)
    trial = _Trial(demand, target, seed)
    formula, simulation = trial.fewest(trial.by_formula), trial.fewest(trial.by_playing(trial.work))
    needed = [trial.fewest(trial.by_playing(course)) for course in trial.courses]
    found = [workers for workers in needed if workers is not None]
    spread = inner_range(found) if len(found) == len(needed) else None
    shown = _shown(demand.load.workers_min, simulation or formula or trial.least, current)
    return Plan(
        target=target,
        wanted=_wanted(target),
        formula=formula,
        simulation=simulation,
        range=None if spread is None else (round(spread[0]), round(spread[1])),
        levels=tuple(trial.level(workers) for workers in shown),
        notes=tuple(_notes(demand, target, formula, simulation)),
    )


class _Trial:
    """One demand and one target; any number of workers can be tried on it."""

    def __init__(self, demand: Demand, target: Target, seed: int) -> None:
        self.least = _least(demand)
        self.work = demand.work(seed)
        self.courses = [resampled(self.work, demand.services_s, seed + number) for number in range(1, RESAMPLES + 1)]
        self._demand = demand
        self._target = target
        self._backlog_s = demand.backlog_s(seed)
        self._services_s = _evenly(demand.services_s)
        # With a worker for each record nobody waits, whatever comes.
        self._most = min(WORKERS_MAX, max(self.least, len(demand.arrivals_s), demand.backlog))

    def fewest(self, enough: Callable[[int], bool]) -> int | None:
        return fewest(enough, self.least, self._most)

    def by_formula(self, workers: int) -> bool:
        """Say whether so many are enough, by formula."""
        prediction, target = predict(self._demand.load, workers), self._target
        if not self._in_time(self._drain_s(workers)):
            return False
        if target.latency_s is not None:
            return latency_s(prediction, target.share, self._services_s) <= target.latency_s
        return target.about_backlog or prediction.wait_s <= WAIT_SERVICES * self._demand.load.service_s

    def by_playing(self, course: Work) -> Callable[[int], bool]:
        """Return what says whether so many are enough for a course, by playing it."""

        def enough(workers: int) -> bool:
            target = self._target
            if not self._in_time(drain(self._backlog_s, workers)):
                return False
            if target.latency_s is not None:
                return latency_of(course, workers, target.share) <= target.latency_s
            mean_s = sum(waits_of(course, workers)) / len(course.arrivals_s)
            return target.about_backlog or mean_s <= WAIT_SERVICES * self._demand.load.service_s

        return enough

    def level(self, workers: int) -> Level:
        """Return how the queue fares with so many."""
        share, prediction = self._target.share, predict(self._demand.load, workers)
        others = [play(course, workers, share=share) for course in self.courses]
        return Level(
            formula=prediction,
            formula_latency_s=latency_s(prediction, share, self._services_s),
            played=play(self.work, workers, share=share),
            wait_range_s=inner_range([other.wait_s for other in others]),
            latency_range_s=inner_range([other.latency_s for other in others]),
            drain_s=drain(self._backlog_s, workers),
            drain_formula_s=self._drain_s(workers),
        )

    def _drain_s(self, workers: int) -> float:
        return self._demand.backlog * self._demand.load.service_s / workers

    def _in_time(self, drained_s: float) -> bool:
        # A hair of tolerance: 600 times 0.1 s is to be a minute, whatever floats make of it.
        deadline_s = self._target.deadline_s
        return deadline_s is None or drained_s <= deadline_s * (1 + 1e-9)


def fewest(enough: Callable[[int], bool], least: int, most: int) -> int | None:
    """Return the smallest number for which something holds that holds for all above it; None: not up to `most`."""
    step, high = 1, least
    while not enough(high):
        if high >= most:
            return None
        least, high, step = high + 1, min(most, high + step), step * 2
    while least < high:
        middle = (least + high) // 2
        if enough(middle):
            high = middle
        else:
            least = middle + 1
    return high


def latency_of(work: Work, workers: int, share: float) -> float:
    """Return the time within which a share of the records was done."""
    waits = waits_of(work, workers)
    return quantile(sorted(wait + service for wait, service in zip(waits, work.services_s, strict=True)), share)


def _least(demand: Demand) -> int:
    """Return the fewest workers that are considered.

    Raises:
        UsageError: They are more than anybody has.
    """
    least = max(demand.load.workers_min, math.ceil(demand.load.offered / UTILISATION_MAX - 1e-9))
    if least > WORKERS_MAX:
        raise UsageError(
            f"{demand.load.rate_per_s:,.6g} records a second x {time_text(demand.load.service_s)} each keep "
            f"{demand.load.offered:,.0f} workers busy, and {WORKERS_MAX:,} are the most; look at --rate and --service"
        )
    return least


def _shown(least: int, answer: int, current: int) -> list[int]:
    around = range(max(least, answer - AROUND), answer + AROUND + 1)
    return sorted({*around, *([current] if least <= current <= WORKERS_MAX else [])})


def _evenly(services_s: list[float]) -> list[float]:
    """Return fewer service times of the same distribution."""
    ordered = sorted(services_s)
    if len(ordered) <= SERVICES_SHOWN:
        return ordered
    return [ordered[int((place + 0.5) * len(ordered) / SERVICES_SHOWN)] for place in range(SERVICES_SHOWN)]


def _wanted(target: Target) -> str:
    parts = []
    if target.latency_s is not None:
        parts.append(f"{percent_text(target.share)} of the records done within {time_text(target.latency_s)}")
    if target.deadline_s is not None:
        parts.append(f"what waits now done within {time_text(target.deadline_s)}")
    return " and ".join(parts) or "a record waits no longer than work on it takes, on average"


def _notes(demand: Demand, target: Target, formula: int | None, simulation: int | None) -> list[str]:
    notes = []
    if simulation is None and target.latency_s is not None:
        alone = quantile(sorted(demand.services_s), target.share)
        notes.append(
            f"no number of workers is enough: {percent_text(target.share)} of the records are wanted within "
            f"{time_text(target.latency_s)}, and work alone takes {time_text(alone)} for so many; make the work "
            "shorter, or allow more time"
        )
    if formula is not None and simulation is not None and simulation > formula:
        notes.append(
            "the simulation says more than the formula, which knows no waves: records come closer together at times "
            "than gaps drawn one by one would"
        )
    if not demand.arrivals_recorded:
        notes.append("arrivals are drawn at random with the stated rate: bursts that they have are not in this")
    if not demand.services_recorded:
        notes.append("service times are assumed, not measured: a queue that runs tells them")
    return notes


def _check(target: Target) -> None:
    if not 0 < target.share < 1:
        raise UsageError(f"--share {target.share:g}: give a share of the records between 0 and 1, such as 0.95")
    for option, value in (("--latency", target.latency_s), ("--deadline", target.deadline_s)):
        if value is not None and not value > 0:
            raise UsageError(f"{option} 0: nothing is done in no time; give more than 0")
