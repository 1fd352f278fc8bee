"""What a program declares: its topics, and who reads them how."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, Protocol, Self, TypeVar, Unpack, overload

from millstream.batch.batch import Batch
from millstream.clock import Clock, SystemClock
from millstream.engines.connect import connect
from millstream.engines.protocol import Durability
from millstream.errors import ClosedError, SettingsError, UsageError
from millstream.log.delivery import UNIQUE_WINDOW
from millstream.log.log import Log
from millstream.log.retention import Retention
from millstream.log.topic import Topic
from millstream.log.transaction import Transaction
from millstream.queue.autoscale import Scaling
from millstream.queue.dead_letters import DeadLetters
from millstream.queue.job import Job
from millstream.queue.options import Chosen, Kind, QueueOptions, Recycle
from millstream.queue.rate import RateLimit
from millstream.queue.reader import QueueReader
from millstream.queue.retry import Retry
from millstream.queue.task import Task, Unique
from millstream.queue.tasks import RESULTS, QueueSettings, TaskQueue
from millstream.run.reader import Reader
from millstream.run.signals import stopped_by_signals
from millstream.run.supervisor import Running
from millstream.run.until_now import run_until_now
from millstream.settings import DURABILITIES, Settings
from millstream.stream.graph import Table
from millstream.stream.reader import StreamReader, topic_of

if TYPE_CHECKING:
    import polars as pl

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


class TaskDecorator(Protocol):
    """What `App.task` with settings returns."""

    @overload
    def __call__(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> Task[P, R, Coroutine[Any, Any, R]]: ...

    @overload
    def __call__(self, function: Callable[P, R], /) -> Task[P, R, R]: ...


class App:
    """One log and what reads it.

    The log is opened at the first use, so that declaring an App costs nothing and fails nowhere.

    Args:
        url: A file such as "events.db", "sqlite:///path" or "memory://"; None: $MILLSTREAM_URL, else ./millstream.db.
        durability: "fsync" (an append returns when it is on disk) or "relaxed" (survives a killed process, not power
            loss); None: $MILLSTREAM_DURABILITY, else "fsync".

    Raises:
        SettingsError: An unknown durability.
    """

    def __init__(self, url: str | None = None, *, durability: str | None = None, clock: Clock | None = None) -> None:
        if durability is not None and durability not in DURABILITIES:
            raise SettingsError(f"durability is {durability!r}; give one of {', '.join(map(repr, DURABILITIES))}")
        self._queues: dict[str, QueueReader] = {}
        self._task_queues: dict[str, TaskQueue] = {}
        self._unread: list[TaskQueue] = []
        """Those whose readers are made when somebody asks: until then more tasks may come, and the log stays closed."""
        self.streams: dict[str, StreamReader] = {}
        self.batches: dict[str, Batch] = {}
        self._url = url
        self._durability = durability
        self._clock = clock or SystemClock()
        self._lock = threading.Lock()
        self._log: Log | None = None
        self._closed = False

    # --- the log ------------------------------------------------------------------------------------------------

    @property
    def log(self) -> Log:
        """The log, opened now if it was not.

        Raises:
            SettingsError: The URL names no engine.
            StorageError: The log cannot be opened.
            ClosedError: The app was closed.
        """
        with self._lock:
            if self._closed:
                raise ClosedError("the app was closed; make a new App")
            if self._log is None:
                settings = Settings.from_environment(os.environ)
                engine = connect(
                    self._url or settings.url,
                    durability=Durability(self._durability or settings.durability),
                    clock=self._clock,
                )
                self._log = Log(engine, clock=self._clock)
            return self._log

    @overload
    def topic(
        self,
        name: str,
        type: None = None,
        *,
        partitions: int | None = None,
        retention: Retention | None = None,
    ) -> Topic[Any]: ...

    @overload
    def topic(
        self,
        name: str,
        type: type[T],
        *,
        key: str | None = None,
        time: str | None = None,
        partitions: int | None = None,
        retention: Retention | None = None,
    ) -> Topic[T]: ...

    def topic(
        self,
        name: str,
        type: Any = None,
        *,
        key: str | None = None,
        time: str | None = None,
        partitions: int | None = None,
        retention: Retention | None = None,
    ) -> Topic[Any]:
        """Return a topic, created if it is missing; see `Log.topic`."""
        return self.log.topic(name, type, key=key, time=time, partitions=partitions, retention=retention)

    def transaction(self) -> AbstractContextManager[Transaction]:
        """Begin a transaction of the program's own: rows in its tables and records appear together, or not at all.

            with app.transaction() as tx:
                tx.execute("INSERT INTO orders (id, item) VALUES (?, ?)", (7, "tea"))
                confirm.send(7, transaction=tx)             # a task's job; or topic.append(value, transaction=tx)

        The tables are in the log's file, beside its own; make them with `tx.execute("CREATE TABLE ...")`. All of it is
        committed at the end of the block, and undone where the block raises. All other writers of the file wait until
        then, the leases of workers among them: keep it well below a second, and do nothing slow in it.

        Raises:
            CapabilityError: The engine keeps no tables (memory).
            UsageError: This thread has one open already.
            StorageError: It could not be begun, or not be committed; nothing of it was stored.
        """
        for tasks in self._task_queues.values():
            tasks.prepare()  # inside the block, a topic could not be made any more
        return self.log.transaction()

    def sql(self, query: str) -> pl.DataFrame:
        """Run a query in which every topic is a table; see `Log.sql`."""
        return self.log.sql(query)

    def dead(self, topic: Topic[Any] | str) -> DeadLetters:
        """Return the dead letters of a topic: to list, look at, send back, change, throw away.

        Raises:
            TopicNotFoundError: There are none and never were.
        """
        return DeadLetters(self.log, topic if isinstance(topic, str) else topic.name)

    # --- readers --------------------------------------------------------------------------------------------------

    @property
    def queues(self) -> dict[str, QueueReader]:
        """The queues by name, those of tasks among them."""
        while self._unread:
            tasks = self._unread.pop(0)
            self._queues[tasks.name] = tasks.reader
        return self._queues

    def queue(
        self,
        topic: Topic[Any] | str,
        *,
        workers: int | tuple[int, int] | Scaling = 1,
        retry: Retry | None = None,
        name: str | None = None,
        order_by: Chosen = None,
        concurrency: int | None = None,
        rate: RateLimit | str | None = None,
        timeout: timedelta | str | float | None = None,
        priority: Chosen | bool = None,
        mode: Literal["fifo", "lifo"] = "fifo",
        batch: tuple[int, timedelta | str | float] | int | None = None,
        kind: Literal["threads", "async", "processes"] | None = None,
        maxsize: int | None = None,
        full: Literal["block", "raise", "shed"] = "block",
        recycle: Recycle | None = None,
    ) -> Callable[[Callable[..., Any]], QueueReader]:
        """Read a topic as a queue: `@app.queue(jobs, workers=4)` above `def work(job): ...`.

        The handler takes the value, or the value and its record; it may be `async`. See `QueueReader` for the promise.

        Args:
            workers: Records handled at the same time in each process; `(1, 8)`: as many as the load needs, within.
            retry: What happens when the handler raises; None is `Retry()`.
            name: Of the consumer group; None: the function's name.
            order_by: A field of the value, or a function of it: records for which it is the same are handled strictly
                one after another, in the order of their appends, also across retries; others go on meanwhile.
            concurrency: So many records of a key at the same time at most; the key is that of `order_by`, else the
                record's own.
            rate: So many deliveries in a time at most: "100/s", or "10/s per key". Waiting for it uses no attempts.
            timeout: A delivery that takes longer counts as failed with a TimeoutError. An async handler is cancelled, a
                worker process replaced; a thread cannot be ended: what its handler still does, it does for nothing.
            priority: Records with a higher number first: a field of the value, a function of it, or True; what was
                given to `append(priority=)` goes before.
            mode: "lifo" hands over the newest first.
            batch: The handler takes a list of values, or a Polars frame where its parameter is annotated so:
                `(100, "1s")` up to 100, waiting at most a second for them; 100: what is there. A batch that fails is
                tried again record by record.
            kind: Where handlers run; None: in threads, `async def` ones on one event loop.
            maxsize: Appends through the queue (`work.append`) keep it at so many unsettled records.
            full: What such an append does at that bound: wait, raise QueueFullError, or put the record aside in the
                dead letters.
            recycle: Of kind="processes": when a worker process is replaced by a new one.

        Raises:
            UsageError: The name is taken, the topic is another app's, the handler cannot be called so, or two of the
                settings do not go together.
        """
        source = self._source(topic)
        options = QueueOptions(
            order_by=order_by,
            concurrency=concurrency,
            rate=rate,
            timeout=timeout,
            priority=priority,
            mode=mode,
            batch=batch,
            kind=kind,
            maxsize=maxsize,
            full=full,
            recycle=recycle,
        )

        def declare(handler: Callable[..., Any]) -> QueueReader:
            given = self._new_name(source, handler, name)
            reader = QueueReader(source, handler, name=given, workers=workers, retry=retry, options=options)
            self._queues[given] = reader
            return reader

        return declare

    @overload
    def task(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> Task[P, R, Coroutine[Any, Any, R]]: ...

    @overload
    def task(self, function: Callable[P, R], /) -> Task[P, R, R]: ...

    @overload
    def task(
        self,
        *,
        name: str | None = None,
        queue: str | None = None,
        results: timedelta | str | float | None = RESULTS,
        unique: Unique = None,
        window: timedelta | str | float = UNIQUE_WINDOW,
        priority: int | None = None,
        order_by: str | None = None,
        **settings: Unpack[QueueSettings],
    ) -> TaskDecorator: ...

    def task(
        self,
        function: Callable[..., Any] | None = None,
        *,
        name: str | None = None,
        queue: str | None = None,
        results: timedelta | str | float | None = RESULTS,
        unique: Unique = None,
        window: timedelta | str | float = UNIQUE_WINDOW,
        priority: int | None = None,
        order_by: str | None = None,
        **settings: Unpack[QueueSettings],
    ) -> Any:
        """Make a function a job type: `@app.task` above it, then `thumbnail.send("a.png", size=64)`.

        The arguments are data, checked against the function's annotations when a job is sent. Each task has a queue of
        its own, in the topic `tasks.<name>`; with `queue` several share one, its workers and its settings.

        Args:
            name: Of the task, kept in its records; None: the function's name. A renamed task leaves those behind.
            queue: Name of the queue; None: the task's name.
            results: How long the outcome of a job is kept for `Job.result` and `Job.status`; None keeps nothing, which
                is faster.
            unique: True: no second job with the same arguments within `window`; or see `Task.options`.
            priority: What a job has unless it is sent with another; higher ones first. None: first in, first out.
            order_by: A parameter: jobs with the same value of it run one after another, also across retries.
            workers, retry, timeout, concurrency, rate, mode, kind, maxsize, full, recycle: As for `App.queue`; of the
                queue.

        Raises:
            UsageError: The name is taken, a parameter is no data, or tasks of a queue disagree on its settings.
        """

        def declare(function: Callable[..., Any]) -> Task[..., Any, Any]:
            given = name or str(getattr(function, "__name__", "<lambda>"))
            if given == "<lambda>":
                raise UsageError(f"the task {function!r} needs a name: give name=")
            tasks = self._task_queue(queue or given, function)
            task: Task[..., Any, Any] = Task(
                function, tasks, name=given, results=results, unique=unique, window=window, priority=priority or 0
            )
            sorting = {"priority": None if priority is None else True, "order_by": order_by}
            tasks.declare(task, {**settings, **sorting})
            return task

        return declare if function is None else declare(function)

    def job(self, job_id: str) -> Job[Any]:
        """Return the job with this id, as `Job.id` gave it, in this or another process.

        Raises:
            UsageError: It is no id of a job of a task of this app.
        """
        topic = job_id.partition(":")[0]
        for tasks in self._task_queues.values():
            if tasks.topic_name == topic:
                return tasks.job(job_id)
        known = ", ".join(sorted(tasks.topic_name for tasks in self._task_queues.values())) or "none"
        raise UsageError(f"{job_id!r} is no job of this app's tasks; their topics are: {known}")

    def stream(
        self, *topics: Topic[Any] | Table | str, name: str | None = None
    ) -> Callable[[Callable[..., Any]], StreamReader]:
        """Read topics as streams: `@app.stream(clicks)` above a function that describes the steps.

        The function gets a `Stream` for each topic, and for `table(topic)` what a stream can be joined with. See
        `Stream` for the steps and `StreamReader` for the promise.

        Raises:
            UsageError: The name is taken, a topic is another app's or given twice, the function describes no output, a
                step cannot work on the columns it gets.
        """
        if not topics:
            raise UsageError("a stream needs a topic, as in @app.stream(app.topic('clicks', Click))")
        sources = [topic if isinstance(topic, Table) else self._source(topic) for topic in topics]
        first = self._source(topic_of(sources[0]))

        def declare(description: Callable[..., Any]) -> StreamReader:
            given = self._new_name(first, description, name)
            reader = StreamReader(*sources, description=description, name=given)
            self.streams[given] = reader
            return reader

        return declare

    def batch(
        self, topic: Topic[Any] | str, *, name: str | None = None
    ) -> Callable[[Callable[[pl.LazyFrame], Any]], Batch]:
        """Read a topic as batches: `@app.batch(clicks)` above `def report(frame): ...`; `report.run()` runs it.

        See `Batch` for the promise.

        Raises:
            UsageError: The name is taken, the topic is another app's, the handler does not take one argument.
        """
        source = self._source(topic)

        def declare(handler: Callable[[pl.LazyFrame], Any]) -> Batch:
            given = self._new_name(source, handler, name)
            batch = Batch(source, handler, name=given)
            self.batches[given] = batch
            return batch

        return declare

    # --- running --------------------------------------------------------------------------------------------------

    def run(
        self,
        *,
        until: Literal["now"] | None = None,
        stop: threading.Event | None = None,
        grace: timedelta | str | float | None = None,
        workers: int | tuple[int, int] | None = None,
    ) -> None:
        """Run the queues and streams in the foreground until stopped; then let them finish what they are at.

        SIGINT and SIGTERM stop it when it is called in the main thread; `stop` always does. A reader that fails is
        logged and started again, with growing delays.

        With until="now" it handles all there is and returns: streams and queues until nothing is new, then each batch
        with new records once. Windows end where the watermark of the records says so: those beyond it stay open in the
        log and go on with the next run, so running now and again gives what running always gives. Queue records that
        wait for a later retry stay waiting.

        Args:
            grace: When stopped, records that are not finished after this time are given back, for another process to
                do; None waits as long as the longest handler takes.
            workers: Of each queue, in place of what it was declared with.

        Raises:
            UsageError: Nothing is declared, an unknown `until`, or a `grace` with it.
            SettingsError: A number of workers below 1.
            Exception: With until="now", what a stream or batch raised.
        """
        if until not in (None, "now"):
            raise UsageError(f'until is {until!r}; give "now", or leave it out to run until stopped')
        if until is not None and grace is not None:
            raise UsageError('grace is for running until stopped; leave it out with until="now"')
        if workers is not None:
            for queue in self.queues.values():
                queue.staff(workers)
        stop = stop or threading.Event()
        with stopped_by_signals(stop):
            if until == "now":
                self._check_readers(batches=True)
                run_until_now([*self.streams.values()], self._queue_readers(), [*self.batches.values()], stop)
                return
            with self.start() as running:
                # In steps: on Windows a wait without a timeout cannot be interrupted by Ctrl-C.
                while not stop.wait(1.0):
                    pass
                if grace is not None and not running.stop(grace):
                    running.abort()

    def start(self) -> Running:
        """Run the queues and streams in background threads; the result stops them.

        Raises:
            UsageError: Neither a queue nor a stream is declared.
        """
        self._check_readers(batches=False)
        return Running([*self.streams.values(), *self._queue_readers()])

    def close(self) -> None:
        """Close the log; stop what runs first. Closing twice is fine."""
        with self._lock:
            self._closed = True
            log, self._log = self._log, None
        if log is not None:
            log.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _queue_readers(self) -> list[Reader]:
        """Return what runs each queue: itself, or the supervisor of its processes."""
        from millstream.run.processes import ProcessCrew

        return [
            ProcessCrew(self, queue) if queue.options.kind == Kind.PROCESSES else queue
            for queue in self.queues.values()
        ]

    # --- inside -----------------------------------------------------------------------------------------------------

    def _source(self, topic: Topic[Any] | str) -> Topic[Any]:
        if isinstance(topic, str):
            return self.topic(topic)
        if not isinstance(topic, Topic):
            raise UsageError(
                f"{topic!r} is not a topic; give one, as in @app.queue(app.topic('jobs', Job)), or its name"
            )
        if topic.log is not self.log:
            raise UsageError(f"topic {topic.name!r} belongs to another app; make it with this app's topic()")
        return topic

    def _task_queue(self, name: str, function: Callable[..., Any]) -> TaskQueue:
        found = self._task_queues.get(name)
        if found is None:
            taken = {**self._queues, **self.streams, **self.batches}.get(name)
            if taken is not None:
                raise UsageError(f"{taken!r} has the name {name!r} already; give the task of {function!r} another one")
            found = self._task_queues[name] = TaskQueue(lambda: self.log, name)
            self._unread.append(found)
        return found

    def _new_name(self, topic: Topic[Any], handler: Callable[..., Any], name: str | None) -> str:
        given = name or getattr(handler, "__name__", None)
        if not isinstance(given, str) or given == "<lambda>":
            raise UsageError(f"the reader of topic {topic.name!r} needs a name: {handler!r} has none; give name=")
        taken = {**self._queues, **self.streams, **self.batches, **self._task_queues}.get(given)
        if taken is not None:
            raise UsageError(f"{taken!r} has the name {given!r} already; give this one another with name=")
        return given

    def _check_readers(self, *, batches: bool) -> None:
        if self.queues or self.streams or (batches and self.batches):
            return
        only_batches = "; a batch runs when its run() is called" if self.batches else ""
        raise UsageError(f"there is nothing to run: declare something with @app.queue or @app.stream{only_batches}")
