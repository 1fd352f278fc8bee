"""Encoder: from what `append` and `extend` were given to appends for an engine, with what is asked of queues."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from millstream.clock import Clock
from millstream.engines.protocol import Append
from millstream.errors import UsageError
from millstream.log.delivery import Delivery, Due, Unique, check_each, delivery_headers
from millstream.log.intake import is_frame
from millstream.log.producer import NOTHING, Extras, Headers, Key, Producer
from millstream.log.schemas import TopicSchemas

if TYPE_CHECKING:
    import polars as pl

    from millstream.log.transaction import Transaction

T = TypeVar("T")


class Encoder(Generic[T]):
    """Encodes values of one topic. Safe to use from many threads."""

    def __init__(self, topic: str, partitions: int, schemas: TopicSchemas[T], clock: Clock) -> None:
        self._topic = topic
        self._partitions = partitions
        self._schemas = schemas
        self._clock = clock
        self._producer: Producer[T] = Producer(topic, partitions, schemas)

    def within(self, transaction: Transaction, values: Any) -> Encoder[T]:
        """Return what encodes values in a transaction: a schema that is new is registered with it, or not at all."""
        if self._schemas.can_write(values):
            return self
        other = copy.copy(self)
        other._producer = transaction.producer(self._topic, self._schemas, self._partitions)
        return other

    def one(self, value: T, key: Key, headers: Headers, time: datetime | None) -> list[Append]:
        """Return one value as an append."""
        if key is None and headers is None and time is None:
            return self._producer.encode_one(value)
        extras = Extras(
            None if key is None else [key],
            None if headers is None else [headers],
            None if time is None else [time],
        )
        return self._producer.encode([value], extras)

    def delivered(
        self, value: T, key: Key, headers: Headers, time: datetime | None, delivery: Delivery
    ) -> list[Append]:
        """Return one value as an append, with what is asked of queues."""
        appends = self.one(value, key, delivery.headers(headers, self._clock), time)
        return [delivery.once(append, self._clock) for append in appends]

    def with_columns(self, values: Sequence[T], keys: pl.Series | None, times: pl.Series | None) -> list[Append]:
        """Return values as appends, with keys and event times as columns of their types."""
        return self._producer.encode(values, Extras.of_columns(keys, times))

    def all(
        self,
        values: Iterable[T] | pl.DataFrame,
        *,
        keys: Sequence[Key] | None,
        headers: Sequence[Headers] | None,
        times: Sequence[datetime | None] | None,
        due: Due,
        priority: int,
        unique: Sequence[Unique] | None,
        unique_window: timedelta | str | float,
    ) -> list[Append]:
        """Return many values as appends; see `Topic.extend`."""
        if due is None and not priority and unique is None:
            return self._many(values, keys, headers, times)
        if is_frame(values):
            raise UsageError("due, priority and unique are for values one by one; give values, not a frame")
        listed: list[T] = list(values)  # type: ignore[arg-type]
        if unique is None:
            asked = delivery_headers(due=due, priority=priority, clock=self._clock)
            with_asked = [{**(given or {}), **asked} for given in headers or [None] * len(listed)]
            return self._many(listed, keys, with_asked, times)
        for name, given in (("keys", keys), ("headers", headers), ("times", times), ("unique", unique)):
            if given is not None:
                check_each(name, len(listed), given)
        return [
            append
            for place, value in enumerate(listed)
            for append in self.delivered(
                value,
                keys[place] if keys else None,
                headers[place] if headers else None,
                times[place] if times else None,
                Delivery(due, priority, unique[place], unique_window),
            )
        ]

    def _many(
        self,
        values: Iterable[T] | pl.DataFrame,
        keys: Sequence[Key] | None,
        headers: Sequence[Headers] | None,
        times: Sequence[datetime | None] | None,
    ) -> list[Append]:
        if is_frame(values):
            if not (keys is None and headers is None and times is None):
                raise UsageError("with a frame, give keys and times as columns `_key` and `_event_time` of it")
            frame: Any = values
            return self._producer.encode_frame(frame.collect() if hasattr(frame, "collect") else frame)
        if keys is None and headers is None and times is None:
            return self._producer.encode(values, NOTHING)  # type: ignore[arg-type]
        return self._producer.encode(values, Extras(keys, headers, times))  # type: ignore[arg-type]
