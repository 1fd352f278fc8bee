"""Streams as Prometheus reads them; see `metrics.py`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Final, NamedTuple

from millstream.stream.info import StreamInfo
from millstream.stream.progress import StepProgress, StreamProgress
from millstream.web.metrics import head, labels, number


class StreamMetric(NamedTuple):
    """A number of each stream."""

    name: str
    kind: str
    help: str
    value: Callable[[StreamInfo], float | None]


class StepMetric(NamedTuple):
    """A number of each step of each stream."""

    name: str
    kind: str
    help: str
    value: Callable[[StepProgress], float]


def _of(value: Callable[[StreamProgress], float]) -> Callable[[StreamInfo], float | None]:
    return lambda stream: None if stream.progress is None else value(stream.progress)


STREAM_METRICS: Final = (
    StreamMetric("millstream_stream_lag_records", "gauge", "Records that are not processed yet", lambda s: s.lag),
    StreamMetric(
        "millstream_stream_lag_seconds",
        "gauge",
        "Since the oldest record that is not processed yet was appended; 0 without one",
        lambda s: s.lag_us / 1e6,
    ),
    StreamMetric(
        "millstream_stream_watermark_delay_seconds",
        "gauge",
        "How far event time is behind now, by the records read",
        lambda s: None if s.watermark_delay_us is None else s.watermark_delay_us / 1e6,
    ),
    StreamMetric("millstream_stream_in_records_total", "counter", "Records read", _of(lambda p: p.records_in)),
    StreamMetric(
        "millstream_stream_out_records_total", "counter", "Records put out to topics", _of(lambda p: p.records_out)
    ),
    StreamMetric(
        "millstream_stream_late_records_total",
        "counter",
        "Records that came too late for their window or join",
        lambda s: s.late,
    ),
    StreamMetric(
        "millstream_stream_skipped_records_total",
        "counter",
        "Records that went to the dead letters",
        _of(lambda p: p.skipped),
    ),
    StreamMetric("millstream_stream_commits_total", "counter", "Commits", _of(lambda p: p.commits)),
    StreamMetric(
        "millstream_stream_commit_seconds_total",
        "counter",
        "Time spent in commits by its run",
        _of(lambda p: p.commit_s),
    ),
    StreamMetric(
        "millstream_stream_batch_records", "gauge", "Records of the last micro-batch", _of(lambda p: p.batch_records)
    ),
    StreamMetric(
        "millstream_stream_open_windows",
        "gauge",
        "Windows times keys that have not closed, and records that wait for a match",
        lambda s: s.open_windows,
    ),
    StreamMetric("millstream_stream_state_rows", "gauge", "Rows of state in memory", lambda s: s.state_rows),
    StreamMetric("millstream_stream_state_bytes", "gauge", "State in memory, about", lambda s: s.state_bytes),
    StreamMetric("millstream_stream_processes", "gauge", "Processes that run it", lambda s: len(s.processes)),
    StreamMetric("millstream_stream_paused", "gauge", "1 while it is paused", lambda s: int(s.paused)),
    StreamMetric(
        "millstream_stream_failing",
        "gauge",
        "1 where its last run ended with an error and nothing was committed since",
        lambda s: int(s.error is not None),
    ),
    StreamMetric(
        "millstream_stream_failing_seconds",
        "gauge",
        "How long it has been failing; 0 where it is not",
        lambda s: s.failing_s or 0.0,
    ),
)

STEP_METRICS: Final = (
    StepMetric(
        "millstream_stream_step_busy_seconds_total", "counter", "Time spent in a step by its run", lambda s: s.busy_s
    ),
    StepMetric("millstream_stream_step_state_rows", "gauge", "Rows of state of a step in memory", lambda s: s.rows),
    StepMetric("millstream_stream_step_state_bytes", "gauge", "State of a step in memory, about", lambda s: s.bytes),
)


def stream_metrics_text(streams: Sequence[StreamInfo], stalled: Collection[str]) -> str:
    """Return what Prometheus reads.

    Args:
        stalled: Names (`topic/name`) of the streams that do not move.
    """
    return "".join(line + "\n" for line in _lines(streams, stalled))


def _lines(streams: Sequence[StreamInfo], stalled: Collection[str]) -> Iterator[str]:
    for metric in STREAM_METRICS:
        yield from head(metric.name, metric.kind, metric.help)
        for stream in streams:
            value = metric.value(stream)
            if value is not None:
                yield f"{metric.name}{_labels(stream)} {number(value)}"
    yield from head("millstream_stream_stalled", "gauge", "1 where records wait and none was processed for too long")
    for stream in streams:
        yield f"millstream_stream_stalled{_labels(stream)} {int(stream.full_name in stalled)}"
    for step_metric in STEP_METRICS:
        yield from head(step_metric.name, step_metric.kind, step_metric.help)
        for stream in streams:
            for step in stream.progress.steps if stream.progress else ():
                named = labels(topic=stream.topics[0], stream=stream.name, step=step.text)
                yield f"{step_metric.name}{named} {number(step_metric.value(step))}"


def _labels(stream: StreamInfo) -> str:
    return labels(topic=stream.topics[0], stream=stream.name)
