"""Streams as rows of a table; `stream` and `top` write the same."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from millstream.cli.output import bytes_text, count_text
from millstream.cli.queue_text import rate_text
from millstream.durations import duration_text

if TYPE_CHECKING:
    from millstream.stream.info import StreamInfo

STREAM_COLUMNS: Final = (
    "STREAM",
    "LAG",
    "OLDEST",
    "WATERMARK",
    "IN/S",
    "OUT/S",
    "LATE",
    "OPEN",
    "MEMORY",
    "PROCESSES",
    "STATE",
)

STEP_COLUMNS: Final = ("STEP", "BUSY", "LATE", "OPEN", "ROWS", "MEMORY")


def stream_row(stream: StreamInfo) -> list[Any]:
    """Return a stream as cells, in the order of `STREAM_COLUMNS`."""
    return [
        stream.full_name,
        stream.lag,
        duration_text(stream.lag_us / 1e6 if stream.lag else None),
        duration_text(None if stream.watermark_delay_us is None else stream.watermark_delay_us / 1e6),
        rate_text(stream.rate_in),
        rate_text(stream.rate_out),
        stream.late,
        stream.open_windows,
        bytes_text(stream.state_bytes),
        len(stream.processes),
        str(stream.state),
    ]


def step_rows(stream: StreamInfo) -> Iterator[list[Any]]:
    """Yield the steps as cells, in the order of `STEP_COLUMNS`."""
    found = stream.progress
    if found is None:
        return
    run_s = max((found.at_us - found.began_us) / 1e6, 1e-6)
    for step in found.steps:
        yield [step.text, f"{step.busy_s / run_s:.1%}", step.late, step.open, step.rows, bytes_text(step.bytes)]


def stream_lines(stream: StreamInfo) -> Iterator[tuple[str, str]]:
    """Yield what there is to say of a stream: name and text."""
    yield "stream", stream.full_name
    yield "state", str(stream.state)
    if stream.error is not None:
        since = "" if stream.failing_s is None else f"for {duration_text(stream.failing_s)}: "
        yield "error", since + stream.error
    yield "reads", ", ".join(stream.topics)
    yield "writes", ", ".join(stream.outputs) or "-"
    oldest = f", the oldest appended {duration_text(stream.lag_us / 1e6)} ago" if stream.lag else ""
    yield "lag", count_text(stream.lag, "record") + oldest
    yield "watermark", _watermark(stream)
    yield "late", count_text(stream.late, "record")
    yield "open", f"{stream.open_windows:,}"
    yield "memory", f"{count_text(stream.state_rows, 'row')}, {bytes_text(stream.state_bytes)}"
    if (found := stream.progress) is not None:
        yield "in", f"{count_text(found.records_in, 'record')}, {rate_text(stream.rate_in)} a second"
        yield "out", f"{count_text(found.records_out, 'record')}, {rate_text(stream.rate_out)} a second"
        yield "skipped", count_text(found.skipped, "record")
        last = f", the last in {found.commit_last_us / 1e3:.1f} ms" if found.commit_last_us else ""
        yield "commits", f"{found.commits:,}{last}"
        yield "batch", f"{count_text(found.batch_records, 'record')} in the last one"
    for sign in stream.processes:
        at = f", at step {sign.step} for {duration_text(sign.step_s)}" if sign.step else ""
        yield "process", sign.process + at


def _watermark(stream: StreamInfo) -> str:
    if stream.watermark_us is None or stream.watermark_delay_us is None:
        return "-"
    from millstream.cli.output import text_of
    from millstream.records import time_from_us

    return f"{text_of(time_from_us(stream.watermark_us))}, {duration_text(stream.watermark_delay_us / 1e6)} ago"
