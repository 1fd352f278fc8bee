"""The tasks of one queue: their topic, the handler that calls the right one, and what is kept of each job."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, TypedDict

import msgspec

from millstream.clock import Clock
from millstream.durations import duration_us
from millstream.engines.protocol import Append, Bound, Place, StateChange
from millstream.errors import OffsetOutOfRangeError, Reject, SettingsError, UsageError
from millstream.log.group import Group
from millstream.log.topic import Topic
from millstream.queue.autoscale import Scaling
from millstream.queue.events import QueueEventKind
from millstream.queue.intake import Intake
from millstream.queue.job import CURRENT_JOB, CurrentJob, Job, JobStatus, due_of
from millstream.queue.options import QueueOptions, Recycle, WhenFull
from millstream.queue.outcome import HandlerOutcome
from millstream.queue.rate import RateLimit
from millstream.queue.reader import QueueReader
from millstream.queue.results import JobOutcome, OutcomeState, Results, encoded_value
from millstream.queue.retry import Retry
from millstream.records import Position, Record, check_name

if TYPE_CHECKING:
    from millstream.log.log import Log
    from millstream.queue.task import Task

TOPIC_PREFIX: Final = "tasks."
"""Of the topics of tasks, so that they do not meet those that a program names itself."""

RESULTS: Final = "1h"
"""How long an outcome is kept unless told: long enough to ask for it, short enough that it does not add up."""

RESULTS_US: Final = duration_us(RESULTS)

CANCELLED: Final = "Cancelled"
"""The error type of a dead letter whose record was cancelled."""

_TELLING_MAX: Final = 10_000
"""Of jobs whose lease was lost nobody hears again."""


class QueueSettings(TypedDict, total=False):
    """What tasks may say of their queue; see `App.queue`."""

    workers: int | tuple[int, int] | Scaling | None
    retry: Retry | None
    timeout: timedelta | str | float | None
    concurrency: int | None
    rate: RateLimit | str | None
    mode: str | None
    kind: str | None
    maxsize: int | None
    full: str | None
    recycle: Recycle | None


class TaskCall(msgspec.Struct, frozen=True):
    """The record of a job: which task, and its arguments as JSON data by parameter."""

    task: str
    arguments: dict[str, Any]


class TaskQueue:
    """One queue of jobs: a topic `tasks.<name>` of `TaskCall`, read by one consumer group of that name.

    The log is opened at the first use, so that a module with tasks can be imported anywhere.
    """

    def __init__(self, open_log: Callable[[], Log], name: str) -> None:
        self.name = check_name("queue", name)
        self.topic_name = check_name("topic", TOPIC_PREFIX + name)
        self.tasks: dict[str, Task[..., Any, Any]] = {}
        self._open_log = open_log
        self._settings: dict[str, Any] = {}
        self._lock = threading.RLock()
        self._topic: Topic[TaskCall] | None = None
        self._reader: QueueReader | None = None
        self._results: Results | None = None
        self._runs_async = False
        self._telling: dict[Position, None] = {}
        """Jobs of this process that have told their progress; in order, as it is cut from the front."""

    def __repr__(self) -> str:
        return f"<task queue {self.name!r}: {', '.join(sorted(self.tasks))}>"

    def declare(self, task: Task[..., Any, Any], settings: Mapping[str, Any]) -> None:
        """Add a task; settings that are given (not None) are the queue's, and all its tasks must agree on them.

        Raises:
            UsageError: It has a task of this name, or the settings contradict those of another one.
        """
        if task.name in self.tasks:
            raise UsageError(f"queue {self.name!r} has a task {task.name!r} already; give this one a name with name=")
        given = {name: value for name, value in settings.items() if value is not None}
        order_by = given.get("order_by")
        if order_by is not None and order_by not in task.arguments.names:
            raise UsageError(
                f"task {task.name!r}: order_by={order_by!r} is none of its parameters, which are "
                f"{', '.join(task.arguments.names) or 'none'}"
            )
        for name, value in given.items():
            if name in self._settings and self._settings[name] != value:
                raise SettingsError(
                    f"task {task.name!r}: {name}={value!r}, but another task of queue {self.name!r} has "
                    f"{name}={self._settings[name]!r}; a queue has one setting for all: give it once, or use two queues"
                )
        new = {name for name in given if name not in self._settings}
        if self._reader is not None and (new or (task.is_async and not self._runs_async)):
            what = f"{', '.join(sorted(new))}=" if new else "an async function"
            raise UsageError(
                f"task {task.name!r}: {what} comes too late, queue {self.name!r} is in use already; "
                "declare all tasks of a queue first"
            )
        if given.get("full") == WhenFull.SHED:
            raise SettingsError(
                f'task {task.name!r}: full="shed" is not for tasks, a job that was shed has no handle; use "raise"'
            )
        settings = {**self._settings, **given}
        _options(settings)  # checked now, where the mistake is
        self._settings = settings
        self.tasks[task.name] = task

    def setting(self, name: str) -> Any:
        """Return one of the queue's settings; None where no task gave it."""
        return self._settings.get(name)

    # --- what it stands on ------------------------------------------------------------------------------------------

    @property
    def topic(self) -> Topic[TaskCall]:
        if self._topic is None:
            with self._lock:
                if self._topic is None:
                    topic = self._open_log().topic(self.topic_name, TaskCall)
                    if topic.partitions != 1:
                        raise UsageError(f"topic {topic.name!r} has {topic.partitions} partitions; tasks need one")
                    self._topic = topic
        return self._topic

    @property
    def reader(self) -> QueueReader:
        """The queue as its workers and the commands see it."""
        if self._reader is None:
            with self._lock:
                if self._reader is None:
                    self._runs_async = any(task.is_async for task in self.tasks.values())
                    reader = QueueReader(
                        self.topic,
                        self._run_async if self._runs_async else self._run,
                        name=self.name,
                        workers=self._settings.get("workers", 1),
                        retry=self._settings.get("retry"),
                        options=_options(self._settings),
                        hook=self._outcome,
                    )
                    reader.__doc__ = f"The tasks {', '.join(sorted(self.tasks))}."
                    self._reader = reader
        return self._reader

    def prepare(self) -> None:
        """Make the topic and the group now."""
        _ = self.topic, self.group

    @property
    def group(self) -> Group[Any]:
        return self.results.group

    @property
    def results(self) -> Results:
        if self._results is None:
            with self._lock:
                if self._results is None:
                    self._results = Results(self.reader.group, self.clock)
        return self._results

    @property
    def clock(self) -> Clock:
        return self.topic.log.clock

    @property
    def bound(self) -> Bound | None:
        """What keeps the queue from growing; None where nothing does."""
        maxsize = self.setting("maxsize")
        return None if maxsize is None else Bound(self.topic_name, self.group.name, maxsize)

    def append(self, appends: Sequence[Append]) -> list[Position]:
        """Append encoded calls; at the queue's bound wait for room, or raise, as it was declared."""
        engine = self.topic.engine
        if self.bound is None:
            return engine.append(appends)
        count = sum(append.batch.count for append in appends)
        intake = Intake(self.group, self.reader.options)
        return intake.admitted(lambda bound: engine.append(appends, bound=bound), count, None)

    # --- jobs -------------------------------------------------------------------------------------------------------

    def job(self, job_id: str) -> Job[Any]:
        """Return the job with this id.

        Raises:
            UsageError: It is no id of a job of this queue, or there was no such job.
        """
        topic, _, place = job_id.partition(":")
        numbers = place.split(":")
        if topic != self.topic_name or len(numbers) != 2 or not all(number.isdigit() for number in numbers):
            raise UsageError(f"{job_id!r} is no job of queue {self.name!r}; ids are such as '{self.topic_name}:0:17'")
        position = Position(int(numbers[0]), int(numbers[1]))
        return Job(self, position, self._name_of(position))

    def _name_of(self, position: Position) -> str:
        """Return the name of a job's task; empty where retention has deleted its record, and one queue has several."""
        only = next(iter(self.tasks)) if len(self.tasks) == 1 else ""
        try:
            records = self.topic.read(position.offset, partition=position.partition, records_max=1)
        except OffsetOutOfRangeError as error:
            if position.offset < error.start_offset:
                return only
            records = []
        if not records:
            raise UsageError(f"there is no job {self.topic_name}:{position.partition}:{position.offset}")
        return records[0].value.task if records[0].value.task in self.tasks else only

    def delivery_status(self, position: Position) -> JobStatus:
        """Return how the record of a job stands: scheduled, queued, running, retrying or over."""
        found = self.group.find(position.partition, position.offset)
        if found.place is Place.SETTLED:
            return JobStatus.OVER
        if found.place is Place.LEASED:
            return JobStatus.RUNNING
        if found.place is Place.WAITING and found.attempt > 1:
            return JobStatus.RETRYING
        now_us = self.clock.now_us()
        if found.due_us > now_us:
            return JobStatus.SCHEDULED
        [record] = self.topic.read(position.offset, partition=position.partition, records_max=1)
        return JobStatus.SCHEDULED if due_of(record) > now_us else JobStatus.QUEUED

    def check_keeps_results(self, task: str) -> None:
        """Raise UsageError where nothing is kept of a task's jobs; an empty name means any of them."""
        asked = [self.tasks[task]] if task else list(self.tasks.values())
        if all(one.results_us is None for one in asked):
            raise UsageError(f'task {task or self.name!r} keeps no results; declare it with @app.task(results="1h")')

    def decode_result(self, task: str, value: bytes) -> Any:
        """Return a result as the type that the task's function is annotated with, or as plain data."""
        known = self.tasks.get(task)
        if known is not None:
            try:
                return msgspec.json.decode(value, type=known.arguments.result_type)
            except (msgspec.ValidationError, TypeError):
                pass  # the function returned something else, or has changed since
        return msgspec.json.decode(value)

    # --- in the worker ----------------------------------------------------------------------------------------------

    def _run(self, call: TaskCall, record: Record[TaskCall]) -> Any:
        task = self._task(call)
        args, kwargs = task.arguments.decode(call.arguments)
        before = CURRENT_JOB.set(self._current(record))
        try:
            return task.function(*args, **kwargs)
        finally:
            CURRENT_JOB.reset(before)

    async def _run_async(self, call: TaskCall, record: Record[TaskCall]) -> Any:
        task = self._task(call)
        if not task.is_async:
            import asyncio  # late: most programs never need it, and it takes 20 ms

            # A plain function among async ones must not hold up the loop.
            return await asyncio.to_thread(self._run, call, record)
        args, kwargs = task.arguments.decode(call.arguments)
        CURRENT_JOB.set(self._current(record))  # in the context of this coroutine's own asyncio task
        return await task.function(*args, **kwargs)

    def _task(self, call: TaskCall) -> Task[..., Any, Any]:
        task = self.tasks.get(call.task)
        if task is None:
            known = ", ".join(sorted(self.tasks))
            raise Reject(
                f"queue {self.name!r} has no task {call.task!r} (it has: {known}); if it was renamed, declare it under "
                f"its old name as well, with name={call.task!r}, then redrive"
            )
        return task

    def _current(self, record: Record[TaskCall]) -> CurrentJob:
        return CurrentJob(record, self.clock, self._put_progress)

    def _put_progress(self, job: CurrentJob, fraction: float, text: str) -> None:
        self._telling[job.position] = None
        if len(self._telling) > _TELLING_MAX:
            self._telling.pop(next(iter(self._telling)), None)
        self.results.put_progress(job.position, fraction, text)

    def _outcome(self, record: Record[Any], outcome: HandlerOutcome) -> list[StateChange]:
        """Return what to keep of a delivery that has ended; stored with its settlement."""
        changes: list[StateChange] = []
        if self._telling and record.position in self._telling:
            self._telling.pop(record.position, None)
            changes.append(self.results.forget_progress(record))
        call = record.value
        task = self.tasks.get(call.task) if isinstance(call, TaskCall) else None
        # A task that is not known here may keep results where it is.
        results_us = RESULTS_US if task is None else task.results_us
        if results_us is not None:
            kept = self._kept(task.name if task else "", outcome)
            changes.append(self.results.change(record, kept, results_us))
        return changes

    def _kept(self, task: str, outcome: HandlerOutcome) -> JobOutcome:
        now_us = self.clock.now_us()
        failure = outcome.failure
        if failure is None:
            value, lost = encoded_value(task, outcome.value)
            return JobOutcome(OutcomeState.DONE, now_us, outcome.attempt, value, lost)
        state = OutcomeState.RETRYING if outcome.kind is QueueEventKind.RETRY else OutcomeState.DEAD
        if failure.error_type.rpartition(".")[2] == CANCELLED:
            state = OutcomeState.CANCELLED
        return JobOutcome(
            state,
            now_us,
            outcome.attempt,
            error_type=failure.error_type,
            message=failure.message,
            traceback=failure.traceback,
            due_us=outcome.due_us,
        )


def _options(settings: Mapping[str, Any]) -> QueueOptions:
    """Return the settings of a queue that are not of the reader itself."""
    options = {name: value for name, value in settings.items() if name not in ("workers", "retry")}
    if "order_by" in options:
        options["order_by"] = _by_argument(options["order_by"])
    return QueueOptions(**options)


def _by_argument(parameter: str) -> Callable[[TaskCall], Any]:
    """Return what gives the key of a call; a call without that argument has none."""
    return lambda call: call.arguments.get(parameter)
