"""A batch as it is declared, and its runs."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

from millstream.batch.handler import check_handler
from millstream.batch.runs import Run, RunOutcome, RunResult, find_run, new_run_id, recent_runs, runs_topic_name
from millstream.engines.protocol import GroupInfo, OffsetMove
from millstream.errors import UsageError
from millstream.log.group import Group
from millstream.log.ranges import OffsetRange
from millstream.log.topic import Topic
from millstream.records import check_name, time_from_us

if TYPE_CHECKING:
    import polars as pl

ERROR_CHARACTERS_MAX: Final = 4096
"""Of the error kept with a failed run; its traceback goes to whoever started the run."""


class Batch:
    """A topic read as batches: each run gets exactly the records since the last one that succeeded.

    Those that were sent back, or replayed, for another reader are left out.

    The offsets move and the run is recorded in one transaction after the handler returned. When the handler raises,
    the offsets stay and the run is recorded as failed. What a handler does elsewhere may therefore happen again after
    a crash between its return and the commit: at least once. Of two processes that run the same batch at the same time
    one commits, and the other gets a CommitConflictError.

    Calling the object calls the handler as the plain function it was written as.

    Raises:
        UsageError: The handler does not take exactly one argument, or is async.
    """

    kind = "batch"

    def __init__(self, topic: Topic[Any], handler: Callable[[pl.LazyFrame], Any], *, name: str) -> None:
        check_handler(handler)
        check_name("topic", runs_topic_name(name))
        self.name = check_name("batch", name)
        self.topic = topic
        self._handler = handler
        self._running = threading.Lock()
        functools.update_wrapper(self, handler, updated=())

    def __call__(self, frame: pl.LazyFrame) -> Any:
        return self._handler(frame)

    def __repr__(self) -> str:
        return f"<batch {self.name!r} of topic {self.topic.name!r}>"

    @property
    def group(self) -> Group[Any]:
        """The consumer group, created at the start of the log the first time."""
        return self.topic.group(self.name)

    def info(self) -> GroupInfo:
        """Return how far the runs came and how much is new, without a scan."""
        return self.group.info()

    def run(self, *, since: Literal["last", "start"] = "last") -> RunResult:
        """Give the handler the records up to now, as a LazyFrame (columns as of `Topic.frame`); it may have no rows.

        Args:
            since: "last": exactly the records since the last run that succeeded; then the next run starts after them.
                "start": everything the log holds; moves no offsets.

        Raises:
            CommitConflictError: Another process ran this batch over the same records meanwhile.
            Exception: What the handler raised, after the failed run was recorded.
        """
        if since not in ("last", "start"):
            raise UsageError(f'since is {since!r}; give "last" or "start"')
        with self._running:
            return self._run(self._ranges(since), move=since == "last")

    def rerun(self, run_id: str) -> RunResult:
        """Give the handler the input of an earlier run again; moves no offsets.

        Raises:
            UsageError: There is no run of that id.
            OffsetOutOfRangeError: Retention deleted some of its input.
            Exception: What the handler raised, after the failed run was recorded.
        """
        with self._running:
            run = find_run(self._runs_topic(), run_id)
            return self._run(run.ranges, move=False, rerun_of=run.id)

    def runs(self, limit: int = 100) -> list[Run]:
        """Return the last runs, the newest last."""
        return recent_runs(self._runs_topic(), limit)

    # --- one run ----------------------------------------------------------------------------------------------------

    def _ranges(self, since: str) -> list[OffsetRange]:
        info = self.group.info()
        starts = dict(info.committed)
        if since == "start":
            starts = {part.partition: part.start_offset for part in self.topic.info().partitions}
        return [OffsetRange(p, starts[p], max(starts[p], end)) for p, end in sorted(info.end_offsets.items())]

    def _run(self, ranges: list[OffsetRange], *, move: bool, rerun_of: str | None = None) -> RunResult:
        clock = self.topic.log.clock
        begun_us = clock.monotonic_us()
        started = time_from_us(clock.now_us())
        run = Run(
            id=new_run_id(started),
            batch=self.name,
            ranges=ranges,
            rows=0,
            started=started,
            duration_us=0,
            outcome=RunOutcome.FAILED,
            moved=move,
            rerun_of=rerun_of,
        )
        try:
            frame = self._frame(ranges)
            run = msgspec.structs.replace(run, rows=_rows(frame))
            result = self._handler(frame)
        except Exception as error:
            text = f"{type(error).__name__}: {error}"[:ERROR_CHARACTERS_MAX]
            duration_us = clock.monotonic_us() - begun_us
            self._runs_topic().append(msgspec.structs.replace(run, error=text, duration_us=duration_us, moved=False))
            raise
        run = msgspec.structs.replace(run, outcome=RunOutcome.DONE, duration_us=clock.monotonic_us() - begun_us)
        moves = [OffsetMove(r.partition, r.start, r.end) for r in ranges if r.end > r.start] if move else []
        self.group.commit(moves, appends=self._runs_topic().encode([run]))
        return RunResult(**msgspec.structs.asdict(run), result=result)

    def _frame(self, ranges: Sequence[OffsetRange]) -> pl.LazyFrame:
        import polars as pl

        if len(ranges) == 1:
            return self.topic.frame(ranges[0].start, ranges[0].end, group=self.name)
        parts = [
            self.topic.frame(r.start, r.end, group=self.name).filter(pl.col("_partition") == r.partition)
            for r in ranges
        ]
        return pl.concat(parts)

    def _runs_topic(self) -> Topic[Run]:
        return self.topic.log.topic(runs_topic_name(self.name), Run)


def _rows(frame: pl.LazyFrame) -> int:
    import polars as pl

    return int(frame.select(pl.len()).collect().item())
