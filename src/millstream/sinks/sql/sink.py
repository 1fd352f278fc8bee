"""What is described: `sinks.sql("sqlite:///shop.db", "page_views", key="page")`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from millstream.errors import UsageError
from millstream.sinks.protocol import PATIENCE, Guarantee, Patience, Sink, SinkPlace, SinkWriter
from millstream.sinks.sql.database import Database
from millstream.sinks.sql.postgres import PostgresDatabase, without_password
from millstream.sinks.sql.sqlite import SqliteDatabase
from millstream.sinks.sql.staged import StagedWriter
from millstream.sinks.sql.target import Target
from millstream.sinks.sql.upsert import UpsertWriter

if TYPE_CHECKING:
    import polars as pl

_POSTGRES: Final = ("postgresql://", "postgres://")
_SQLITE: Final = "sqlite:///"


@dataclass(frozen=True)
class SqlSink(Sink):
    """See `sql`."""

    url: str = field(repr=False)
    table: str
    key: tuple[str, ...]
    patience: Patience = PATIENCE

    @property
    def guarantee(self) -> Guarantee:
        return Guarantee.IDEMPOTENT if self.key else Guarantee.EXACTLY_ONCE

    def __str__(self) -> str:
        by = f" by {', '.join(self.key)}" if self.key else ""
        where = without_password(self.url) if self.url.startswith(_POSTGRES) else self.url
        return f"table {self.table} in {where}{by}"

    def check(self, schema: pl.Schema) -> None:
        unknown = [name for name in self.key if name not in schema]
        if schema and unknown:
            raise UsageError(
                f"the key of table {self.table} is {', '.join(self.key)}, and there is no column {unknown[0]!r}; the "
                f"columns are {', '.join(schema)}"
            )

    def open(self, place: SinkPlace, stored: bytes | None) -> SinkWriter:
        self._refuse_log(place.log)
        database = self._database()
        target = Target(database, self.table, self.key)
        try:
            if self.key:
                return UpsertWriter(database, target, place)
            return StagedWriter(database, target, place, stored)
        except BaseException:
            database.close()
            raise

    def _refuse_log(self, log: str) -> None:
        """Look whether the file is the log, without opening it.

        Two SQLites in one process do not know of each other's locks on a file: closing it in one lets go of those of
        the other, and both write at the same time.
        """
        path, ours = Path(self.url.removeprefix(_SQLITE)), Path(log.removeprefix(_SQLITE))
        if self.url.startswith(_POSTGRES) or not log.startswith(_SQLITE) or not (path.exists() and ours.exists()):
            return
        if path.samefile(ours):
            raise UsageError(
                f"sql({str(path)!r}) is the log itself, and tables in it would damage it; name another file, or write "
                "into a topic"
            )

    def _database(self) -> Database:
        if self.url.startswith(_POSTGRES):
            return PostgresDatabase(self.url)
        return SqliteDatabase(self.url.removeprefix(_SQLITE))


def sql(
    url: str | os.PathLike[str], table: str, *, key: str | Sequence[str] = (), patience: Patience = PATIENCE
) -> SqlSink:
    """Write rows into a table of SQLite or PostgreSQL.

    With a key, a row takes the place of the one that has its key (an upsert): idempotent, the last value of each key
    stays. Without one, rows are added, exactly once: they wait in a table `millstream_staged` of the same database
    until the log has committed.

    The table is made from the first rows where it is missing. One that is there needs their columns, and with a key a
    unique constraint on it.

    Args:
        url: `sqlite:///shop.db` or a path; `postgresql://user@host/database` (`pip install 'millstream[postgres]'`).
        table: Or `schema.table`.
        key: The column, or columns.

    Raises:
        UsageError: A URL of another database, an empty name.
    """
    text = os.fspath(url)
    if "://" in text and not text.startswith((*_POSTGRES, _SQLITE)):
        raise UsageError(f"sql({without_password(text)!r}): give a path, sqlite:///FILE or postgresql://HOST/DATABASE")
    if not table or not text:
        raise UsageError(f"sql(..., table={table!r}): name the database and the table")
    return SqlSink(text, table, (key,) if isinstance(key, str) else tuple(key), patience)
