"""A batch as it is declared, and its runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any, Final, Literal

import msgspec

from millstream.batch.claim import AT, CANCEL, CLAIM, Beat, Claim, put, read_claim
from millstream.batch.inputs import whole_input
from millstream.batch.registry import declared
from millstream.batch.runs import Run, RunResult, find_run, recent_runs
from millstream.batch.work import LAST, RETRY, BatchWork, Last
from millstream.durations import duration_us
from millstream.engines.protocol import StateChange
from millstream.errors import CommitConflictError, UsageError
from millstream.log.group import Group
from millstream.records import time_from_us, time_to_us

BACKFILL_MAX: Final = 100_000
"""Windows of one backfill: more of them mean that `by` was meant to be longer."""


class Batch(BatchWork):
    """Topics read as batches: each run gets exactly the records since the last one that succeeded.

    Those that were sent back, or replayed, for another reader are left out.

    The offsets move, the run is recorded, and what the handler gave to its run (`BatchRun`: topics, files, state)
    appears in one transaction after the handler returned: exactly once. When the handler raises, none of it happens,
    and the run is recorded as failed. What a handler does elsewhere may happen again after a crash between its return
    and the commit: at least once. Of all processes one runs a batch at a time.

    Calling the object calls the handler as the plain function it was written as.

    Raises:
        UsageError: The handler does not take the input (and the run), or is async.
    """

    def __call__(self, *arguments: Any, **more: Any) -> Any:
        return self._handler(*arguments, **more)

    def __repr__(self) -> str:
        topics = ", ".join(repr(topic.name) for topic in self.topics)
        return f"<batch {self.name!r} of topic{'s' if len(self.topics) > 1 else ''} {topics}>"

    def run(self, *, since: Literal["last", "start"] = "last", append: bool = False) -> RunResult:
        """Give the handler the records up to now; there may be none.

        Args:
            since: "last": exactly the records since the last run that succeeded; then the next run starts after them.
                "start": everything the log holds; moves no offsets and changes no state.
            append: Of "start": append what the handler gives to topics, as runs over new records do.

        Raises:
            CommitConflictError: The batch is being run, or another process took it over meanwhile.
            RunCancelledError: It was cancelled.
            TimeoutError: It took longer than its timeout.
            Exception: What the handler raised, after the failed run was recorded.
        """
        if since not in ("last", "start"):
            raise UsageError(f'since is {since!r}; give "last" or "start"')
        if since == "start":
            inputs = [whole_input(topic) for topic in self.topics]
            return self._loose(self._blank(inputs, "call"), append=append)
        if not self._running.acquire(blocking=False):
            raise CommitConflictError(
                f"batch {self.name!r} is being run in this process; run it again when it has ended"
            )
        try:
            return self.work(self.take("call", state=[StateChange(AT, RETRY, None)]))
        finally:
            self._running.release()

    def rerun(self, run_id: str, *, append: bool = False) -> RunResult:
        """Give the handler the input of an earlier run again; moves no offsets and changes no state.

        Files that the handler writes replace those of the earlier run. What it gives to topics is in them since the
        earlier run, and is left out.

        Args:
            append: Append it nevertheless: where the earlier run failed, or appended something wrong.

        Raises:
            UsageError: There is no run of that id.
            OffsetOutOfRangeError: Retention deleted some of its input.
            Exception: What the handler raised, after the failed run was recorded.
        """
        run = find_run(self._runs_topic(), run_id)
        blank = self._blank(run.inputs(self.topic.name), "rerun")
        blank = msgspec.structs.replace(
            blank,
            rerun_of=run.id,
            window_start=run.window_start,
            window_end=run.window_end,
            due=run.due,
            events=run.events,
        )
        return self._loose(blank, append=append)

    def backfill(
        self,
        start: datetime,
        end: datetime,
        *,
        by: timedelta | str | float = "1d",
        append: bool = False,
        progress: Callable[[int, int, str], None] | None = None,
    ) -> list[RunResult]:
        """Run over old records, a window of event time after the other; moves no offsets and changes no state.

        Args:
            start: The first window begins here.
            end: The last window ends here at most.
            by: How long a window is.
            append: Append what the handler gives to topics; else that is left out, as for `rerun`.
            progress: Called before each window with how many are done, how many there are, and which it is.

        Raises:
            UsageError: The times have no time zone, or are no range.
            Exception: What the handler raised; windows before it are done.
        """
        windows = list(_windows(start, end, duration_us(by)))
        inputs = [whole_input(topic) for topic in self.topics]
        results = []
        for done, (first, past) in enumerate(windows):
            if progress is not None:
                progress(done, len(windows), f"{first:%Y-%m-%d %H:%M}")
            blank = msgspec.structs.replace(self._blank(inputs, "backfill"), window_start=first, window_end=past)
            results.append(self._loose(blank, append=append))
        return results

    def runs(self, limit: int = 100) -> list[Run]:
        """Return the last runs, the newest last."""
        return recent_runs(self._runs_topic(), limit)

    def show(self, run_id: str) -> Run:
        """Return one run.

        Raises:
            UsageError: There is none of that id.
        """
        return find_run(self._runs_topic(), run_id)

    def age_us(self) -> int:
        """Return how long ago the last success over new records was; or the first declaration, without one."""
        raw = self.group.state(AT, [LAST]).get(LAST)
        if raw is not None:
            return int(self._clock.now_us()) - msgspec.msgpack.decode(raw, type=Last).ended_us
        known = [one.since_us for one in declared(self.topic.log) if one.name == self.name]
        return int(self._clock.now_us()) - known[0] if known else 0

    def running(self) -> tuple[Claim, Beat | None] | None:
        """Return the run in progress over new records, in whatever process; None: there is none."""
        claim, _, beat = read_claim(self.group)
        return None if claim is None else (claim, beat)

    def cancel(self, run_id: str | None = None) -> str:
        """Have the run in progress end, in whatever process: within a second or two; return its id.

        Nothing of it is committed, and its records go to the next run. A handler that does not look (`run.check`) is
        left behind in its thread, where it has one.

        Raises:
            UsageError: No run is in progress, or not this one.
        """
        return cancel(self.group, run_id)


def cancel(group: Group[Any], run_id: str | None = None) -> str:
    """Have the run in progress of a batch end; see `Batch.cancel`."""
    claim, raw, _ = read_claim(group)
    if claim is None or (run_id is not None and claim.run_id != run_id):
        now = "none is" if claim is None else f"{claim.run_id} is"
        wanted = "no run" if run_id is None else f"run {run_id} is not"
        raise UsageError(f"batch {group.name!r}: {wanted} in progress; {now}")
    group.commit([], state=[put(CANCEL, claim.run_id)], expect=[StateChange(AT, CLAIM, raw)])
    return claim.run_id


def _windows(start: datetime, end: datetime, by_us: int) -> Iterator[tuple[datetime, datetime]]:
    first_us, end_us = time_to_us(start), time_to_us(end)
    if end_us <= first_us:
        raise UsageError(f"a backfill from {start} to {end} holds no time; the end is after the start")
    if by_us == 0 or (end_us - first_us) / by_us > BACKFILL_MAX:
        raise UsageError(f"by= cuts the backfill into more than {BACKFILL_MAX:,} windows; give a longer one")
    while first_us < end_us:
        past_us = min(first_us + by_us, end_us)
        yield time_from_us(first_us), time_from_us(past_us)
        first_us = past_us
