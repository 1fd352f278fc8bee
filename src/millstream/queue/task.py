"""A function as a job type: what `@app.task` makes of it, and how its jobs are sent."""

from __future__ import annotations

import functools
import hashlib
import inspect
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, ParamSpec, TypeVar, overload

import msgspec

from millstream.durations import duration_us
from millstream.engines.protocol import Append
from millstream.errors import UsageError
from millstream.log.delivery import UNIQUE_WINDOW, Due
from millstream.log.producer import Headers
from millstream.log.transaction import Transaction
from millstream.queue.arguments import Arguments
from millstream.queue.job import Job
from millstream.queue.tasks import TaskCall, TaskQueue
from millstream.records import Position, check_name

P = ParamSpec("P")
R = TypeVar("R")
C = TypeVar("C")

Unique = str | bytes | Literal[True] | None
"""A value that jobs of the task share when they are the same one; True: the arguments."""

Window = timedelta | str | float


class Sending(Generic[P, R]):
    """How jobs of a task are sent; made by `Task.options`, kept and used as often as wanted."""

    def __init__(
        self,
        task: Task[P, R, Any],
        *,
        due: Due = None,
        unique: Unique = None,
        window: Window = UNIQUE_WINDOW,
        priority: int | None = None,
        headers: Headers = None,
        transaction: Transaction | None = None,
    ) -> None:
        if priority and not task.queue.setting("priority"):
            raise UsageError(
                f"task {task.name!r} has no priorities; declare it with @app.task(priority=0), which is what a job has "
                "unless it is sent with another"
            )
        self._task = task
        self._due = due
        self._unique = unique
        self._window = window
        self._priority = task.priority if priority is None else priority
        self._headers = headers
        self._transaction = transaction

    def send(self, *args: P.args, **kwargs: P.kwargs) -> Job[R]:
        """Send a job; see `Task.send`."""
        [job] = self._stored(self._encode([self._call(args, kwargs)]))
        return job

    async def send_async(self, *args: P.args, **kwargs: P.kwargs) -> Job[R]:
        """`send` for asyncio: tasks of the loop that send at the same moment share one fsync."""
        queue = self._task.queue
        if self._transaction is not None:
            raise UsageError("a transaction belongs to one thread and blocks it: use send() in it")
        if queue.bound is not None:
            import asyncio  # late: most programs never need it, and it takes 20 ms

            return await asyncio.to_thread(self.send, *args, **kwargs)  # it may wait for room
        call = self._call(args, kwargs)
        position = await queue.topic.append_async(
            call,
            headers=self._headers,
            due=self._due,
            priority=self._priority,
            unique=self._unique_value(call),
            unique_window=self._window,
        )
        return Job(queue, position, self._task.name)

    def send_many(self, calls: Iterable[Any]) -> list[Job[R]]:
        """Send many jobs with one append, all or nothing; see `Task.send_many`."""
        return self._stored(self._encode([self._call(*_arguments(call)) for call in calls]))

    def _call(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> TaskCall:
        return TaskCall(self._task.name, self._task.arguments.encode(args, kwargs))

    def _encode(self, calls: list[TaskCall]) -> list[Append]:
        return self._task.queue.topic.encode(
            calls,
            headers=None if self._headers is None else [self._headers] * len(calls),
            due=self._due,
            priority=self._priority,
            unique=None if self._unique is None else [self._unique_value(call) for call in calls],
            unique_window=self._window,
        )

    def _stored(self, appends: list[Append]) -> list[Job[R]]:
        queue = self._task.queue
        if self._transaction is not None:
            positions = self._transaction.append(queue.topic.log, appends, bound=queue.bound)
        else:
            positions = queue.append(appends)
        return [
            Job(queue, Position(first.partition, first.offset + place), self._task.name)
            for append, first in zip(appends, positions, strict=True)
            for place in range(append.batch.count)
        ]

    def _unique_value(self, call: TaskCall) -> bytes | None:
        if self._unique is None:
            return None
        if self._unique is True:
            data = msgspec.json.encode(call.arguments, order="sorted")
            return b"%s=%s" % (call.task.encode(), hashlib.sha256(data).hexdigest().encode())
        value = self._unique.encode() if isinstance(self._unique, str) else self._unique
        return b"%s:%s" % (call.task.encode(), value)


_ELSEWHERE: Final = {
    "delay": "send(...)",  # Celery
    "apply_async": "options(delay=...).send(...)",
    "send_with_options": "options(...).send(...)",  # dramatiq
    "enqueue": "send(...)",  # RQ
    "schedule": "options(delay=...).send(...)",  # Huey
    "defer": "send(...)",  # procrastinate
    "kiq": "send(...)",  # taskiq
}
"""What others call it, and what it is here: the first thing that somebody types who comes from there."""


class Task(Generic[P, R, C]):
    """A function that can be called as ever, and sent to be called by a worker.

    Its type says what it takes, what its jobs give, and what a call returns: the same, or of an async function its
    coroutine.

    Raises:
        UsageError: It has no name, or a parameter that is no data.
    """

    def __init__(
        self,
        function: Callable[P, C],
        queue: TaskQueue,
        *,
        name: str,
        results: timedelta | str | float | None,
        unique: Unique,
        window: Window,
        priority: int,
    ) -> None:
        self.function = function
        self.name = check_name("task", name)
        self.queue = queue
        self.priority = priority
        self.results_us = None if results is None else duration_us(results)
        self.is_async = inspect.iscoroutinefunction(function)
        self.arguments = Arguments(name, function)
        self._unique = unique
        self._window = window
        functools.update_wrapper(self, function, updated=())

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> C:
        """Call the function here and now."""
        return self.function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<task {self.name!r} of queue {self.queue.name!r}>"

    @overload
    def send(self, *args: P.args, **kwargs: P.kwargs) -> Job[R]: ...

    @overload
    def send(self, *args: Any, transaction: Transaction, **kwargs: Any) -> Job[R]: ...

    def send(self, *args: Any, **kwargs: Any) -> Job[R]:
        """Send a job: a worker calls the function with these arguments. It is durable when this returns.

        Args:
            transaction: Sends it with the caller's own rows, or not at all; see `App.transaction`. (A function with a
                parameter of this name gets it by `options(transaction=)`.)

        Raises:
            SchemaError: The arguments are not what the function takes; names the parameter.
            QueueFullError: The queue is at its bound and raises then, or a transaction cannot wait for room.
            StorageError: It was not stored.
        """
        if "transaction" in kwargs and "transaction" not in self.arguments.names:
            return self.options(transaction=kwargs.pop("transaction")).send(*args, **kwargs)
        return self._sending.send(*args, **kwargs)

    async def send_async(self, *args: P.args, **kwargs: P.kwargs) -> Job[R]:
        """`send` for asyncio: tasks of the loop that send at the same moment share one fsync."""
        return await self._sending.send_async(*args, **kwargs)

    def send_many(self, calls: Iterable[Any]) -> list[Job[R]]:
        """Send many jobs with one append, all or nothing.

        Args:
            calls: The arguments of each: a tuple by position, a dict by name, anything else as the only one.

        Raises:
            SchemaError: One does not fit. Nothing was sent.
        """
        return self._sending.send_many(calls)

    def send_at(self, moment: datetime, /, *args: P.args, **kwargs: P.kwargs) -> Job[R]:
        """Send a job that is not started before a moment (with a time zone). It waits on disk, in nobody's memory."""
        return self.options(at=moment).send(*args, **kwargs)

    def options(
        self,
        *,
        delay: timedelta | str | float | None = None,
        at: datetime | None = None,
        unique: Unique = None,
        window: Window | None = None,
        priority: int | None = None,
        headers: Headers = None,
        transaction: Transaction | None = None,
    ) -> Sending[P, R]:
        """Return how to send jobs with other settings, as in `thumbnail.options(delay="5m").send("a.png")`.

        Args:
            delay: Not to be started before so long from each send.
            at: Not to be started before this moment.
            unique: A job of this task that was sent with the same value less than `window` ago is the one returned, and
                nothing is sent. True: with the same arguments.
            window: How long a unique value is remembered, from the first send; a day unless told.
            priority: Higher ones first; for tasks declared with a priority.
            headers: Of the record; `current_job().headers` has them.
            transaction: See `send`.

        Raises:
            UsageError: Both `delay` and `at`; a priority where the task has none.
        """
        if delay is not None and at is not None:
            raise UsageError("give delay= or at=, not both")
        return Sending(
            self,
            due=delay if at is None else at,
            unique=self._unique if unique is None else unique,
            window=self._window if window is None else window,
            priority=priority,
            headers=headers,
            transaction=transaction,
        )

    def job(self, job_id: str) -> Job[R]:
        """Return the job with this id, as `Job.id` gave it, in this or another process.

        Raises:
            UsageError: It is no id of a job of this task's queue, or there was no such job.
        """
        found = self.queue.job(job_id)
        return Job(self.queue, found.position, self.name)

    if not TYPE_CHECKING:  # which would take any name for an attribute

        def __getattr__(self, name: str) -> Any:
            ours = _ELSEWHERE.get(name)
            hint = "" if ours is None else f"; a job is sent by {self.__dict__.get('name', 'task')}.{ours}"
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}{hint}", name=name, obj=self)

    @functools.cached_property
    def _sending(self) -> Sending[P, R]:
        return self.options()


def _arguments(call: Any) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
    if isinstance(call, tuple):
        return call, {}
    if isinstance(call, Mapping):
        return (), call
    return (call,), {}
