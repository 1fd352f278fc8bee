"""How much work there is and how many workers it takes: formulas, and nothing but.

| asked | answer |
|---|---|
| service time | time spent in handlers / deliveries handled |
| utilisation | time spent in handlers / (workers x time that passed) |
| time to drain | records in the queue / (service rate - arrival rate) |
| workers needed | (arrival rate + records in the queue / time to drain wanted) x service time / utilisation wanted |

Source: the utilisation law and Little's law; Gunther, "Guerrilla Capacity Planning", 2007, chapter 2.
"""

from __future__ import annotations

import math
from typing import Final

UTILISATION: Final = 0.8
"""Share of their time that workers should be busy. At 80% a queue with random arrivals is about four service times
long; at 95% twenty: what is saved in workers is paid in waiting."""

DRAIN_S: Final = 60.0
"""What is in the queue should be done within this time."""


def service_s(busy_us: int, handled: int) -> float | None:
    """Return the mean time a handler takes, in seconds; None while nothing was handled."""
    return busy_us / 1e6 / handled if handled > 0 else None


def utilisation(busy_us: int, workers: int, elapsed_us: int) -> float | None:
    """Return the share of their time that workers were busy, 0 to 1; None without workers or time."""
    if workers <= 0 or elapsed_us <= 0:
        return None
    return min(1.0, max(0.0, busy_us / (workers * elapsed_us)))


def drain_s(backlog: int, arrival_per_s: float, service_per_s: float) -> float:
    """Return the seconds until a queue is empty if things stay as they are; infinite where it does not shrink."""
    if backlog <= 0:
        return 0.0
    shrinks_per_s = service_per_s - arrival_per_s
    return backlog / shrinks_per_s if shrinks_per_s > 0 else math.inf


def workers_needed(
    *,
    arrival_per_s: float,
    backlog: int,
    service_s: float,
    drain_s: float = DRAIN_S,
    utilisation: float = UTILISATION,
) -> int:
    """Return how many workers keep up with what arrives and do the backlog within `drain_s`; 0 where there is nothing.

    Args:
        arrival_per_s: Records a second.
        backlog: Records that wait for a worker.
        service_s: Mean time of a handler, in seconds.
        drain_s: In which time the backlog should be done; above 0.
        utilisation: Share of their time that workers should be busy, above 0 to 1.
    """
    busy_workers = (max(0.0, arrival_per_s) + max(0, backlog) / drain_s) * service_s
    # A hair of tolerance: 0.8 / 0.8 is to be one worker, whatever floats make of it.
    return math.ceil(busy_workers / utilisation - 1e-9)
