"""Columns as files of a format can hold them, and back; nothing is lost on the way.

bytes          base64                                    (CSV, NDJSON)
instants       2024-01-31T12:00:00.000000Z               (CSV, NDJSON; any zone is read)
dates, times   2024-01-31, 12:00:00.000000               (CSV, NDJSON)
durations      microseconds                              (CSV, NDJSON)
lists, structs JSON                                      (CSV)
a struct without fields  true: there                     (all)
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import polars as pl


class Format(StrEnum):
    """Of files."""

    PARQUET = "parquet"
    CSV = "csv"
    NDJSON = "ndjson"


_INSTANT: Final = "%Y-%m-%dT%H:%M:%S%.6fZ"
_TIME: Final = "%H:%M:%S%.6f"
_DATE: Final = "%Y-%m-%d"


def said(column: pl.Expr, dtype: pl.DataType, format: Format) -> pl.Expr:
    """Return a column as a format holds it."""
    import polars as pl

    nested = _said(column, dtype, format)
    if format is Format.CSV and isinstance(nested_type := dtype_said(dtype, format), (pl.Struct, pl.List)):
        assert nested_type is not None
        text = pl.struct(nested.alias("v")).struct.json_encode().str.strip_prefix('{"v":').str.strip_suffix("}")
        return pl.when(column.is_not_null()).then(text)
    return nested


def read(column: pl.Expr, dtype: pl.DataType, format: Format) -> pl.Expr:
    """Return what `said` was given, from what a file of the format holds."""
    import polars as pl

    inner = dtype_said(dtype, format)
    if format is Format.CSV:
        if isinstance(inner, (pl.Struct, pl.List)):
            text = pl.concat_str(pl.lit('{"v":'), column, pl.lit("}"))
            column = text.str.json_decode(pl.Struct({"v": inner})).struct.field("v")
        elif isinstance(inner, pl.Boolean):
            column = column == "true"
        else:
            column = column.cast(inner)
    return _read(column, dtype, format)


def dtype_said(dtype: pl.DataType, format: Format) -> pl.DataType:
    """Return the type of what `said` makes, before CSV makes text of it."""
    import polars as pl

    if isinstance(dtype, pl.Struct):
        if not dtype.fields:
            return pl.Boolean()
        return pl.Struct({field.name: dtype_said(_instance(field.dtype), format) for field in dtype.fields})
    if isinstance(dtype, pl.List):
        return pl.List(dtype_said(_instance(dtype.inner), format))
    if format is Format.PARQUET:
        return dtype
    if isinstance(dtype, pl.Duration):
        return pl.Int64()
    return pl.String() if isinstance(dtype, (pl.Binary, pl.Datetime, pl.Date, pl.Time, pl.Null)) else dtype


def _said(column: pl.Expr, dtype: pl.DataType, format: Format) -> pl.Expr:
    import polars as pl

    if dtype_said(dtype, format) == dtype:
        return column
    match dtype:
        case pl.Struct() if not dtype.fields:
            return column.is_not_null()
        case pl.Struct():
            members = [
                _said(column.struct.field(field.name), _instance(field.dtype), format).alias(field.name)
                for field in dtype.fields
            ]
            return pl.when(column.is_not_null()).then(pl.struct(members))
        case pl.List():
            return column.list.eval(_said(pl.element(), _instance(dtype.inner), format))
        case pl.Binary():
            return column.bin.encode("base64")
        case pl.Datetime():
            return column.dt.to_string(_INSTANT)
        case pl.Date():
            return column.dt.to_string(_DATE)
        case pl.Time():
            return column.dt.to_string(_TIME)
        case pl.Duration():
            return column.dt.total_microseconds()
        case _:
            return column.cast(pl.String())


def _read(column: pl.Expr, dtype: pl.DataType, format: Format) -> pl.Expr:
    import polars as pl

    if dtype_said(dtype, format) == dtype:
        return column
    match dtype:
        case pl.Struct() if not dtype.fields:
            return pl.when(column).then(pl.lit({}, dtype=dtype))
        case pl.Struct():
            members = [
                _read(column.struct.field(field.name), _instance(field.dtype), format).alias(field.name)
                for field in dtype.fields
            ]
            return pl.when(column.is_not_null()).then(pl.struct(members))
        case pl.List():
            return column.list.eval(_read(pl.element(), _instance(dtype.inner), format))
        case pl.Binary():
            return column.str.decode("base64")
        case pl.Datetime():
            return _instant(column)
        case pl.Date():
            return column.str.to_date(_DATE)
        case pl.Time():
            return column.str.to_time(_TIME)
        case pl.Duration():
            return column.cast(pl.Duration("us"))
        case _:
            return column.cast(dtype)


def _instant(column: pl.Expr) -> pl.Expr:
    """Return the instants of texts as ISO 8601 has them; databases write a space for the T, and `+00` for the Z."""
    text = column.str.replace(r"^(\S+) (\d)", "${1}T${2}").str.replace(r"(:\d\d(?:\.\d+)?[+-]\d\d)$", "${1}:00")
    return text.str.to_datetime("%+", time_unit="us", time_zone="UTC")


def _instance(dtype: object) -> pl.DataType:
    """Return a type that Polars may hold as its class as an instance."""
    return dtype() if isinstance(dtype, type) else dtype  # type: ignore[return-value]
