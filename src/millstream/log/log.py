"""Log: the topics of one engine."""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import partial
from typing import TYPE_CHECKING, Any

from millstream.clock import Clock, SystemClock
from millstream.engines.protocol import Engine, TopicSpec
from millstream.errors import TopicNotFoundError
from millstream.log.cold.policy import Cold
from millstream.log.cold.store import ColdStore
from millstream.log.cold.sweeping import condemn
from millstream.log.housekeeping import Housekeeping
from millstream.log.retention import Retention
from millstream.log.topic import Topic
from millstream.log.transaction import Transaction, open_transaction
from millstream.records import check_name, time_from_us

if TYPE_CHECKING:
    import polars as pl


class Log:
    """All topics of one engine. Keeps house in a background thread: merges small batches, applies retention."""

    def __init__(self, engine: Engine, *, clock: Clock | None = None, housekeeping: bool = True) -> None:
        """Take an engine; `close` closes it."""
        self.engine = engine
        self.clock: Clock = clock or SystemClock()
        self._housekeeping = Housekeeping(engine, self.clock) if housekeeping else None
        self._cold: dict[str, Cold] = {}
        if self._housekeeping is not None:
            self._housekeeping.cold.policies = self._cold

    def topic(
        self,
        name: str,
        type: Any = None,
        *,
        key: str | None = None,
        time: str | None = None,
        partitions: int | None = None,
        retention: Retention | None = None,
        cold: Cold | None = None,
    ) -> Topic[Any]:
        """Return a topic; made where there is none of that name.

        Args:
            type: A `msgspec.Struct` or dataclass; `dict` for JSON objects (columns are found as they come); None for
                raw bytes, or, where the topic exists, for what it holds, typed values as dicts.
            key: The field whose value is the key of a record.
            time: The field whose value is the event time of a record; without one it is the append time.
            partitions: 1 unless asked for; cannot be changed later.
            retention: What is kept; None leaves it as it is (a new topic keeps everything).
            cold: When old records move into Parquet files; done by the processes that say so.

        Raises:
            SchemaError: The type cannot be a schema, or cannot follow the one that the topic has.
            TopicExistsError: It has another number of partitions.
        """
        check_name("topic", name)
        try:
            existing = self.engine.describe_topic(name)
        except TopicNotFoundError:
            existing = None
        if existing is None or retention is not None or partitions not in (None, existing.spec.partitions):
            spec = TopicSpec(name) if existing is None else existing.spec
            keeps = (spec.retention_age_us, spec.retention_bytes)
            if retention is not None:
                keeps = (retention.age_us, retention.size_bytes)
            existing = self.engine.create_topic(
                TopicSpec(name, spec.partitions if partitions is None else partitions, *keeps)
            )
        if cold is not None:
            ColdStore.of(self.engine, cold.location)  # a place that cannot be is refused here
            self._cold[name] = cold
        if self._housekeeping is not None:
            self._housekeeping.start()
        return Topic(self, existing, type, key=key, time=time)

    def topics(self) -> list[str]:
        """Return the names of all topics, sorted."""
        return self.engine.topics()

    def delete_topic(self, name: str) -> None:
        """Delete a topic with its records, groups and state; housekeeping removes its cold files.

        Raises:
            TopicNotFoundError: There is none of that name.
        """
        for partition in self.engine.describe_topic(name).partitions:
            condemn(self.engine, name, partition.partition)
        self.engine.delete_topic(name)

    def sql(self, query: str) -> pl.DataFrame:
        """Answer a SQL query in which every topic is a table (names with dots or dashes in double quotes)."""
        from millstream.log.sql import run_sql

        tables = {name: partial(self._frame, name) for name in self.topics()}
        return run_sql(query, tables, now=time_from_us(self.clock.now_us()))

    def _frame(self, name: str) -> pl.LazyFrame:
        return Topic[Any](self, self.engine.describe_topic(name), None, key=None, time=None).frame()

    def transaction(self) -> AbstractContextManager[Transaction]:
        """Begin a transaction of the program's own; see `App.transaction`."""
        return open_transaction(self)

    def keep_house(self) -> None:
        """Merge, make cold and trim now what is due, instead of in the background."""
        housekeeping = Housekeeping(self.engine, self.clock, eager=True)
        housekeeping.cold.policies = self._cold
        housekeeping.run_once(idle_us=0)

    def leave_house(self) -> None:
        """Leave merging and retention to other processes that have the log open."""
        if self._housekeeping is not None:
            self._housekeeping.stop()

    def close(self) -> None:
        """Stop keeping house and close the engine."""
        if self._housekeeping is not None:
            self._housekeeping.stop()
        self.engine.close()
