"""What an engine offers that keeps a program's own tables beside the log: the Transactions protocol."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol, runtime_checkable

from millstream.engines.protocol import Append, Bound, TopicInfo
from millstream.records import Position


class Transaction(Protocol):
    """A program's own transaction in the file of the log: its statements and its appends, all or nothing.

    Belongs to the thread that opened it, until the end of its block.
    """

    def execute(self, statement: str, values: Sequence[Any] | Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        """Run SQL on the program's own tables and return the rows, if it has any.

        Raises:
            StatementError: SQLite refused it, or it touches what is the log's own.
        """
        ...

    def executemany(self, statement: str, values: Iterable[Sequence[Any] | Mapping[str, Any]]) -> None:
        """Run a statement once for each entry.

        Raises:
            StatementError: As for `execute`.
        """
        ...

    def describe_topic(self, topic: str) -> TopicInfo:
        """As `Engine.describe_topic`, with what the transaction has changed."""
        ...

    def put_schema(self, topic: str, schema: bytes, *, after: int | None = None) -> int:
        """As `Engine.put_schema`, with the transaction."""
        ...

    def append(self, appends: Sequence[Append], *, bound: Bound | None = None) -> list[Position]:
        """Append with the transaction; return the position of the first record of each.

        Nobody sees the records, and the positions are not theirs for good, before the block has ended.

        Raises:
            MillstreamError: As `Engine.append`; the transaction can go on without it.
        """
        ...


@runtime_checkable
class Transactions(Protocol):
    """What an engine offers that keeps a program's own tables beside the log (capability `transactions`)."""

    def transaction(self) -> AbstractContextManager[Transaction]:
        """Begin a transaction: it is committed at the end of the block, and undone where the block raises.

        All other writers of the file wait until then, the leases of workers among them: keep it well below a second,
        and do nothing slow in it.

        Raises:
            UsageError: This thread has one open already.
            StorageError: It could not be begun, or not be committed; nothing of it was stored.
        """
        ...
