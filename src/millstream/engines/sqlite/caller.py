"""A caller's own transaction: statements on its tables and appends to the log, in one file and so in one commit.

The caller may do as it likes with its own tables. What is the log's, and what would end or escape the transaction, is
refused by SQLite's authorizer while a statement is compiled, so that triggers and views cannot get around it.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, Final

import apsw

from millstream.clock import Clock
from millstream.engines.protocol import Append, Bound, TopicInfo
from millstream.engines.sqlite import driver, records, topics
from millstream.engines.sqlite.driver import LogConnection
from millstream.engines.sqlite.statements import schema as file_schema
from millstream.engines.sqlite.transaction import Transaction
from millstream.errors import MillstreamError, StatementError, UsageError
from millstream.records import Position

_TABLE_FIRST: Final = frozenset(
    {apsw.SQLITE_READ, apsw.SQLITE_INSERT, apsw.SQLITE_UPDATE, apsw.SQLITE_DELETE, apsw.SQLITE_DROP_TABLE}
    | {apsw.SQLITE_ANALYZE, apsw.SQLITE_CREATE_TABLE, apsw.SQLITE_CREATE_VIEW, apsw.SQLITE_CREATE_VTABLE}
)
"""Actions whose first argument is a table."""

_TABLE_SECOND: Final = frozenset(
    {apsw.SQLITE_ALTER_TABLE, apsw.SQLITE_CREATE_INDEX, apsw.SQLITE_DROP_INDEX}
    | {apsw.SQLITE_CREATE_TRIGGER, apsw.SQLITE_DROP_TRIGGER}
)
"""Actions on a table that is the second argument; the first is the index, trigger or schema."""

_FREE: Final = frozenset(
    {apsw.SQLITE_SELECT, apsw.SQLITE_FUNCTION, apsw.SQLITE_RECURSIVE, apsw.SQLITE_REINDEX}
    | {apsw.SQLITE_DROP_VIEW, apsw.SQLITE_DROP_VTABLE}
)
"""Actions that cannot harm the log: what they read and write is asked for separately."""

_PRAGMAS: Final = frozenset({"table_info", "table_xinfo", "table_list", "index_list", "index_info", "foreign_key_list"})
"""Those that only tell about tables."""

_ENDING: Final = {
    apsw.SQLITE_TRANSACTION: "the end of the block commits, an exception in it undoes",
    apsw.SQLITE_SAVEPOINT: "a part cannot be undone, only the whole, by an exception out of the block",
    apsw.SQLITE_ATTACH: "it is of one file",
    apsw.SQLITE_DETACH: "it is of one file",
    apsw.SQLITE_PRAGMA: "settings of the file are the log's own",
}
"""Actions that are refused whatever they are about, with the reason."""

_CREATES_TABLE = re.compile(r"^CREATE TABLE (\w+)", re.MULTILINE)


_REFUSED = (
    apsw.AuthError,
    apsw.SQLError,
    apsw.ConstraintError,
    apsw.MismatchError,
    apsw.RangeError,
    apsw.BindingsError,
    apsw.TooBigError,
    TypeError,  # a value that SQLite has no type for
)
"""What a statement of the caller's may be at fault for; everything else is the file's trouble."""

_SHOWN_CHARACTERS: Final = 200
"""Of a statement in a message."""


class Guard:
    """The authorizer of a connection: lets everything pass but, in `watching` blocks, what is refused to callers."""

    def __init__(self) -> None:
        self._watching = False
        self._refusal = ""

    @classmethod
    def of(cls, connection: LogConnection) -> Guard:
        """Return the guard of a connection, set at its first transaction of a caller."""
        guard = connection.authorizer
        if isinstance(guard, cls):
            return guard
        # It stays: setting it makes SQLite compile every cached statement anew.
        connection.authorizer = guard = cls()
        return guard

    @contextmanager
    def watching(self) -> Iterator[None]:
        self._watching, self._refusal = True, ""
        try:
            yield
        finally:
            self._watching = False

    @property
    def refusal(self) -> str:
        """Why the last statement was refused; empty when it was not."""
        return self._refusal

    def __call__(
        self, action: int, first: str | None, second: str | None, database: str | None, trigger: str | None, /
    ) -> int:
        if not self._watching:
            return apsw.SQLITE_OK
        self._refusal = self._refusal or _refusal(action, first, second)
        return apsw.SQLITE_DENY if self._refusal else apsw.SQLITE_OK


def _refusal(action: int, first: str | None, second: str | None) -> str:
    if action in _FREE or (action == apsw.SQLITE_PRAGMA and first in _PRAGMAS):
        return ""
    if action in _ENDING:
        return f"a transaction allows no such statement: {_ENDING[action]}"
    if action not in _TABLE_FIRST | _TABLE_SECOND:
        return "a transaction allows only statements on tables of the file"
    table = first if action in _TABLE_FIRST else second
    if (table or "").lower() in own_tables():
        return f"{table!r} is a table of the log itself; use the topics' methods, and other names for your own tables"
    return ""


@cache
def own_tables() -> frozenset[str]:
    """Return the names of the log's tables."""
    return frozenset(_CREATES_TABLE.findall(file_schema()))


class CallerTransaction:
    """What the block of `SqliteEngine.transaction` works with; see `engines.transactions.Transaction`."""

    def __init__(self, connection: LogConnection, path: str, transaction: Transaction) -> None:
        self._connection = connection
        self._path = path
        self._guard = Guard.of(connection)
        self._transaction = transaction
        self._thread = threading.get_ident()
        self._over = False

    def execute(self, statement: str, values: Sequence[Any] | Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        # Not cached: a statement of ours in the cache was compiled without the guard.
        return self._guarded(statement, lambda: self._connection.execute(statement, values, can_cache=False))

    def executemany(self, statement: str, values: Iterable[Sequence[Any] | Mapping[str, Any]]) -> None:
        entries = list(values)  # taken before the guard is up: a generator of the caller's may use this transaction
        self._guarded(statement, lambda: self._connection.executemany(statement, entries, can_cache=False))

    def describe_topic(self, topic: str) -> TopicInfo:
        self.check()
        with driver.wrapped(self._path):
            return topics.describe(self._transaction, topic)

    def put_schema(self, topic: str, schema: bytes, *, after: int | None = None) -> int:
        self.check()
        with driver.wrapped(self._path):
            return topics.put_schema(self._transaction, topic, schema, after)

    def append(self, appends: Sequence[Append], *, bound: Bound | None = None) -> list[Position]:
        self.check()
        records.check_appends(appends)
        with driver.wrapped(self._path):
            # An append that is refused leaves nothing behind, and what came before it stays.
            self._connection.execute("SAVEPOINT millstream_append")
            try:
                positions = records.Appending(appends, bound)(self._transaction)
            except MillstreamError:
                self._connection.execute("ROLLBACK TO millstream_append; RELEASE millstream_append")
                raise
            self._connection.execute("RELEASE millstream_append")
        return positions

    def check(self) -> None:
        """Raise UsageError unless it can be used: not over, in its own thread, not undone by SQLite."""
        if self._over:
            raise UsageError("the transaction is over: use it inside its `with` block only")
        if self._thread != threading.get_ident():
            raise UsageError("a transaction belongs to the thread that opened it; another one opens its own")
        if not self._connection.in_transaction:
            raise UsageError(
                "SQLite undid this transaction when a statement failed (`OR ROLLBACK`, a full disk): nothing of it is "
                "stored; let the error leave the block, and begin anew"
            )

    def end(self) -> None:
        """Refuse everything from now on."""
        self._over = True

    def _guarded(self, statement: str, run: Callable[[], apsw.Cursor]) -> list[tuple[Any, ...]]:
        self.check()
        with driver.wrapped(self._path), self._guard.watching():
            try:
                # Of several statements in one text each is compiled as the rows of those before it are taken.
                return run().fetchall()
            except _REFUSED as error:
                raise self._explained(error, statement) from error

    def _explained(self, error: Exception, statement: str) -> StatementError:
        reason = self._guard.refusal or str(error)
        undone = "" if self._connection.in_transaction else " (SQLite undid the whole transaction)"
        shown = statement if len(statement) <= _SHOWN_CHARACTERS else f"{statement[:_SHOWN_CHARACTERS]}..."
        constraint = isinstance(error, apsw.ConstraintError)
        return StatementError(f"{reason}{undone}; in: {shown}", statement, constraint=constraint)


@contextmanager
def caller_transaction(
    connection: LogConnection, path: str, clock: Clock, url: str, *, fsync: bool, announce: Callable[[set[int]], None]
) -> Iterator[CallerTransaction]:
    """Run a block as one transaction; the caller holds the writers' lock.

    Args:
        announce: Told the ids of topics that changed, after the commit.

    Raises:
        StorageError: It could not be begun or committed, and the connection may not get over it.
    """
    with driver.wrapped(path):
        connection.sync_by(fsync)
        connection.execute("BEGIN IMMEDIATE")
    transaction = Transaction(connection, clock, url)
    caller = CallerTransaction(connection, path, transaction)
    try:
        yield caller
        caller.check()
        with driver.wrapped(path):
            connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            with driver.wrapped(path):
                connection.execute("ROLLBACK")
        raise
    finally:
        caller.end()
    if transaction.changed:
        announce(transaction.changed)
