"""What reads an app's log, as a program declares it: queues and their tasks, streams, batches, handlers of triggers."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Coroutine, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, Protocol, TypeVar, Unpack, overload

from millstream.errors import UsageError
from millstream.limits import STATE_MEMORY_BYTES
from millstream.log.delivery import UNIQUE_WINDOW
from millstream.log.log import Log
from millstream.log.topic import Start, Topic
from millstream.queue.autoscale import Scaling
from millstream.queue.job import Job
from millstream.queue.options import Chosen, QueueOptions, Recycle
from millstream.queue.rate import RateLimit
from millstream.queue.reader import QueueReader
from millstream.queue.retry import Retry
from millstream.queue.task import Task, Unique
from millstream.queue.tasks import RESULTS, QueueSettings, TaskQueue
from millstream.run.sourcing import SourceReader, Sourcing
from millstream.run.triggering import Triggering
from millstream.stream.keyed.failing import ErrorPolicy
from millstream.stream.options import FUTURE, LATENCY, options_of
from millstream.triggers.protocol import Trigger

if TYPE_CHECKING:
    from millstream.batch.batch import Batch
    from millstream.batch.conditions import Gathered
    from millstream.batch.planning import Missed, Overlap
    from millstream.batch.scheduler import Scheduler
    from millstream.stream.graph import Table
    from millstream.stream.reader import StreamReader

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


class TaskDecorator(Protocol):
    """What `App.task` with settings returns."""

    @overload
    def __call__(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> Task[P, R, Coroutine[Any, Any, R]]: ...

    @overload
    def __call__(self, function: Callable[P, R], /) -> Task[P, R, R]: ...


class Readers(Triggering, Sourcing):
    """The readers of one log: `App` is one."""

    def __init__(self) -> None:
        super().__init__()
        self._queues: dict[str, QueueReader] = {}
        self._task_queues: dict[str, TaskQueue] = {}
        self._unread: list[TaskQueue] = []
        """Those whose readers are made when somebody asks: until then more tasks may come, and the log stays closed."""
        self.streams: dict[str, StreamReader] = {}
        self.batches: dict[str, Batch] = {}
        self.sources: dict[str, SourceReader] = {}

    @property
    @abstractmethod
    def log(self) -> Log: ...

    @abstractmethod
    def topic(self, name: str) -> Topic[Any]: ...

    @property
    def queues(self) -> dict[str, QueueReader]:
        """The queues by name, those of tasks among them."""
        while self._unread:
            tasks = self._unread.pop(0)
            self._queues[tasks.name] = tasks.reader
        return self._queues

    def queue(
        self,
        topic: Topic[Any] | Trigger | str,
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
        source = self._source(topic, "queue")
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
        self,
        *topics: Topic[Any] | Table | Trigger | str,
        name: str | None = None,
        delay: timedelta | str | float = 0,
        latency: timedelta | str | float = LATENCY,
        future: timedelta | str | float = FUTURE,
        start: Start = "start",
        changed: Literal["refuse", "drop"] = "refuse",
        on_error: ErrorPolicy = "stop",
        share: bool = False,
        memory_bytes: int = STATE_MEMORY_BYTES,
    ) -> Callable[[Callable[..., Any]], StreamReader]:
        """Read topics as streams: `@app.stream(clicks)` above a function that describes the steps.

        The function gets a `Stream` for each topic, and for `table(topic)` what a stream can be joined with. See
        `Stream` for the steps and `StreamReader` for the promise.

        Args:
            name: Of the consumer group; None: the function's name.
            delay: How far out of order records come: the watermark stays this much behind the newest event time.
            latency: While behind, take no more records at once than are processed in this time.
            future: An event time further than this after its append does not move the watermark beyond that.
            start: Where a new stream begins: at the "start" of the log, at its "end", at an offset (of every
                partition), or at the first record appended at or after a time. An old one goes on where it was.
            changed: What happens to the state of steps that are not described any more and still hold something:
                "refuse" to run, or "drop" it. Steps that did not change keep theirs.
            on_error: What happens to a record for which a function raises: "stop" there and try again with growing
                waits, "skip" it to the dead letters, `Retry(...)` attempts and then skip, or `(Retry(...), "stop")`.
            share: Every process that runs the app takes some of the partitions, each of which is a stream of its own:
                what its steps keep, they keep by the field that is the topics' key.
            memory_bytes: What its steps with state by key hold of it in memory, about and together (128 MiB if not
                given); the rest is read from the log when a record asks for it.

        Raises:
            UsageError: The name is taken, a topic is another app's or given twice, the function describes no output, a
                step cannot work on the columns it gets, or with `share` not by partition.
        """
        from millstream.stream.graph import Table
        from millstream.stream.reader import StreamReader, topic_of

        if not topics:
            raise UsageError("a stream needs a topic, as in @app.stream(app.topic('clicks', Click))")
        sources = [topic if isinstance(topic, Table) else self._source(topic, "stream") for topic in topics]
        first = self._source(topic_of(sources[0]))
        options = options_of(
            delay=delay,
            latency=latency,
            future=future,
            start=start,
            changed=changed,
            on_error=on_error,
            share=share,
            memory_bytes=memory_bytes,
        )

        def declare(description: Callable[..., Any]) -> StreamReader:
            given = self._new_name(first, description, name)
            reader = StreamReader(*sources, description=description, name=given, options=options)
            self.streams[given] = reader
            return reader

        return declare

    def batch(
        self,
        topic: Topic[Any] | str | Sequence[Topic[Any] | str],
        *,
        cron: str | Sequence[str] | None = None,
        every: timedelta | str | float | None = None,
        on: Trigger | Topic[Any] | str | None = None,
        when: Gathered | None = None,
        timezone: str | None = None,
        missed: Missed = "once",
        overlap: Overlap = "skip",
        retry: Retry | None = None,
        timeout: timedelta | str | float | None = None,
        fresh: timedelta | str | float | None = None,
        name: str | None = None,
    ) -> Callable[[Callable[..., Any]], Batch]:
        """Read topics as batches: `@app.batch(clicks, cron="5 0 * * *")` above `def report(frame): ...`.

        The handler gets a LazyFrame of exactly the records since the last run that succeeded: of several topics a dict,
        or a parameter for each by its name. Its annotation may ask for a DataFrame, for an iterator of DataFrames
        (inputs larger than memory) or for a DuckDBPyRelation; a parameter `run` gets the `BatchRun`. It is run by
        `app.run()` when it is due, or by `report.run()`. See `Batch` for the promise.

        Args:
            cron: One or several expressions, such as "5 0 * * *".
            every: An interval of real time, such as "10m".
            on: A trigger, or a topic: run when there are events newer than what the last run took.
            when: What has to gather: `gathered(records=10_000, size="64MB", age="10m")`, whichever is first.
            timezone: Of `cron`, such as "Europe/Berlin"; None is UTC.
            missed: Due times at which no process was there: run "once" for all of them, "skip" them, or run "all".
            overlap: What is due while a run is in progress: "skip" it, or "queue" it.
            retry: When a run that failed is tried again, over the same records; None: it is not, and its records go to
                the next run.
            timeout: A run that takes longer has failed with a TimeoutError.
            fresh: The last success should not be longer ago; else `millstream batch` and `top` say that it is late.
            name: Of the consumer group; None: the function's name.

        Raises:
            UsageError: The name is taken, a topic is another app's, the handler cannot be called so, or a setting is
                not what it should be.
        """
        from millstream.batch.batch import Batch
        from millstream.batch.options import BatchOptions

        given_topics = [topic] if isinstance(topic, Topic | str) else [*topic]
        sources = [self._source(one) for one in given_topics]
        if not sources:
            raise UsageError("a batch needs a topic, as in @app.batch(app.topic('clicks', Click))")
        options = BatchOptions.of(
            cron=cron,
            every=every,
            when=when,
            timezone=timezone,
            missed=missed,
            overlap=overlap,
            retry=retry,
            timeout=timeout,
            fresh=fresh,
        )
        events = None if on is None else self._source(on)

        def declare(handler: Callable[..., Any]) -> Batch:
            given = self._new_name(sources[0], handler, name)
            batch = Batch(sources, handler, name=given, options=options, on=events)
            self.batches[given] = batch
            return batch

        return declare

    @property
    def _scheduled(self) -> list[Scheduler]:
        """What starts the runs of the batches that something other than a call starts."""
        from millstream.batch.scheduler import Scheduler

        return [
            Scheduler(batch)
            for batch in self.batches.values()
            if batch.on is not None or batch.options.schedule is not None or batch.options.when is not None
        ]

    # --- inside -----------------------------------------------------------------------------------------------------

    def _add_queue(self, reader: QueueReader) -> None:
        self._queues[reader.name] = reader

    def _source(
        self, topic: Topic[Any] | Trigger | str, kind: Literal["queue", "stream", "batch"] = "batch"
    ) -> Topic[Any]:
        if isinstance(topic, str):
            return self.topic(topic)
        if isinstance(topic, Trigger):
            return self._follow(topic, kind)
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
