"""A queue as it is declared, and what can be seen of it."""

from __future__ import annotations

import functools
import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, Protocol

from millstream.engines.protocol import GroupInfo
from millstream.errors import LimitExceededError, SettingsError
from millstream.log.dead_letter import dead_topic_name
from millstream.log.delivery import Due
from millstream.log.group import Group
from millstream.log.producer import Headers, Key
from millstream.log.ranges import OffsetRange
from millstream.log.topic import Topic
from millstream.queue.autoscale import Scaling
from millstream.queue.cancelling import Cancelled, cancel
from millstream.queue.control import drain, join
from millstream.queue.events import QueueEvent, QueueObserver, WorkerState
from millstream.queue.handler import Handler
from millstream.queue.intake import Intake
from millstream.queue.options import WORKERS_MAX, QueueOptions
from millstream.queue.outcome import OutcomeHook
from millstream.queue.retry import Retry
from millstream.records import Position, check_name

if TYPE_CHECKING:
    from millstream.queue.crew import Crew

_log = logging.getLogger("millstream.queue")

LEASE: Final = timedelta(seconds=10)
"""The records of a worker that died are with another one after this time. Leases of living workers are renewed."""


class WorkingCrew(Protocol):
    """Workers of this process, or processes that it looks after."""

    def states(self) -> list[WorkerState]: ...

    def cancel(self, position: Position, error: BaseException) -> bool: ...

    def abort(self) -> None: ...


class QueueReader:
    """A topic read as a queue: each record goes to one worker of one of the processes that run this queue.

    At least once: a record is done when its handler has returned and the log has stored that; after a crash in between
    it is delivered again. A record whose handler raises is retried as `retry` says, then set aside in the topic
    `<topic>.dead`, in the same transaction that takes it out of the queue. Records are handed out oldest first.

    Calling the object calls the handler as the plain function it was written as.

    Raises:
        UsageError: The handler takes neither a value nor a value and a record; a name or number is out of range.
    """

    kind = "queue"

    def __init__(
        self,
        topic: Topic[Any],
        handler: Callable[..., Any],
        *,
        name: str,
        workers: int | tuple[int, int] | Scaling = 1,
        retry: Retry | None = None,
        lease: timedelta = LEASE,
        options: QueueOptions | None = None,
        hook: OutcomeHook | None = None,
    ) -> None:
        check_name("topic", dead_topic_name(topic.name))
        self.name = check_name("queue", name)
        self.scaling = _scaling_of(name, workers)
        self.topic = topic
        self.retry = retry or Retry()
        self.options = options or QueueOptions()
        self._handler = Handler(handler, batches=self.options.batch is not None)
        self._hook = hook
        self._lease = lease
        self._crew: WorkingCrew | None = None
        self._observers: tuple[QueueObserver, ...] = ()
        self._observers_lock = threading.Lock()
        functools.update_wrapper(self, handler, updated=())

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._handler.function(*args, **kwargs)

    @property
    def function(self) -> Callable[..., Any]:
        """The handler as it was written."""
        return self._handler.function

    def __repr__(self) -> str:
        return f"<queue {self.name!r} of topic {self.topic.name!r}>"

    @property
    def workers_count(self) -> int:
        """How many workers a run begins with."""
        return self.scaling.minimum

    def staff(self, workers: int | tuple[int, int] | Scaling) -> None:
        """Have so many workers from the next run on, in place of what was declared.

        Raises:
            SettingsError: Not one or more.
            LimitExceededError: Too many for one process.
        """
        self.scaling = _scaling_of(self.name, workers)

    @property
    def group(self) -> Group[Any]:
        """The consumer group, created at the start of the log the first time."""
        return self.topic.group(self.name, parallel=self.options.parallel)

    def info(self) -> GroupInfo:
        """Return depth and ledger, without a scan."""
        return self.group.info()

    def workers(self) -> list[WorkerState]:
        """Return what each worker of this process does right now; empty before the first run."""
        crew = self._crew
        return crew.states() if crew else []

    def observe(self, observer: QueueObserver) -> Callable[[], None]:
        """Call `observer` with every event from now on; return a function that ends that."""
        with self._observers_lock:
            self._observers = (*self._observers, observer)

        def cancel() -> None:
            with self._observers_lock:
                self._observers = tuple(other for other in self._observers if other is not observer)

        return cancel

    def append(
        self,
        value: Any,
        *,
        key: Key = None,
        headers: Headers = None,
        due: Due = None,
        priority: int = 0,
        timeout: timedelta | str | float | None = None,
    ) -> Position | None:
        """Append one record through the queue's bound (`maxsize`); see `Topic.append`.

        At the bound it waits for room, raises, or puts the record into the dead letters, as the queue was declared.

        Args:
            timeout: Wait so long for room at most; None waits as long as it takes.

        Returns:
            None where the record was shed.

        Raises:
            QueueFullError: There was no room; nothing was appended.
        """
        places = self.extend(
            [value],
            keys=None if key is None else [key],
            headers=None if headers is None else [headers],
            due=due,
            priority=priority,
            timeout=timeout,
        )
        return Position(places[0].partition, places[0].start) if places else None

    def extend(
        self,
        values: Iterable[Any],
        *,
        keys: Sequence[Key] | None = None,
        headers: Sequence[Headers] | None = None,
        due: Due = None,
        priority: int = 0,
        timeout: timedelta | str | float | None = None,
    ) -> list[OffsetRange]:
        """Append many, all or nothing, through the queue's bound; see `append` and `Topic.extend`.

        Raises:
            QueueFullError: There was no room, or there never will be for so many at once; nothing was appended.
        """
        return Intake(self.group, self.options).extend(
            values, keys=keys, headers=headers, due=due, priority=priority, timeout=timeout
        )

    def pause(self) -> None:
        """Hand over nothing more, in any process, until `resume`; what is out is finished. Survives restarts."""
        self.group.pause()

    def resume(self) -> None:
        """Go on after `pause` or `drain`."""
        self.group.pause(paused=False)

    def drain(self, timeout: timedelta | str | float | None = None) -> bool:
        """Pause, then wait until no worker of any process holds a record; False: not within the time."""
        return drain(self.group, timeout)

    def join(self, timeout: timedelta | str | float | None = None) -> bool:
        """Wait until every record is done or given up on, retries and delayed ones included; False: not in time."""
        return join(self.group, timeout)

    def cancel(self, position: Position, reason: str = "") -> None:
        """Give up on one record: it is not started any more, and goes to the dead letters as `Cancelled`.

        A worker that has it now, in any process, is told within a second or two: an async handler is cancelled, a
        worker process replaced; a thread cannot be ended, so its handler goes on, and what it returns does not count.
        What is done or dead already stays so.
        """
        cancel(self.group, position, reason)
        crew = self._crew
        if crew is not None:
            crew.cancel(position, Cancelled(reason))

    def abort(self) -> None:
        """Stop hard: unfinished records are given back, without an attempt, and `run` returns at once.

        Handlers in threads cannot be ended: they go on, and what they return does not count.
        """
        crew = self._crew
        if crew is not None:
            crew.abort()

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set; then every worker finishes its record and gives the unstarted ones back.

        Raises:
            MillstreamError: The log cannot be used.
        """
        self._run(stop, until_empty=False)

    def run_now(self, stop: threading.Event) -> int:
        """Handle what is there and due, then return the number of deliveries; retries due later stay waiting."""
        return self._run(stop, until_empty=True)

    def _run(self, stop: threading.Event, *, until_empty: bool) -> int:
        crew = self.crew(stop, until_empty=until_empty, workers=self.workers_count)
        self.attach(crew)
        return crew.run()

    def crew(
        self,
        stop: threading.Event,
        *,
        workers: int,
        until_empty: bool = False,
        prefix: str | None = None,
        overrun: Callable[[], None] | None = None,
    ) -> Crew:
        """Return workers for this process that are not at work yet; `run` and `run_now` make their own.

        Args:
            prefix: Of the workers' names; None: the queue's name.
            overrun: Called after the outcome of a handler that overran was recorded, in place of leaving it behind.
        """
        from millstream.queue.crew import Crew  # late: a program that only appends starts without workers

        return Crew(
            self.group,
            self._handler,
            workers=workers,
            retry=self.retry,
            options=self.options,
            lease=self._lease,
            hook=self._hook,
            notify=self._notify,
            observed=lambda: bool(self._observers),
            stop=stop,
            until_empty=until_empty,
            prefix=prefix,
            overrun=overrun,
            scaling=self.scaling if prefix is None else None,
        )

    def attach(self, crew: WorkingCrew | None) -> None:
        """Have `workers`, `cancel` and `abort` speak of these workers."""
        self._crew = crew

    def _notify(self, event: QueueEvent) -> None:
        for observer in self._observers:
            try:
                observer(event)
            except Exception:  # noqa: BLE001 - a spectator must not decide over the queue
                _log.exception("queue %s: an observer failed", self.name)


def _scaling_of(name: str, workers: int | tuple[int, int] | Scaling) -> Scaling:
    """Return what `workers=` of a queue means."""
    if isinstance(workers, int):
        if workers < 1:
            raise SettingsError(f"queue {name!r}: workers is {workers}; give 1 or more")
        workers = (workers, workers)
    scaling = Scaling(*workers) if isinstance(workers, tuple) else workers
    if scaling.maximum > WORKERS_MAX:
        raise LimitExceededError(
            f"the number of workers of queue {name!r}",
            limit=WORKERS_MAX,
            size=scaling.maximum,
            hint="run the application in more processes",
        )
    return scaling
