"""One job: the handle that `send` returns, and what its function sees of itself while it runs."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextvars import ContextVar
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from millstream.clock import Clock
from millstream.durations import duration
from millstream.errors import (
    JobCancelledError,
    JobFailedError,
    ResultGoneError,
    ResultNotReadyError,
    UsageError,
)
from millstream.log.delivery import due_us
from millstream.queue.handler import current_delivery
from millstream.queue.results import JobOutcome, OutcomeState, Progress
from millstream.records import Position, Record, time_from_us

if TYPE_CHECKING:
    from millstream.queue.tasks import TaskQueue

R = TypeVar("R")

PROGRESS_EVERY_US: Final = 250_000
"""Progress is stored at most so often: each time is a commit, and nobody looks more often."""

_ANY_OFFSET: Final = 2**62
"""Beyond the end of every partition: who waits for a result does not wait for records."""

_LOOK_S: Final = 10.0
"""One who waits for a result asks so often whether it can still come."""


class JobStatus(StrEnum):
    SCHEDULED = "scheduled"
    """It waits for its time."""
    QUEUED = "queued"
    """It waits for a worker."""
    RUNNING = "running"
    """A worker has it."""
    RETRYING = "retrying"
    """It failed, and is tried again."""
    DONE = "done"
    DEAD = "dead"
    """Given up on: it is in the dead letters."""
    CANCELLED = "cancelled"
    OVER = "over"
    """It ended, and how is not kept, or no longer."""


class Job(Generic[R]):
    """A call of a task that was sent. Any process that declares the task can make one from the id: `app.job(id)`."""

    def __init__(self, queue: TaskQueue, position: Position, task: str) -> None:
        self._queue = queue
        self.position = position
        """Of its record in the queue's topic."""
        self.task = task
        """Name of the task; empty where that is known no longer."""

    @property
    def id(self) -> str:
        """Topic, partition and offset of its record, such as "tasks.thumbnail:0:17"."""
        return f"{self._queue.topic_name}:{self.position.partition}:{self.position.offset}"

    def __repr__(self) -> str:
        return f"<Job {self.id}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Job) and self.id == other.id

    def __hash__(self) -> int:
        return hash(self.id)

    # --- its outcome ------------------------------------------------------------------------------------------------

    def result(self, timeout: timedelta | str | float | None = None) -> R:
        """Wait until the job has ended, and return what its function returned.

        It is woken by the worker's commit. The value is data: what JSON makes of it, as the return annotation's type.

        Args:
            timeout: Give up after this time; None waits as long as it takes.

        Raises:
            JobFailedError: It was given up on; carries the error of the last attempt, with its traceback as text.
            JobCancelledError: It was cancelled.
            ResultNotReadyError: The time is over; also a `TimeoutError`.
            ResultGoneError: It ended, and its outcome has expired or could not be kept.
            UsageError: The task keeps no results.
        """
        until = None if timeout is None else time.monotonic() + duration(timeout).total_seconds()
        self._queue.check_keeps_results(self.task)
        look_at = time.monotonic()
        while True:
            outcome = self._outcome()
            if (outcome is None or not outcome.final) and time.monotonic() >= look_at:
                look_at = time.monotonic() + _LOOK_S
                if self._is_over():
                    outcome = self._outcome()  # it may have ended between the two looks
                    if outcome is None or not outcome.final:
                        raise ResultGoneError(f"job {self.id} has ended, and its outcome is kept no longer")
            if outcome is not None and outcome.final:
                return self._value(outcome)
            left = _LOOK_S if until is None else until - time.monotonic()
            if left <= 0:
                raise ResultNotReadyError(f"job {self.id} has not ended in {timeout}; it goes on, ask again later")
            self._wait(min(left, _LOOK_S))

    async def result_async(self, timeout: timedelta | str | float | None = None) -> R:
        """`result` for asyncio; it waits in a thread."""
        import asyncio  # late: most programs never need it, and it takes 20 ms

        return await asyncio.to_thread(self.result, timeout)

    def status(self) -> JobStatus:
        """Return how it stands, without a scan.

        Where its task keeps no results (`results=None`), a job that has ended is `OVER`, however it ended.
        """
        outcome = self._outcome()
        if outcome is None or not outcome.final:
            found = self._queue.delivery_status(self.position)
            if found is JobStatus.OVER:
                outcome = self._outcome()
            elif found is JobStatus.RUNNING or outcome is None:
                return found
        return JobStatus.OVER if outcome is None else JobStatus(outcome.state.value)

    def progress(self) -> Progress | None:
        """Return what its function said last with `progress()`; None before that, and after its end."""
        told = self._queue.results.progress(self.position)
        return None if told is None or self._is_over() else told

    def cancel(self, reason: str = "") -> None:
        """Let it not happen: a job that was not started never is; of one that runs see `QueueReader.cancel`.

        Raises:
            UsageError: There is no such job.
        """
        self._queue.reader.cancel(self.position, reason)

    def _outcome(self) -> JobOutcome | None:
        return self._queue.results.outcome(self.position)

    def _is_over(self) -> bool:
        return self._queue.delivery_status(self.position) is JobStatus.OVER

    def _wait(self, seconds: float) -> None:
        def ended() -> bool:
            outcome = self._outcome()
            return outcome is not None and outcome.final

        topic = self._queue.topic
        topic.wait({self.position.partition: _ANY_OFFSET}, seconds, until=ended)

    def _value(self, outcome: JobOutcome) -> R:
        if outcome.state is OutcomeState.CANCELLED:
            raise JobCancelledError(
                f"job {self.id} was cancelled" + (f": {outcome.message}" if outcome.message else "")
            )
        if outcome.state is OutcomeState.DEAD:
            raise JobFailedError(
                self.id,
                error_type=outcome.error_type,
                message=outcome.message,
                traceback=outcome.traceback,
                attempts=outcome.attempt,
            )
        if outcome.value is None:
            raise ResultGoneError(f"job {self.id} is done, but {outcome.lost}")
        return self._queue.decode_result(self.task, outcome.value)  # type: ignore[no-any-return]


class CurrentJob:
    """The job that a function is running for, as `current_job()` returns it."""

    def __init__(self, record: Record[Any], clock: Clock, put: Callable[[CurrentJob, float, str], None]) -> None:
        self._record = record
        self._clock = clock
        self._put = put
        self._stored_us = 0
        self._told = False

    @property
    def id(self) -> str:
        """As `Job.id`."""
        return f"{self._record.topic}:{self._record.partition}:{self._record.offset}"

    @property
    def position(self) -> Position:
        return self._record.position

    @property
    def headers(self) -> dict[str, bytes]:
        """The headers of its record."""
        return dict(self._record.headers)

    @property
    def attempt(self) -> int:
        """1 for the first."""
        delivery = current_delivery()
        return delivery.attempt if delivery is not None else 1

    @property
    def sent_at(self) -> datetime:
        """When it was sent (UTC)."""
        return time_from_us(self._record.append_time_us)

    def progress(self, fraction: float, text: str = "") -> None:
        """Tell how far it is; stored four times a second at most, the times between are left out.

        Raises:
            UsageError: The fraction is not from 0 to 1.
        """
        if not 0 <= fraction <= 1:
            raise UsageError(f"progress is a fraction from 0 to 1, not {fraction}")
        now_us = self._clock.now_us()
        if self._told and 0 <= now_us - self._stored_us < PROGRESS_EVERY_US:
            return
        self._stored_us = now_us
        self._told = True
        self._put(self, float(fraction), text)


CURRENT_JOB: ContextVar[CurrentJob | None] = ContextVar("millstream_current_job", default=None)


def current_job() -> CurrentJob | None:
    """Return the job that this code runs for; None outside of one, as when the function is called directly."""
    return CURRENT_JOB.get()


def progress(fraction: float, text: str = "") -> None:
    """Tell how far the current job is; see `CurrentJob.progress`. Does nothing outside of a job."""
    job = CURRENT_JOB.get()
    if job is not None:
        job.progress(fraction, text)


def due_of(record: Record[Any]) -> int:
    """Return when a job's record may be handed over; 0: at once."""
    return due_us(record.headers)
