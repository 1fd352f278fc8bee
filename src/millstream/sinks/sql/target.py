"""The table that gets the rows: made from the first of them where it is missing, looked at, filled."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from millstream.errors import UsageError
from millstream.sinks.sql.database import Database, Transaction

if TYPE_CHECKING:
    import polars as pl


class Target:
    """A table, and how rows get in."""

    def __init__(self, database: Database, table: str, key: Sequence[str]) -> None:
        self._database = database
        self._table = table
        self._key = tuple(key)
        self._looked_at: frozenset[str] = frozenset()

    @contextmanager
    def filled(self) -> Iterator[Transaction]:
        """Begin a transaction to insert in; where it fails, what was seen of the table is seen again."""
        try:
            with self._database.transaction() as transaction:
                yield transaction
        except BaseException:
            self._looked_at = frozenset()
            raise

    def insert(self, transaction: Transaction, frame: pl.DataFrame) -> None:
        """Add rows; with a key, in place of those that have it.

        Raises:
            UsageError: The table has other columns, or a row has no key.
        """
        if not frame.height:
            return
        self.look(transaction, frame)
        if self._key:
            frame = self._newest(frame)
        quoted = self._database.quoted
        names = ", ".join(map(quoted, frame.columns))
        marks = ", ".join([self._database.placeholder] * frame.width)
        statement = f"INSERT INTO {quoted(self._table)} ({names}) VALUES ({marks})"
        if self._key:
            others = [name for name in frame.columns if name not in self._key]
            then = ", ".join(f"{quoted(name)} = excluded.{quoted(name)}" for name in others)
            keys = ", ".join(map(quoted, self._key))
            statement += f" ON CONFLICT ({keys}) DO " + (f"UPDATE SET {then}" if others else "NOTHING")
        transaction.execute_many(statement, self._database.values(frame))

    def _newest(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return the last row of each key."""
        for name in self._key:
            if frame[name].null_count():
                raise UsageError(
                    f"a row for table {self._table} has no {name!r}, which is its key; leave such rows out with "
                    "filter, or give a key that all have"
                )
        return frame.unique(subset=self._key, keep="last", maintain_order=True)

    def look(self, transaction: Transaction, frame: pl.DataFrame) -> None:
        """Make the table where there is none; see that it has the columns.

        Raises:
            UsageError: It has others.
        """
        names = frozenset(frame.columns)
        if names <= self._looked_at:
            return
        found = self._database.columns_of(transaction, self._table)
        if found is None:
            quoted = self._database.quoted
            columns = [f"{quoted(name)} {self._database.column_type(dtype)}" for name, dtype in frame.schema.items()]
            if self._key:
                columns.append(f"PRIMARY KEY ({', '.join(map(quoted, self._key))})")
            transaction.execute(f"CREATE TABLE {quoted(self._table)} ({', '.join(columns)})")
        elif missing := [name for name in frame.columns if name not in found]:
            raise UsageError(
                f"table {self._table} in {self._database.place} has no column {', '.join(missing)}; it has "
                f"{', '.join(found)}. Add what is missing, leave it out with select, or name another table"
            )
        self._looked_at = names
