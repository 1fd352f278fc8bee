"""PostgreSQL through psycopg."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit, urlunsplit

from millstream.errors import SinkError, UsageError
from millstream.sinks.sql.database import Database, Row, Transaction

if TYPE_CHECKING:
    import polars as pl
    import psycopg

CONNECT_S: Final = 10

_FOR_GOOD: Final = ("22", "23502", "23503", "23514", "26", "28", "3D", "3F", "42")
"""Classes of SQLSTATE that stay as they are until somebody does something: values, rights, names."""

_PASSING: Final = "42P07"
"""There is such a table already: another stream has just made it, so the next attempt finds it."""


class PostgresDatabase(Database):
    """See `Database`."""

    placeholder = "%s"
    blob = "bytea"

    def __init__(self, url: str) -> None:
        try:
            import psycopg
        except ImportError as error:
            raise UsageError("tables of PostgreSQL need psycopg: pip install 'millstream[postgres]'") from error
        super().__init__()
        self._psycopg = psycopg
        self._url = url
        self.place = without_password(url)

    @contextmanager
    def _transaction(self) -> Iterator[Transaction]:
        if self._held and self._held[0].closed:
            self.close()
        if not self._held:
            self._held.append(self._psycopg.connect(self._url, connect_timeout=CONNECT_S, autocommit=True))
        connection: psycopg.Connection[Any] = self._held[0]
        with connection.transaction(), connection.cursor() as cursor:
            yield _Transaction(cursor)

    def _error(self, error: Exception) -> SinkError | None:
        if not isinstance(error, self._psycopg.Error):
            return None
        state = getattr(error, "sqlstate", None) or ""
        text = str(error).strip().replace("\n", "; ") or type(error).__name__
        # What the driver itself cannot write, such as a text with a NUL, has no state.
        for_good = state.startswith(_FOR_GOOD) or isinstance(error, self._psycopg.DataError)
        return SinkError(f"{self.place}: {text}", retryable=state == _PASSING or not for_good)

    def column_type(self, dtype: pl.DataType) -> str:
        import polars as pl

        if dtype == pl.Boolean:
            return "boolean"
        if dtype == pl.UInt64:
            return "numeric(20)"
        if dtype.is_integer():
            return "bigint"
        if dtype.is_float():
            return "double precision"
        if isinstance(dtype, pl.Datetime):
            return "timestamptz" if dtype.time_zone else "timestamp"
        if dtype.is_nested():
            return "jsonb"
        named = {pl.Date: "date", pl.Time: "time", pl.Duration: "interval", pl.Binary: "bytea"}
        return next((kind for base, kind in named.items() if dtype == base), "text")

    def columns_of(self, transaction: Transaction, table: str) -> Mapping[str, str] | None:
        found = transaction.rows(
            "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute "
            "WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped",
            [super().quoted(table)],
        )
        return dict(found) or None

    def values(self, frame: pl.DataFrame) -> list[tuple[Any, ...]]:
        from psycopg.types.json import Jsonb

        nested = [place for place, dtype in enumerate(frame.dtypes) if dtype.is_nested()]
        rows = frame.rows()
        if not nested:
            return rows
        return [
            tuple(Jsonb(value) if place in nested and value is not None else value for place, value in enumerate(row))
            for row in rows
        ]

    def quoted(self, name: str) -> str:
        # The driver looks for its marks everywhere in a statement.
        return super().quoted(name).replace("%", "%%")


class _Transaction(Transaction):
    def __init__(self, cursor: psycopg.Cursor[Any]) -> None:
        self._cursor = cursor

    def execute(self, statement: str, values: Row = ()) -> int:
        self._cursor.execute(statement.encode(), values)
        return self._cursor.rowcount

    def execute_many(self, statement: str, rows: Sequence[Row]) -> None:
        self._cursor.executemany(statement.encode(), rows)

    def rows(self, statement: str, values: Row = ()) -> list[tuple[Any, ...]]:
        self._cursor.execute(statement.encode(), values)
        return self._cursor.fetchall()


def without_password(url: str) -> str:
    """Return a URL without its password, and without parameters, which may hold one."""
    parts = urlsplit(url)
    user, at, host = parts.netloc.rpartition("@")
    return urlunsplit((parts.scheme, f"{user.partition(':')[0]}{at}{host}", parts.path, "", ""))
