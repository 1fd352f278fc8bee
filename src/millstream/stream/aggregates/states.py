"""Aggregates whose state only Python can combine: user-defined ones, and sketches.

Each group has one state, as bytes. Adding and merging call Python for each value or state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from millstream.errors import UsageError
from millstream.stream.aggregates.aggregate import UserFunctions

if TYPE_CHECKING:
    import polars as pl

STATE = "_state"


class Kind(Protocol):
    """How states of one kind are made, combined and read."""

    def of(self, values: Sequence[Any]) -> bytes:
        """Return the state of values, none of them null."""
        ...

    def merged(self, states: Sequence[bytes]) -> bytes:
        """Return the state of all values of several states."""
        ...

    def result(self, state: bytes) -> Any: ...


class StateTable:
    """Group, state."""

    ordered = False

    def __init__(self, result: str, column: str, kind: Kind, dtype: pl.DataType) -> None:
        self.name = f"s:{result}"
        self._result = result
        self._column = column
        self._kind = kind
        self._dtype = dtype

    def rows(self, records: pl.DataFrame, group: Sequence[str]) -> pl.DataFrame:
        import polars as pl

        values = records.filter(pl.col(self._column).is_not_null())
        # The order of records is kept, as far as the function cares.
        grouped = values.group_by(group, maintain_order=True).agg(pl.col(self._column).alias(STATE))
        return _mapped(grouped, self._kind.of, pl.Binary())

    def merge(self, rows: pl.DataFrame, group: Sequence[str]) -> pl.DataFrame:
        import polars as pl

        grouped = rows.group_by(group, maintain_order=True).agg(pl.col(STATE))
        return _mapped(
            grouped, lambda states: states[0] if len(states) == 1 else self._kind.merged(states), pl.Binary()
        )

    def finish(self, rows: pl.DataFrame, group: Sequence[str]) -> pl.DataFrame:
        return _mapped(rows.select(*group, STATE), self._kind.result, self._dtype).rename({STATE: self._result})

    def over_records(self) -> dict[str, pl.Expr]:
        import polars as pl

        return {self._result: pl.col(self._column).drop_nulls().implode()}

    def read(self, frame: pl.DataFrame) -> pl.DataFrame:
        import polars as pl

        lists = frame.get_column(self._result).to_list()
        results = [self._kind.result(self._kind.of(values)) if values else None for values in lists]
        return frame.with_columns(pl.Series(self._result, results, dtype=self._dtype))


class UserKind:
    """The states of a user-defined aggregate, as msgpack."""

    def __init__(self, functions: UserFunctions) -> None:
        self._functions = functions
        state = type(functions.init())
        self._decoder: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(Any if state is type(None) else state)

    def of(self, values: Sequence[Any]) -> bytes:
        state = self._functions.init()
        for value in values:
            state = self._functions.add(state, value)
        return self._encoded(state)

    def merged(self, states: Sequence[bytes]) -> bytes:
        decoded: Iterable[Any] = map(self._decoder.decode, states)
        merge: Callable[[Any, Any], Any] = self._functions.merge
        total = next(iter(decoded := iter(decoded)))
        for state in decoded:
            total = merge(total, state)
        return self._encoded(total)

    def result(self, state: bytes) -> Any:
        return self._functions.finish(self._decoder.decode(state))

    def _encoded(self, state: Any) -> bytes:
        try:
            return msgspec.msgpack.encode(state)
        except TypeError as error:
            raise UsageError(
                f"aggregator({self._functions}): the state {state!r} cannot be stored ({error}); make it of numbers, "
                "texts, lists, dicts or Structs"
            ) from error


def _mapped(frame: pl.DataFrame, function: Callable[[Any], Any], dtype: pl.DataType) -> pl.DataFrame:
    import polars as pl

    made = [function(value) for value in frame.get_column(STATE).to_list()]
    return frame.with_columns(pl.Series(STATE, made, dtype=dtype))
