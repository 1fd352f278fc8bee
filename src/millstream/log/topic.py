"""Topic: append, read, follow, and look at as a frame."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

from millstream.durations import duration
from millstream.engines.protocol import Append, Engine, GroupInfo, PartitionInfo, TopicInfo
from millstream.errors import UsageError
from millstream.log.group import Group
from millstream.log.producer import Extras, Headers, Key, Producer
from millstream.log.ranges import OffsetRange, ranges_of
from millstream.log.reading import BatchReader
from millstream.log.schema import Schema
from millstream.log.schemas import TopicSchemas
from millstream.records import Position, Record

if TYPE_CHECKING:
    import polars as pl

    from millstream.log.log import Log


T = TypeVar("T")

_STOP_CHECK = timedelta(milliseconds=200)
_TAIL_RECORDS = 10_000


class Topic(Generic[T]):
    """A named log of records of one type. Safe to use from many threads; made by `App.topic` or `Log.topic`."""

    def __init__(self, log: Log, info: TopicInfo, type: Any, *, key: str | None, time: str | None) -> None:
        engine = log.engine
        self._log = log
        self._engine = engine
        self._name = info.spec.name
        self._partitions = info.spec.partitions
        self._schemas: TopicSchemas[T] = TopicSchemas(engine, info, type, key=key, time=time)
        self._producer: Producer[T] = Producer(self._name, self._partitions, self._schemas)
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

    def append(self, value: T, *, key: Key = None, headers: Headers = None, time: datetime | None = None) -> Position:
        """Append one record; it is durable when this returns.

        Threads that append at the same moment share one fsync.

        Args:
            key: In place of the key field's value.
            time: Event time, in place of the time field's value; None without a time field is the append time.

        Raises:
            SchemaError: The value does not fit the topic's type.
            LimitExceededError: It is too large.
            StorageError: It was not stored.
        """
        return self._engine.append(self._encode_one(value, key, headers, time))[0]

    async def append_async(
        self, value: T, *, key: Key = None, headers: Headers = None, time: datetime | None = None
    ) -> Position:
        """`append` for asyncio: tasks that append at the same moment share one fsync."""
        return (await self._submit(self._encode_one(value, key, headers, time)))[0]

    def extend(
        self,
        values: Iterable[T] | pl.DataFrame,
        *,
        keys: Sequence[Key] | None = None,
        headers: Sequence[Headers] | None = None,
        times: Sequence[datetime | None] | None = None,
    ) -> list[OffsetRange]:
        """Append many records, all or nothing; they are durable when this returns.

        Args:
            values: Values of the topic's type, or a Polars frame with a column for each field.
            keys: One for each value, as for `append`; the same for headers and times.

        Returns:
            Where they are: one range for each partition that got some.

        Raises:
            SchemaError: A value does not fit; `index` is its place. Nothing was stored.
            LimitExceededError: Too many or too large for one call. Nothing was stored.
        """
        appends = self._encode_many(values, keys, headers, times)
        return ranges_of(appends, self._engine.append(appends))

    async def extend_async(
        self,
        values: Iterable[T] | pl.DataFrame,
        *,
        keys: Sequence[Key] | None = None,
        headers: Sequence[Headers] | None = None,
        times: Sequence[datetime | None] | None = None,
    ) -> list[OffsetRange]:
        """`extend` for asyncio."""
        appends = self._encode_many(values, keys, headers, times)
        return ranges_of(appends, await self._submit(appends)) if appends else []

    def encode(
        self,
        values: Iterable[T] | pl.DataFrame,
        *,
        keys: Sequence[Key] | None = None,
        headers: Sequence[Headers] | None = None,
        times: Sequence[datetime | None] | None = None,
    ) -> list[Append]:
        """Return values as appends for another transaction: `Group.commit(appends=)`, `Group.settle(appends=)`."""
        return self._encode_many(values, keys, headers, times)

    def _encode_one(self, value: T, key: Key, headers: Headers, moment: datetime | None) -> list[Append]:
        if key is None and headers is None and moment is None:
            return self._producer.encode([value], _NOTHING)
        extras = Extras(
            None if key is None else [key],
            None if headers is None else [headers],
            None if moment is None else [moment],
        )
        return self._producer.encode([value], extras)

    def _encode_many(
        self,
        values: Iterable[T] | pl.DataFrame,
        keys: Sequence[Key] | None,
        headers: Sequence[Headers] | None,
        times: Sequence[datetime | None] | None,
    ) -> list[Append]:
        # A Polars frame, told by its class's name: asking for the class itself would import Polars for every append.
        if type(values).__name__ in ("DataFrame", "LazyFrame") and type(values).__module__.startswith("polars"):
            if not (keys is None and headers is None and times is None):
                raise UsageError("with a frame, give keys and times as columns `_key` and `_event_time` of it")
            frame: Any = values
            return self._producer.encode_frame(frame.collect() if hasattr(frame, "collect") else frame)
        if keys is None and headers is None and times is None:
            return self._producer.encode(values, _NOTHING)  # type: ignore[arg-type]
        return self._producer.encode(values, Extras(keys, headers, times))  # type: ignore[arg-type]

    async def _submit(self, appends: list[Append]) -> list[Position]:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[list[Position]] = loop.create_future()

        def settle(positions: list[Position] | None, error: BaseException | None) -> None:
            if future.done():
                return  # cancelled; the records may have been stored
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(positions or [])

        def done(positions: list[Position] | None, error: BaseException | None) -> None:
            loop.call_soon_threadsafe(settle, positions, error)

        self._engine.submit(appends, done)
        return await future

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
        start: Literal["start", "end"] | int | datetime = "end",
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
        positions = self._positions(start)
        patience = None if wait is None else duration(wait).total_seconds()
        quiet_since = time.monotonic()
        while stop is None or not stop():
            quiet = True
            for partition, offset in positions.items():
                for record in self._reader.records(partition, offset, _TAIL_RECORDS):
                    quiet = False
                    yield record
                    positions[partition] = record.offset + 1
                    if stop is not None and stop():
                        return
            if not quiet:
                quiet_since = time.monotonic()
                continue
            nap = _STOP_CHECK.total_seconds() if stop is not None else 3600.0
            if patience is not None:
                left = quiet_since + patience - time.monotonic()
                if left <= 0:
                    return
                nap = min(nap, left)
            self.wait(positions, nap)

    def _positions(self, start: Literal["start", "end"] | int | datetime) -> dict[int, int]:
        if isinstance(start, datetime):
            return self._reader.offsets_at(start)
        info = self.info()
        if start == "end":
            return {p.partition: p.end_offset for p in info.partitions}
        if start == "start":
            return {p.partition: p.start_offset for p in info.partitions}
        if isinstance(start, int):
            return {p.partition: _from(start, p) for p in info.partitions}
        raise UsageError(f"tail starts at 'start', 'end', an offset or a datetime, not at {start!r}")

    def read_frame(
        self, start: int, end: int, *, partition: int = 0, columns: Sequence[str] | None = None
    ) -> pl.DataFrame:
        """Return exactly the records [start, end) of a partition as a frame; see `frame` for its columns."""
        return self._reader.frame(partition, start, end, columns)

    def frame(self, start: int | datetime | None = None, end: int | datetime | None = None) -> pl.LazyFrame:
        """Return the records as a Polars frame that reads the log when it is collected, batch by batch.

        The log as it is at this moment: records appended later are not in it, however often it is collected.

        Args:
            start: First offset (of every partition), or event time.
            end: First offset or event time that is not in it.

        Shape:
            One column a field of the schema (`value`, binary, for a raw topic), then `_partition` int32, `_offset`
            int64, `_key` binary or null, `_event_time` and `_append_time` timestamp[us, UTC], `_headers` binary or null
            (a msgpack map). Ordered by partition and offset.
        """
        from millstream.log.scan import scan

        return scan(self._reader, self.info(), self._schemas, start, end)

    def sql(self, query: str) -> pl.DataFrame:
        """Answer a SQL query over this topic, which is the table of its name and `topic`.

        Source: Polars SQL.
        """
        from millstream.log.sql import run_sql

        return run_sql(query, {self._name: self.frame, "topic": self.frame})

    def wait(self, seen: Mapping[int, int], timeout: timedelta | str | float) -> bool:
        """Block until a partition ends beyond the offset given for it, or queue state of the topic changes.

        Returns:
            False when the time passed without news. After True there may still be nothing: another took it.
        """
        return self._engine.wait({self._name: seen}, round(duration(timeout).total_seconds() * 1e6))

    # --- about ----------------------------------------------------------------------------------------------------

    def info(self) -> TopicInfo:
        """Return offsets, sizes and settings, without a scan."""
        return self._engine.describe_topic(self._name)

    def end_offsets(self) -> dict[int, int]:
        """Return the offset that the next record of each partition gets."""
        return {p.partition: p.end_offset for p in self.info().partitions}

    def group(self, name: str, *, start: Literal["start", "end"] = "start") -> Group[T]:
        """Return a consumer group; made, to begin at the start or the end of the log, where there is none."""
        begin = None if start == "start" else self.end_offsets()
        self._engine.create_group(self._name, name, start=begin)
        return Group(self, name, self._reader)

    def groups(self) -> dict[str, GroupInfo]:
        """Return all consumer groups with their offsets and ledgers."""
        return {name: self._engine.describe_group(self._name, name) for name in self._engine.groups(self._name)}

    def delete(self) -> None:
        """Delete the topic with its records, groups and state. There is no way back."""
        self._engine.delete_topic(self._name)


_NOTHING = Extras()


def _from(offset: int, partition: PartitionInfo) -> int:
    if offset < 0:
        raise UsageError(f"an offset is 0 or more, not {offset}")
    return min(max(offset, partition.start_offset), partition.end_offset)
