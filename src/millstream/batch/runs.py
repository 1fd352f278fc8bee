"""What is remembered of the runs of a batch: a topic, so that it can be tailed and queried like any other."""

from __future__ import annotations

import secrets
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

import msgspec

from millstream.errors import UsageError
from millstream.log.ranges import OffsetRange
from millstream.log.topic import Topic

READ_RECORDS: Final = 1000
"""Runs read at a time when one is looked up by its id, newest first."""


class RunOutcome(StrEnum):
    DONE = "done"
    FAILED = "failed"
    """The handler raised or took too long; the offsets stayed, so the next run gets the same records and newer ones."""
    CRASHED = "crashed"
    """Its process died; the run was begun again, over the same records, by whoever noticed."""
    CANCELLED = "cancelled"
    SKIPPED = "skipped"
    """Due times that were not run, by `missed` or `overlap`."""


class Input(msgspec.Struct, frozen=True):
    """What a run was given of one topic: [start, end) of each partition."""

    topic: str
    ranges: list[OffsetRange]


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One run of a batch."""

    id: str
    """Sorts by start."""
    batch: str
    ranges: list[OffsetRange]
    """What it was given of its (first) topic: [start, end) of each partition."""
    rows: int
    """Of all topics."""
    started: datetime
    duration_us: int
    outcome: RunOutcome
    error: str | None = None
    moved: bool = False
    """True for a run over the new records, which the next run starts after; False for one over old records."""
    rerun_of: str | None = None
    """The id of the run whose input this was."""
    more: list[Input] = []
    """What it was given of the other topics of a batch of several."""
    events: Input | None = None
    """The events that started it, of `on=`."""
    trigger: str = "call"
    """What started it: call, cron, every, when, on, rerun, backfill."""
    due: datetime | None = None
    """The due time that it is the run of."""
    attempt: int = 1
    window_start: datetime | None = None
    """Of a backfill: event times from here,"""
    window_end: datetime | None = None
    """and before this."""
    log: list[str] = []
    """The lines that the handler wrote with `run.log`."""
    skipped: int = 0
    """Due times that were left out."""
    process: str = ""
    """Host and process id."""

    def inputs(self, topic: str) -> list[Input]:
        """Return what it was given by topic.

        Args:
            topic: The name of the batch's first topic.
        """
        return [Input(topic, self.ranges), *self.more]


class RunResult(Run, frozen=True, kw_only=True):
    """A run that just ended, with what its handler returned; that is not stored."""

    result: Any = None


def runs_topic_name(batch: str) -> str:
    return f"{batch}.runs"


def new_run_id(started: datetime) -> str:
    """Return the start to the millisecond and a random end, as two processes may start at the same moment."""
    return f"{started:%Y%m%dT%H%M%S}.{started.microsecond // 1000:03d}-{secrets.token_hex(3)}"


def recent_runs(topic: Topic[Run], limit: int) -> list[Run]:
    """Return up to `limit` runs, oldest first, the newest of all being the last."""
    info = topic.info().partitions[0]
    start = max(info.start_offset, info.end_offset - limit)
    return _read(topic, start, info.end_offset)


def find_run(topic: Topic[Run], run_id: str) -> Run:
    """Return one run.

    Raises:
        UsageError: There is none of that id.
    """
    info = topic.info().partitions[0]
    end = info.end_offset
    while end > info.start_offset:
        start = max(info.start_offset, end - READ_RECORDS)
        for run in reversed(_read(topic, start, end)):
            if run.id == run_id:
                return run
        end = start
    raise UsageError(f"topic {topic.name!r} has no run {run_id!r}; the topic lists the runs there were")


def _read(topic: Topic[Run], start: int, end: int) -> list[Run]:
    runs: list[Run] = []
    while start < end:
        records = topic.read(start, records_max=end - start)
        if not records:
            break
        runs += [record.value for record in records if record.offset < end]
        start = records[-1].offset + 1
    return runs
