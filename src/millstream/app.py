"""One log and what reads it: what a program declares and runs."""

from __future__ import annotations

import os
import threading
from contextlib import AbstractContextManager
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar, overload

from millstream.clock import Clock, SystemClock
from millstream.engines.connect import connect
from millstream.engines.protocol import Durability
from millstream.errors import ClosedError, SettingsError, UsageError
from millstream.log.cold.policy import Cold
from millstream.log.log import Log
from millstream.log.retention import Retention
from millstream.log.topic import Topic
from millstream.log.transaction import Transaction
from millstream.queue.options import Kind
from millstream.run.reader import Reader
from millstream.run.readers import Readers
from millstream.run.signals import stopped_by_signals
from millstream.run.supervisor import Running
from millstream.run.until_now import run_until_now
from millstream.settings import DURABILITIES, Settings

if TYPE_CHECKING:
    import polars as pl

    from millstream.queue.dead.letters import DeadLetters
    from millstream.triggers.http.server import Address

T = TypeVar("T")


class App(Readers):
    """One log and what reads it.

    The log is opened at the first use, so that declaring an App costs nothing and fails nowhere.

    Args:
        url: A file such as "events.db", "sqlite:///path" or "memory://"; None: $MILLSTREAM_URL, else ./millstream.db.
        durability: "fsync" (an append returns when it is on disk) or "relaxed" (survives a killed process, not power
            loss); None: $MILLSTREAM_DURABILITY, else "fsync".
        host: Where http triggers are answered; None: $MILLSTREAM_HTTP, else 127.0.0.1, which only this machine reaches.
        port: None: $MILLSTREAM_HTTP, else 8080; 0 takes any free one.
        token: What requests must carry, as `Authorization: Bearer TOKEN`, unless they are signed or their trigger is
            public. None: $MILLSTREAM_HTTP_TOKEN, else none on loopback, and one is made up elsewhere.

    Raises:
        SettingsError: An unknown durability.
    """

    def __init__(
        self,
        url: str | os.PathLike[str] | None = None,
        *,
        durability: str | None = None,
        clock: Clock | None = None,
        host: str | None = None,
        port: int | None = None,
        token: str | None = None,
    ) -> None:
        if durability is not None and durability not in DURABILITIES:
            raise SettingsError(f"durability is {durability!r}; give one of {', '.join(map(repr, DURABILITIES))}")
        super().__init__()
        self._url = None if url is None else os.fspath(url)
        self._durability = durability
        self._clock = clock or SystemClock()
        self._address: tuple[str | None, int | None, str | None] = (host, port, token)
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
        cold: Cold | None = None,
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
        cold: Cold | None = None,
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
        cold: Cold | None = None,
    ) -> Topic[Any]:
        """Return a topic, created if it is missing; see `Log.topic`."""
        return self.log.topic(name, type, key=key, time=time, partitions=partitions, retention=retention, cold=cold)

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
        from millstream.queue.dead.letters import DeadLetters

        return DeadLetters(self.log, topic if isinstance(topic, str) else topic.name)

    # --- running --------------------------------------------------------------------------------------------------

    def run(
        self,
        *,
        until: Literal["now"] | None = None,
        stop: threading.Event | None = None,
        grace: timedelta | str | float | None = None,
        workers: int | tuple[int, int] | None = None,
    ) -> None:
        """Run queues, streams and triggers in the foreground until stopped; then let them finish what they are at.

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
                try:
                    streams: list[Reader] = [*self._trigger_readers(), *self.sources.values(), *self.streams.values()]
                    run_until_now(streams, self._queue_readers(), [*self.batches.values()], stop)
                except KeyboardInterrupt:
                    # Polars ends a query when Ctrl-C is pressed; what was not committed is done by the next run.
                    if not stop.is_set():
                        raise
                return
            with self.start() as running:
                # In steps: on Windows a wait without a timeout cannot be interrupted by Ctrl-C.
                while not stop.wait(1.0):
                    pass
                if grace is not None and not running.stop(grace):
                    running.abort()

    def start(self) -> Running:
        """Run the queues, streams, triggers and schedules of batches in background threads; the result stops them.

        Raises:
            UsageError: None of them is declared.
            SettingsError: The port of http triggers cannot be listened on.
        """
        self._check_readers(batches=False)
        server = self._open_http(self._http_address()) if self.triggers else None
        return Running(
            [
                *([] if server is None else [server]),
                *self._trigger_readers(),
                *self.sources.values(),
                *self.streams.values(),
                *self._queue_readers(),
                *self._scheduled,
            ]
        )

    def serve_at(self, host: str | None = None, port: int | None = None, token: str | None = None) -> None:
        """Have http triggers answered there from the next start on; None leaves what was declared."""
        old_host, old_port, old_token = self._address
        self._address = (host or old_host, old_port if port is None else port, token or old_token)

    def _http_address(self) -> Address:
        from millstream.triggers.http.server import Address

        settings = Settings.from_environment(os.environ)
        host, port, token = self._address
        return Address(
            host or settings.http_host, settings.http_port if port is None else port, token or settings.http_token
        )

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

    def _check_readers(self, *, batches: bool) -> None:
        waiting = self.batches if batches else self._scheduled
        if self.queues or self.streams or self.triggers or self.sources or waiting:
            return
        how = "; a batch runs when its run() is called, or by cron=, every=, on= or when="
        only_batches = how if self.batches else ""
        raise UsageError(
            "there is nothing to run: declare something with @app.queue, @app.stream, @app.on or app.source"
            f"{only_batches}"
        )
