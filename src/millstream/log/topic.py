"""Topic: append, read, follow, and look at as a frame."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from millstream.durations import duration
from millstream.engines.protocol import Append, Bound, Engine, GroupInfo, TopicInfo
from millstream.log.delivery import UNIQUE_WINDOW, Delivery, Due, Unique
from millstream.log.encoder import Encoder
from millstream.log.group import Group
from millstream.log.intake import is_frame
from millstream.log.producer import Headers, Key
from millstream.log.ranges import OffsetRange, ranges_of
from millstream.log.reading import BatchReader
from millstream.log.schema import Schema
from millstream.log.schemas import TopicSchemas
from millstream.log.submission import submit
from millstream.log.tailing import Start as Start  # a parameter of ours: part of how a topic is read
from millstream.log.tailing import positions_at, tail
from millstream.records import Position, Record, time_from_us

if TYPE_CHECKING:
    from os import PathLike
    from pathlib import Path

    import polars as pl

    from millstream.log.log import Log
    from millstream.log.transaction import Transaction


T = TypeVar("T")


class Topic(Generic[T]):
    """A named log of records of one type. Safe to use from many threads; made by `App.topic` or `Log.topic`."""

    def __init__(self, log: Log, info: TopicInfo, type: Any, *, key: str | None, time: str | None) -> None:
        engine = log.engine
        self._log = log
        self._engine = engine
        self._name = info.spec.name
        self._partitions = info.spec.partitions
        self._schemas: TopicSchemas[T] = TopicSchemas(engine, info, type, key=key, time=time)
        self._encoder: Encoder[T] = Encoder(self._name, self._partitions, self._schemas, log.clock)
        self._reader: BatchReader[T] = BatchReader(engine, self._name, self._schemas)

    @property
    def name(self) -> str:
        return self._name

    @property
    def log(self) -> Log:
        """The log that it is a topic of."""
        return self._log

    @property
    def partitions(self) -> int:
        """How many there are; numbered from 0."""
        return self._partitions

    @property
    def type(self) -> Any:
        """The class of the values: a Struct, a dataclass, dict or bytes."""
        return self._schemas.coding.type

    @property
    def schema(self) -> Schema:
        """Fields and types as this program reads them."""
        return self._schemas.coding.schema

    @property
    def engine(self) -> Engine:
        return self._engine

    def __repr__(self) -> str:
        return f"<Topic {self._name!r} of {getattr(self.type, '__name__', self.type)} in {self._engine.url}>"

    # --- append ---------------------------------------------------------------------------------------------------

    def append(
        self,
        value: T,
        *,
        key: Key = None,
        headers: Headers = None,
        time: datetime | None = None,
        due: Due = None,
        priority: int = 0,
        unique: Unique = None,
        unique_window: timedelta | str | float = UNIQUE_WINDOW,
        bound: Bound | None = None,
        transaction: Transaction | None = None,
    ) -> Position:
        """Append one record; it is durable when this returns.

        Threads that append at the same moment share one fsync.

        Args:
            key: In place of the key field's value; where the topic has several partitions and a key field, the same.
            time: Event time, in place of the time field's value; None without a time field is the append time.
            due: Queues do not hand it over before: a moment, or how long from now. Kept on disk, not in memory.
            priority: Queues declared with a priority hand over higher numbers first.
            unique: Append nothing where a record of this topic was appended with the same value less than
                `unique_window` ago, and return the position of that one.
            bound: Append nothing where a queue would grow beyond it.
            transaction: Append with the caller's own rows, or not at all; see `App.transaction`.

        Raises:
            SchemaError: The value does not fit the topic's type; or the key is not its key field's, see `key`.
            LimitExceededError: It is too large.
            QueueFullError: The queue of `bound` is full.
            StorageError: It was not stored.
        """
        if transaction is None and due is None and not priority and unique is None:
            return self._engine.append(self._encoder.one(value, key, headers, time), bound=bound)[0]
        delivery = Delivery(due, priority, unique, unique_window)
        if transaction is None:
            return self._engine.append(self._encoder.delivered(value, key, headers, time, delivery), bound=bound)[0]
        appends = self._encoder.within(transaction, [value]).delivered(value, key, headers, time, delivery)
        return transaction.append(self._log, appends, bound=bound)[0]

    async def append_async(
        self,
        value: T,
        *,
        key: Key = None,
        headers: Headers = None,
        time: datetime | None = None,
        due: Due = None,
        priority: int = 0,
        unique: Unique = None,
        unique_window: timedelta | str | float = UNIQUE_WINDOW,
        bound: Bound | None = None,
    ) -> Position:
        """`append` for asyncio: tasks that append at the same moment share one fsync."""
        delivery = Delivery(due, priority, unique, unique_window)
        appends = self._encoder.delivered(value, key, headers, time, delivery)
        return (await submit(self._engine, appends, bound))[0]

    def extend(
        self,
        values: Iterable[T] | pl.DataFrame,
        *,
        keys: Sequence[Key] | None = None,
        headers: Sequence[Headers] | None = None,
        times: Sequence[datetime | None] | None = None,
        due: Due = None,
        priority: int = 0,
        unique: Sequence[Unique] | None = None,
        unique_window: timedelta | str | float = UNIQUE_WINDOW,
        bound: Bound | None = None,
        transaction: Transaction | None = None,
    ) -> list[OffsetRange]:
        """Append many records, all or nothing; they are durable when this returns.

        Args:
            values: Values of the topic's type, or a Polars frame with a column for each field.
            keys: One for each value, as for `append`; the same for headers, times and unique.
            due: Of all of them; the same for priority.
            transaction: As for `append`.

        Returns:
            Where they are: one range for each partition that got some.

        Raises:
            SchemaError: A value does not fit; `index` is its place. Nothing was stored.
            LimitExceededError: Too many or too large for one call. Nothing was stored.
            QueueFullError: The queue of `bound` would grow beyond it. Nothing was stored.
        """
        encoder = self._encoder
        if transaction is not None:
            values = values if is_frame(values) else list(values)  # type: ignore[arg-type]
            encoder = encoder.within(transaction, values)
        appends = encoder.all(
            values,
            keys=keys,
            headers=headers,
            times=times,
            due=due,
            priority=priority,
            unique=unique,
            unique_window=unique_window,
        )
        if transaction is not None:
            return ranges_of(appends, transaction.append(self._log, appends, bound=bound))
        return ranges_of(appends, self._engine.append(appends, bound=bound))

    async def extend_async(
        self,
        values: Iterable[T] | pl.DataFrame,
        *,
        keys: Sequence[Key] | None = None,
        headers: Sequence[Headers] | None = None,
        times: Sequence[datetime | None] | None = None,
        due: Due = None,
        priority: int = 0,
        unique: Sequence[Unique] | None = None,
        unique_window: timedelta | str | float = UNIQUE_WINDOW,
        bound: Bound | None = None,
    ) -> list[OffsetRange]:
        """`extend` for asyncio."""
        appends = self.encode(
            values,
            keys=keys,
            headers=headers,
            times=times,
            due=due,
            priority=priority,
            unique=unique,
            unique_window=unique_window,
        )
        return ranges_of(appends, await submit(self._engine, appends, bound)) if appends else []

    def encode(
        self,
        values: Iterable[T] | pl.DataFrame,
        *,
        keys: Sequence[Key] | None = None,
        headers: Sequence[Headers] | None = None,
        times: Sequence[datetime | None] | None = None,
        due: Due = None,
        priority: int = 0,
        unique: Sequence[Unique] | None = None,
        unique_window: timedelta | str | float = UNIQUE_WINDOW,
    ) -> list[Append]:
        """Return values as appends for another transaction: `Group.commit(appends=)`, `Group.settle(appends=)`."""
        return self._encoder.all(
            values,
            keys=keys,
            headers=headers,
            times=times,
            due=due,
            priority=priority,
            unique=unique,
            unique_window=unique_window,
        )

    def encode_with(
        self, values: Sequence[T], *, keys: pl.Series | None = None, times: pl.Series | None = None
    ) -> list[Append]:
        """Return values as appends, as `encode` does, with keys and event times as columns of their types."""
        return self._encoder.with_columns(values, keys, times)

    # --- read -----------------------------------------------------------------------------------------------------

    def read(
        self,
        offset: int = 0,
        *,
        partition: int = 0,
        records_max: int = 1000,
        wait: timedelta | str | float = 0,
    ) -> list[Record[T]]:
        """Return the records of one partition from an offset on, oldest first.

        Returns early with fewer records, and none when `wait` passes without any. Never returns a record whose append
        is not durable.

        Args:
            offset: First one wanted; may equal the end offset (then it waits).
            records_max: An upper bound, not a promise.

        Raises:
            OffsetOutOfRangeError: Retention deleted the record; carries `start_offset`.

        Source: Kafka `Consumer.poll`.
        """
        until = time.monotonic() + duration(wait).total_seconds()
        while True:
            found = self._reader.records(partition, offset, records_max)
            left = until - time.monotonic()
            if found or left <= 0:
                return found
            self.wait({partition: offset}, left)

    def tail(
        self,
        start: Start = "end",
        *,
        wait: timedelta | str | float | None = None,
        stop: Callable[[], bool] | None = None,
    ) -> Iterator[Record[T]]:
        """Follow the topic: yield records of all partitions as they come.

        Args:
            start: From the start of the log, from its end on, from an offset (of every partition), or from the first
                record appended at or after a time.
            wait: End when nothing came for so long; None follows for ever.
            stop: Asked between records and while waiting (five times a second); True ends.
        """
        yield from tail(self._reader, self._positions(start), self.wait, wait=wait, stop=stop)

    def _positions(self, start: Start) -> dict[int, int]:
        return positions_at(start, self.info(), self._reader)

    def read_frame(
        self, start: int, end: int, *, partition: int = 0, columns: Sequence[str] | None = None
    ) -> pl.DataFrame:
        """Return exactly the records [start, end) of a partition as a frame; see `frame` for its columns."""
        return self._reader.frame(partition, start, end, columns)

    def read_values(self, start: int, end: int, *, partition: int = 0) -> Iterator[tuple[list[T], pl.DataFrame]]:
        """Yield exactly the records [start, end) of a partition as values, and beside them a frame of what the log
        knows of each: `_key`, `_event_time`, `_append_time`, `_headers`, `_offset`.

        Raises:
            SchemaError: The topic's type refuses one of them.
        """
        return self._reader.values(partition, start, end)

    def frame(
        self, start: int | datetime | None = None, end: int | datetime | None = None, *, group: str | None = None
    ) -> pl.LazyFrame:
        """Return the records as a Polars frame that reads the log when it is collected, batch by batch.

        The log as it is at this moment: records appended later are not in it, however often it is collected.

        Args:
            start: First offset (of every partition), or event time.
            end: First offset or event time that is not in it.
            group: As a reader of this name gets it: without what was sent back, or replayed, for another one.

        Shape:
            One column a field of the schema (`value`, binary, for a raw topic), then `_partition` int32, `_offset`
            int64, `_key` binary or null, `_event_time` and `_append_time` timestamp[us, UTC], `_headers` binary or null
            (a msgpack map). Ordered by partition and offset.
        """
        from millstream.log.scan import scan

        return scan(self._reader, self.info(), self._schemas, start, end, group)

    def export(
        self, folder: str | PathLike[str], *, format: str = "parquet", by: str | Sequence[str] = ()
    ) -> list[Path]:
        """Write all records to a new folder of Parquet, CSV or NDJSON files; see `millstream.log.export.writing`."""
        from millstream.log.export.writing import export

        return export(self.frame(), self.schema, folder, format=format, by=by)

    def sql(self, query: str) -> pl.DataFrame:
        """Answer a SQL query over this topic, which is the table of its name and `topic`.

        Source: Polars SQL.
        """
        from millstream.log.sql import run_sql

        now = time_from_us(self.log.clock.now_us())
        return run_sql(query, {self._name: self.frame, "topic": self.frame}, now=now)

    def offsets_at(self, moment: datetime) -> dict[int, int]:
        """Return, for each partition, the offset of the first record appended at or after a time."""
        return self._reader.offsets_at(moment)

    def wait(
        self,
        seen: Mapping[int, int],
        timeout: timedelta | str | float,
        *,
        until: Callable[[], bool] | None = None,
    ) -> bool:
        """Block until a partition ends beyond the offset given for it, or queue state of the topic changes.

        Args:
            until: Ends the wait as well; asked after each change, and once before: nothing is missed in between.

        Returns:
            False when the time passed without news. After True there may still be nothing: another took it.
        """
        return self._engine.wait({self._name: seen}, round(duration(timeout).total_seconds() * 1e6), until=until)

    # --- about ----------------------------------------------------------------------------------------------------

    def info(self) -> TopicInfo:
        """Return offsets, sizes and settings, without a scan."""
        return self._engine.describe_topic(self._name)

    def end_offsets(self) -> dict[int, int]:
        """Return the offset that the next record of each partition gets."""
        return {p.partition: p.end_offset for p in self.info().partitions}

    def group(self, name: str, *, start: Start = "start", parallel: int | None = None) -> Group[T]:
        """Return a consumer group, made where there is none.

        Args:
            start: Where a new one begins: at the start or the end of the log, an offset (of every partition), or the
                first record appended at or after a time.
            parallel: Make it one in sorted order, with so many records of a key out at once; see `Engine.create_group`.
        """
        begin = None if start == "start" else self._positions(start)
        self._engine.create_group(self._name, name, start=begin, parallel=parallel)
        return Group(self, name, self._reader)

    def groups(self) -> dict[str, GroupInfo]:
        """Return all consumer groups with their offsets and ledgers."""
        return {name: self._engine.describe_group(self._name, name) for name in self._engine.groups(self._name)}

    def delete(self) -> None:
        """Delete the topic with its records, groups and state. There is no way back."""
        self._log.delete_topic(self._name)
