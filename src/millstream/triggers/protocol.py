"""What a trigger is: something that happens, written durably to a topic of its own, so that anything can follow it.

    trigger  ──▶  topic `<name>.events`  ──▶  @app.on(trigger)            a handler, at once
                                         ──▶  app.queue(trigger)          a queue
                                         ──▶  app.stream(trigger)         a stream
                                         ──▶  app.batch(..., on=trigger)  a batch

Each of those that follow has a consumer group of its own. What follows gets each event at least once, with retries and
dead letters; whether an event is written once however many processes run the app is said by each trigger.
"""

from __future__ import annotations

import re
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Any, ClassVar, Final, Protocol, Self

import msgspec

from millstream.engines.protocol import StateChange
from millstream.errors import UsageError
from millstream.log.log import Log
from millstream.log.retention import Retention
from millstream.log.topic import Topic
from millstream.records import Record, check_name
from millstream.triggers.calling import called_with

EVENTS: Final = ".events"
"""What the name of a trigger's topic ends in."""

_SPELLED: Final = {"*": "x", "?": "q"}
"""Characters that tell two triggers apart and cannot be in a name."""


class Ending(StrEnum):
    """How a delivery of an event ended."""

    DONE = "done"
    RETRY = "retry"
    """The handler raised; the event is delivered again later."""
    DEAD = "dead"
    """It was given up on."""


class Ended(msgspec.Struct, frozen=True):
    """What came out of one delivery of one event to a handler."""

    ending: Ending
    value: Any = None
    """What the handler returned."""
    error: str = ""
    attempt: int = 1


EndedHook = Callable[[Record[Any], Ended], Sequence[StateChange]]
"""Called in the worker's thread when a delivery has ended; the state it returns is stored with the outcome."""


class EventSource(Protocol):
    """What writes the events of one trigger, in each process that runs the app."""

    def run(self, stop: threading.Event) -> None:
        """Write events as they happen until `stop` is set. What it raises ends this try only."""
        ...

    def run_now(self, stop: threading.Event) -> int:
        """Write what has happened by now, then return how many events that was."""
        ...


class Handling(msgspec.Struct, frozen=True):
    """How a handler of `@app.on` is called for the events of a trigger."""

    function: Callable[..., Any]
    """Takes the event."""
    hook: EndedHook | None = None
    workers: int = 1
    """Unless `@app.on` says how many."""


class Trigger(ABC):
    """A description of what starts something; says nothing to the log before an app uses it.

    Args:
        name: Of the trigger: its topic is `<name>.events`.

    Raises:
        UsageError: The name cannot be that of a topic.
    """

    kind: ClassVar[str]
    """The word for messages: http, files, time, matching, absence."""
    event: ClassVar[type]
    """A Struct: the values of the trigger's topic."""
    time_field: ClassVar[str | None] = None
    """The field of the event that is its event time."""
    one_handler: ClassVar[str] = ""
    """Why there can be only one `@app.on`; empty where several may follow."""

    def __init__(self, name: str) -> None:
        check_name("topic", name + EVENTS)
        self.name = name
        self._retention: Retention | None = None

    def keeping(self, retention: Retention) -> Self:
        """Have the topic of the events keep no more than that, besides what a follower has yet to handle.

        Without it, it keeps them all.
        """
        self._retention = retention
        return self

    def __repr__(self) -> str:
        return f"<trigger {self.name!r}>"

    @property
    def topic_name(self) -> str:
        return self.name + EVENTS

    def events(self, log: Log) -> Topic[Any]:
        """Return the topic of the events, made where there is none."""
        return log.topic(self.topic_name, self.event, time=self.time_field, retention=self._retention)

    @abstractmethod
    def source(self, log: Log) -> EventSource | None:
        """Return what writes the events; None where the server of the app does it."""

    def handling(self, log: Log, function: Callable[..., Any], group: str, *, batches: bool, later: bool) -> Handling:
        """Return how a handler is called.

        Args:
            group: The consumer group of the handler.
            batches: It takes a list of events.
            later: It is called for the last event of a storm, when that is over.

        Raises:
            UsageError: The trigger's events cannot be handled so.
        """
        return Handling(called_with(function))

    def check_follower(self, kind: str, others: Sequence[str]) -> None:
        """Raise UsageError where a follower of this kind ("on", "queue", "stream", "batch") cannot come to `others`."""
        if self.one_handler and kind == "on" and "on" in others:
            raise UsageError(f"{self!r} has a handler already: {self.one_handler}")


def name_of(*parts: str) -> str:
    """Return the name of a trigger that was given none, from its description: `post-signup`, `files-inbox-x.csv`."""
    text = "-".join(parts)
    spelled = "".join(_SPELLED.get(character, character) for character in text)
    name = re.sub(r"-{2,}", "-", re.sub(r"[^A-Za-z0-9_.]+|\.{2,}", "-", spelled)).strip("-.")
    if not name:
        raise UsageError(f"a trigger of {text!r} needs a name: give name=")
    return name
