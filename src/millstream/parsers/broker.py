"""Messages of Kafka and NATS as lines: one line of JSON with everything that is in a message, read again at any time.

    {"broker": "kafka", "topic": "logs", "partition": 0, "offset": 7, "time_us": 1767225600000000, "key": "web-1",
     "headers": [["trace", "1"]], "format": "json", "value": "{\\"msg\\": \\"hello\\"}"}

Bytes that are not UTF-8 are `{"base64": "..."}`. `format` says which parser reads the value: a name of `FORMATS`, or
`text`. The event is the one that this parser makes of the value, with the message's time where the value has none, and
where the message was in `fields`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

from millstream.parsers.event_parser import LogEventParser, event_columns
from millstream.parsers.log_event import LogEvent
from millstream.parsers.system_event import text_of
from millstream.records import time_from_us

if TYPE_CHECKING:
    import polars as pl

FORMAT: Final = "broker"
TEXT: Final = "text"
"""The value is the message, whatever it looks like."""
_YEAR_9999_US: Final = 253_402_300_799_000_000


class Binary(msgspec.Struct, frozen=True):
    """Bytes that are no text."""

    base64: bytes


class Envelope(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A message, as a line of JSON."""

    broker: Literal["kafka", "nats"]
    topic: str
    """Or subject."""
    partition: int | None = None
    offset: int | None = None
    """Or sequence."""
    time_us: int | None = None
    key: str | Binary | None = None
    headers: Sequence[tuple[str, str | Binary | None]] = ()
    format: str = TEXT
    value: str | Binary | None = None
    """None: a tombstone."""

    def line(self) -> bytes:
        return _ENCODER.encode(self)


_ENCODER: Final = msgspec.json.Encoder()
_DECODER: Final = msgspec.json.Decoder(Envelope)


class BrokerParser:
    """Reads the lines that messages are kept as; see the module. Never fails on a line."""

    format = FORMAT

    def __init__(self, source: str) -> None:
        self._source = source
        self._inner: dict[str, LogEventParser] = {}

    def events(self, lines: Sequence[bytes], *, now: datetime) -> list[LogEvent]:
        """Return the event of each line, in their order."""
        return [self._event(line, now) for line in lines]

    def columns(self, lines: Sequence[bytes], *, now: datetime) -> pl.DataFrame:
        """Return the same as columns."""
        return event_columns(self.events(lines, now=now))

    def fits(self, line: bytes, *, now: datetime) -> bool:
        """Return whether a line is of this format."""
        return _decoded(line) is not None

    def _event(self, line: bytes, now: datetime) -> LogEvent:
        raw, exact = text_of(line)
        envelope = _decoded(line)
        if envelope is None:
            time = now.astimezone(UTC)
            return LogEvent(
                time=time, source=self._source, message=raw.strip(), raw=raw, raw_bytes=exact, format=FORMAT
            )
        event = self._said(envelope, _time(envelope, now))
        # The fields of the message's place are the broker's: one that the value has under that name stays beside them.
        fields = {**(event.fields or {}), envelope.broker: _place(envelope)}
        return msgspec.structs.replace(
            event, source=self._source, raw=raw, raw_bytes=exact, format=FORMAT, fields=fields
        )

    def _said(self, envelope: Envelope, time: datetime) -> LogEvent:
        """Return what the value says."""
        if envelope.value is None:
            key = _text(envelope.key)
            return LogEvent(time=time, source=self._source, message=f"tombstone of {key}" if key else "tombstone")
        data = _bytes(envelope.value)
        parser = self._parser(envelope.format)
        if parser is None:
            return LogEvent(time=time, source=self._source, message=text_of(data)[0].strip())
        [event] = parser.events([data], now=time)
        return event

    def _parser(self, name: str) -> LogEventParser | None:
        """Return what reads a format; None for text, and for one that this version does not know."""
        if name in (TEXT, FORMAT):
            return None
        # Of these each line stands for itself: one without a time has the message's, not that of the one before.
        if name in _ALONE or name not in self._inner:
            found = _new_parser(name, self._source)
            if found is None:
                return None
            self._inner[name] = found
        return self._inner[name]


_ALONE: Final = ("json", "logfmt")


def _new_parser(name: str, source: str) -> LogEventParser | None:
    from millstream.parsers.formats import FORMATS

    known = FORMATS.get(name)
    if known is None or known.type is not LogEvent:
        return None
    parser: Any = known.parser(source)
    return parser  # type: ignore[no-any-return]


def text_or_binary(data: bytes | None) -> str | Binary | None:
    """Return bytes as an envelope has them."""
    if data is None:
        return None
    try:
        return data.decode()
    except UnicodeDecodeError:
        return Binary(data)


def _decoded(line: bytes) -> Envelope | None:
    try:
        return _DECODER.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _time(envelope: Envelope, now: datetime) -> datetime:
    if envelope.time_us is None or not 0 <= envelope.time_us <= _YEAR_9999_US:
        return now.astimezone(UTC)
    return time_from_us(envelope.time_us)


def _bytes(value: str | Binary) -> bytes:
    return value.base64 if isinstance(value, Binary) else value.encode("utf-8", "surrogatepass")


def _text(value: str | Binary | None) -> str | None:
    return text_of(value.base64)[0] if isinstance(value, Binary) else value


def _place(envelope: Envelope) -> Mapping[str, Any]:
    """Return where a message was, with key and headers, for `fields`; of a header that is there twice all values."""
    place: dict[str, Any] = {"topic": envelope.topic}
    for name in ("partition", "offset"):
        if (number := getattr(envelope, name)) is not None:
            place[name] = number
    if envelope.key is not None:
        place["key"] = _text(envelope.key)
    headers: dict[str, Any] = {}
    for name, value in envelope.headers:
        text = _text(value)
        headers[name] = text if name not in headers else [*_listed(headers[name]), text]
    if headers:
        place["headers"] = headers
    return place


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
