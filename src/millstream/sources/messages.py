"""Messages of a broker (Kafka, NATS), read on from positions of our own.

A broker's own bookkeeping of who has read what is not used: a position is stored with what became of the messages
before it, in one transaction of the log. That is what makes each message appear once.
"""

from __future__ import annotations

import threading
from collections.abc import Generator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final, Literal, Protocol, TypeAlias

import msgspec

from millstream.errors import UsageError
from millstream.records import time_from_us
from millstream.sources.source import Note

MessageStart: TypeAlias = Literal["earliest", "latest"] | datetime
"""Where reading begins that has no position yet: a time finds the first message from it on."""

READING_MESSAGES: Final = 10_000
"""Of one reading, which is stored as one transaction: at 100,000 a second, ten a second."""
READING_S: Final = 0.02
"""How long a reading that is not full is waited for more, once a first message came."""


class Message(msgspec.Struct, frozen=True, gc=False):
    """One message, as the broker gave it."""

    value: bytes | None
    """None: a tombstone of Kafka, which says that what had this key is gone."""
    key: bytes | None = None
    """Of Kafka; None for messages without one, and of NATS."""
    headers: tuple[tuple[str, bytes | None], ...] = ()
    """In their order; Kafka may have a name twice, and values that are null."""
    time_us: int | None = None
    """Since 1970 in UTC: the producer's time or the broker's; None where it says none."""
    topic: str = ""
    """Kafka's topic, or the subject of NATS."""
    partition: int = 0
    """0 for NATS."""
    offset: int | None = None
    """Kafka's offset, or the sequence in a stream of NATS; None for a plain subject of NATS."""

    @property
    def time(self) -> datetime | None:
        """The broker's or producer's time, in UTC."""
        return None if self.time_us is None else time_from_us(self.time_us)

    def header(self, name: str) -> bytes | None:
        """Return the last value of a header; None where there is none."""
        return next((value for given, value in reversed(self.headers) if given == name), None)


class Messages(msgspec.Struct, frozen=True):
    """Messages, and where to go on once they are stored."""

    messages: Sequence[Message]
    positions: Mapping[bytes, bytes | None]
    """What changed; also without messages it is worth storing: a `latest` that was looked up must not move."""


class MessageSource(Protocol):
    """Something to read messages from: what `kafka(...)` and `nats(...)` return. A value; `messages` connects."""

    @property
    def name(self) -> str:
        """What its positions are kept under, and what messages to people call it."""
        ...

    @property
    def broker(self) -> str:
        """`kafka` or `nats`."""
        ...

    def messages(
        self, positions: Mapping[bytes, bytes], stop: threading.Event, note: Note, *, follow: bool = True
    ) -> Generator[Messages, None, None]:
        """Read on from stored positions until told to stop; without `follow`, until the end as it is found.

        Asking for more says that the last ones are stored. Closing the iterator disconnects.

        Raises:
            SourceError: The broker does not answer, or refuses; says which, and whether trying again may help.
            UsageError: It cannot be read as it is described, or its package is not installed.
        """
        ...


class MessageReader(Protocol):
    """One connection to a broker, which reads one source."""

    @property
    def ended(self) -> bool:
        """Whether all there was is read, where no more is wanted."""
        ...

    def begin(self) -> Mapping[bytes, bytes] | None:
        """Find where to go on, and return the positions; None where there is no such topic or stream (yet).

        Raises:
            SourceError: The broker does not answer, or refuses.
        """
        ...

    def read(self, stop: threading.Event) -> Generator[Messages, None, None]:
        """Yield messages until told to stop, the end, or until it has to be begun anew."""
        ...

    def close(self) -> None: ...


def read_on(
    reader: MessageReader, stop: threading.Event, *, follow: bool, look_s: float
) -> Generator[Messages, None, None]:
    """Yield what a reader gives, begun again and again; closed at the end. See `MessageSource.messages`.

    Args:
        look_s: How long a topic or stream that is missing is waited for, before it is looked for again.
    """
    try:
        while not stop.is_set():
            begun = reader.begin()
            if begun is None:
                if not follow:
                    return
                stop.wait(look_s)
                continue
            yield Messages((), begun)
            yield from reader.read(stop)
            if reader.ended:
                return
    finally:
        reader.close()


def start_of(text: str) -> MessageStart:
    """Return what a text means: `earliest`, `latest`, or a time of ISO 8601; UTC where it has no zone.

    Raises:
        UsageError: None of these.
    """
    if text == "earliest":
        return "earliest"
    if text == "latest":
        return "latest"
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(
            f'start is {text!r}; give "earliest", "latest", or a time such as "2026-03-01T10:00:00Z"'
        ) from None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def check_start(start: object, what: str) -> None:
    """Raise UsageError where something is no `MessageStart`."""
    if isinstance(start, datetime):
        if start.tzinfo is None:
            raise UsageError(f"{what}: start has no time zone; give datetime(..., tzinfo=UTC)")
    elif start not in ("earliest", "latest"):
        raise UsageError(f"{what}: start is {start!r}; give 'earliest', 'latest' or a datetime")
