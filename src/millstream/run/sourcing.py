"""Messages of a broker into a topic: `app.source(kafka("kafka://127.0.0.1:9092/orders"), into=orders)`.

Values, the dead letters of messages that are none, and the positions behind them are one transaction of the log: each
message is there once, also when the process is killed between any two steps. Two processes that run the same source
exclude each other: a commit says which positions it is based on, and the slower one reads them anew.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from millstream.engines.protocol import Append, StateChange
from millstream.errors import CommitConflictError, LimitExceededError, SchemaError, UsageError
from millstream.log.dead_letter import VALUE_BYTES_MAX, DeadLetter, Failure, ValueCoding, dead_topic_name
from millstream.log.topic import Topic
from millstream.records import check_name, time_from_us
from millstream.sources.messages import Message, MessageSource

if TYPE_CHECKING:
    import polars as pl

    from millstream.log.group import Group

SOURCES_TOPIC: Final = "millstream.sources"
"""Holds no records: the positions of sources are the state of its groups, one a source."""
NOTES_MAX: Final = 100
"""A note is for a person; more than this many are not read."""
_TOMBSTONE: Final = Failure(
    "SchemaError", "a tombstone: it has a key and no value; give read= to say what it means", ""
)

_log = logging.getLogger("millstream.run")


class SourceReader:
    """A source at work for an app: a reader that its supervisor runs, and starts again when the broker is away."""

    kind = "source"

    def __init__(
        self, source: MessageSource, into: Topic[Any], name: str, read: Callable[[Message], Any] | None = None
    ) -> None:
        check_name("source", name)
        self.source = source
        self.into = into
        self.name = name
        self.stored = 0
        """Messages that became records, in this process."""
        self.refused = 0
        """Messages that became dead letters, in this process."""
        self._notes: list[str] = []
        self._decoding = Decoding(into, read)
        self._group: Group[Any] | None = None
        self._known: dict[bytes, bytes] = {}

    def __repr__(self) -> str:
        return f"<source {self.name!r} from {self.source} into {self.into.name!r}>"

    @property
    def notes(self) -> tuple[str, ...]:
        """What was lost, is missing or was made anew, in sentences for a person; each once, in order."""
        return tuple(self._notes)

    def positions(self) -> Mapping[bytes, bytes]:
        """Return the positions that are stored."""
        if self._group is None:
            self._group = self.into.log.topic(SOURCES_TOPIC).group(self.name)
        return self._group.state(0)

    def run(self, stop: threading.Event) -> None:
        self._read(stop, follow=True)

    def run_now(self, stop: threading.Event) -> int:
        while True:
            try:
                return self._read(stop, follow=False)
            except CommitConflictError:
                if stop.is_set():
                    return 0

    def _read(self, stop: threading.Event, *, follow: bool) -> int:
        self._known = dict(self.positions())
        count = 0
        readings = self.source.messages(self._known, stop, self._note, follow=follow)
        try:
            for reading in readings:
                self._store(reading.messages, reading.positions)
                count += len(reading.messages)
        finally:
            readings.close()
        return count

    def _store(self, messages: Sequence[Message], positions: Mapping[bytes, bytes | None]) -> None:
        """Store what messages become, and the positions behind them.

        Raises:
            CommitConflictError: Another process stored since the positions were read; nothing was changed.
        """
        changed = {key: value for key, value in positions.items() if self._known.get(key) != value}
        if not changed and not messages:
            return
        appends, refused = self._decoding.appends(messages) if messages else ([], [])
        if refused:
            appends = [*appends, *self._dead(refused)]
        assert self._group is not None
        self._group.commit(
            [],
            state=[StateChange(0, key, value) for key, value in changed.items()],
            appends=appends,
            expect=[StateChange(0, key, self._known.get(key)) for key in changed],
        )
        for key, value in changed.items():
            if value is None:
                self._known.pop(key, None)
            else:
                self._known[key] = value
        self.stored += len(messages) - len(refused)
        self.refused += len(refused)

    def _dead(self, refused: Sequence[Refused]) -> list[Append]:
        log = self.into.log
        dead = log.topic(dead_topic_name(self.into.name), DeadLetter)
        failed_at = time_from_us(log.clock.now_us())
        letters = [
            DeadLetter(
                topic=self.into.name,
                partition=-1,  # it never had a place in the topic
                offset=-1,
                group=self.name,
                key=message.key,
                value=(message.value or b"")[:VALUE_BYTES_MAX],
                value_coding=ValueCoding.RAW,
                error_type=failure.error_type,
                message=f"{place_of(self.source.broker, message)}: {failure.message}{_cut(message)}",
                traceback=failure.traceback,
                attempts=1,
                worker=f"{self.name}-{os.getpid()}",
                failed_at=failed_at,
            )
            for message, failure in refused
        ]
        return dead.encode(letters, times=[message.time for message, _ in refused])

    def _note(self, sentence: str) -> None:
        if sentence not in self._notes and len(self._notes) < NOTES_MAX:
            self._notes.append(sentence)
            _log.warning("source %s: %s", self.name, sentence)


def place_of(broker: str, message: Message) -> str:
    """Return where a message is, for people: `kafka orders/0 offset 12`, `nats orders.new sequence 7`."""
    if broker == "kafka":
        return f"kafka {message.topic}/{message.partition} offset {message.offset}"
    return f"{broker} {message.topic}" + ("" if message.offset is None else f" sequence {message.offset}")


def _cut(message: Message) -> str:
    """Return what to say of a value that is too large for a dead letter."""
    size = len(message.value or b"")
    return "" if size <= VALUE_BYTES_MAX else f"; of its {size:,} bytes only the first {VALUE_BYTES_MAX:,} are here"


class Refused(NamedTuple):
    """A message that did not become a record."""

    message: Message
    failure: Failure


class Decoding:
    """From messages to records of one topic, and what cannot be one."""

    def __init__(self, into: Topic[Any], read: Callable[[Message], Any] | None) -> None:
        self._into = into
        self._read = read
        self._raw = into.schema.raw
        self._decode: Callable[[bytes], Any] = (
            bytes if self._raw else msgspec.json.Decoder(dict[str, Any] if into.type is dict else into.type).decode
        )
        self._keyed = into.schema.key is None
        self._timed = into.schema.time is None

    def appends(self, messages: Sequence[Message]) -> tuple[list[Append], list[Refused]]:
        """Return the records of messages, encoded in their order, and the messages that are none."""
        refused: list[Refused] = []
        if self._read is None:
            found = self._all(messages) or self._each(messages, refused)
        else:
            found = self._asked(messages, self._read, refused)
        return (self._encoded(found, refused) if found[0] else []), refused

    def _all(self, messages: Sequence[Message]) -> tuple[list[Any], list[Message]] | None:
        """Return the values of messages without an odd one; None where each must be looked at."""
        decode = self._decode
        try:
            return [decode(message.value) for message in messages], list(messages)  # type: ignore[arg-type]
        except (msgspec.DecodeError, UnicodeDecodeError, TypeError, RecursionError):
            return None

    def _each(self, messages: Sequence[Message], refused: list[Refused]) -> tuple[list[Any], list[Message]]:
        values: list[Any] = []
        good: list[Message] = []
        for message in messages:
            if message.value is None:
                refused.append(Refused(message, _TOMBSTONE))
                continue
            try:
                values.append(self._decode(message.value))
                good.append(message)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                refused.append(Refused(message, Failure("SchemaError", str(error), "")))
        return values, good

    def _asked(
        self, messages: Sequence[Message], read: Callable[[Message], Any], refused: list[Refused]
    ) -> tuple[list[Any], list[Message]]:
        """Return what the user's function makes of them."""
        values: list[Any] = []
        good: list[Message] = []
        for message in messages:
            try:
                made = read(message)
            except Exception as error:  # noqa: BLE001 - a function of the user's; what it raised is kept with the message
                refused.append(Refused(message, Failure.of(error)))
                continue
            several = made if isinstance(made, list) else () if made is None else (made,)
            values += several
            good += [message] * len(several)
        return values, good

    def _encoded(self, found: tuple[list[Any], list[Message]], refused: list[Refused]) -> list[Append]:
        """Return values as appends, by halving where the topic refuses some: few tries where few are odd."""
        values, messages = found
        try:
            return self._encode(values, messages)
        except (SchemaError, LimitExceededError, UsageError) as error:
            if len(values) == 1:
                refused.append(Refused(messages[0], Failure("SchemaError", str(error), "")))
                return []
        half = len(values) // 2
        first = self._encoded((values[:half], messages[:half]), refused)
        return [*first, *self._encoded((values[half:], messages[half:]), refused)]

    def _encode(self, values: list[Any], messages: list[Message]) -> list[Append]:
        keys = [message.key for message in messages] if self._keyed else None
        if any(message.headers for message in messages):
            return self._into.encode(
                values,
                keys=keys,
                headers=[{name: value or b"" for name, value in message.headers} for message in messages],
                times=[message.time for message in messages] if self._timed else None,
            )
        return self._into.encode_with(values, keys=_keys(keys), times=_times(messages) if self._timed else None)


def _keys(keys: list[bytes | None] | None) -> pl.Series | None:
    import polars as pl

    return None if keys is None else pl.Series("_key", keys, pl.Binary)


def _times(messages: Sequence[Message]) -> pl.Series:
    import polars as pl

    return pl.Series("_event_time", [message.time_us for message in messages], pl.Int64)


class Sourcing:
    """The sources of one app; `Readers` is one."""

    sources: dict[str, SourceReader]

    def source(
        self,
        source: MessageSource,
        *,
        into: Topic[Any],
        read: Callable[[Message], Any] | None = None,
        name: str | None = None,
    ) -> SourceReader:
        """Store the messages of a broker in a topic, each once: `app.source(kafka(...), into=orders)`.

        The value is JSON of the topic's type, or the bytes of a topic without one. Key, headers and time of a message
        become those of its record, where the topic has no field for them. A message that is no such value becomes a
        dead letter of the topic, in the same transaction: it is not lost, and holds up nothing.

        Args:
            read: Makes the value of a message instead: a value, a list of them, or None to leave it out.
            name: What the positions are kept under; None: the source's name.

        Raises:
            UsageError: The name is taken.
        """
        given = name or source.name
        if given in self.sources:
            raise UsageError(f"there is a source {given!r} already; give one of them another name with name=")
        reader = SourceReader(source, into, given, read)
        self.sources[given] = reader
        return reader
