"""A record given up on, with everything needed to understand it and to send it back."""

from __future__ import annotations

import traceback
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, NamedTuple

import msgspec

from millstream import limits
from millstream.engines.protocol import Append
from millstream.log.addressed import FOR
from millstream.log.batches import BadRecord
from millstream.log.topic import Topic
from millstream.records import Record

TEXT_CHARACTERS_MAX: Final = 16_384
"""Of a message or traceback: enough for the deepest recursion's two ends, and small beside a record."""

DEAD: Final = ".dead"
"""Behind the name of a topic: the topic of its dead letters."""

VALUE_BYTES_MAX: Final = limits.RECORD_BYTES_MAX // 2
"""A dead letter is a record itself and must fit beside its error; a larger value stays in its own topic only."""


class ValueCoding(StrEnum):
    JSON = "json"
    """The value as JSON; `msgspec.json.decode(value, type=...)` gives it back."""
    RAW = "raw"
    """The bytes as the log has them: of a raw topic, or of a record that could not be decoded."""
    OMITTED = "omitted"
    """Too large for a dead letter, or not to be written as JSON: read it from its topic by partition and offset."""


class DeadLetter(msgspec.Struct, frozen=True):
    """A record that a reader gave up on. The topic `<topic>.dead` holds them, with its key and headers."""

    topic: str
    partition: int
    offset: int
    group: str
    """The name of the queue or stream that gave up."""
    key: bytes | None
    value: bytes
    value_coding: ValueCoding
    error_type: str
    message: str
    traceback: str
    """Empty for a record that could not be decoded."""
    attempts: int
    worker: str
    failed_at: datetime
    step: str = ""
    """Of a stream: the step whose function failed, or the topic of a record that could not be decoded."""


class Failure(NamedTuple):
    """Why a record failed."""

    error_type: str
    message: str
    traceback: str

    @classmethod
    def of(cls, error: BaseException) -> Failure:
        kind = type(error)
        name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
        return cls(name, _text(_message(error)), _text("".join(traceback.format_exception(error))))

    def __str__(self) -> str:
        return f"{self.error_type}: {self.message}" if self.message else self.error_type


class Origin(NamedTuple):
    """Who gave up on a record, and when."""

    group: str
    worker: str
    attempts: int
    failed_at: datetime
    step: str = ""


def dead_topic_name(topic: str) -> str:
    return topic + DEAD


def dead_letter_append(
    dead: Topic[DeadLetter], item: Record[Any] | BadRecord, failure: Failure, origin: Origin
) -> list[Append]:
    """Return the dead letter of a record, encoded for the same transaction as its settlement or its stream's commit."""
    record: Record[Any] = item.record if isinstance(item, BadRecord) else item
    value, coding = encoded_value(record.value)
    letter = DeadLetter(
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        group=origin.group,
        key=record.key,
        value=value,
        value_coding=coding,
        error_type=failure.error_type,
        message=failure.message,
        traceback=failure.traceback,
        attempts=origin.attempts,
        worker=origin.worker,
        failed_at=origin.failed_at,
        step=origin.step,
    )
    # Its letter is for all who read the dead letters, whoever the record was for.
    headers = {name: value for name, value in record.headers.items() if name != FOR}
    # The event time stays that of the record, so that one that is sent back is no younger than it was.
    return dead.encode([letter], keys=[record.key], headers=[headers], times=[record.event_time])


def encoded_value(value: object) -> tuple[bytes, ValueCoding]:
    """Return a value as dead letters keep it."""
    if isinstance(value, bytes):
        data, coding = value, ValueCoding.RAW
    else:
        try:
            data, coding = msgspec.json.encode(value), ValueCoding.JSON
        except (TypeError, ValueError, OverflowError):
            # A class of the user's own that reads what it does not write. Giving up must work for every record.
            return b"", ValueCoding.OMITTED
    if len(data) > VALUE_BYTES_MAX:
        return b"", ValueCoding.OMITTED
    return data, coding


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - a `__str__` of the user's, which may raise anything; giving up must work
        return "(its message cannot be shown)"


def _text(text: str) -> str:
    """Return a text that can be stored: not too long, and without halves of characters, as in odd file names."""
    text = text.encode("utf-8", "backslashreplace").decode()
    if len(text) <= TEXT_CHARACTERS_MAX:
        return text
    half = TEXT_CHARACTERS_MAX // 2
    return f"{text[:half]}\n... {len(text) - 2 * half:,} characters left out ...\n{text[-half:]}"
