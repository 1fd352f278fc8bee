"""A program's own transaction: rows in its tables and records in topics appear together, or not at all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from millstream.engines import transactions
from millstream.engines.protocol import Append, Bound
from millstream.errors import CapabilityError, UsageError
from millstream.log.producer import Producer
from millstream.log.schemas import TopicSchemas
from millstream.records import Position

if TYPE_CHECKING:
    from millstream.log.log import Log


class Transaction:
    """Statements on the program's own tables in the file of the log, and appends; made by `App.transaction`.

    It is committed at the end of its block, durable as an append is, and undone where the block raises. Belongs to the
    thread that opened it.
    """

    def __init__(self, log: Log, inner: transactions.Transaction) -> None:
        self._log = log
        self._inner = inner
        self._producers: dict[str, Producer[Any]] = {}

    def execute(self, statement: str, values: Sequence[Any] | Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        """Run SQL on the program's own tables and return the rows, if it has any.

        The tables of the log itself, other files, temporary tables, settings, COMMIT and ROLLBACK are refused.

        Args:
            values: For `?` a sequence, for `:name` a mapping: None, bool, int, float, str, bytes.

        Raises:
            StatementError: It was refused, or a constraint does not hold; the transaction can go on without it.
        """
        return self._inner.execute(statement, values)

    def executemany(self, statement: str, values: Iterable[Sequence[Any] | Mapping[str, Any]]) -> None:
        """Run a statement once for each entry; see `execute`."""
        self._inner.executemany(statement, values)

    def producer(self, topic: str, schemas: TopicSchemas[Any], partitions: int) -> Producer[Any]:
        """Return what encodes values of a topic that need a schema of their own, registered with the transaction."""
        found = self._producers.get(topic)
        if found is None:
            found = self._producers[topic] = Producer(topic, partitions, schemas.beside(self._inner))
        return found

    def append(self, log: Log, appends: Sequence[Append], *, bound: Bound | None = None) -> list[Position]:
        """Append with the transaction; `Topic.append(transaction=)` calls it.

        Raises:
            UsageError: The appends are for another log.
        """
        if log is not self._log:
            raise UsageError("the transaction is of another log: open it with the app whose topic it is")
        return self._inner.append(appends, bound=bound)


@contextmanager
def open_transaction(log: Log) -> Iterator[Transaction]:
    """Begin a transaction of a log; see `App.transaction`."""
    engine = log.engine
    if not isinstance(engine, transactions.Transactions):
        raise CapabilityError(
            engine.capabilities.name,
            "change a program's own tables and the log together",
            'it keeps no tables; open a file, such as App("app.db")',
        )
    with engine.transaction() as inner:
        yield Transaction(log, inner)
