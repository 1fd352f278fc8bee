"""What a program declares: its topics, and who reads them how."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar, overload

from millstream.batch.batch import Batch
from millstream.clock import Clock, SystemClock
from millstream.engines.connect import connect
from millstream.engines.protocol import Durability
from millstream.errors import ClosedError, SettingsError, UsageError
from millstream.log.log import Log
from millstream.log.retention import Retention
from millstream.log.topic import Topic
from millstream.queue.reader import QueueReader
from millstream.queue.retry import Retry
from millstream.run.signals import stopped_by_signals
from millstream.run.supervisor import Running
from millstream.run.until_now import run_until_now
from millstream.settings import DURABILITIES, Settings
from millstream.stream.description import Stream
from millstream.stream.reader import StreamReader

if TYPE_CHECKING:
    import polars as pl

T = TypeVar("T")


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
        self.queues: dict[str, QueueReader] = {}
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

    def sql(self, query: str) -> pl.DataFrame:
        """Run a query in which every topic is a table; see `Log.sql`."""
        return self.log.sql(query)

    # --- readers --------------------------------------------------------------------------------------------------

    def queue(
        self,
        topic: Topic[Any] | str,
        *,
        workers: int = 1,
        retry: Retry | None = None,
        name: str | None = None,
    ) -> Callable[[Callable[..., Any]], QueueReader]:
        """Read a topic as a queue: `@app.queue(jobs, workers=4)` above `def work(job): ...`.

        The handler takes the value, or the value and its record; it may be `async`. See `QueueReader` for the promise.

        Args:
            workers: Records handled at the same time in each process.
            retry: What happens when the handler raises; None is `Retry()`.
            name: Of the consumer group; None: the function's name.

        Raises:
            UsageError: The name is taken, the topic is another app's, the handler cannot be called so.
        """
        source = self._source(topic)

        def declare(handler: Callable[..., Any]) -> QueueReader:
            given = self._new_name(source, handler, name)
            reader = QueueReader(source, handler, name=given, workers=workers, retry=retry)
            self.queues[given] = reader
            return reader

        return declare

    def stream(
        self, topic: Topic[Any] | str, *, name: str | None = None
    ) -> Callable[[Callable[[Stream], Any]], StreamReader]:
        """Read a topic as a stream: `@app.stream(clicks)` above a function that describes the steps.

        See `Stream` for the steps and `StreamReader` for the promise.

        Raises:
            UsageError: The name is taken, the topic is another app's, the function describes no output.
        """
        source = self._source(topic)

        def declare(description: Callable[[Stream], Any]) -> StreamReader:
            given = self._new_name(source, description, name)
            reader = StreamReader(source, description, name=given)
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

    def run(self, *, until: Literal["now"] | None = None, stop: threading.Event | None = None) -> None:
        """Run the queues and streams in the foreground until stopped; then let them finish what they are at.

        SIGINT and SIGTERM stop it when it is called in the main thread; `stop` always does. A reader that fails is
        logged and started again, with growing delays.

        With until="now" it handles all there is and returns: streams and queues until nothing is new, then each batch
        with new records once. Windows end where the watermark of the records says so: those beyond it stay open in the
        log and go on with the next run, so running now and again gives what running always gives. Queue records that
        wait for a later retry stay waiting.

        Raises:
            UsageError: Nothing is declared, or an unknown `until`.
            Exception: With until="now", what a stream or batch raised.
        """
        if until not in (None, "now"):
            raise UsageError(f'until is {until!r}; give "now", or leave it out to run until stopped')
        stop = stop or threading.Event()
        with stopped_by_signals(stop):
            if until == "now":
                self._check_readers(batches=True)
                run_until_now([*self.streams.values()], [*self.queues.values()], [*self.batches.values()], stop)
                return
            with self.start():
                # In steps: on Windows a wait without a timeout cannot be interrupted by Ctrl-C.
                while not stop.wait(1.0):
                    pass

    def start(self) -> Running:
        """Run the queues and streams in background threads; the result stops them.

        Raises:
            UsageError: Neither a queue nor a stream is declared.
        """
        self._check_readers(batches=False)
        return Running([*self.streams.values(), *self.queues.values()])

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

    def _new_name(self, topic: Topic[Any], handler: Callable[..., Any], name: str | None) -> str:
        given = name or getattr(handler, "__name__", None)
        if not isinstance(given, str) or given == "<lambda>":
            raise UsageError(f"the reader of topic {topic.name!r} needs a name: {handler!r} has none; give name=")
        taken = {**self.queues, **self.streams, **self.batches}.get(given)
        if taken is not None:
            raise UsageError(f"{taken!r} has the name {given!r} already; give this one another with name=")
        return given

    def _check_readers(self, *, batches: bool) -> None:
        if self.queues or self.streams or (batches and self.batches):
            return
        only_batches = "; a batch runs when its run() is called" if self.batches else ""
        raise UsageError(f"there is nothing to run: declare something with @app.queue or @app.stream{only_batches}")
