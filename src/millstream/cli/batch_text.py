"""Batches and their runs as people read them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from millstream.durations import duration_text

if TYPE_CHECKING:
    from millstream.batch.info import BatchInfo, Progress
    from millstream.batch.runs import Run

BATCH_COLUMNS: Final = ("batch", "topics", "starts", "new", "next (UTC)", "last success (UTC)", "state")
RUN_COLUMNS: Final = ("run", "started by", "due (UTC)", "records", "took", "outcome", "error")

ERROR_SHOWN: Final = 60
"""Characters of an error in a table."""


def batch_row(info: BatchInfo) -> list[Any]:
    return [
        info.name,
        ", ".join(info.topics),
        info.starts,
        info.new_records,
        _time(info.next_due),
        _time(info.last_success),
        info.state if info.running is None else f"{info.state} {share_text(info.running)}".rstrip(),
    ]


def batch_lines(info: BatchInfo) -> Iterator[str]:
    """Yield what there is to say of one batch."""
    yield f"{info.name}: {info.state}"
    yield f"  reads         {', '.join(info.topics)}: {info.new_records:,} new records"
    yield f"  starts        {info.starts}"
    if info.next_due is not None:
        waiting = f", {info.waiting} due times wait" if info.waiting else ""
        yield f"  next          {_time(info.next_due)} UTC{waiting}"
    if info.running is not None:
        now = info.running
        yield f"  in progress   run {now.run} in {now.process}, attempt {now.attempt} {share_text(now)}".rstrip()
    if info.retry_at is not None:
        yield f"  tried again   {_time(info.retry_at)} UTC"
    if info.fresh_s is not None:
        last = "never" if info.last_success is None else f"{_time(info.last_success)} UTC"
        yield f"  last success  {last}; may be {duration_text(info.fresh_s)} old" + (": LATE" if info.late else "")


def run_row(run: Run) -> tuple[Any, ...]:
    error = None if run.error is None else run.error[:ERROR_SHOWN]
    what = run.trigger if run.attempt == 1 else f"{run.trigger}, attempt {run.attempt}"
    outcome = run.outcome.value if not run.skipped else f"{run.skipped} skipped"
    return run.id, what, _time(run.due), run.rows, duration_text(run.duration_us / 1_000_000), outcome, error


def run_lines(run: Run) -> Iterator[str]:
    """Yield what there is to say of one run."""
    yield f"run {run.id} of {run.batch}: {run.outcome.value}"
    yield f"  started by    {run.trigger}, attempt {run.attempt}, in {run.process or 'an unknown process'}"
    if run.due is not None:
        yield f"  due           {_time(run.due)} UTC"
    if run.window_start is not None and run.window_end is not None:
        yield f"  window        {_time(run.window_start)} to {_time(run.window_end)} UTC"
    yield f"  began         {_time(run.started)} UTC, took {duration_text(run.duration_us / 1_000_000)}"
    yield f"  records       {run.rows:,}"
    for one in [*run.ranges, *(part for more in run.more for part in more.ranges)]:
        yield f"  partition {one.partition:<3} offsets {one.start:,} to {one.end:,}"
    if run.rerun_of is not None:
        yield f"  again         {run.rerun_of}"
    if run.error is not None:
        yield f"  error         {run.error}"
    for line in run.log:
        yield f"  | {line}"


def share_text(now: Progress) -> str:
    """Return `45% reading`, or nothing."""
    share = "" if now.share is None else f"{now.share:.0%}"
    return f"{share} {now.text}".strip()


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else f"{moment:%Y-%m-%d %H:%M:%S}"
