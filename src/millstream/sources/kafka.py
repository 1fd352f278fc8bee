"""A topic of Kafka as a source: all its partitions, from positions of our own.

Partitions are assigned by hand. Kafka's consumer groups are not used: their offsets live in the broker, where no
transaction covers them and our log. Retention, new partitions and topics that are made anew show at every look.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from millstream.errors import SourceError, UsageError
from millstream.records import check_name, time_to_us
from millstream.sources.kafka_settings import check_topic, kafka_client, kafka_place, kafka_settings, without_secrets
from millstream.sources.messages import (
    READING_MESSAGES,
    READING_S,
    Message,
    Messages,
    MessageStart,
    check_start,
    read_on,
)
from millstream.sources.source import Note

ANSWER_S: Final = 10.0
"""For the broker to answer what it is asked at the beginning."""
LOOK_S: Final = 10.0
"""How often new partitions and deleted topics are looked for; also how long a topic that is missing is waited for."""
_WAIT_S: Final = 0.25
"""A stop is noticed within this time."""

_OURS: Final = {
    "client.id": "millstream",
    "group.id": "millstream",  # the client wants one; it is never joined
    "queued.max.messages.kbytes": 32 * 1024,  # what is fetched ahead, in memory
    "queued.min.messages": 50_000,
    "fetch.queue.backoff.ms": 10,  # of 1 s, in which a full queue runs dry
    "fetch.wait.max.ms": 100,
    "reconnect.backoff.max.ms": 5000,
    "allow.auto.create.topics": False,
    "log_level": 2,  # what it says of connections comes as errors too
}
_FORCED: Final = {
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "auto.offset.reset": "error",  # a position that is gone is told, not skipped
}

_log = logging.getLogger("millstream.kafka")


def kafka(
    url: str,
    topic: str | None = None,
    *,
    start: MessageStart = "earliest",
    name: str | None = None,
    settings: Mapping[str, Any] | None = None,
) -> KafkaMessages:
    """Read a topic of Kafka: `app.source(kafka("kafka://127.0.0.1:9092/orders"), into=orders)`.

    Positions are kept in the log with what became of the messages. Only messages of finished transactions are read.

    Args:
        url: Servers and topic.
        topic: In place of the URL's.
        start: Where partitions without a position begin, at the very first start; one that comes later is read whole.
        name: What the positions are kept under: keep it when the servers' names change. None: the topic's name.
        settings: Of librdkafka, such as `{"security.protocol": "SASL_SSL"}`; see docs for those of the environment.

    Raises:
        UsageError: It is no address or no topic, or the address has a password in it.
    """
    what = "kafka(...)"
    servers, named = kafka_place(url, what)
    given = topic or named
    if given is None:
        raise UsageError(f"{what}: {url!r} names no topic; give one, such as kafka://127.0.0.1:9092/orders")
    check_topic(given, what)
    check_start(start, what)
    if name is not None:
        check_name("source", name)
    return KafkaMessages(servers, given, start, name or given, tuple(sorted((settings or {}).items())))


@dataclass(frozen=True)
class KafkaMessages:
    """See `kafka`; a `MessageSource`."""

    servers: str
    topic: str
    start: MessageStart
    name: str
    settings: tuple[tuple[str, Any], ...] = field(repr=False)
    broker: str = "kafka"
    look_s: float = LOOK_S

    def __str__(self) -> str:
        return f"kafka://{self.servers}/{self.topic}"

    def messages(
        self, positions: Mapping[bytes, bytes], stop: threading.Event, note: Note, *, follow: bool = True
    ) -> Generator[Messages, None, None]:
        yield from read_on(_Reader(self, positions, note, follow=follow), stop, follow=follow, look_s=self.look_s)


class _Reader:
    """One connection."""

    def __init__(self, source: KafkaMessages, positions: Mapping[bytes, bytes], note: Note, *, follow: bool) -> None:
        self._client = kafka_client()
        self._source = source
        self._note = note
        self._follow = follow
        self._prefix = f"kafka:{source.name}:".encode()
        self._next = {
            int(key.removeprefix(self._prefix)): int(value)
            for key, value in positions.items()
            if key.startswith(self._prefix)
        }
        """The next offset of each partition."""
        self._settings = {**kafka_settings(dict(source.settings), _OURS), **_FORCED}
        self._down: str | None = None
        """What the client said when it had no broker left."""
        self._done: set[int] = set()
        """Partitions that were read to their end."""
        self._moved = False
        """Whether the places have to be looked up anew: a position is gone, or the topic."""
        try:
            self._consumer = self._client.Consumer(
                {
                    **self._settings,
                    "bootstrap.servers": source.servers,
                    "enable.partition.eof": not follow,
                    "error_cb": self._told,
                },
                logger=_log,
            )
        except self._client.KafkaException as error:
            raise UsageError(f"{source}: {self._said(error)}") from None

    @property
    def ended(self) -> bool:
        """Whether all there was is read, where no more is wanted."""
        return not self._follow and not self._moved and len(self._done) == len(self._next)

    def close(self) -> None:
        self._consumer.close()

    def begin(self) -> Mapping[bytes, bytes] | None:
        """Find where each partition goes on; None where there is no such topic (yet).

        Raises:
            SourceError: The broker does not answer, or refuses.
        """
        partitions = self._partitions()
        if partitions is None:
            self._note(f"{self._source}: there is no such topic; it is read once it is made")
            return None
        fresh = not self._next
        changed = {number: self._checked(number) for number in self._next if number in partitions}
        changed |= {number: self._first(number, fresh=fresh) for number in partitions if number not in self._next}
        for gone in self._next.keys() - partitions:
            self._note(f"{self._source}: partition {gone} is gone: the topic was made anew, with fewer of them")
        self._next = changed
        self._done, self._moved = set(), False
        self._consumer.assign([self._place(number, offset) for number, offset in changed.items()])
        return self._positions()

    def read(self, stop: threading.Event) -> Generator[Messages, None, None]:
        """Yield messages until told to stop, the end, or until the places have to be looked up anew."""
        looked = time.monotonic()
        while not stop.is_set():
            messages = self._gather()
            if messages:
                yield Messages(messages, self._positions())
            elif self._down is not None:
                self._ask_again()
            if self._moved or self.ended:
                return
            if self._follow and time.monotonic() - looked > self._source.look_s:
                looked = time.monotonic()
                if self._partitions() != self._next.keys():
                    return

    def _gather(self) -> list[Message]:
        """Return what comes within a moment, once something came."""
        found = self._call(lambda: self._consumer.consume(1, _WAIT_S))
        if found:
            found += self._call(lambda: self._consumer.consume(READING_MESSAGES - 1, READING_S))
        messages: list[Message] = []
        topic, ahead = self._source.topic, self._next
        for one in found:
            error = one.error()
            if error is not None:
                self._odd(one.partition(), error)
                continue
            kind, time_ms = one.timestamp()
            offset, partition = one.offset(), one.partition()
            messages.append(
                Message(
                    one.value(),
                    one.key(),
                    tuple(one.headers() or ()),
                    time_ms * 1000 if kind else None,
                    topic,
                    partition,
                    offset,
                )
            )
            ahead[partition] = offset + 1
        if messages:
            self._down = None
        return messages

    def _odd(self, partition: int, error: Any) -> None:
        """Decide about what came in place of a message."""
        codes = self._client.KafkaError
        if error.code() == codes._PARTITION_EOF:
            self._done.add(partition)
        elif error.code() in (
            codes._AUTO_OFFSET_RESET, codes.OFFSET_OUT_OF_RANGE, codes.UNKNOWN_TOPIC_OR_PART, codes._UNKNOWN_TOPIC,
            codes._UNKNOWN_PARTITION,
        ):  # fmt: skip
            self._moved = True
        elif error.fatal() or not (error.retriable() or error.code() == codes._TRANSPORT):
            raise SourceError(f"{self._source}: {self._said(error)}", retryable=not error.fatal())

    def _ask_again(self) -> None:
        """Find out whether the brokers are away, or only closed a connection that was not used.

        Raises:
            SourceError: They are away.
        """
        said, self._down = self._down, None
        try:
            self._partitions()
        except SourceError:
            raise SourceError(f"{self._source} does not answer: {said}") from None

    def _checked(self, number: int) -> int:
        """Return where a partition with a position goes on, and tell where it is not the next offset."""
        low, high = self._bounds(number)
        offset = self._next[number]
        if offset < low:
            self._note(
                f"{self._source}: retention deleted {low - offset:,} messages of partition {number} "
                f"before they were read, offsets {offset} to {low - 1}"
            )
            return low
        if offset > high:
            self._note(
                f"{self._source}: partition {number} ends at {high}, before the position {offset}: "
                f"the topic was made anew, and is read from offset {low} on"
            )
            return low
        return offset

    def _first(self, number: int, *, fresh: bool) -> int:
        """Return where a partition begins that has no position."""
        low, high = self._bounds(number)
        start = self._source.start if fresh else "earliest"
        if not isinstance(start, datetime):
            return low if start == "earliest" else high
        wanted = self._place(number, time_to_us(start) // 1000)
        [found] = self._call(lambda: self._consumer.offsets_for_times([wanted], timeout=ANSWER_S))
        return found.offset if found.offset >= 0 else high

    def _bounds(self, number: int) -> tuple[int, int]:
        place = self._place(number, 0)
        found = self._call(lambda: self._consumer.get_watermark_offsets(place, timeout=ANSWER_S))
        if found is None:
            raise SourceError(f"{self._source}: the bounds of partition {number} were not told within {ANSWER_S:g} s")
        low, high = found
        return low, high

    def _partitions(self) -> set[int] | None:
        """Return the numbers of the partitions; None where there is no such topic."""
        codes = self._client.KafkaError
        topic = self._call(lambda: self._consumer.list_topics(self._source.topic, timeout=ANSWER_S)).topics[
            self._source.topic
        ]
        if topic.error is None:
            return set(topic.partitions)
        if topic.error.code() in (codes.UNKNOWN_TOPIC_OR_PART, codes._UNKNOWN_TOPIC):
            return None
        raise SourceError(f"{self._source}: {self._said(topic.error)}", retryable=topic.error.retriable())

    def _place(self, number: int, offset: int) -> Any:
        return self._client.TopicPartition(self._source.topic, number, offset)

    def _positions(self) -> dict[bytes, bytes]:
        return {self._prefix + str(number).encode(): str(offset).encode() for number, offset in self._next.items()}

    def _call(self, ask: Callable[[], Any]) -> Any:
        try:
            return ask()
        except self._client.KafkaException as error:
            raise SourceError(f"{self._source} does not answer: {self._said(error)}") from None

    def _told(self, error: Any) -> None:
        """Take what the client says of its connections, in its own words."""
        codes = self._client.KafkaError
        if error.code() in (codes._ALL_BROKERS_DOWN, codes._AUTHENTICATION, codes._SSL) or error.fatal():
            self._down = self._said(error)

    def _said(self, error: Any) -> str:
        first = error.args[0] if isinstance(error, Exception) and error.args else error
        return without_secrets(first.str() if hasattr(first, "str") else str(first), self._settings)
