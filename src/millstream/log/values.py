"""The Python side of a topic's records: the user's class, dicts, or bytes."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from operator import attrgetter, itemgetter
from typing import Any, Final, Generic, TypeVar

import msgspec
from msgspec.inspect import DataclassType, StructType, type_info

from millstream.errors import SchemaError
from millstream.log.schema import Kind, Schema, in_topic

T = TypeVar("T")

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND: Final = timedelta(microseconds=1)


class ValueType(Generic[T]):
    """What a topic's values are in this program, beside the schema they are stored with."""

    def __init__(self, schema: Schema, type: Any, *, topic: str = "") -> None:
        """Take a Struct class or dataclass; None or dict: values are dicts (bytes where the schema is raw)."""
        self.schema = schema
        self.topic = topic
        self.of_class = type is not None and type is not dict and not schema.raw
        self.type: Any = type if self.of_class else (bytes if schema.raw else dict)
        self.cls: Any = typing.get_origin(self.type) or self.type
        self.forbids_unknown = False
        self.attributes: dict[str, str] = {}
        """Attribute by stored name."""
        field = schema.by_name.get(schema.time or "")
        self.time_is_text = field is not None and field.type.kind is not Kind.DATETIME
        """JSON has no datetimes: in open topics the time may be ISO 8601 text, read once at append."""
        self.annotations: dict[str, Any] = {}
        """Type of a field by stored name; empty where only msgspec can tell (generic classes)."""
        self.positional = False
        """Whether `cls(*fields)`, in the order of the schema, makes a value."""
        if self.of_class:
            self._look()

    def _look(self) -> None:
        info = type_info(self.type)
        assert isinstance(info, (StructType, DataclassType))
        self.attributes = {field.encode_name: field.name for field in info.fields}
        self.forbids_unknown = isinstance(info, StructType) and info.forbid_unknown_fields
        parameters = inspect.signature(self.cls).parameters.values()
        self.positional = [parameter.name for parameter in parameters] == list(self.attributes.values()) and all(
            parameter.kind is parameter.POSITIONAL_OR_KEYWORD for parameter in parameters
        )
        if typing.get_origin(self.type) is None and not getattr(self.cls, "__parameters__", ()):
            hints = typing.get_type_hints(self.cls, include_extras=True)
            self.annotations = {field.encode_name: hints[field.name] for field in info.fields}

    @property
    def json_types(self) -> dict[str, Any]:
        """What the class says of its JSON fields, by stored name."""
        by_name = self.schema.by_name
        return {
            name: annotation
            for name, annotation in self.annotations.items()
            if name in by_name and by_name[name].type.kind is Kind.JSON
        }

    def wrong_type(self, values: Sequence[Any]) -> SchemaError | None:
        """Return what to raise when a value is not of the topic's type, None when all are."""
        if set(map(type, values)) <= {self.cls}:
            return None
        index = next(i for i, value in enumerate(values) if type(value) is not self.cls)
        found = type(values[index])
        hint = ""
        if self.cls is bytes and found is str:
            hint = "; encode the text, or give the topic a type"
        elif self.of_class and issubclass(found, self.cls):
            hint = f"; a subclass may have other fields, so convert it to {self.cls.__name__} first"
        elif self.of_class and issubclass(found, dict):
            hint = f"; make it one with msgspec.convert(value, {self.cls.__name__}), or open the topic without a type"
        return SchemaError(
            f"{in_topic(self.topic)}{record_words(index, len(values))} is of type {found.__name__}, and the topic "
            f"takes {self.cls.__name__}{hint}",
            index=index,
        )

    def getter(self, name: str) -> Callable[[Any], Any]:
        """Return the function that takes a field, by its stored name, out of a value."""
        if self.of_class:
            return attrgetter(self.attributes.get(name, name))
        required = self.schema.by_name[name].required if name in self.schema.by_name else False
        return itemgetter(name) if required else lambda value: value.get(name)

    def keys(self, values: Sequence[T]) -> list[bytes | None] | None:
        """Return the key of each value, None where the schema has no key field.

        Raises:
            SchemaError: A value lacks the field.
        """
        name = self.schema.key
        if name is None:
            return None
        found = self._column(name, values)
        field = self.schema.by_name.get(name)
        kind = field.type.kind if field else Kind.STR
        if kind is Kind.STR and set(map(type, found)) <= {str}:
            return list(map(str.encode, found))
        return list(map(key_bytes, found))

    def event_times(self, values: Sequence[T]) -> list[int | None] | None:
        """Return the event time of each value in us, None where the schema has no time field.

        Raises:
            SchemaError: A value lacks the field, or has something else in it.
        """
        name = self.schema.time
        if name is None:
            return None
        found = self._column(name, values)
        try:
            return [(moment - EPOCH) // MICROSECOND if moment is not None else None for moment in found]
        except TypeError:
            return [self._time_us(moment, i, len(found)) for i, moment in enumerate(found)]

    def event_time_range(self, values: Sequence[T]) -> tuple[int | None, int | None]:
        """Return the lowest and highest event time of valid values, (None, None) where there is none."""
        if self.schema.time is None:
            return None, None
        found = self._column(self.schema.time, values)
        if None in found:
            found = [moment for moment in found if moment is not None]
        if not found:
            return None, None
        low, high = min(found), max(found)
        if not isinstance(low, datetime):
            times = [moment for moment in self.event_times(values) or () if moment is not None]
            return min(times), max(times)
        return (low - EPOCH) // MICROSECOND, (high - EPOCH) // MICROSECOND

    def _time_us(self, moment: Any, index: int, count: int) -> int | None:
        if moment is None:
            return None
        if isinstance(moment, str) and not self.of_class:
            try:
                moment = msgspec.convert(moment, datetime)
            except msgspec.ValidationError:
                pass
        if not isinstance(moment, datetime) or moment.tzinfo is None:
            raise SchemaError(
                f"{in_topic(self.topic)}{record_words(index, count)}: the event time {self.schema.time!r} must be a "
                f"datetime with a time zone, such as datetime.now(UTC), and is {moment!r}",
                index=index,
            )
        return (moment - EPOCH) // MICROSECOND

    def _column(self, name: str, values: Sequence[Any]) -> list[Any]:
        get = self.getter(name)
        try:
            return list(map(get, values))
        except (AttributeError, KeyError, TypeError):
            for index, value in enumerate(values):
                try:
                    get(value)
                except (AttributeError, KeyError, TypeError) as error:
                    raise SchemaError(
                        f"{in_topic(self.topic)}{record_words(index, len(values))} has no field {name!r}", index=index
                    ) from error
            raise


def key_bytes(value: Any) -> bytes | None:
    """Return a key as stored: text in UTF-8, an int in decimal, bytes as they are, an enum's value, a UUID as text."""
    if value is None or type(value) is bytes:
        return value
    if type(value) is str:
        return value.encode()
    value = getattr(value, "value", value)
    return value if isinstance(value, bytes) else str(value).encode()


def record_words(index: int, count: int) -> str:
    """Return how a message names one record of a call."""
    return "the record" if count == 1 else f"record {index} of {count:,}"
