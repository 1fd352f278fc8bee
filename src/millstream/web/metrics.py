"""Queues as Prometheus reads them: text, one line a number, the unit in the name.

Every process tells of the whole log: over several instances take the `max`, not the `sum`. What is told of one process
has its name as a label.

Source: Prometheus text exposition format 0.0.4; naming as in "Metric and label naming" of its documentation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Final, NamedTuple

from millstream.queue.presence import ProcessReport
from millstream.queue.stats import QueueStats

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


class Metric(NamedTuple):
    """A number of each queue."""

    name: str
    kind: str
    help: str
    value: Callable[[QueueStats], float | None]


class ProcessMetric(NamedTuple):
    """A number of each queue in each process."""

    name: str
    kind: str
    help: str
    value: Callable[[ProcessReport], float]


QUEUE_METRICS: Final = (
    Metric(
        "millstream_queue_ready_records",
        "gauge",
        "Records that wait for a worker, never handed over",
        lambda q: q.ready,
    ),
    Metric("millstream_queue_leased_records", "gauge", "Records that are with a worker", lambda q: q.leased),
    Metric(
        "millstream_queue_waiting_records",
        "gauge",
        "Records given back, for a retry or a later time",
        lambda q: q.waiting,
    ),
    Metric(
        "millstream_queue_unsettled_records",
        "gauge",
        "Queued plus leased: ready, leased, waiting",
        lambda q: q.unsettled,
    ),
    Metric(
        "millstream_queue_dead_letters_open_records",
        "gauge",
        "Dead letters of the topic, neither sent back nor thrown away",
        lambda q: q.dead_letters,
    ),
    Metric(
        "millstream_queue_oldest_age_seconds",
        "gauge",
        "Since the oldest record that is not settled was appended; 0 without one",
        lambda q: q.oldest_age_s or 0.0,
    ),
    Metric("millstream_queue_drain_seconds", "gauge", "Until it is empty at the present rates", lambda q: q.drain_s),
    Metric("millstream_queue_paused", "gauge", "1 while it is paused", lambda q: int(q.paused)),
    Metric("millstream_queue_workers", "gauge", "Workers of all processes", lambda q: q.workers),
    Metric("millstream_queue_busy_workers", "gauge", "Workers that are at a record", lambda q: q.busy),
    Metric(
        "millstream_queue_needed_workers",
        "gauge",
        "Workers that keep up and empty it within a minute, busy for 80% of their time",
        lambda q: q.workers_needed,
    ),
    Metric(
        "millstream_queue_utilisation_ratio",
        "gauge",
        "Share of their time that workers were busy in the last minute",
        lambda q: q.utilisation,
    ),
    Metric(
        "millstream_queue_accepted_records_total",
        "counter",
        "Records it was given",
        lambda q: q.done + q.dead + q.expired + q.unsettled,
    ),
    Metric("millstream_queue_done_records_total", "counter", "Records that are done", lambda q: q.done),
    Metric("millstream_queue_dead_records_total", "counter", "Records it gave up on", lambda q: q.dead),
    Metric(
        "millstream_queue_expired_records_total", "counter", "Records that retention took from it", lambda q: q.expired
    ),
)

PROCESS_METRICS: Final = (
    ProcessMetric(
        "millstream_queue_deliveries_total", "counter", "Deliveries that ended in this process", lambda r: r.handled
    ),
    ProcessMetric(
        "millstream_queue_failed_deliveries_total",
        "counter",
        "Of these: retried or given up on",
        lambda r: r.failed,
    ),
    ProcessMetric(
        "millstream_queue_handler_seconds_total", "counter", "Time spent in handlers", lambda r: r.busy_us / 1e6
    ),
)


def metrics_text(queues: Sequence[QueueStats], stalled: Collection[str]) -> str:
    """Return what Prometheus reads.

    Args:
        stalled: Names (`topic/group`) of the queues that do not move.
    """
    return "".join(line + "\n" for line in _lines(queues, stalled))


def _lines(queues: Sequence[QueueStats], stalled: Collection[str]) -> Iterator[str]:
    for metric in QUEUE_METRICS:
        yield from head(metric.name, metric.kind, metric.help)
        for queue in queues:
            value = metric.value(queue)
            if value is not None:
                yield f"{metric.name}{labels(topic=queue.topic, group=queue.group)} {number(value)}"
    yield from head("millstream_queue_stalled", "gauge", "1 where work is due and nothing has moved for too long")
    for queue in queues:
        named = labels(topic=queue.topic, group=queue.group)
        yield f"millstream_queue_stalled{named} {int(queue.name in stalled)}"
    for process_metric in PROCESS_METRICS:
        yield from head(process_metric.name, process_metric.kind, process_metric.help)
        for queue in queues:
            for report in queue.processes:
                named = labels(topic=queue.topic, group=queue.group, process=report.process)
                yield f"{process_metric.name}{named} {number(process_metric.value(report))}"


def head(name: str, kind: str, text: str) -> Iterator[str]:
    yield f"# HELP {name} {text}."
    yield f"# TYPE {name} {kind}"


def labels(**given: str) -> str:
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in given.items()) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def number(value: float) -> str:
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return str(value) if isinstance(value, int) else f"{value:.6g}"
