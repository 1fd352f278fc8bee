"""Messages of Kafka or NATS as lines of `millstream logs`: each kept whole, as one line of JSON."""

from __future__ import annotations

import threading
from collections.abc import Generator, Mapping, Sequence
from typing import Final

from millstream.errors import SourceError, UsageError
from millstream.parsers.broker import TEXT, BrokerParser, Envelope, text_or_binary
from millstream.parsers.event_parser import LogEventParser
from millstream.parsers.formats import FORMATS
from millstream.parsers.log_event import LogEvent
from millstream.sources.messages import Message, MessageSource
from millstream.sources.source import Line, Note, Reading
from millstream.sources.troubles import Troubles

AUTO: Final = "auto"
"""JSON where a value begins as an object, else syslog, which takes any line."""
RETRY_S_MIN: Final = 1.0
RETRY_S_MAX: Final = 30.0
"""A broker that is away is asked again after 1, 2, 4 ... up to this many seconds."""


class BrokerLines:
    """A `Source` of the messages of a broker, with positions of our own: each message is one line, once."""

    def __init__(self, source: MessageSource, *, format: str = AUTO, follow: bool = True) -> None:
        """Take messages whose values are lines.

        Args:
            format: What the values are: `auto`, `text`, or a name of `FORMATS` that makes a `LogEvent`.
            follow: Go on with what comes; False: end with what there is.

        Raises:
            UsageError: There is no such format.
        """
        check_format(format)
        self._source = source
        self._format = format
        self._follow = follow
        self._reading = False
        self._troubles = Troubles()

    @property
    def name(self) -> str:
        return f"{self._source.broker} {self._source.name}"

    def following(self) -> Sequence[str]:
        return (self.origin,) if self._reading else ()

    def troubles(self) -> Sequence[str]:
        return self._troubles.sentences()

    @property
    def origin(self) -> str:
        """The `source` of its events."""
        return f"{self._source.broker}:{self._source.name}"

    def parser(self, origin: str) -> LogEventParser:
        return BrokerParser(origin)

    def read(
        self, positions: Mapping[bytes, bytes], stop: threading.Event, note: Note
    ) -> Generator[Reading, None, None]:
        known = dict(positions)
        pause_s = RETRY_S_MIN
        while not stop.is_set():
            try:
                for reading in self._readings(known, stop, note):
                    pause_s = RETRY_S_MIN
                    yield reading
                return
            except SourceError as error:
                self._troubles.have(str(error))
                note(str(error) + ("; it is tried again" if self._follow else ""))
                if not self._follow:
                    return
            except UsageError as error:
                self._troubles.have(str(error))
                note(str(error))
                return
            stop.wait(pause_s)
            pause_s = min(pause_s * 2, RETRY_S_MAX)

    def _readings(self, known: dict[bytes, bytes], stop: threading.Event, note: Note) -> Generator[Reading, None, None]:
        pending: dict[bytes, bytes | None] = {}
        """Positions that came without lines: they are stored with the next ones."""

        begun = False

        def told(sentence: str) -> None:
            if not begun:  # it is not read at all: there is no such topic, no such stream
                self._troubles.have(sentence)
            note(sentence)

        found = self._source.messages(dict(known), stop, told, follow=self._follow)
        self._reading = True
        try:
            for part in found:
                begun = True
                self._troubles.over()
                pending.update(part.positions)
                if not part.messages:
                    continue
                yield Reading([self._line(message) for message in part.messages], pending)
                for key, value in pending.items():
                    if value is None:
                        known.pop(key, None)
                    else:
                        known[key] = value
                pending = {}
        finally:
            self._reading = False
            found.close()

    def _line(self, message: Message) -> Line:
        kafka = self._source.broker == "kafka"
        envelope = Envelope(
            broker="kafka" if kafka else "nats",
            topic=message.topic,
            partition=message.partition if kafka else None,
            offset=message.offset,
            time_us=message.time_us,
            key=text_or_binary(message.key),
            headers=[(name, text_or_binary(value)) for name, value in message.headers],
            format=_format_of(message.value) if self._format == AUTO else self._format,
            value=text_or_binary(message.value),
        )
        return Line(self.origin, envelope.line())


def check_format(format: str) -> None:
    """Raise UsageError where values of messages cannot be read as a format."""
    known = [name for name, one in FORMATS.items() if one.type is LogEvent and name != "broker"]
    if format not in (AUTO, TEXT, *known):
        raise UsageError(f"format is {format!r}; give {AUTO}, {TEXT}, or one of {', '.join(known)}")


def _format_of(value: bytes | None) -> str:
    return "json" if value is not None and value.lstrip()[:1] == b"{" else "syslog"
