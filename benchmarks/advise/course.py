"""What one queue did, and what is said of it."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from typing import Final

import msgspec

WORKERS: Final = 2
MEAN_S: Final = 0.5
SPREAD: Final = 0.5
"""Coefficient of variation of the work: less than exponential, as of work that mostly waits for one other program."""

WARM_S: Final = 15.0
"""At the start, when the queue is empty and nothing is told yet; not counted."""

BATCHES: Final = 10
"""Of a course, for the standard error of its mean: long enough for waits of different batches to be independent."""


class Course(msgspec.Struct, frozen=True):
    """Every record of a run in the order of its append, and what the log knew at its end."""

    arrivals_us: list[int]
    starts_us: list[int]
    ends_us: list[int]
    asked_s: list[float]
    """How long each was to sleep."""
    told_s: list[float]
    """Service times as the workers told them: a sample with the mean of all."""
    told_arrivals_us: list[int]

    @property
    def services_s(self) -> list[float]:
        return [(end - start) / 1e6 for start, end in zip(self.starts_us, self.ends_us, strict=True)]

    @property
    def waits_s(self) -> list[float]:
        return [max(0, start - at) / 1e6 for at, start in zip(self.arrivals_us, self.starts_us, strict=True)]

    @property
    def handover_s(self) -> float:
        """The mean time from the end of one record's work to the begin of the next, where one waited meanwhile."""
        gaps = [start - free for at, start, free in self._taken() if at < free]
        return statistics.fmean(gaps) / 1e6 if gaps else 0.0

    @property
    def wake_up_s(self) -> float:
        """The mean time from the append of a record to the begin of its work, where a worker was idle."""
        gaps = [start - at for at, start, free in self._taken() if at >= free]
        return statistics.fmean(gaps) / 1e6 if gaps else 0.0

    def _taken(self) -> Iterator[tuple[int, int, int]]:
        """Yield append time, start, and when a worker was free for it; of all but the first few."""
        taken = sorted(zip(self.starts_us, self.arrivals_us, strict=True))[WORKERS:]
        for (start, at), free in zip(taken, sorted(self.ends_us), strict=False):
            yield at, start, min(free, start)

    @property
    def overslept_s(self) -> float:
        """How much longer than asked the mean sleep took: how busy the machine was with others."""
        return statistics.fmean(self.services_s) - statistics.fmean(self.asked_s)

    def counted(self, waits_s: list[float]) -> list[float]:
        """Return the waits of those records that are not of the warming up."""
        begun = self.arrivals_us[0] + WARM_S * 1e6
        return [wait for at, wait in zip(self.arrivals_us, waits_s, strict=True) if at >= begun]


def batch_means(waits_s: list[float]) -> list[float]:
    """Return the means of consecutive pieces."""
    size = len(waits_s) // BATCHES
    return [statistics.fmean(waits_s[size * batch : size * (batch + 1)]) for batch in range(BATCHES)]


def standard_error(courses: list[list[float]]) -> float:
    """Return that of the mean of all, from the means of pieces."""
    means = [mean for waits_s in courses for mean in batch_means(waits_s)]
    return statistics.stdev(means) / len(means) ** 0.5
