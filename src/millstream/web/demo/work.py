"""The application of the demo: one log, read three ways.

| topic | holds | read by |
|---|---|---|
| `clicks` | every click | stream `per_second`, batch `report` |
| `clicks_per_second` | what the stream counts | the page |
| `jobs` | pieces of pictures to draw | queue `draw` |
| `pieces` | what the jobs drew, as PNG files; the key is the job's offset | the page |
| `jobs.dead` | jobs given up on | the page |
| `reports` | tables that the batch made | the page |
| `system` | this machine's own event log | the page |
"""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import msgspec

from millstream.app import App
from millstream.queue import DeadLetter, Retry
from millstream.records import Record
from millstream.stream import count, tumbling
from millstream.web.clicks import Click
from millstream.web.demo.picture import PIECES, VIEWS, draw_piece

if TYPE_CHECKING:
    import polars as pl

    from millstream.sources.system import SystemFollower

WORKERS: Final = 3
RETRY: Final = Retry(attempts=3, delay="1s", factor=2.0, jitter=0.0)
"""Three tries within four seconds: short enough to watch."""

FAILING_PIECE: Final = 7


class Job(msgspec.Struct, frozen=True):
    """One piece of a picture to draw."""

    picture: int
    """The offset of the click that asked for it."""
    piece: int
    """1 to 10."""
    view: int
    fails: bool = False
    """This job fails every time, on purpose."""


class PageCount(msgspec.Struct, frozen=True):
    """Clicks of one page in one second: what a window's result looks like."""

    page: str | None
    window_start: datetime
    window_end: datetime
    clicks: int


class ReportRow(msgspec.Struct, frozen=True):
    page: str
    clicks: int
    page_loads: int
    first: datetime
    last: datetime
    most_clicked: str


class Report(msgspec.Struct, frozen=True):
    """A report; its number is its offset plus 1."""

    start: int
    end: int
    clicks: int
    took_ms: float
    rows: list[ReportRow]


class FailsOnPurposeError(Exception):
    """Raised by one job of ten."""


class Status(msgspec.Struct, frozen=True):
    """Where the readers are, in numbers that the log keeps; none is a count over the log."""

    ends: dict[str, int]
    queue: dict[str, int]
    workers: list[dict[str, Any]]
    stream: dict[str, int]
    following: tuple[str, ...]
    """Where this machine's event log is read from."""
    notes: tuple[str, ...]
    """What of it cannot be read, and why."""


class DemoWork:
    """Declares what the demo's application does; `app.start()` then runs it."""

    def __init__(self, app: App) -> None:
        self.app = app
        # Windows are over the time of arrival (no `time=`): a click that waited offline counts when it comes, and the
        # live numbers are those of the log.
        self.clicks = app.topic("clicks", Click, key="load")
        self.counts = app.topic("clicks_per_second", PageCount)
        self.jobs = app.topic("jobs", Job)
        self.dead = app.topic("jobs.dead", DeadLetter)
        self.pieces = app.topic("pieces")
        self.reports = app.topic("reports", Report)
        self.draw = app.queue(self.jobs, workers=WORKERS, retry=RETRY, name="draw")(self._draw)
        self.per_second = app.stream(self.clicks, name="per_second")(self._per_second)
        self.report = app.batch(self.clicks, name="report")(self._report)

    # --- the three readers ------------------------------------------------------------------------------------------

    def _draw(self, job: Job, record: Record[Job]) -> None:
        if job.fails:
            raise FailsOnPurposeError(f"piece {job.piece} fails every time, on purpose")
        self.pieces.append(draw_piece(VIEWS[job.view % len(VIEWS)], job.piece), key=str(record.offset))

    def _per_second(self, s: Any) -> None:
        s.window(tumbling(seconds=1), by="page").agg(clicks=count()).to(self.counts.name)

    def _report(self, frame: pl.LazyFrame) -> list[ReportRow]:
        return report_rows(frame)

    # --- what buttons start -----------------------------------------------------------------------------------------

    async def put_jobs(self, click: Click, offset: int) -> dict[str, Any]:
        """Put ten jobs on the queue; answer with their offsets."""
        jobs = [Job(offset, piece, offset, fails=piece == FAILING_PIECE) for piece in range(1, PIECES + 1)]
        (span,) = await self.jobs.extend_async(jobs)
        return {"jobs": {"first": span.start, "last": span.end - 1}}

    async def make_report(self, click: Click, offset: int) -> dict[str, Any]:
        """Run the report over all clicks so far; answer with its number."""
        return await asyncio.to_thread(self.run_report)

    def run_report(self) -> dict[str, Any]:
        run = self.report.run(since="start")
        (span,) = run.ranges
        rows: list[ReportRow] = run.result
        report = Report(span.start, span.end, run.rows, round(run.duration_us / 1000, 1), rows)
        return {"report": self.reports.append(report).offset + 1}

    # --- where they are ---------------------------------------------------------------------------------------------

    def status(self, system: SystemFollower) -> Status:
        queue, stream = self.draw.info(), self.per_second.info()
        topics = (self.clicks, self.counts, self.jobs, self.pieces, self.dead, self.reports, system.topic)
        return Status(
            ends={topic.name: sum(topic.end_offsets().values()) for topic in topics},
            queue={name: getattr(queue.ledger, name) for name in queue.ledger.__struct_fields__},
            workers=[
                {
                    "name": worker.name,
                    "state": worker.state,
                    "job": worker.position.offset if worker.position else None,
                    "attempt": worker.attempt,
                }
                for worker in self.draw.workers()
            ],
            stream={"committed": sum(stream.committed.values()), "late": stream.late},
            following=system.following,
            notes=system.notes,
        )


def report_rows(frame: pl.LazyFrame) -> list[ReportRow]:
    """Return a row for each page, the most clicked first; equal ones by name."""
    import polars as pl

    table = (
        frame.group_by("page")
        .agg(
            pl.len().alias("clicks"),
            pl.col("load").n_unique().alias("page_loads"),
            pl.col("time").min().alias("first"),
            pl.col("time").max().alias("last"),
            pl.col("label").mode().sort().first().alias("most_clicked"),
        )
        .sort(["clicks", "page"], descending=[True, False])
        .collect()
    )
    return [ReportRow(**row) for row in table.iter_rows(named=True)]
