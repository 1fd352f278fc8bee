"""The sink's own two tables, in the database that it writes to: who may write, and what waits for the log's commit.

    millstream_sinks     name, incarnation, turn      of each sink, the run that may write
    millstream_staged    name, incarnation, turn, number, data

Every transaction of a writer first looks at its turn, and keeps others from changing it meanwhile: an older run that
was only slow writes nothing any more.
"""

from __future__ import annotations

import re
from functools import cache
from importlib import resources

from millstream.errors import ConflictError
from millstream.sinks.protocol import SinkPlace
from millstream.sinks.sql.database import Database, Transaction


class Books:
    """What a sink keeps about itself."""

    def __init__(self, database: Database, place: SinkPlace) -> None:
        self._place = place
        self._database = database
        self._key = [place.name, place.incarnation]

    def _statement(self, name: str) -> str:
        text = _statements()[name]
        return text.replace("?", self._database.placeholder).replace("{blob}", self._database.blob)

    def take_over(self, transaction: Transaction) -> None:
        """Let this run write, and no earlier one."""
        transaction.execute(self._statement("make_sinks"))
        transaction.execute(self._statement("make_staged"))
        transaction.execute(self._statement("take_over"), [*self._key, self._place.turn])
        self.check(transaction)

    def check(self, transaction: Transaction) -> None:
        """See that this run may write, and that nobody takes over before the transaction has ended.

        Raises:
            ConflictError: A later run has taken over.
        """
        found = transaction.execute(self._statement("check_turn"), [*self._key, self._place.turn])
        if found != 1:
            raise ConflictError(
                f"another run of {self._place.name} writes to {self._database.place} now; this one stops"
            )

    def stage(self, transaction: Transaction, number: int, data: bytes) -> None:
        """Keep rows until the log has committed."""
        transaction.execute(self._statement("stage"), [*self._key, self._place.turn, number, data])

    def staged(self, transaction: Transaction, turn: int, number: int) -> list[bytes]:
        """Return what waits of one run, up to a number, oldest first."""
        rows = transaction.rows(self._statement("staged"), [*self._key, turn, number])
        return [bytes(data) for (data,) in rows]

    def forget(self, transaction: Transaction, turn: int, number: int) -> None:
        """Remove what waits of one run up to a number, and all of earlier runs."""
        transaction.execute(self._statement("forget"), [*self._key, turn, turn, number])


@cache
def _statements() -> dict[str, str]:
    """Return the statements of books.sql by name."""
    text = resources.files(__package__).joinpath("books.sql").read_text(encoding="utf-8")
    found = re.findall(r"^-- (\w+): .*\n((?:(?!--).+\n)+)", text, re.MULTILINE)
    return {name: statement.strip().removesuffix(";") for name, statement in found}
