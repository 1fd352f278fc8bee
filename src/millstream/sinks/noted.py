"""Rows that the sink's own note holds until they are outside: for outsides that take rows, and cannot hide them.

The note is committed with the offsets, so after a crash `open` has the very rows that the log counts on, under the same
number, and sends them again. Whether a number arrived before, or is taken twice, is for the outside to say: Kafka keeps
the number in the transaction of the rows, NATS leaves out identifiers that it has seen. The price is that the rows of
one micro-batch are written to the log once more.
"""

from __future__ import annotations

import zlib
from abc import abstractmethod
from collections.abc import Sequence
from typing import Final

import msgspec

from millstream.errors import UsageError
from millstream.sinks.protocol import SinkWriter
from millstream.sinks.rows import Rows
from millstream.sinks.texts import json_lines

_SMALL_BYTES: Final = 512
"""Shorter notes are not worth compressing."""


class OutsideRow(msgspec.Struct, frozen=True, array_like=True):
    """One row on its way."""

    value: bytes
    """JSON."""
    key: bytes | None = None
    time_us: int | None = None


class RowsNote(msgspec.Struct, frozen=True, array_like=True):
    """What the log keeps: rows that may not be outside yet, and their number."""

    number: int = 0
    """Of the last rows that were noted: 1, 2, 3 ... of an incarnation."""
    rows: Sequence[OutsideRow] = ()
    """Empty once they are known to be outside."""

    def encode(self) -> bytes:
        data = msgspec.msgpack.encode(self)
        return b"z" + zlib.compress(data, 1) if len(data) > _SMALL_BYTES else b"m" + data

    @classmethod
    def decode(cls, stored: bytes | None) -> RowsNote:
        if stored is None:
            return cls()
        return msgspec.msgpack.decode(zlib.decompress(stored[1:]) if stored[:1] == b"z" else stored[1:], type=cls)


class NotedWriter(SinkWriter):
    """A `SinkWriter` that sends rows after the commit; a kind of outside says how in `send`."""

    def __init__(self, stored: bytes | None) -> None:
        self._note = RowsNote.decode(stored)
        self._rows: list[OutsideRow] = []
        self._sent = True

    def recover(self) -> None:
        """Send what the last commit knows of, as it may not be outside."""
        if self._note.rows:
            self.send(self._note)

    def write(self, rows: Rows) -> None:
        found = outside_rows(rows, self.key_field)
        for row in found:
            self.check(row)
        self._rows += found

    def prepare(self) -> bytes | None:
        if self._rows:
            self._note = RowsNote(self._note.number + 1, self._rows)
            self._rows, self._sent = [], False
            self.held = len(self._note.rows)
        elif self._sent:
            self._note = RowsNote(self._note.number)
        return self._note.encode() if self._note.number else None

    def publish(self) -> None:
        if not self._sent:
            self.send(self._note)
        self._sent = True
        self.held = 0

    @property
    @abstractmethod
    def key_field(self) -> str | None:
        """The field that is the key; None: the record's own."""

    @abstractmethod
    def check(self, row: OutsideRow) -> None:
        """Raise UsageError for a row that the outside would not take: before the log counts on it."""

    @abstractmethod
    def send(self, note: RowsNote) -> None:
        """Send rows whose number is the last; the same number again must change nothing, as far as is promised."""


def outside_rows(rows: Rows, key_field: str | None) -> list[OutsideRow]:
    """Return rows as JSON, each with its key and event time.

    Raises:
        UsageError: They have no such field, or no fields at all.
    """
    values = json_lines(rows).splitlines()
    keys = rows.keys.to_list() if key_field is None else _keys(rows, key_field)
    times = rows.times.dt.timestamp("us").to_list()
    return [OutsideRow(*row) for row in zip(values, keys, times, strict=True)]


def _keys(rows: Rows, field: str) -> list[bytes | None]:
    if rows.objects is not None:
        found = [value.get(field) for value in rows.objects]
    else:
        columns = rows.columns()
        if field not in columns.columns:
            raise UsageError(f"key={field!r}: the rows have no such field; they have {', '.join(columns.columns)}")
        found = columns.get_column(field).to_list()
    return [_key(value) for value in found]


def _key(value: object) -> bytes | None:
    if value is None or isinstance(value, bytes):
        return value
    return value.encode() if isinstance(value, str) else msgspec.json.encode(value)
