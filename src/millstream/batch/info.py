"""How the batches of a log fare, from the log alone: for the command line, and for monitors."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import msgspec

from millstream.batch.claim import AT, BEAT, CLAIM, Beat, Claim
from millstream.batch.planning import PLAN, Plan, Together
from millstream.batch.registry import Declared, declared
from millstream.batch.runs import Run, recent_runs, runs_topic_name
from millstream.batch.work import LAST, RETRY, Again, Last
from millstream.durations import duration_text
from millstream.errors import GroupNotFoundError, TopicNotFoundError, UsageError
from millstream.log.group import Group
from millstream.log.log import Log
from millstream.records import time_from_us
from millstream.triggers.schedule import Cron, Every, Schedule, dues_between

DUES_SPAN_US = 366 * 86_400_000_000
"""How far ahead due times are looked for: a year and a day."""


class Progress(msgspec.Struct, frozen=True):
    """A run in progress."""

    run: str
    process: str
    started: datetime
    trigger: str
    attempt: int
    share: float | None
    """Of its work that is done, 0 to 1, as its handler said last; None: it says nothing."""
    text: str


class BatchInfo(msgspec.Struct, frozen=True):
    """How one batch fares."""

    name: str
    topics: list[str]
    starts: str
    """In words: what starts it."""
    new_records: int
    """Since the last success; of all its topics."""
    next_due: datetime | None
    waiting: int
    """Due times that wait for their run."""
    running: Progress | None
    retry_at: datetime | None
    """When a run that failed is tried again."""
    last_success: datetime | None
    last_run: Run | None
    paused: bool
    fresh_s: float | None
    """How old the last success may be."""
    late: bool
    """It is older."""

    def to_object(self) -> dict[str, Any]:
        """Return it as JSON has it, with its state."""
        return {**msgspec.to_builtins(self), "state": self.state}

    @property
    def message(self) -> str:
        """What is wrong where it is late."""
        last = (
            "there was none"
            if self.last_success is None
            else f"the last one was {self.last_success:%Y-%m-%d %H:%M} UTC"
        )
        return f"batch {self.name}: no success for {duration_text(self.fresh_s)}; {last}"

    @property
    def state(self) -> str:
        """One word: late, running, failing, paused, waiting."""
        if self.late:
            return "late"
        if self.running is not None:
            return "running"
        if self.paused:
            return "paused"
        failing = self.last_run is not None and self.last_run.outcome in ("failed", "crashed")
        return "failing" if failing else "waiting"


def batch_infos(log: Log) -> list[BatchInfo]:
    """Return how each batch fares that a program declared, by name."""
    found = []
    for one in declared(log):
        try:
            found.append(_info(log, one))
        except (TopicNotFoundError, GroupNotFoundError):
            continue  # Its topic was deleted.
    return found


def batch_groups(log: Log) -> set[tuple[str, str]]:
    """Return topic and group of all that batches read: they are no queues."""
    return {(topic, one.name) for one in declared(log) for topic in (*one.topics, *([one.on] if one.on else []))}


def find_batch(log: Log, name: str) -> Declared:
    """Return a batch by its name.

    Raises:
        UsageError: No program declared it.
    """
    known = {one.name: one for one in declared(log)}
    if name not in known:
        raise UsageError(f"there is no batch {name!r}; the log knows {', '.join(known) or 'none'}")
    return known[name]


def batch_group(log: Log, name: str) -> Group[None]:
    """Return the group that keeps the state of a batch.

    Raises:
        UsageError: There is no such batch.
    """
    return log.topic(find_batch(log, name).topics[0]).group(name)


def last_runs(log: Log, name: str, limit: int) -> list[Run]:
    """Return the last runs of a batch, the newest last."""
    return recent_runs(log.topic(runs_topic_name(name), Run), limit)


def next_dues(one: Declared, after_us: int) -> Iterator[datetime]:
    """Yield the coming due times of a batch, of the next year."""
    schedule = schedule_of(one)
    if schedule is None:
        return
    for due_us in dues_between(schedule, after_us, after_us + DUES_SPAN_US):
        yield time_from_us(due_us)


def schedule_of(one: Declared) -> Together | None:
    """Return the schedule of a batch; None: it has none."""
    schedules: list[Schedule] = [Cron(*cron) for cron in one.crons]
    schedules += [Every(us) for us in one.every_us]
    return Together(tuple(schedules)) if schedules else None


def _info(log: Log, one: Declared) -> BatchInfo:
    infos = [log.engine.describe_group(topic, one.name) for topic in one.topics]
    state = log.engine.state(one.topics[0], one.name, AT, [CLAIM, BEAT, PLAN, LAST, RETRY])
    plan = None if PLAN not in state else msgspec.msgpack.decode(state[PLAN], type=Plan)
    last = None if LAST not in state else msgspec.msgpack.decode(state[LAST], type=Last)
    again = None if RETRY not in state else msgspec.msgpack.decode(state[RETRY], type=Again)
    now_us = log.clock.now_us()
    fresh_from_us = one.since_us if last is None else last.ended_us
    runs = last_runs(log, one.name, 1)
    schedule = schedule_of(one)
    next_us = None if schedule is None else schedule.next_after(now_us)
    return BatchInfo(
        name=one.name,
        topics=one.topics,
        starts=_starts(one, schedule),
        new_records=sum(info.lag for info in infos),
        next_due=None if next_us is None else time_from_us(next_us),
        waiting=0 if plan is None else len(plan.waiting),
        running=_progress(state),
        retry_at=None if again is None else time_from_us(again.at_us),
        last_success=None if last is None else time_from_us(last.ended_us),
        last_run=runs[-1] if runs else None,
        paused=infos[0].paused,
        fresh_s=None if one.fresh_us is None else one.fresh_us / 1_000_000,
        late=one.fresh_us is not None and now_us - fresh_from_us > one.fresh_us,
    )


def _progress(state: dict[bytes, bytes]) -> Progress | None:
    if CLAIM not in state:
        return None
    claim = msgspec.msgpack.decode(state[CLAIM], type=Claim)
    beat = None if BEAT not in state else msgspec.msgpack.decode(state[BEAT], type=Beat)
    told = beat if beat is not None and beat.token == claim.token else Beat(claim.token, 0)
    return Progress(
        run=claim.run_id,
        process=claim.process,
        started=time_from_us(claim.started_us),
        trigger=claim.trigger,
        attempt=claim.attempt,
        share=told.share,
        text=told.text,
    )


def _starts(one: Declared, schedule: Together | None) -> str:
    parts = [] if schedule is None else [str(schedule)]
    parts += [] if one.on is None else [f"on {one.on}"]
    parts += [f"when {one.when}"] if one.when else []
    return ", ".join(parts) or "when called"
