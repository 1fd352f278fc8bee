"""The schemas of one topic: which are registered, which one this program writes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from millstream.engines.protocol import TopicInfo
from millstream.errors import ConflictError, SchemaError
from millstream.log.batches import RecordCoding
from millstream.log.infer import widen, widen_frame
from millstream.log.schema import RAW, Schema, check_evolution
from millstream.log.types import schema_of

if TYPE_CHECKING:
    import polars as pl

T = TypeVar("T")


class SchemaStore(Protocol):
    """Where schemas are registered: an engine, or a transaction of one."""

    def describe_topic(self, topic: str) -> TopicInfo: ...

    def put_schema(self, topic: str, schema: bytes, *, after: int | None = None) -> int: ...


class TopicSchemas(Generic[T]):
    """Keeps the coding of a topic current: its own schema is registered at the first append, others are looked up."""

    def __init__(self, store: SchemaStore, info: TopicInfo, type: Any, *, key: str | None, time: str | None) -> None:
        """Compare the type with what is registered.

        Raises:
            SchemaError: The type cannot be a schema, or cannot follow the newest registered one.
        """
        self._store = store
        self._topic = info.spec.name
        self._type = type
        self._mutex = threading.Lock()
        self._known = _decoded(info)
        self._coding: RecordCoding[T] = self._begin(info, type, key, time)

    def _begin(self, info: TopicInfo, type: Any, key: str | None, time: str | None) -> RecordCoding[T]:
        newest_id = max(self._known, default=0)
        newest = self._known.get(newest_id)
        if newest is None:
            if type is not None and info.records:
                raise SchemaError(
                    f"topic {self._topic!r} holds raw bytes: open it without a type, or use another topic"
                )
            schema = schema_of(type, key=key, time=time, topic=self._topic)
            schema_id = 0 if schema.raw else self._register(schema)
            return RecordCoding(schema, type, topic=self._topic, schema_id=schema_id)
        if type is None or type is dict:
            for role, wanted, kept in (("key", key, newest.key), ("time", time, newest.time)):
                if wanted is not None and wanted != kept:
                    raise SchemaError(f"topic {self._topic!r} has the {role} field {kept!r}, not {wanted!r}")
            return RecordCoding(newest, dict, topic=self._topic, schema_id=newest_id)
        # A program that names neither goes on with the fields that were chosen when the topic was made.
        schema = schema_of(type, key=key or newest.key, time=time or newest.time, topic=self._topic)
        for schema_id, known in self._known.items():
            if known == schema:
                return RecordCoding(schema, type, topic=self._topic, schema_id=schema_id)
        check_evolution(newest, schema, self._topic)
        return RecordCoding(schema, type, topic=self._topic, schema_id=0)

    @property
    def coding(self) -> RecordCoding[T]:
        """The coding for reading."""
        return self._coding

    @property
    def raw(self) -> bool:
        return self._coding.schema.raw

    def beside(self, store: SchemaStore) -> TopicSchemas[T]:
        """Return the same with another place to register: what is found out there is not known here."""
        coding = self._coding
        roles = coding.schema.key, coding.schema.time
        return TopicSchemas(store, store.describe_topic(self._topic), self._type, key=roles[0], time=roles[1])

    def can_write(self, values: Any) -> bool:
        """Whether these values, or the rows of a frame, can be written without registering anything."""
        coding = self._coding
        if coding.schema.open:
            widened = widen_frame if hasattr(values, "schema") else widen
            return widened(coding.schema, values, topic=self._topic) is coding.schema
        return coding.schema.raw or coding.schema_id != 0

    def coding_to_write(self, values: Sequence[Any]) -> RecordCoding[T]:
        """Return the coding for these values: registered, and widened by new fields where the topic is open."""
        coding = self._coding
        if coding.complete:
            return coding
        return self._to_write(lambda schema: widen(schema, values, topic=self._topic))

    def coding_to_write_frame(self, frame: pl.DataFrame) -> RecordCoding[T]:
        """The same for the rows of a frame."""
        return self._to_write(lambda schema: widen_frame(schema, frame, topic=self._topic))

    def _to_write(self, widened: Callable[[Schema], Schema]) -> RecordCoding[T]:
        coding = self._coding
        if coding.schema.open:
            return self._widen(coding, widened)
        if coding.schema_id == 0 and not coding.schema.raw:
            with self._mutex:
                if self._coding.schema_id == 0:
                    schema_id = self._register(coding.schema)
                    self._coding = RecordCoding(coding.schema, self._type, topic=self._topic, schema_id=schema_id)
                return self._coding
        return coding

    def written(self, schema_id: int) -> Schema:
        """Return the schema of a stored batch."""
        if schema_id == 0:
            return RAW
        if schema_id not in self._known:
            self.refresh()
        return self._known[schema_id]

    def refresh(self) -> None:
        """Look which schemas others have registered; an open topic is read as the newest of them."""
        known = _decoded(self._store.describe_topic(self._topic))
        with self._mutex:
            self._known = known
            newest_id = max(known, default=0)
            if self._type in (None, dict) and newest_id > self._coding.schema_id:
                self._coding = RecordCoding(known[newest_id], dict, topic=self._topic, schema_id=newest_id)

    def _widen(self, coding: RecordCoding[T], widened: Callable[[Schema], Schema]) -> RecordCoding[T]:
        if widened(coding.schema) is coding.schema:
            return coding
        while True:
            # Others may widen the topic at the same moment: always from what is the newest.
            self.refresh()
            base = self._coding
            schema = widened(base.schema)
            if schema is base.schema:
                return base
            try:
                schema_id = self._register(schema, after=base.schema_id)
            except ConflictError:
                continue
            with self._mutex:
                self._coding = RecordCoding(schema, dict, topic=self._topic, schema_id=schema_id)
                return self._coding

    def _register(self, schema: Schema, *, after: int | None = None) -> int:
        schema_id = self._store.put_schema(self._topic, schema.encode(), after=after)
        self._known = {**self._known, schema_id: schema}
        return schema_id


def _decoded(info: TopicInfo) -> dict[int, Schema]:
    return {schema_id: Schema.decode(data) for schema_id, data in info.schemas.items()}
