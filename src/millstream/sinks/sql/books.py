"""The sink's own two tables, in the database that it writes to: who may write, and what waits for the log's commit.

    millstream_sinks     name, incarnation, turn      of each sink, the run that may write
    millstream_staged    name, incarnation, turn, number, data

Every transaction of a writer first looks at its turn, and keeps others from changing it meanwhile: an older run that
was only slow writes nothing any more.
"""

from __future__ import annotations

from millstream.errors import ConflictError
from millstream.sinks.protocol import SinkPlace
from millstream.sinks.sql.database import Database, Transaction


class Books:
    """What a sink keeps about itself."""

    def __init__(self, database: Database, place: SinkPlace) -> None:
        self._place = place
        self._database = database
        self._key = [place.name, place.incarnation]

    def _statement(self, text: str) -> str:
        return text.replace("?", self._database.placeholder)

    def take_over(self, transaction: Transaction) -> None:
        """Let this run write, and no earlier one."""
        transaction.execute(
            "CREATE TABLE IF NOT EXISTS millstream_sinks (name text NOT NULL, incarnation text NOT NULL, "
            "turn bigint NOT NULL, PRIMARY KEY (name, incarnation))"
        )
        transaction.execute(
            "CREATE TABLE IF NOT EXISTS millstream_staged (name text NOT NULL, incarnation text NOT NULL, "
            f"turn bigint NOT NULL, number bigint NOT NULL, data {self._database.blob} NOT NULL, "
            "PRIMARY KEY (name, incarnation, turn, number))"
        )
        transaction.execute(
            self._statement(
                "INSERT INTO millstream_sinks (name, incarnation, turn) VALUES (?, ?, ?) "
                "ON CONFLICT (name, incarnation) DO UPDATE SET turn = excluded.turn "
                "WHERE millstream_sinks.turn < excluded.turn"
            ),
            [*self._key, self._place.turn],
        )
        self.check(transaction)

    def check(self, transaction: Transaction) -> None:
        """See that this run may write, and that nobody takes over before the transaction has ended.

        Raises:
            ConflictError: A later run has taken over.
        """
        found = transaction.execute(
            self._statement("UPDATE millstream_sinks SET turn = turn WHERE name = ? AND incarnation = ? AND turn = ?"),
            [*self._key, self._place.turn],
        )
        if found != 1:
            raise ConflictError(
                f"another run of {self._place.name} writes to {self._database.place} now; this one stops"
            )

    def stage(self, transaction: Transaction, number: int, data: bytes) -> None:
        """Keep rows until the log has committed."""
        # Where the answer to an earlier attempt was lost, they are there already.
        transaction.execute(
            self._statement(
                "INSERT INTO millstream_staged (name, incarnation, turn, number, data) VALUES (?, ?, ?, ?, ?) "
                "ON CONFLICT (name, incarnation, turn, number) DO UPDATE SET data = excluded.data"
            ),
            [*self._key, self._place.turn, number, data],
        )

    def staged(self, transaction: Transaction, turn: int, number: int) -> list[bytes]:
        """Return what waits of one run, up to a number, oldest first."""
        rows = transaction.rows(
            self._statement(
                "SELECT data FROM millstream_staged WHERE name = ? AND incarnation = ? AND turn = ? AND number <= ? "
                "ORDER BY number"
            ),
            [*self._key, turn, number],
        )
        return [bytes(data) for (data,) in rows]

    def forget(self, transaction: Transaction, turn: int, number: int) -> None:
        """Remove what waits of one run up to a number, and all of earlier runs."""
        transaction.execute(
            self._statement(
                "DELETE FROM millstream_staged WHERE name = ? AND incarnation = ? "
                "AND (turn < ? OR turn = ? AND number <= ?)"
            ),
            [*self._key, turn, turn, number],
        )
