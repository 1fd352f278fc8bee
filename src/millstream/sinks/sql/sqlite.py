"""SQLite through the standard library: a file of the user's own, that others may have open."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from millstream.errors import SinkError
from millstream.sinks.sql.database import Database, Row, Transaction

if TYPE_CHECKING:
    import polars as pl

WAIT_S: Final = 10.0
"""For another writer of the file; then the sink's patience decides."""

_PASSING: Final = (
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CANTOPEN,
)
"""What may be over at the next attempt."""


class SqliteDatabase(Database):
    """See `Database`."""

    placeholder = "?"
    blob = "BLOB"

    def __init__(self, path: str) -> None:
        super().__init__()
        self.place = f"sqlite:///{path}"
        self._path = path

    @contextmanager
    def _transaction(self) -> Iterator[Transaction]:
        if not self._held:
            opened = sqlite3.connect(self._path, timeout=WAIT_S, isolation_level=None, check_same_thread=False)
            self._held.append(opened)
        connection: sqlite3.Connection = self._held[0]
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield _Transaction(connection)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    def _error(self, error: Exception) -> SinkError | None:
        if isinstance(error, OverflowError):
            return SinkError(f"{self.place}: SQLite has integers of 64 bits with a sign: {error}", retryable=False)
        if not isinstance(error, sqlite3.Error):
            return None
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        return SinkError(f"{self.place}: {error}", retryable=code in _PASSING)

    def column_type(self, dtype: pl.DataType) -> str:
        import polars as pl

        if dtype.is_integer() or dtype == pl.Boolean:
            return "INTEGER"
        if dtype.is_float():
            return "REAL"
        return "BLOB" if dtype == pl.Binary else "TEXT"

    def columns_of(self, transaction: Transaction, table: str) -> Mapping[str, str] | None:
        found = {name: kind for _, name, kind, *_ in transaction.rows(f"PRAGMA table_info({self.quoted(table)})")}
        return found or None

    def values(self, frame: pl.DataFrame) -> list[tuple[Any, ...]]:
        return texts_of(frame).rows()


class _Transaction(Transaction):
    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def execute(self, statement: str, values: Row = ()) -> int:
        return self._connection.execute(statement, values).rowcount

    def execute_many(self, statement: str, rows: Sequence[Row]) -> None:
        self._connection.executemany(statement, rows)

    def rows(self, statement: str, values: Row = ()) -> list[tuple[Any, ...]]:
        return self._connection.execute(statement, values).fetchall()


def texts_of(frame: pl.DataFrame) -> pl.DataFrame:
    """Return a frame with texts in place of what SQLite has no type for.

    Times are RFC 3339, durations ISO 8601, lists and structs JSON. Bytes stay.
    """
    import polars as pl

    from millstream.sinks.texts import as_texts, json_list

    plain = as_texts(frame.select(pl.exclude(pl.Binary)))
    columns: list[pl.Series] = []
    for name, dtype in frame.schema.items():
        if dtype == pl.Binary:
            columns.append(frame[name])
        elif dtype.is_nested():
            lines = [
                None if value is None else json_list([value])[0].decode().strip() for value in frame[name].to_list()
            ]
            columns.append(pl.Series(name, lines, dtype=pl.String))
        elif dtype in (pl.Date, pl.Time):
            columns.append(frame[name].cast(pl.String))
        else:
            columns.append(plain[name])
    return pl.DataFrame(columns)
