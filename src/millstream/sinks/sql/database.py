"""A database: a connection that is opened when it is needed, transactions, errors in our words."""

from __future__ import annotations

import weakref
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from millstream.errors import SinkError

if TYPE_CHECKING:
    import polars as pl

Row = Sequence[Any]


class Transaction(ABC):
    """What can be done between begin and commit."""

    @abstractmethod
    def execute(self, statement: str, values: Row = ()) -> int:
        """Run a statement; return how many rows it changed."""

    @abstractmethod
    def execute_many(self, statement: str, rows: Sequence[Row]) -> None:
        """Run a statement once for each row."""

    @abstractmethod
    def rows(self, statement: str, values: Row = ()) -> list[tuple[Any, ...]]:
        """Run a query; return its rows."""


class Database(ABC):
    """One database. Used by one thread at a time."""

    place: str
    """Its URL, without what is secret in it."""
    placeholder: str
    blob: str
    """The type of a column of bytes."""

    def __init__(self) -> None:
        self._held: list[Any] = []
        """The connection, if there is one."""
        # A run that is given up in the middle closes nothing.
        weakref.finalize(self, _close, self._held)

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Do what follows whole or not at all; a connection that failed is not used again.

        Raises:
            SinkError: It could not be done; says whether trying again helps.
        """
        try:
            with self._transaction() as transaction:
                yield transaction
        except SinkError:
            raise
        except Exception as error:
            found = self._error(error)
            if found is None:
                raise
            self.close()
            raise found from error

    @abstractmethod
    def _transaction(self) -> Any:
        """Return a context that begins, and commits or rolls back."""

    @abstractmethod
    def _error(self, error: Exception) -> SinkError | None:
        """Return an error of the driver in our words; None for anything else."""

    @abstractmethod
    def column_type(self, dtype: pl.DataType) -> str:
        """Return the type of a column that holds values of a Polars type."""

    @abstractmethod
    def columns_of(self, transaction: Transaction, table: str) -> Mapping[str, str] | None:
        """Return the columns of a table and their types; None where there is no table."""

    @abstractmethod
    def values(self, frame: pl.DataFrame) -> list[tuple[Any, ...]]:
        """Return rows as the driver takes them."""

    def quoted(self, name: str) -> str:
        """Return a name as SQL has it, whatever is in it. `schema.table` are two names."""
        return ".".join('"' + part.replace('"', '""') + '"' for part in name.split("."))

    def close(self) -> None:
        """Let go of the connection; the next transaction opens another one."""
        _close(self._held)


def _close(held: list[Any]) -> None:
    while held:
        held.pop().close()
