"""One transaction of the engine, as operations see it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol, cast

from millstream.clock import Clock
from millstream.engines.sqlite.driver import LogConnection
from millstream.engines.sqlite.statements import statements
from millstream.errors import GroupNotFoundError, TopicNotFoundError

OFFSET_BITS = 44
"""Of a batch's id: 17 trillion records a partition, half a million partitions a file."""

Value = int | str | bytes | None


class Rows(Protocol):
    """A statement's rows; their types are those of its columns."""

    def __iter__(self) -> Iterator[tuple[Any, ...]]: ...

    def fetchall(self) -> list[tuple[Any, ...]]: ...


class Transaction:
    """Statements by name, and what the transaction changes for those who wait."""

    def __init__(self, connection: LogConnection, clock: Clock, url: str) -> None:
        self.connection = connection
        self._at_once = connection.at_once
        self.now_us = clock.now_us()
        self.steady_us = clock.monotonic_us()
        """What deadlines of leases are measured by: one clock for all processes of the machine, that nobody sets."""
        self.url = url
        self.changed: set[int] = set()
        """Ids of topics with new records or other queue state."""
        self._statements = statements()
        self._counts: dict[tuple[int, int], list[int]] = {}

    def rows(self, name: str, *values: Value) -> Rows:
        """Return the rows of a statement; `fetchall` before the next statement that writes."""
        return cast(Rows, self.connection.execute(self._statements[name], values))

    def row(self, name: str, *values: Value) -> tuple[Any, ...] | None:
        """Return the first row, None when there is none."""
        # Read to the end: a statement with RETURNING is not finished before.
        rows = self._at_once.execute(self._statements[name], values).fetchall()
        return rows[0] if rows else None

    def rows_each(self, name: str, each: Iterable[Sequence[Value]]) -> Rows:
        """Return the rows of a statement that is run once for each of several sets of values."""
        return cast(Rows, self.connection.executemany(self._statements[name], each))

    def do(self, name: str, *values: Value) -> int:
        """Run a statement without rows and return how many rows it changed."""
        self._at_once.execute(self._statements[name], values)
        return self.connection.changes()

    def do_many(self, name: str, rows: Iterable[Sequence[Value]]) -> None:
        self._at_once.executemany(self._statements[name], rows)

    def count(
        self,
        group_id: int,
        partition_id: int,
        *,
        done: int = 0,
        dead: int = 0,
        expired: int = 0,
        leased: int = 0,
        waiting: int = 0,
        skipped: int = 0,
    ) -> None:
        """Add to a group's ledger; written by `write_counts`, once for all that an operation adds."""
        counts = self._counts.setdefault((group_id, partition_id), [0] * 6)
        for place, more in enumerate((done, dead, expired, leased, waiting, skipped)):
            counts[place] += more

    def write_counts(self) -> None:
        """Write what was added to ledgers; called at the end of every operation."""
        if self._counts:
            for key, counts in self._counts.items():
                self.do("count_progress", *counts, *key)
            self._counts.clear()

    def wall_us(self, steady_us: int) -> int:
        """Return what the wall clock shows at a moment of the steady one, if nobody sets it until then."""
        return self.now_us + steady_us - self.steady_us

    def topic_id(self, topic: str) -> int:
        row = self.row("topic_by_name", topic)
        if row is None:
            raise TopicNotFoundError(topic, self.url)
        return int(row[0])

    def partition_id(self, topic: str, partition: int) -> tuple[int, int]:
        """Return the ids of a topic and of one of its partitions."""
        row = self.row("partition_by_name", topic, partition)
        if row is None:
            self.topic_id(topic)
            raise TopicNotFoundError(f"{topic}/{partition}", self.url)
        return row[0], row[1]

    def group_id(self, topic: str, group: str) -> tuple[int, int]:
        """Return the ids of a topic and of one of its groups."""
        topic_id, group_id, _ = self.group(topic, group)
        return topic_id, group_id

    def group(self, topic: str, group: str) -> tuple[int, int, int | None]:
        """Return the ids of a topic and of one of its groups, and how many of a key it hands over at once."""
        topic_id = self.topic_id(topic)
        row = self.row("group_by_name", topic_id, group)
        if row is None:
            raise GroupNotFoundError(topic, group)
        return topic_id, row[0], row[2]


def first_id(partition_id: int) -> int:
    """Return the id of a batch at offset 0; ids of the partition are below `first_id(partition_id + 1)`."""
    return partition_id << OFFSET_BITS
