"""One output of a stream at work: what arrives becomes appends of the transaction, or calls of a function."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from millstream.engines.protocol import Append
from millstream.errors import SchemaError
from millstream.log.topic import Topic
from millstream.stream.graph import Each, Node, ToTopic
from millstream.stream.keyed.failing import Guard
from millstream.stream.piece import Piece, fields_of
from millstream.stream.row_types import is_row_type, row_type, rows_of
from millstream.stream.windowed import WINDOW_COLUMNS

if TYPE_CHECKING:
    import polars as pl

    from millstream.log.log import Log

ROWS_MAX: Final = 200
"""Up to here records are cheaper to append one by one than as columns (which cost 1 kB and 100 us a batch)."""


class Output:
    """Where the records of one output node go."""

    def __init__(self, log: Log, node: Node, never_null: Sequence[str]) -> None:
        self._log = log
        self._node = node
        self._sink: ToTopic | Each = node.step
        self._never_null = (*WINDOW_COLUMNS, *never_null)
        self._target: Topic[Any] | None = None
        self._row_type: tuple[pl.Schema, Any] | None = None
        """Of the columns that arrived last: the same ones, nearly always."""

    def prepare(self) -> None:
        """Make the output's topic, if what arrives is known before the first record."""
        empty = self._node.inputs[0].empty
        if empty is not None and empty.has_type and isinstance(self._sink, ToTopic):
            self._topic(self._type_of(empty))

    def call(self, piece: Piece, guard: Guard) -> None:
        """Call the function of an `each` with every value."""
        assert isinstance(self._sink, Each)
        guard.each(self._sink.function, self._values(piece)[0])

    def appends(self, piece: Piece) -> list[Append]:
        """Return what the transaction is to append to the topic."""
        if not piece.height:
            return []
        target = self._topic(self._type_of(piece))
        if piece.height > ROWS_MAX and not piece.has_values and not target.schema.open:
            return self._send_columns(target, piece)
        values, type = self._values(piece)
        if target.schema.open:
            values = [fields_of(value) for value in values]
        elif target.type is not type and (is_row_type(type) or is_row_type(target.type)):
            values = _as_type(values, target)
        # A topic that takes its key or time from a field of its own goes on doing so.
        keys = None if target.schema.key else piece.carried["_key"]
        times = None if target.schema.time else piece.carried["_event_time"]
        return target.encode_with(values, keys=keys, times=times)

    def _send_columns(self, target: Topic[Any], piece: Piece) -> list[Append]:
        carried = [
            name for name, own in (("_key", target.schema.key), ("_event_time", target.schema.time)) if own is None
        ]
        own = [name for name in piece.columns().columns if name in target.schema.by_name]
        frame = piece.columns().select(own).hstack(piece.carried.select(carried))
        try:
            return target.encode(frame)
        except SchemaError as error:
            raise _misfit(piece.columns().columns, target, error) from error

    def _type_of(self, piece: Piece) -> Any:
        if piece.has_values:
            return piece.type if piece.type is not None else type(piece.values()[0])
        schema = piece.columns().schema
        if self._row_type is None or self._row_type[0] != schema:
            self._row_type = schema, row_type(schema, _class_name(self._sink_name()), self._never_null)
        return self._row_type[1]

    def _values(self, piece: Piece) -> tuple[Sequence[Any], Any]:
        """Return values and the type that a topic of them has."""
        if piece.has_values:
            return piece.values(), piece.type
        type = self._type_of(piece)
        return rows_of(piece.columns(), type), type

    def _topic(self, type: Any) -> Topic[Any]:
        if self._target is None:
            assert isinstance(self._sink, ToTopic)
            target = self._sink.target
            self._target = self._named(target, type) if isinstance(target, str) else target
        return self._target

    def _named(self, name: str, type: Any) -> Topic[Any]:
        """Return the topic of a name: with the schema of what arrives, unless it takes any JSON objects already."""
        if name in self._log.topics():
            existing = self._log.topic(name)
            if existing.schema.open:
                return existing
        return self._log.topic(name, None if type is not None and issubclass(type, bytes) else type)

    def _sink_name(self) -> str:
        return self._sink.name if isinstance(self._sink, ToTopic) else "row"


def _as_type(values: Sequence[Any], target: Topic[Any]) -> Sequence[Any]:
    """Return rows of columns as values of the type that the target was given.

    Raises:
        SchemaError: A field is missing there, or of another type.
    """
    try:
        made: Sequence[Any] = msgspec.convert(values, list[target.type], from_attributes=True)  # type: ignore[name-defined]
    except msgspec.ValidationError as error:
        raise _misfit(type(values[0]).__struct_fields__, target, error) from error
    return made


def _misfit(names: Sequence[str], target: Topic[Any], error: Exception) -> SchemaError:
    return SchemaError(
        f"the results ({', '.join(names)}) do not fit topic {target.name!r} of {target.type.__name__}: {error}"
    )


def _class_name(topic: str) -> str:
    words = re.split(r"[^A-Za-z0-9]+", topic)
    return "".join(word[:1].upper() + word[1:] for word in words if word) or "Row"
