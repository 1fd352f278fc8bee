"""From a dead letter, or from JSON that a person wrote, back to a value of the topic."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

import msgspec

from millstream.errors import OffsetOutOfRangeError, SchemaError
from millstream.log.dead_letter import DeadLetter, ValueCoding
from millstream.log.schema import FieldType, Kind
from millstream.log.topic import Topic

_SCALARS: Final[Mapping[Kind, Any]] = {
    Kind.BYTES: bytes,
    Kind.DATETIME: datetime,
    Kind.DATE: date,
    Kind.TIME: time,
    Kind.DURATION: timedelta,
    Kind.DECIMAL: Decimal,
    Kind.UUID: UUID,
}
"""Kinds that JSON writes as text; bytes as base64, durations as ISO 8601."""


def value_of(letter: DeadLetter, topic: Topic[Any]) -> Any:
    """Return the value of a dead letter as its topic (opened without a type) takes it.

    What the letter does not hold, or holds in a form that could not be decoded, is read from its topic again.

    Raises:
        SchemaError: It is no value of the topic (any more).
    """
    if letter.value_coding == ValueCoding.JSON:
        return value_from_json(letter.value, topic)
    if letter.value_coding == ValueCoding.RAW and topic.schema.raw:
        return letter.value
    original = _original(letter, topic)
    if original is not None:
        return original
    if letter.value_coding == ValueCoding.RAW:
        return value_from_json(letter.value, topic)
    raise SchemaError("its value was too large for the dead letter and is no longer in its topic")


def value_from_json(data: bytes, topic: Topic[Any]) -> Any:
    """Return JSON as a value of a topic that was opened without a type; of a raw topic, the bytes as they are.

    Raises:
        SchemaError: It is no JSON object, or a field does not fit.
    """
    if topic.schema.raw:
        return data
    try:
        value = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise SchemaError(f"its value is no JSON: {error}") from None
    if not isinstance(value, dict):
        raise SchemaError(f"its value is {type(value).__name__}, and the topic takes objects")
    types = {field.name: field.type for field in topic.schema.fields}
    return {name: _typed(item, types[name], name) if name in types else item for name, item in value.items()}


def _typed(value: Any, wanted: FieldType, name: str) -> Any:
    if value is None:
        return None
    if wanted.kind is Kind.LIST and wanted.item is not None and isinstance(value, list):
        return [_typed(item, wanted.item, name) for item in value]
    if wanted.kind is Kind.STRUCT and isinstance(value, dict):
        types = {field.name: field.type for field in wanted.fields}
        return {part: _typed(item, types[part], name) if part in types else item for part, item in value.items()}
    kind = _SCALARS.get(wanted.kind)
    if kind is None:
        return value
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise SchemaError(f"its field {name!r} does not fit: {error}") from None


def _original(letter: DeadLetter, topic: Topic[Any]) -> Any | None:
    if letter.partition < 0:
        return None  # it never was in the topic: a line that `millstream put` refused
    try:
        records = topic.read(letter.offset, partition=letter.partition, records_max=1)
    except (OffsetOutOfRangeError, SchemaError):
        return None
    return records[0].value if records and records[0].offset == letter.offset else None
