"""Without a key: rows wait in a table of their own until the log has committed, then move to theirs in one transaction.

The note that the log commits says which run staged them, and up to which number. Moving them takes them out of where
they waited, in the same transaction: to publish twice is to publish once.
"""

from __future__ import annotations

import contextlib
import io
from typing import TYPE_CHECKING, Final

import msgspec

from millstream.errors import ConflictError
from millstream.sinks.protocol import SinkPlace, SinkWriter
from millstream.sinks.rows import Rows
from millstream.sinks.sql.books import Books
from millstream.sinks.sql.database import Database
from millstream.sinks.sql.target import Target

if TYPE_CHECKING:
    import polars as pl

NOTHING: Final = (0, 0)


class StagedWriter(SinkWriter):
    """See `SinkWriter`."""

    def __init__(self, database: Database, target: Target, place: SinkPlace, stored: bytes | None) -> None:
        self._database = database
        self._target = target
        self._turn = place.turn
        self._books = Books(database, place)
        self._frames: list[pl.DataFrame] = []
        self._number = 0
        self._noted: tuple[int, int] = (
            NOTHING if stored is None else msgspec.msgpack.decode(stored, type=tuple[int, int])
        )
        with database.transaction() as transaction:
            self._books.take_over(transaction)
        self._publish(self._noted)
        # What earlier runs staged and the log knows nothing of comes again.
        with database.transaction() as transaction:
            self._books.check(transaction)
            self._books.forget(transaction, self._turn, 0)

    def write(self, rows: Rows) -> None:
        self._frames.append(rows.columns())

    def prepare(self) -> bytes | None:
        if self._frames:
            number = self._number + 1
            data = _encode(self._frames)
            with self._target.filled() as transaction:
                self._books.check(transaction)
                for frame in self._frames:
                    # Rows that do not fit are refused before the log counts on them.
                    self._target.look(transaction, frame)
                self._books.stage(transaction, number, data)
            self.held += sum(frame.height for frame in self._frames)
            self._number, self._frames, self._noted = number, [], (self._turn, number)
        return None if self._noted == NOTHING else msgspec.msgpack.encode(self._noted)

    def publish(self) -> None:
        # Who has taken over since the commit has published it: that is the first thing a run does.
        with contextlib.suppress(ConflictError):
            self._publish(self._noted)
        self.held = 0

    def close(self) -> None:
        self._database.close()

    def _publish(self, noted: tuple[int, int]) -> None:
        turn, number = noted
        with self._target.filled() as transaction:
            self._books.check(transaction)
            for data in self._books.staged(transaction, turn, number):
                for frame in _decode(data):
                    self._target.insert(transaction, frame)
            self._books.forget(transaction, turn, number)


def _encode(frames: list[pl.DataFrame]) -> bytes:
    """Return frames as Arrow streams, each behind its length: one after another may have other columns."""
    pieces: list[bytes] = []
    for frame in frames:
        buffer = io.BytesIO()
        frame.write_ipc_stream(buffer, compression="lz4")
        pieces.append(buffer.getvalue())
    return msgspec.msgpack.encode(pieces)


def _decode(data: bytes) -> list[pl.DataFrame]:
    import polars as pl

    return [pl.read_ipc_stream(io.BytesIO(piece)) for piece in msgspec.msgpack.decode(data, type=list[bytes])]
