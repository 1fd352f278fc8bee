"""The mean wait that is predicted for a queue, against the one that is measured: at 50, 70 and 85% load."""

from __future__ import annotations

import os
import random
import statistics
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from benchmarks.advise.course import MEAN_S, SPREAD, WARM_S, WORKERS, Course, standard_error
from benchmarks.harness import Options, Report, child, folder
from millstream.advise.demand import demand_of
from millstream.advise.formulas import Load, predict
from millstream.advise.simulation import Work, waits_of

LOADS = (0.50, 0.70, 0.85)
SECONDS = 270.0
WITHIN = 0.15
DRAWS = 20
"""Simulations with other draws of the service times: their mean is the prediction."""


def measure(options: Options) -> Report:
    seconds = max(4 * WARM_S, SECONDS * options.scale)
    report = Report(
        "advise_wait",
        "The mean wait that `millstream advise --workers` predicts is within 15% of the one that a real queue has.",
        {
            "queue": f"{WORKERS} workers (threads), relaxed durability, arrivals at random (Poisson)",
            "work": f"a sleep, log-normal, {MEAN_S * 1000:.0f} ms on average, coefficient of variation {SPREAD:g}; a "
            "sleep, so that what is measured is the queue and not the other processes of the machine",
            "a run": f"{seconds:.0f} s in a process and a log of its own; {options.runs} run at the same time",
            "measured": "from the append time of a record to the first line of its handler",
            "predicted, simulation": "the arrivals in the log, played with service times drawn from what the workers "
            f"told; mean of {DRAWS} draws",
            "predicted, formula": "Allen-Cunneen with rate, mean and variations from the same",
            "error": "predicted / measured - 1, of each run",
        },
    )
    for load in LOADS:
        _add(report, load, _runs(options, load, seconds))
    return report


def _runs(options: Options, load: float, seconds: float) -> list[Course]:
    with folder(options) as directory, ThreadPoolExecutor(options.runs) as pool:

        def one(run: int) -> Course:
            path = Path(directory, f"{run}.db")
            seed = round(load * 1000) + run
            arguments = (str(path), str(seed), str(load), str(seconds), str(MEAN_S))
            return msgspec.convert(child("benchmarks.advise.one_queue", *arguments), Course)

        return list(pool.map(one, range(options.runs)))


def _add(report: Report, load: float, courses: list[Course]) -> None:
    name = f"{load:.0%} load"
    waits = [course.counted(course.waits_s) for course in courses]
    measured = [statistics.fmean(counted) for counted in waits]
    records = sum(map(len, waits))
    together = f"mean of all {statistics.fmean(measured) * 1000:.2f} ms"
    error = f"standard error {standard_error(waits) * 1000:.2f} ms"
    in_ms = [value * 1000 for value in measured]
    report.add(f"{name}: mean wait", in_ms, "ms", note=f"{together}, {error}; {records:,} records")
    simulated = [_simulated(course) for course in courses]
    _compare(report, f"{name}: simulation", simulated, measured)
    _compare(report, f"{name}: formula", [_formula(course) for course in courses], measured)
    _compare(report, f"{name}: played with its own times", [_own(course) for course in courses], measured)
    handover = statistics.fmean(course.handover_s for course in courses)
    wake_up = statistics.fmean(course.wake_up_s for course in courses)
    with_both = [_own(course, course.handover_s, course.wake_up_s) for course in courses]
    _compare(report, f"{name}: the same, with hand-over and wake-up", with_both, measured, claim=False)
    overslept = statistics.fmean(course.overslept_s for course in courses)
    report.findings.append(
        f"{name}: hand-over {handover * 1000:.2f} ms from the end of one record to the begin of the next where one "
        f"waits, wake-up {wake_up * 1000:.2f} ms from append to begin where a worker is idle, means; no prediction "
        f"has them; sleeps took {overslept * 1000:.2f} ms longer than asked (0.1 on an idle "
        f"machine; load after {os.getloadavg()[0]:.1f})"
    )


def _compare(report: Report, what: str, predicted: list[float], measured: list[float], *, claim: bool = True) -> None:
    errors = [(mine / theirs - 1) * 100 for mine, theirs in zip(predicted, measured, strict=True)]
    overall = statistics.fmean(predicted) / statistics.fmean(measured) - 1
    row = report.add(what, errors, "% off", note=f"of all runs together {overall:+.1%}")
    if claim:
        row.reach, row.reached = f"within {WITHIN:.0%}, together", abs(overall) <= WITHIN


def _simulated(course: Course) -> float:
    """Return the mean wait as `advise` predicts it: service times drawn from the sample."""
    demand = demand_of(times_us=course.told_arrivals_us, services_s=course.told_s)
    means = []
    for draw in range(DRAWS):
        services = random.Random(draw).choices(demand.services_s, k=len(demand.arrivals_s))
        means.append(statistics.fmean(course.counted(waits_of(Work(demand.arrivals_s, services), WORKERS))))
    return statistics.fmean(means)


def _formula(course: Course) -> float:
    demand = demand_of(times_us=course.told_arrivals_us, services_s=course.told_s)
    load: Load = demand.load
    return predict(load, WORKERS).wait_s


def _own(course: Course, handover_s: float = 0.0, wake_up_s: float = 0.0) -> float:
    """Return the mean wait of the same records with the times that they really took.

    Args:
        handover_s: Added to each: a worker is not free for the next one at once.
        wake_up_s: Waited where nothing else is waited for.
    """
    begun = course.arrivals_us[0]
    arrivals = [(at - begun) / 1e6 for at in course.arrivals_us]
    services = [took_s + handover_s for took_s in course.services_s]
    waits = [wait or wake_up_s for wait in waits_of(Work(arrivals, services), WORKERS)]
    return statistics.fmean(course.counted(waits))
