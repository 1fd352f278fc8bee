"""With a key: each row is written under its key, before the log commits; what is written twice is there once."""

from __future__ import annotations

from millstream.sinks.protocol import SinkPlace, SinkWriter
from millstream.sinks.rows import Rows
from millstream.sinks.sql.books import Books
from millstream.sinks.sql.database import Database
from millstream.sinks.sql.target import Target


class UpsertWriter(SinkWriter):
    """See `SinkWriter`."""

    def __init__(self, database: Database, target: Target, place: SinkPlace) -> None:
        self._database = database
        self._target = target
        self._books = Books(database, place)
        with database.transaction() as transaction:
            self._books.take_over(transaction)

    def write(self, rows: Rows) -> None:
        with self._target.filled() as transaction:
            self._books.check(transaction)
            self._target.insert(transaction, rows.columns())

    def close(self) -> None:
        self._database.close()
