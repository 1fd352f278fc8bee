"""Listeners as Prometheus reads them; see `metrics.py`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

from millstream.sources.listener_info import ListenerInfo
from millstream.sources.listening import ListenerState
from millstream.web.metrics import head, labels, number


class ListenerMetric(NamedTuple):
    """A number of each listener."""

    name: str
    kind: str
    help: str
    value: Callable[[ListenerInfo], float | None]


LISTENER_METRICS: Final = (
    ListenerMetric(
        "millstream_listener_running",
        "gauge",
        "1 while all that it should read is read, 0 while it waits for something, is broken, or has stopped",
        lambda one: int(one.state is ListenerState.RUNNING),
    ),
    ListenerMetric(
        "millstream_listener_trouble_seconds",
        "gauge",
        "How long something could not be read; 0 where all can be",
        lambda one: one.for_s or 0.0,
    ),
    ListenerMetric(
        "millstream_listener_lines_total", "counter", "Lines stored since its process began", lambda one: one.lines
    ),
    ListenerMetric(
        "millstream_listener_last_reading_timestamp_seconds",
        "gauge",
        "When its last lines were stored",
        lambda one: None if one.read_us is None else round(one.read_us / 1e6),
    ),
    ListenerMetric(
        "millstream_listener_behind_bytes",
        "gauge",
        "Of its files, what is not stored yet",
        lambda one: one.behind_bytes,
    ),
)


def listener_metrics_text(listeners: Sequence[ListenerInfo]) -> str:
    """Return what Prometheus reads."""
    return "".join(line + "\n" for line in _lines(listeners))


def _lines(listeners: Sequence[ListenerInfo]) -> Iterator[str]:
    for metric in LISTENER_METRICS:
        yield from head(metric.name, metric.kind, metric.help)
        for one in listeners:
            value = metric.value(one)
            if value is not None:
                named = labels(topic=one.topic, listener=one.name, process=one.process)
                yield f"{metric.name}{named} {number(value)}"
