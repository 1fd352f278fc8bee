"""What benchmarks/advise measures is what it says: a real queue, played again with its own times."""

from __future__ import annotations

import statistics
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from benchmarks.advise.course import WORKERS, Course, batch_means, standard_error

from millstream.advise.simulation import Work, waits_of

ROOT = Path(__file__).parents[2]


def test_a_real_queue_waits_as_long_as_an_ideal_one_with_the_same_work_or_longer(tmp_path: Path) -> None:
    """Longer by what a busy machine adds; never shorter, or the simulation would not be that of such a queue."""
    command = [sys.executable, "-m", "benchmarks.advise.one_queue", str(tmp_path / "log.db"), "1", "0.7", "6", "0.05"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr.decode()
    course = msgspec.json.decode(done.stdout, type=Course)
    assert len(course.arrivals_us) == len(course.told_arrivals_us) == len(course.asked_s) > 50
    assert course.arrivals_us == course.told_arrivals_us
    assert course.overslept_s >= 0
    assert course.told_s
    begun = course.arrivals_us[0]
    arrivals = [(at - begun) / 1e6 for at in course.arrivals_us]
    ideal = statistics.fmean(waits_of(Work(arrivals, course.services_s), WORKERS))
    measured = statistics.fmean(course.waits_s)
    # Workers may pass one another by a moment, which leaves the mean a little freedom.
    assert measured >= ideal * 0.9 - 0.005


def test_the_hand_over_is_the_time_between_two_records_of_a_busy_worker() -> None:
    course = Course(
        arrivals_us=[0, 0, 10, 20],
        starts_us=[0, 0, 1_000_500, 2_000_700],
        ends_us=[1_000_000, 2_000_000, 5_000_000, 6_000_000],
        asked_s=[1.0, 2.0, 4.0, 4.0],
        told_s=[],
        told_arrivals_us=[],
    )
    assert course.handover_s == pytest.approx(0.0006)
    assert course.wake_up_s == 0.0
    assert course.counted([1.0, 1.0, 1.0, 1.0]) == []


def test_the_standard_error_is_that_of_independent_pieces() -> None:
    waits = [float(number // 100) for number in range(1000)]
    assert batch_means(waits) == [float(batch) for batch in range(10)]
    assert standard_error([waits, waits]) == pytest.approx(statistics.stdev([*range(10)] * 2) / 20**0.5)
