"""Queues and workers as rows of a table; `queue` and `top` write the same."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from millstream.durations import duration_text

if TYPE_CHECKING:
    from millstream.queue.stats import QueueStats

QUEUE_COLUMNS: Final = (
    "QUEUE",
    "READY",
    "LEASED",
    "WAITING",
    "DEAD",
    "OLDEST",
    "IN/S",
    "OUT/S",
    "EMPTY IN",
    "WORKERS",
    "BUSY",
    "NEEDED",
    "STATE",
)

WORKER_COLUMNS: Final = ("WORKER", "PROCESS", "QUEUE", "STATE", "RECORD", "ATTEMPT", "FOR", "HANDLED", "FAILED")

SILENT_US: Final = 15_000_000
"""A process not heard of for longer than an idle heartbeat takes may have died."""


def queue_row(queue: QueueStats) -> list[Any]:
    """Return a queue as cells, in the order of `QUEUE_COLUMNS`."""
    return [
        queue.name,
        queue.ready,
        queue.leased,
        queue.waiting,
        queue.dead_letters,
        duration_text(queue.oldest_age_s),
        rate_text(queue.arrival_per_s),
        rate_text(queue.finished_per_s),
        duration_text(queue.drain_s),
        queue.workers,
        "-" if queue.utilisation is None else f"{queue.utilisation:.0%}",
        queue.workers_needed,
        state_text(queue),
    ]


def worker_rows(queues: Sequence[QueueStats]) -> Iterator[list[Any]]:
    """Yield the workers of all processes as cells, in the order of `WORKER_COLUMNS`."""
    for queue in queues:
        for report in queue.processes:
            silent_us = queue.at_us - report.beat_us
            for worker in report.states:
                place = worker.position
                yield [
                    worker.name,
                    report.process,
                    queue.name,
                    f"silent for {duration_text(silent_us / 1e6)}" if silent_us > SILENT_US else worker.state,
                    "-" if place is None else f"{place.partition}/{place.offset}",
                    worker.attempt or None,
                    duration_text(max(0.0, (queue.at_us - worker.since_us) / 1e6)),
                    worker.handled,
                    worker.failed,
                ]


def state_text(queue: QueueStats) -> str:
    """Return the one word that an operator looks for first."""
    if queue.paused:
        return "paused"
    if not queue.unsettled:
        return "empty"
    if not queue.due:
        return "later"
    return "working" if queue.workers else "no workers"


def rate_text(per_s: float | None) -> str:
    """Return a rate with as many digits as say something."""
    if per_s is None:
        return "-"
    return f"{per_s:.2f}" if per_s < 10 else f"{per_s:,.0f}"
