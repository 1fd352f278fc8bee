"""The formulas behind "how many workers do I need?"."""

from __future__ import annotations

import math

import pytest

from millstream.durations import duration_text
from millstream.queue import capacity


def test_service_time_is_the_time_in_handlers_by_deliveries() -> None:
    assert capacity.service_s(busy_us=3_000_000, handled=6) == 0.5


def test_service_time_is_not_known_before_anything_was_handled() -> None:
    assert capacity.service_s(busy_us=3_000_000, handled=0) is None


def test_utilisation_is_a_share_of_the_time_of_all_workers() -> None:
    assert capacity.utilisation(busy_us=5_000_000, workers=2, elapsed_us=10_000_000) == 0.25
    assert capacity.utilisation(busy_us=99_000_000, workers=2, elapsed_us=10_000_000) == 1.0
    assert capacity.utilisation(busy_us=1, workers=0, elapsed_us=10_000_000) is None


def test_a_queue_drains_at_the_difference_of_its_rates() -> None:
    assert capacity.drain_s(100, arrival_per_s=5, service_per_s=15) == 10
    assert capacity.drain_s(0, arrival_per_s=50, service_per_s=1) == 0


def test_a_queue_that_does_not_get_shorter_never_drains() -> None:
    assert capacity.drain_s(1, arrival_per_s=5, service_per_s=5) == math.inf
    assert capacity.drain_s(1, arrival_per_s=5, service_per_s=4) == math.inf


@pytest.mark.parametrize(
    ("arrival_per_s", "backlog", "service_s", "needed"),
    [
        (0, 0, 1.0, 0),  # nothing to do
        (0.8, 0, 1.0, 1),  # one worker, busy for 80% of its time
        (0.9, 0, 1.0, 2),  # it would be busy for 90%
        (100, 0, 0.1, 13),  # 10 busy workers, at 80%
        (0, 480, 1.0, 10),  # 480 seconds of work within 60 s: 8 busy workers, at 80%
        (100, 480, 0.1, 14),
    ],
)
def test_workers_needed_keep_up_and_do_the_backlog(
    arrival_per_s: float, backlog: int, service_s: float, needed: int
) -> None:
    found = capacity.workers_needed(
        arrival_per_s=arrival_per_s, backlog=backlog, service_s=service_s, drain_s=60, utilisation=0.8
    )
    assert found == needed


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "-"),
        (math.inf, "never"),
        (0.04, "0.0 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (59.6, "1 min"),
        (125, "2 min 5 s"),
        (3600, "1 h"),
        (12_000, "3 h 20 min"),
        (353_000, "4 d 2 h"),
    ],
)
def test_times_read_as_people_say_them(seconds: float | None, text: str) -> None:
    assert duration_text(seconds) == text
