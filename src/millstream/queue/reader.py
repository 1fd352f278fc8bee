"""A queue as it is declared, and what can be seen of it."""

from __future__ import annotations

import functools
import logging
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final

from millstream.engines.protocol import GroupInfo
from millstream.errors import LimitExceededError, SettingsError
from millstream.log.group import Group
from millstream.log.topic import Topic
from millstream.queue.crew import Crew
from millstream.queue.dead import dead_topic_name
from millstream.queue.events import QueueEvent, QueueObserver, WorkerState
from millstream.queue.handler import Handler
from millstream.queue.retry import Retry
from millstream.records import check_name

_log = logging.getLogger("millstream.queue")

LEASE: Final = timedelta(seconds=10)
"""The records of a worker that died are with another one after this time. Leases of living workers are renewed."""

WORKERS_MAX: Final = 1024
"""Threads of one process; beyond, more processes are what helps."""


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
        workers: int = 1,
        retry: Retry | None = None,
        lease: timedelta = LEASE,
    ) -> None:
        if workers < 1:
            raise SettingsError(f"queue {name!r}: workers is {workers}; give 1 or more")
        if workers > WORKERS_MAX:
            raise LimitExceededError(
                f"the number of workers of queue {name!r}",
                limit=WORKERS_MAX,
                size=workers,
                hint="run the application in more processes",
            )
        check_name("topic", dead_topic_name(topic.name))
        self.name = check_name("queue", name)
        self.topic = topic
        self.workers_count = workers
        self.retry = retry or Retry()
        self._handler = Handler(handler)
        self._lease = lease
        self._crew: Crew | None = None
        self._observers: tuple[QueueObserver, ...] = ()
        self._observers_lock = threading.Lock()
        functools.update_wrapper(self, handler, updated=())

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._handler.function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<queue {self.name!r} of topic {self.topic.name!r}>"

    @property
    def group(self) -> Group[Any]:
        """The consumer group, created at the start of the log the first time."""
        return self.topic.group(self.name)

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
        self._crew = Crew(
            self.group,
            self._handler,
            workers=self.workers_count,
            retry=self.retry,
            lease=self._lease,
            observe=self._notify,
            stop=stop,
            until_empty=until_empty,
        )
        return self._crew.run()

    def _notify(self, event: QueueEvent) -> None:
        for observer in self._observers:
            try:
                observer(event)
            except Exception:  # noqa: BLE001 - a spectator must not decide over the queue
                _log.exception("queue %s: an observer failed", self.name)
