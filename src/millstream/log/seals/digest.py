"""A record as bytes that do not depend on how its batch is stored, and the digest of those.

A record is its fields by name, its key, its headers and, where it has one of its own, its event time. A field that is
null is left out, so that a field that the type gets later changes nothing. Each part is `name=length:text`: two
records that differ never give the same bytes.

Source: BLAKE2b, RFC 7693; netstrings (D. J. Bernstein) for the lengths.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final

import msgspec

from millstream.log.columns import EVENT_TIME, HEADERS, KEY
from millstream.log.schema import Kind, Schema

if TYPE_CHECKING:
    import polars as pl

DIGEST_BYTES: Final = 16
"""Of one record: finding another record with the same digest takes 2^128 attempts."""

_PYTHON_KINDS: Final = (Kind.JSON, Kind.FLOAT, Kind.STRUCT, Kind.LIST)
"""Their text is made value by value."""


def names_of(schema: Schema) -> list[str]:
    """Return the fields of a schema in the order in which they are digested."""
    return sorted(schema.names)


def columns_of(schema: Schema, names: Sequence[str]) -> list[str]:
    """Return the columns that `digests` wants of a frame of `schema`: of fields that it no longer has there is none."""
    known = set(schema.names)
    return [*(name for name in names if name in known), KEY, HEADERS, EVENT_TIME]


def digests(frame: pl.DataFrame, schema: Schema, names: Sequence[str], *, timed: bool) -> list[bytes]:
    """Return the digest of each row.

    Args:
        frame: As readers see records of `schema`, with the columns of `columns_of`.
        names: The fields that count: those there were when the records were sealed.
        timed: Whether event times count; not where they are append times.
    """
    import polars as pl

    kinds = {field.name: field.type.kind for field in schema.fields}
    texts = {name: _text(frame.get_column(name), kinds[name]) for name in names if name in kinds}
    texts[KEY] = _text(frame.get_column(KEY), Kind.BYTES)
    texts[HEADERS] = _headers(frame.get_column(HEADERS))
    if timed:
        texts[EVENT_TIME] = _text(frame.get_column(EVENT_TIME), Kind.DATETIME)
    told = {name: column for name, column in texts.items() if column.null_count() < frame.height}
    if not told:
        return [_digest(b"")] * frame.height
    parts = [_part(name) for name in told]
    rows = pl.DataFrame([column.alias(name) for name, column in told.items()]).select(
        pl.concat_str(parts, ignore_nulls=True).cast(pl.Binary())
    )
    return [_digest(row) for row in rows.to_series().to_list()]


def _digest(row: bytes) -> bytes:
    return blake2b(row, digest_size=DIGEST_BYTES).digest()


def _part(name: str) -> pl.Expr:
    import polars as pl

    text = pl.col(name)
    return pl.concat_str(pl.lit(f"{name}="), text.str.len_bytes().cast(pl.String()), pl.lit(":"), text)


def _text(column: pl.Series, kind: Kind) -> pl.Series:
    """Return values as text, the same for a value whatever its column is coded as; null stays null."""
    import polars as pl

    if kind in _PYTHON_KINDS:
        plain = _plain_json if kind is Kind.JSON else _plain_value
        return _each(column, plain)
    if isinstance(column.dtype, pl.String):
        return column
    if isinstance(column.dtype, pl.Binary):
        return column.bin.encode("hex")
    if column.dtype.is_temporal():
        return column.cast(pl.Int64()).cast(pl.String())
    return column.cast(pl.String())


def _headers(column: pl.Series) -> pl.Series:
    return _each(column, lambda value: _plain_value({k: v.hex() for k, v in msgspec.msgpack.decode(value).items()}))


def _each(column: pl.Series, text: Any) -> pl.Series:
    import polars as pl

    if column.null_count() == len(column):
        return pl.Series(column.name, [None] * len(column), dtype=pl.String())
    found: Iterable[str | None] = (None if value is None else text(value) for value in column.to_list())
    return pl.Series(column.name, list(found), dtype=pl.String())


def _plain_json(value: str) -> str:
    return _plain_value(msgspec.json.decode(value))


def _plain_value(value: Any) -> str:
    # A number that was widened to a float by a later type is the number it was.
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        value = int(value)
    if isinstance(value, float):
        return value.hex()
    return msgspec.json.encode(value, order="deterministic").decode()
