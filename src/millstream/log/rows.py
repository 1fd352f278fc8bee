"""The rows coding: records end to end as msgpack, cheap to write one at a time and to join.

    data    one msgpack object a record (a map by field name; bin for raw bytes), without an array header
    meta    None, or `[key | nil, event_time_us | nil, headers | nil]` a record, also end to end

nil and None mean: as the schema says. The key is that of the key field, the event time that of the time field or else
the append time; there are no headers. Batches are joined by `engines.joining`, end to end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Final, Generic, NoReturn, TypeVar
from uuid import UUID

import msgspec

from millstream.errors import SchemaError, StorageCorruptError, UsageError
from millstream.log.schema import Schema, in_topic
from millstream.log.storage import Form, storage_type
from millstream.log.values import ValueType, record_words

T = TypeVar("T")

RecordMeta = tuple[bytes | None, int | None, dict[str, bytes] | None]
"""What was given with a record beside its value: key, event time in us, headers."""

PYTHON_TYPES: Final = (bytes, datetime, date, time, timedelta, Decimal, UUID)
"""Kept as they are where a record becomes a dict."""

_UNENCODABLE: Final = (msgspec.MsgspecError, TypeError, ValueError, OverflowError, RecursionError)
"""What a value that msgpack cannot hold raises; text with lone surrogates is a ValueError."""

_encoder = msgspec.msgpack.Encoder()
_meta_decoder = msgspec.msgpack.Decoder(list[RecordMeta])


class RowCoding(Generic[T]):
    """Values of one topic to and from rows. Safe to use from many threads."""

    def __init__(self, values: ValueType[T]) -> None:
        schema = values.schema
        self.schema = schema
        self._values = values
        # Dicts are encoded twice: first as they are, then in the one form that columns expect (a UUID given as text in
        # capitals, a float given as int). Open topics took their types from the dicts, so that once is enough.
        self._normalize = not (values.of_class or schema.raw or schema.open)
        record: Any = storage_type(schema, Form.CHECK, strict=not values.of_class, json_types=values.json_types)
        self._check = msgspec.msgpack.Decoder(list[record])
        self._record = storage_type(schema, Form.VALUES)
        target: Any = self._record if self.schema.raw or not values.of_class else values.type
        self._decoder = msgspec.msgpack.Decoder(list[target])
        self._one = msgspec.msgpack.Decoder(target)

    def encode(self, values: Sequence[T]) -> bytes:
        """Return the `data` of a rows batch.

        Guarantees that every reader can read it: each record was decoded again by the types of its columns.

        Raises:
            SchemaError: A value does not fit; `index` is its place.
        """
        if wrong := self._values.wrong_type(values):
            raise wrong
        try:
            data = _encoder.encode(values)
            checked = self._check.decode(data)
            if self._normalize:
                data = _encoder.encode(checked)
        except _UNENCODABLE:
            self._blame(values)
        return data[len(array_header(len(values))) :]

    def _blame(self, values: Sequence[T]) -> NoReturn:
        for index, value in enumerate(values):
            try:
                self._check.decode(_encoder.encode([value]))
            except _UNENCODABLE as error:
                raise SchemaError(
                    f"{in_topic(self._values.topic)}{record_words(index, len(values))} does not fit: {explain(error)}",
                    index=index,
                ) from error
        raise AssertionError("every record fits on its own, and together they do not")

    def decode(self, data: bytes, count: int, written: Schema) -> list[T]:
        """Return the values of a rows batch that was written with a schema this one evolved from.

        Raises:
            SchemaError: The user's type refuses a record; `index` is its place.
        """
        framed = array_header(count) + data
        try:
            if self._by_dict(written):
                return msgspec.convert(self._dicts(framed), list[self._values.type])  # type: ignore[name-defined]
            if self._values.of_class or self.schema.raw:
                return self._decoder.decode(framed)
            return self._dicts(framed)
        except msgspec.ValidationError:
            for index, value in enumerate(self.decode_each(data, count, written)):
                if isinstance(value, SchemaError):
                    value.index = index
                    raise value from None
            raise
        except msgspec.DecodeError as error:
            raise StorageCorruptError(
                f"{in_topic(self._values.topic)}a batch of {count} records cannot be decoded: {error}; "
                "run `millstream doctor`"
            ) from error

    def decode_each(self, data: bytes, count: int, written: Schema) -> list[T | SchemaError]:
        """Return a value or an error for each record: one that the user's type refuses does not hide the others."""
        each: list[T | SchemaError] = []
        for raw in split(data, count):
            try:
                if self._by_dict(written):
                    value = msgspec.convert(self._dicts(b"\x91" + raw)[0], self._values.type)
                elif self._values.of_class or self.schema.raw:
                    value = self._one.decode(raw)
                else:
                    value = self._dicts(b"\x91" + raw)[0]
            except Exception as error:  # noqa: BLE001 - a __post_init__ of the user's may raise anything; it is reported
                each.append(SchemaError(f"{in_topic(self._values.topic)}cannot be read: {explain(error)}"))
            else:
                each.append(value)
        return each

    def _by_dict(self, written: Schema) -> bool:
        """Whether the class must not see what was written: fields that it has no more, and forbids."""
        return self._values.forbids_unknown and not set(written.names) <= set(self.schema.names)

    def _dicts(self, framed: bytes) -> list[Any]:
        records = msgspec.msgpack.decode(framed, type=list[self._record])  # type: ignore[name-defined]
        made: list[Any] = msgspec.to_builtins(records, builtin_types=PYTHON_TYPES)
        return made


def array_header(count: int) -> bytes:
    """Return the msgpack header that turns `count` objects end to end into an array."""
    if count < 16:
        return bytes((0x90 | count,))
    if count < 1 << 16:
        return b"\xdc" + count.to_bytes(2, "big")
    return b"\xdd" + count.to_bytes(4, "big")


def split(data: bytes, count: int) -> list[bytes]:
    """Return each record of a rows batch by itself."""
    return list(map(bytes, msgspec.msgpack.decode(array_header(count) + data, type=list[msgspec.Raw])))


def encode_meta(
    count: int,
    keys: Sequence[bytes | None] | None,
    times: Sequence[int | None] | None,
    headers: Sequence[Mapping[str, bytes] | None] | None,
) -> bytes | None:
    """Return the `meta` of a rows batch, None where nothing was given."""
    given = [column for column in (keys, times, headers) if column is not None]
    for column in given:
        check_count(column, count)
    if not any(entry is not None for column in given for entry in column):
        return None
    nothing = (None,) * count
    rows = list(zip(keys or nothing, times or nothing, headers or nothing, strict=True))
    return _encoder.encode(rows)[len(array_header(count)) :]


def check_count(column: Sequence[object] | None, count: int) -> None:
    """Check that there is one key, time or mapping of headers for each value.

    Raises:
        UsageError: There are more or fewer.
    """
    if column is not None and len(column) != count:
        raise UsageError(f"{count:,} values came with {len(column):,} keys, times or headers; give one for each value")


def decode_meta(meta: bytes, count: int) -> list[RecordMeta]:
    """Return what `encode_meta` was given, record by record."""
    return _meta_decoder.decode(array_header(count) + meta)


def explain(error: BaseException) -> str:
    """Return msgspec's message with the field as people write it: `load_ms: Expected `int`, got `str``."""
    text = str(error)
    what, mark, path = text.rpartition(" - at `$")
    if not mark:
        return text or type(error).__name__
    field = path.rstrip("`").removeprefix("[...]").removeprefix("[0]").removeprefix(".")
    return f"field {field!r}: {what}" if field else what
