"""What looks at the time, and at what has gathered, and starts runs: once, however many processes do the same."""

from __future__ import annotations

import logging
import random
import threading
import time
from typing import Any, Final

import msgspec

from millstream.batch.batch import Batch
from millstream.batch.claim import AT, Claim, Watch, put, read_claim
from millstream.batch.options import RetryRule
from millstream.batch.planning import PLAN, Look, Plan, look
from millstream.batch.registry import declare
from millstream.batch.runs import Run, RunOutcome, new_run_id
from millstream.batch.work import RETRY, Again
from millstream.durations import span_text
from millstream.engines.protocol import Append, StateChange
from millstream.errors import (
    ClosedError,
    CommitConflictError,
    MillstreamError,
    OffsetOutOfRangeError,
    RunCancelledError,
)
from millstream.records import time_from_us

_log = logging.getLogger("millstream.batch")

LOOK_US: Final = 1_000_000
"""Between two looks while a run is in progress elsewhere: its process may die."""

IDLE_US: Final = 5_000_000
"""Between two looks while nothing is due for long: a wall clock that was set is noticed within this time."""

STOP_S: Final = 0.2
"""A scheduler that waits for records notices within this time that it should stop."""

PAUSE_S: Final = 0.05
"""Between two looks at least, when records come all the time."""

CRASHES_MAX: Final = 3
"""Processes that may die of one run; then it is given up on, and its records go to the next run."""

FAILED_US_MAX: Final = 60_000_000
"""Longest pause before a condition that is still met starts a run after one that failed; it begins with a second."""


class Scheduler:
    """The schedule of one batch, as a reader that a supervisor runs in each process.

    `tick` does one look, and the run that this starts; what it decides is committed expecting what it saw.
    """

    kind = "batch"

    def __init__(self, batch: Batch) -> None:
        self.batch = batch
        self.name = batch.name
        self._clock = batch.topic.log.clock
        self._watch = Watch()
        self._late = self._aborted = False
        self._failed_us = 0
        self._rest_until_us = 0
        """No condition starts a run before this moment of the monotonic clock."""

    def __repr__(self) -> str:
        return repr(self.batch)

    def run(self, stop: threading.Event) -> None:
        """Start runs when they are due until `stop` is set; a run in progress ends first."""
        declare(self.batch)
        while not stop.is_set():
            begun_s = time.monotonic()
            seen = self._seen()  # before the look: what comes after it ends the wait
            wait_us = self.tick()
            self._warn()
            self._wait(stop, wait_us, seen)
            stop.wait(max(0.0, min(PAUSE_S, wait_us / 1_000_000) - (time.monotonic() - begun_s)))

    def run_now(self, stop: threading.Event) -> int:
        """Do nothing: `run_until_now` runs each batch that has new records."""
        return 0

    def abort(self) -> None:
        """Give up the run in progress; whoever runs the batch next begins it again."""
        self._aborted = True
        run = self.batch.current
        if run is not None:
            run.stop(RunCancelledError(f"run {run.id} was given up as its process stopped; it is begun again"))

    def tick(self) -> int:
        """Look once, and run what is due; return how long there is nothing to do, in microseconds.

        A run that fails is recorded and logged; it is tried again as the batch's `retry` says.
        """
        batch = self.batch
        group = batch.group
        if group.info().paused:
            return LOOK_US
        try:
            claim, raw, beat = read_claim(group)
            if claim is not None and raw is not None:
                if self._watch.dead(claim, beat, self._clock.monotonic_us()):
                    return self._take_over(claim, raw)
                self.note(running=True)
                return min(LOOK_US, self._until_due())
            again, raw_again = self._again()
            if again is not None and raw_again is not None:
                left_us = again.at_us - self._clock.now_us()
                if left_us <= 0:
                    return self._work(batch.try_again(again, raw_again))
                self.note(running=True)
                return min(left_us, self._until_due())
            return self._start()
        except CommitConflictError:
            # Another process was faster with the same; what there is to do now is seen at once.
            return 10_000

    def note(self, *, running: bool) -> None:
        """Look at the time only: what becomes due while a run is in progress waits for it, or is left out."""
        plan, raw = self._plan()
        looked = self._look(plan, running=running)
        if looked is not None and looked.plan != plan:
            self.batch.group.commit(
                [], state=[put(PLAN, looked.plan)], expect=[StateChange(AT, PLAN, raw)], appends=self._skipped(looked)
            )

    # --- inside -------------------------------------------------------------------------------------------------------

    def _start(self) -> int:
        """Start what is due, by time first."""
        plan, raw = self._plan()
        looked = self._look(plan, running=False)
        if (looked is not None and plan != looked.plan) or (plan is not None and plan.waiting):
            assert looked is not None
            return self._by_time(looked, raw)
        if self._clock.monotonic_us() >= self._rest_until_us and (trigger := self._gathered()):
            return self._work(self.batch.take(trigger))
        return self._until_due()

    def _by_time(self, looked: Look, raw: bytes | None) -> int:
        batch, new = self.batch, looked.plan
        expect = [StateChange(AT, PLAN, raw)]
        if not new.waiting:
            batch.group.commit([], state=[put(PLAN, new)], expect=expect, appends=self._skipped(looked))
            return self._until_due()
        due_us, *rest = new.waiting
        claim = batch.take(
            self._kind_of(due_us),
            due_us=due_us,
            state=[put(PLAN, Plan(new.looked_us, tuple(rest)))],
            expect=expect,
            appends=self._skipped(looked),
        )
        return self._work(claim)

    def _gathered(self) -> str:
        """Return what is met: on, when; empty: nothing."""
        batch = self.batch
        if batch.on is not None and batch.on.group(batch.name).info().lag:
            return "on"
        when = batch.options.when
        met = when is not None and when.met(batch.topic.engine, batch.infos(), self._clock.now_us())
        return "when" if met else ""

    def _work(self, claim: Claim) -> int:
        """Run what was claimed; return 0: what is due next is seen at once."""
        batch = self.batch
        batch.look = self._note_meanwhile
        try:
            run = batch.attempt(claim, lambda error: self._next_try(claim, error))
        except CommitConflictError as error:
            _log.warning("batch %s: run %s was taken over: %s", self.name, claim.run_id, error)
            return 10_000
        except ClosedError:
            raise
        except Exception as error:  # noqa: BLE001 - it is recorded, logged, and decided on
            _log.error("batch %s: run %s failed", self.name, claim.run_id, exc_info=error)
            self._failed_us = min(FAILED_US_MAX, max(LOOK_US, 2 * self._failed_us))
            self._rest_until_us = self._clock.monotonic_us() + self._failed_us
            return 0
        self._failed_us = self._rest_until_us = 0
        _log.info("batch %s: run %s, %d rows", self.name, run.id, run.rows)
        return 0

    def _next_try(self, claim: Claim, error: BaseException) -> Again | None:
        """Return when a run is tried again after an error; None: it is given up on."""
        if isinstance(error, RunCancelledError):
            return Again(claim, self._clock.now_us()) if self._aborted else None
        retry = self.batch.options.retry
        rule: RetryRule | None = None if retry is None else retry.rule(error)
        if rule is None or claim.attempt >= rule.attempts or isinstance(error, OffsetOutOfRangeError):
            return None
        delay_us = rule.delay_us(claim.attempt, random.random())
        return Again(msgspec.structs.replace(claim, attempt=claim.attempt + 1), self._clock.now_us() + delay_us)

    def _take_over(self, claim: Claim, raw: bytes) -> int:
        batch = self.batch
        if claim.crashes + 1 >= CRASHES_MAX:
            _log.error("batch %s: run %s: %d processes died of it, given up", self.name, claim.run_id, CRASHES_MAX)
            batch.give_up(claim, raw, f"{CRASHES_MAX} processes died of it")
            self._rest_until_us = self._clock.monotonic_us() + FAILED_US_MAX
            return 0
        _log.warning("batch %s: run %s: process %s died, begun again", self.name, claim.run_id, claim.process)
        return self._work(batch.take_over(claim, raw))

    def _plan(self) -> tuple[Plan | None, bytes | None]:
        raw = self.batch.group.state(AT, [PLAN]).get(PLAN)
        return (None if raw is None else msgspec.msgpack.decode(raw, type=Plan)), raw

    def _again(self) -> tuple[Again | None, bytes | None]:
        raw = self.batch.group.state(AT, [RETRY]).get(RETRY)
        again = None if raw is None else msgspec.msgpack.decode(raw, type=Again | None)
        return again, raw

    def _look(self, plan: Plan | None, *, running: bool) -> Look | None:
        options = self.batch.options
        if options.schedule is None:
            return None
        now_us = self._clock.now_us()
        if plan is None:
            # A new batch is due for the first time after it was first run.
            return Look(Plan(now_us))
        looked = look(plan, options.schedule, now_us, running=running, missed=options.missed, overlap=options.overlap)
        if looked.why:
            _log.info("batch %s: %d due times left out: %s", self.name, looked.dropped, looked.why)
        return looked

    def _note_meanwhile(self) -> None:
        try:
            self.note(running=True)
        except CommitConflictError:
            pass  # Another process noted it.
        except MillstreamError as error:
            _log.warning("batch %s: due times not looked at, trying again: %s", self.name, error)

    def _kind_of(self, due_us: int) -> str:
        schedule = self.batch.options.schedule
        assert schedule is not None
        found = [one for one in schedule.schedules if one.last_at(due_us) == due_us]
        return type(found[0]).__name__.lower() if found else "cron"

    def _skipped(self, looked: Look) -> list[Append]:
        if not looked.dropped:
            return []
        now = time_from_us(self._clock.now_us())
        run = Run(
            id=new_run_id(now),
            batch=self.name,
            ranges=[],
            rows=0,
            started=now,
            duration_us=0,
            outcome=RunOutcome.SKIPPED,
            error=looked.why,
            trigger="schedule",
            due=time_from_us(looked.plan.looked_us),
            skipped=looked.dropped,
        )
        return self.batch.records_of([run])

    def _until_due(self) -> int:
        now_us = self._clock.now_us()
        options = self.batch.options
        dues = [now_us + IDLE_US]
        if options.schedule is not None:
            plan, _ = self._plan()
            due_us = options.schedule.next_after(now_us if plan is None else plan.looked_us)
            dues += [] if due_us is None else [due_us]
        if options.when is not None:
            due_us = options.when.due_us(self.batch.topic.engine, self.batch.infos())
            dues += [] if due_us is None else [due_us]
        return max(1_000, min(dues) - now_us, self._rest_us() if options.schedule is None else 0)

    def _rest_us(self) -> int:
        return self._rest_until_us - self._clock.monotonic_us()

    def _wait(self, stop: threading.Event, wait_us: int, seen: dict[str, dict[int, int]]) -> None:
        """Wait so long, or until records come that may start a run."""
        until_s = time.monotonic() + wait_us / 1_000_000
        while not stop.is_set() and (left_s := until_s - time.monotonic()) > 0:
            if not seen or self._rest_us() > 0:
                stop.wait(left_s)
            elif self.batch.topic.engine.wait(seen, round(min(STOP_S, left_s) * 1_000_000), until=stop.is_set):
                return

    def _warn(self) -> None:
        """Say it once when the last success is older than it may be."""
        fresh_us = self.batch.options.fresh_us
        if fresh_us is None:
            return
        late = self.batch.age_us() > fresh_us
        if late and not self._late:
            _log.error("batch %s: late: its last success is older than %s", self.name, span_text(fresh_us))
        self._late = late

    def _seen(self) -> dict[str, dict[int, int]]:
        """Return the ends, as they are, of the topics whose records may start a run."""
        topics: list[Any] = [] if self.batch.on is None else [self.batch.on]
        if self.batch.options.when is not None:
            topics += self.batch.topics
        return {topic.name: topic.end_offsets() for topic in topics}
