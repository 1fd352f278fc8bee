"""What starts something: the triggers of an app, and the handlers that follow them."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, Literal

from millstream.engines.protocol import StateChange
from millstream.errors import UsageError
from millstream.log.log import Log
from millstream.log.topic import Topic
from millstream.queue.autoscale import Scaling
from millstream.queue.events import QueueEventKind
from millstream.queue.options import QueueOptions
from millstream.queue.outcome import HandlerOutcome, OutcomeHook
from millstream.queue.rate import RateLimit
from millstream.queue.reader import QueueReader
from millstream.queue.retry import Retry
from millstream.records import Record
from millstream.triggers.protocol import Ended, EndedHook, Ending, EventSource, Handling, Trigger
from millstream.triggers.quiet import QuietTrigger

if TYPE_CHECKING:
    from millstream.batch.batch import Batch
    from millstream.stream.reader import StreamReader
    from millstream.triggers.http.server import Address, HttpServer

_ENDINGS: Final = {
    QueueEventKind.DONE: Ending.DONE,
    QueueEventKind.RETRY: Ending.RETRY,
    QueueEventKind.DEAD: Ending.DEAD,
}


class TriggerReader:
    """The source of one trigger, as a reader that a supervisor runs."""

    kind = "trigger"

    def __init__(self, trigger: Trigger, source: EventSource) -> None:
        self.trigger = trigger
        self.name = trigger.name
        self._source = source

    def __repr__(self) -> str:
        return repr(self.trigger)

    def run(self, stop: threading.Event) -> None:
        self._source.run(stop)

    def run_now(self, stop: threading.Event) -> int:
        return self._source.run_now(stop)


class EventReader(QueueReader):
    """A function behind `@app.on`: the queue of the events that it is called with.

    Calling the object calls the function as it was written, without what is checked of an event before.
    """

    def __init__(self, events: Topic[Any], handling: Handling, written: Callable[..., Any], **settings: Any) -> None:
        hook = None if handling.hook is None else _hook(handling.hook)
        super().__init__(events, handling.function, hook=hook, **settings)
        self._written = written

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._written(*args, **kwargs)

    @property
    def function(self) -> Callable[..., Any]:
        return self._written


class Triggering(ABC):
    """The triggers of one app; `Readers` is one."""

    def __init__(self) -> None:
        self.triggers: dict[str, Trigger] = {}
        self._followers: dict[str, list[str]] = {}
        """The kinds of those that follow each trigger."""
        self._server: HttpServer | None = None

    streams: dict[str, StreamReader]
    batches: dict[str, Batch]

    @property
    @abstractmethod
    def log(self) -> Log: ...

    @property
    @abstractmethod
    def queues(self) -> dict[str, QueueReader]: ...

    @abstractmethod
    def _add_queue(self, reader: QueueReader) -> None:
        """Take a queue among the app's."""

    @abstractmethod
    def _new_name(self, topic: Topic[Any], handler: Callable[..., Any], name: str | None) -> str: ...

    def on(
        self,
        trigger: Trigger,
        *,
        name: str | None = None,
        workers: int | tuple[int, int] | Scaling | None = None,
        retry: Retry | None = None,
        timeout: timedelta | str | float | None = None,
        rate: RateLimit | str | None = None,
        debounce: timedelta | str | float | None = None,
        coalesce: timedelta | str | float | None = None,
        kind: Literal["threads", "async", "processes"] | None = None,
    ) -> Callable[[Callable[..., Any]], QueueReader]:
        """Call a function when something happens: `@app.on(every("10m"))` above `def tidy(): ...`.

        The event is in the log before the function is called, and is delivered like the record of a queue: again, as
        `retry` says, when the function raises, then set aside in the dead letters. The function takes the event (or the
        event and its record), or nothing; it may be `async`.

        Args:
            name: Of the consumer group; None: the function's name.
            workers: Events handled at the same time in each process; None: as many as suit the trigger.
            rate: So many events in a time at most, such as "10/s"; the others wait in the log.
            debounce: Of events that follow one another within this time only the last one is handled, when none came
                for so long; a storm that does not end is interrupted after ten times that.
            coalesce: Events that come within this time of the first are handled in one call: the function takes a list.
            retry, timeout, kind: As for `App.queue`.

        Raises:
            UsageError: The name is taken, the function cannot be called so, or two settings do not go together.
        """
        options = QueueOptions(
            timeout=timeout, rate=rate, kind=kind, batch=None if coalesce is None else (COALESCED_MAX, coalesce)
        )

        def declare(function: Callable[..., Any]) -> QueueReader:
            followed = trigger
            if debounce is not None:
                events = self._follow(trigger, "queue")
                followed = QuietTrigger(trigger, debounce, name=f"{self._new_name(events, function, name)}-quiet")
            events = self._follow(followed, "on")
            given = self._new_name(events, function, name)
            handling = trigger.handling(
                self.log, function, given, batches=coalesce is not None, later=debounce is not None
            )
            reader = EventReader(
                events,
                handling,
                function,
                name=given,
                workers=handling.workers if workers is None else workers,
                retry=retry,
                options=options,
            )
            self._add_queue(reader)
            return reader

        return declare

    def _follow(self, trigger: Trigger, kind: Literal["on", "queue", "stream", "batch"]) -> Topic[Any]:
        """Return the topic of a trigger's events, which the app writes from now on.

        Raises:
            UsageError: Another trigger has its name, or it cannot be followed so.
        """
        if not isinstance(trigger, Trigger):
            raise UsageError(f'{trigger!r} is no trigger; give one such as every("10m") or files("inbox/*.csv")')
        known = self.triggers.setdefault(trigger.name, trigger)
        if known is not trigger:
            raise UsageError(
                f"two triggers have the name {trigger.name!r}; make it once and follow it twice, or give one another "
                "name with name="
            )
        followers = self._followers.setdefault(trigger.name, [])
        trigger.check_follower(kind, followers)
        events = trigger.events(self.log)
        followers.append(kind)
        return events

    def keep_triggers(self, names: Collection[str]) -> None:
        """Leave only the triggers that are named, or that a reader of the app follows."""
        for trigger in tuple(self.triggers.values()):
            if trigger.name not in names and not self._is_followed(trigger):
                del self.triggers[trigger.name]

    def _is_followed(self, trigger: Trigger) -> bool:
        topics = {queue.topic.name for queue in self.queues.values()}
        topics |= {topic.name for stream in self.streams.values() for topic in stream.topics}
        # What is waited for in a storm is written by another trigger.
        quiet = [one for one in self.triggers.values() if isinstance(one, QuietTrigger) and one.topic_name in topics]
        topics |= {one.other.topic_name for one in quiet}
        # What a batch is started by is not what it reads.
        return trigger.topic_name in topics or ("batch" in self._followers[trigger.name] and bool(self.batches))

    @property
    def http_url(self) -> str | None:
        """Where http triggers are answered, such as `http://127.0.0.1:8080`; None before the app runs, and without."""
        return None if self._server is None else self._server.url

    @property
    def http_token(self) -> str | None:
        """What requests must carry there; None: nothing."""
        return None if self._server is None else self._server.token

    def _open_http(self, address: Address) -> HttpServer | None:
        """Take the port of the http triggers, if there are any."""
        from millstream.triggers.http.endpoint import HttpTrigger
        from millstream.triggers.http.server import HttpServer

        triggers = [trigger for trigger in self.triggers.values() if isinstance(trigger, HttpTrigger)]
        self._server = HttpServer(self.log, triggers, address) if triggers else None
        if self._server is not None:
            self._server.open()
        return self._server

    def _trigger_readers(self) -> list[TriggerReader]:
        """Return what writes the events of the triggers."""
        found = [(trigger, trigger.source(self.log)) for trigger in self.triggers.values()]
        return [TriggerReader(trigger, source) for trigger, source in found if source is not None]


COALESCED_MAX: Final = 1000
"""Events of one call at most: a list of them is held in memory, and is what a failure delivers again."""


def _hook(hook: EndedHook) -> OutcomeHook:
    def call(record: Record[Any], outcome: HandlerOutcome) -> Sequence[StateChange]:
        error = "" if outcome.failure is None else str(outcome.failure)
        return hook(record, Ended(_ENDINGS[outcome.kind], outcome.value, error, outcome.attempt))

    return call
