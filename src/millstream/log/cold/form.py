"""Columns as Parquet holds them: those of `Topic.frame`, and beside them what these would lose.

JSON                     text; where the text does not give back what was stored (bytes, NaN), the stored form too,
                         in a column `_stored.NAME`
a struct without fields  Boolean (true: there), for Parquet has no such struct
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, TypeAlias

import msgspec

from millstream.log import columns as stored
from millstream.log.frames import json_text
from millstream.log.schema import FieldType, Kind, Schema, has_json

if TYPE_CHECKING:
    import polars as pl

STORED: Final = "_stored."

Leaf: TypeAlias = "Callable[[pl.Series, FieldType], pl.Series]"


def is_plain(type: FieldType) -> bool:
    """Whether a field is in Parquet as frames have it, without a conversion."""
    return not has_json(type) and not _has_empty(type)


def reads_alike(type: FieldType) -> bool:
    """Whether what Parquet has of a field is what readers of frames get."""
    return not _has_empty(type)


def outward(frame: pl.DataFrame, schema: Schema) -> list[pl.Series]:
    """Return the columns for Parquet of the fields of a stored frame."""
    made: list[pl.Series] = []
    for field in schema.fields:
        column = frame.get_column(field.name)
        if is_plain(field.type):
            made.append(column)
            continue
        made.append(_walk(column, field.type, _text))
        if has_json(field.type):
            made.append(_unsaid(column, made[-1], field.type).alias(STORED + field.name))
    return made


def names_of(schema: Schema, names: Sequence[str]) -> list[str]:
    """Return the columns of a file that `inward` needs for these fields."""
    return [
        column
        for name in names
        for column in ((name, STORED + name) if has_json(schema.by_name[name].type) else (name,))
    ]


def inward(frame: pl.DataFrame, schema: Schema, names: Sequence[str]) -> list[pl.Series]:
    """Return the columns of a stored frame from those of a file."""
    made = []
    for name in names:
        type = schema.by_name[name].type
        column = frame.get_column(name)
        if is_plain(type):
            made.append(column)
        elif type.kind is Kind.JSON:
            made.append(_from_text(column, frame.get_column(STORED + name)))
        else:
            source = frame.get_column(STORED + name) if has_json(type) else column
            made.append(_walk(source, type, _opened).alias(name))
    return made


def _has_empty(type: FieldType) -> bool:
    if type.item is not None:
        return _has_empty(type.item)
    return type.kind is Kind.STRUCT and (not type.fields or any(_has_empty(field.type) for field in type.fields))


def _walk(column: pl.Series, type: FieldType, leaf: Leaf) -> pl.Series:
    """Return a column with its leaves converted: JSON, and structs without fields."""
    import polars as pl

    if is_plain(type):
        return column
    if type.kind is Kind.JSON or (type.kind is Kind.STRUCT and not type.fields):
        return leaf(column, type)
    if type.kind is Kind.STRUCT:
        inner = column.struct.unnest()
        members = [_walk(inner.get_column(field.name), field.type, leaf) for field in type.fields]
        made = pl.DataFrame(members).to_struct(column.name)
        return stored.mask(made, column.is_not_null()) if column.null_count() else made
    assert type.item is not None
    items = _walk(stored.items_of(column), type.item, leaf)
    return stored.nest(column.name, items, column.list.len().to_list())


def _text(column: pl.Series, type: FieldType) -> pl.Series:
    import polars as pl

    if type.kind is Kind.STRUCT:
        return column.is_not_null()
    return pl.Series(column.name, list(map(json_text, column.to_list())), dtype=pl.String())


def _closed(column: pl.Series, type: FieldType) -> pl.Series:
    return column.is_not_null() if type.kind is Kind.STRUCT else column


def _opened(column: pl.Series, type: FieldType) -> pl.Series:
    import polars as pl

    if type.kind is not Kind.STRUCT:
        return column
    return pl.Series(column.name, [{} if there else None for there in column.to_list()], dtype=pl.Struct([]))


def _unsaid(column: pl.Series, text: pl.Series, type: FieldType) -> pl.Series:
    """Return the stored form, of JSON only where the text does not give it back."""
    import polars as pl

    if type.kind is not Kind.JSON:
        return _walk(column, type, _closed)
    pairs = zip(column.to_list(), text.to_list(), strict=True)
    return pl.Series([None if _packed(said) == data else data for data, said in pairs], dtype=pl.Binary())


def _from_text(text: pl.Series, unsaid: pl.Series) -> pl.Series:
    import polars as pl

    pairs = zip(text.to_list(), unsaid.to_list(), strict=True)
    return pl.Series(text.name, [_packed(said) if data is None else data for said, data in pairs], dtype=pl.Binary())


def _packed(text: str | None) -> bytes | None:
    """Return JSON text as msgpack, None where msgpack has no form for it."""
    if text is None:
        return None
    try:
        return msgspec.msgpack.encode(msgspec.json.decode(text))
    except (OverflowError, msgspec.DecodeError):
        return None
