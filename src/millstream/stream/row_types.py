"""The struct of a row: what columns look like in Python, and the schema of a topic that takes them."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec

from millstream.errors import UsageError

if TYPE_CHECKING:
    import polars as pl


def row_type(schema: pl.Schema, name: str = "Row", never_null: Sequence[str] = ()) -> type[msgspec.Struct]:
    """Return a struct with a field for each column; all may be null but those named.

    Raises:
        UsageError: A column's name cannot be a field's, or its type has no Python counterpart.
    """
    fields = tuple((column, _python_type(column, dtype), column in never_null) for column, dtype in schema.items())
    return _struct(name, fields)


def is_row_type(type: Any) -> bool:
    """Return whether a class was made by `row_type`."""
    return getattr(type, "__is_row__", False) is True


def rows_of(frame: pl.DataFrame, type: type[Any]) -> list[Any]:
    """Return the rows of a frame as structs of `row_type`."""
    return [type(*row) for row in frame.iter_rows()]


@functools.lru_cache(maxsize=256)
def _struct(name: str, fields: tuple[tuple[str, Any, bool], ...]) -> type[msgspec.Struct]:
    for column, _, _ in fields:
        if not column.isidentifier() or column.startswith("_"):
            raise UsageError(f"the column {column!r} cannot be a field of a record; rename it with select(name=...)")
    # Fields that are never null come first: a struct's fields with a default follow those without.
    return msgspec.defstruct(
        name,
        [(column, type if always else type | None) for column, type, always in fields],
        frozen=True,
        namespace={"__is_row__": True},
    )


def _python_type(column: str, dtype: pl.DataType) -> Any:
    import polars as pl

    if dtype.is_integer():
        return int
    if dtype.is_float():
        return float
    if dtype.is_decimal():
        return Decimal
    simple: dict[Any, Any] = {
        pl.String: str,
        pl.Categorical: str,
        pl.Enum: str,
        pl.Boolean: bool,
        pl.Binary: bytes,
        pl.Datetime: datetime,
        pl.Date: date,
        pl.Time: time,
        pl.Duration: timedelta,
        pl.Null: str,
    }
    if (found := simple.get(dtype.base_type())) is not None:
        return found
    if isinstance(dtype, pl.List | pl.Array):
        inner = dtype.inner
        assert isinstance(inner, pl.DataType)
        return list[_python_type(column, inner) | None]  # type: ignore[misc]
    if isinstance(dtype, pl.Struct):
        return dict[str, Any]
    raise UsageError(f"the column {column!r} is {dtype}, which cannot go into a topic; cast it in a select")
