"""The columns coding: a batch as one Arrow IPC file, compressed with zstd, one column a field.

What a batch keeps is a *stored frame*: the columns of a schema, where JSON is msgpack in a Binary column
(so that bytes, dates and NaN inside it survive), and beside them only where the schema does not say it:

    _key           Binary; absent: the key field's value, or null where there is no key field
    _event_time    Datetime us UTC; null: the append time. Absent: the time field's value, or the append time
    _append_time   Datetime us UTC; absent: that of the batch. Only in merged batches
    _headers       Binary, a msgpack map of str to bytes; null: none

Event times that are those of a field, though the schema does not say so (what a stream sends on), are not kept twice: a
column without data, `_event_time=FIELD`, names the field.

Source: Apache Arrow columnar format 1.0, IPC file format (its footer lets a reader take some of the columns).
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from itertools import chain
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import msgspec

from millstream.errors import StorageCorruptError
from millstream.log.rows import array_header
from millstream.log.schema import FieldType, Kind, Schema
from millstream.log.storage import Form, dtype, storage_type
from millstream.log.values import EPOCH, ValueType

if TYPE_CHECKING:
    import polars as pl

KEY: Final = "_key"
EVENT_TIME: Final = "_event_time"
APPEND_TIME: Final = "_append_time"
HEADERS: Final = "_headers"
METADATA: Final = (KEY, EVENT_TIME, APPEND_TIME, HEADERS)
"""What a stored frame may have beside the fields."""
_AS_FIELD: Final = "_event_time="

ROWS_AT_ONCE: Final = 4096
"""Decoding holds the interpreter's lock; after this many records (1 to 2 ms) other threads have their turn."""

_MICROSECOND: Final = timedelta(microseconds=1)

_FEW: Final = 32
"""Values up to which Python computes more cheaply than Polars begins to."""

_DATE_ORDINAL_EPOCH: Final = date(1970, 1, 1).toordinal()
_NOTHING: Final = b"\xc0"
"""null in msgpack."""


class NotDirect(Exception):  # noqa: N818 - control flow between two functions of this package
    """The values have to be validated the long way, which also finds the words for what is wrong."""


def write(frame: pl.DataFrame) -> bytes:
    """Return a stored frame as the `data` of a columns batch."""
    import polars as pl

    buffer = io.BytesIO()
    # The oldest layout of text (offsets, no views) is read by every Arrow library, and costs 1% of the size.
    _once(frame).write_ipc(buffer, compression="zstd", compat_level=pl.CompatLevel.oldest())
    return buffer.getvalue()


def read(data: bytes, columns: Sequence[str] | None = None) -> pl.DataFrame:
    """Return the stored frame of a columns batch, or those of the columns asked for that it has.

    Raises:
        StorageCorruptError: The bytes are damaged.
    """
    import polars as pl

    try:
        names = list(pl.read_ipc_schema(io.BytesIO(data)))
        field = next((name.removeprefix(_AS_FIELD) for name in names if name.startswith(_AS_FIELD)), None)
        asked = {*names, EVENT_TIME} if columns is None else set(columns)
        wanted = {*asked, field} if EVENT_TIME in asked else asked
        # By place: Polars takes some names for patterns.
        there = [i for i, name in enumerate(names) if name in wanted and not name.startswith(_AS_FIELD)]
        frame = pl.read_ipc(io.BytesIO(data), columns=there)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise StorageCorruptError(
            f"a batch of columns cannot be read ({len(data):,} bytes): {error}; run `millstream doctor`"
        ) from error
    if field is None or EVENT_TIME not in asked:
        return frame
    times = frame.get_column(field).alias(EVENT_TIME)
    return pl.DataFrame([*(column for column in frame if column.name in asked), times])


def _once(frame: pl.DataFrame) -> pl.DataFrame:
    """Return a stored frame without event times that a field has as well."""
    import polars as pl

    if EVENT_TIME not in frame.columns:
        return frame
    times = frame.get_column(EVENT_TIME)
    for column in frame:
        if not column.name.startswith("_") and column.dtype == times.dtype and column.equals(times):
            said = pl.Series(_AS_FIELD + column.name, [None], dtype=pl.Null).new_from_index(0, frame.height)
            return pl.DataFrame([*(other for other in frame if other.name != EVENT_TIME), said])
    return frame


def frame_of_rows(data: bytes, count: int, schema: Schema, names: Sequence[str] | None = None) -> pl.DataFrame:
    """Return the stored frame of the records of a rows batch, for all fields or those named (in the schema's order)."""
    import polars as pl

    if schema.raw:
        values = msgspec.msgpack.decode(array_header(count) + data, type=list[bytes])
        return pl.DataFrame([pl.Series("value", values, dtype=pl.Binary())])
    if names is not None:
        wanted = set(names)
        schema = Schema(fields=tuple(field for field in schema.fields if field.name in wanted))
    records = _records(data, count, storage_type(schema, Form.COLUMNS))
    return pl.DataFrame(
        [
            series(field.name, list(map(attrgetter(f"f{i}"), records)), field.type)
            for i, field in enumerate(schema.fields)
        ]
    )


def _records(data: bytes, count: int, record: Any) -> list[Any]:
    decoder = msgspec.msgpack.Decoder(list[record])
    try:
        if count <= ROWS_AT_ONCE:
            return decoder.decode(array_header(count) + data)
        raws = msgspec.msgpack.decode(array_header(count) + data, type=list[msgspec.Raw])
        records: list[Any] = []
        for start in range(0, count, ROWS_AT_ONCE):
            part = raws[start : start + ROWS_AT_ONCE]
            records += decoder.decode(array_header(len(part)) + b"".join(part))
    except msgspec.DecodeError as error:
        raise StorageCorruptError(
            f"a batch of {count} records cannot be decoded: {error}; run `millstream doctor`"
        ) from error
    return records


# --- from values to columns ------------------------------------------------------------------------------------------


def series(name: str, values: list[Any], type: FieldType) -> pl.Series:
    """Return the stored column of decoded values (`Form.COLUMNS`): text for Decimal and UUID, Raw for JSON.

    Values are trusted: they were validated when they were decoded.
    """
    import polars as pl

    match type.kind:
        case Kind.DATETIME:
            if len(values) <= _FEW:
                return instants(name, [None if value is None else (value - EPOCH) // _MICROSECOND for value in values])
            since = [None if value is None else value - EPOCH for value in values]
            return pl.Series(name, since).cast(pl.Int64).cast(pl.Datetime("us", "UTC"))
        case Kind.DATE:
            days = [None if value is None else value.toordinal() - _DATE_ORDINAL_EPOCH for value in values]
            return pl.Series(name, days, dtype=pl.Int32).cast(pl.Date)
        case Kind.JSON:
            return pl.Series(name, list(map(_json_bytes, values)), dtype=pl.Binary())
        case Kind.STRUCT:
            return _struct_series(name, values, type)
        case Kind.LIST:
            return _list_series(name, values, type)
        case _:
            wanted = dtype(type, stored=True)
            # Found by Polars itself, which takes a fifth of the time: it matters where a piece has a few records.
            made = pl.Series(name, values)
            return made if made.dtype == wanted else pl.Series(name, values, dtype=wanted, strict=True)


def instants(name: str, times_us: Sequence[int | None]) -> pl.Series:
    """Return a column of instants from microseconds since 1970."""
    import polars as pl

    # Polars finds by itself what they are, which takes half the time: it matters where a piece has a few records.
    return pl.Series(name, times_us).cast(pl.Datetime("us", "UTC"))


def _json_bytes(raw: msgspec.Raw | None) -> bytes | None:
    if raw is None:
        return None
    data = bytes(raw)
    return None if data == _NOTHING else data


def _struct_series(name: str, values: list[Any], type: FieldType) -> pl.Series:
    import polars as pl

    there = [value is not None for value in values]
    whole = all(there)
    members = []
    for i, field in enumerate(type.fields):
        get = attrgetter(f"f{i}")
        column = list(map(get, values)) if whole else [None if value is None else get(value) for value in values]
        members.append(series(field.name, column, field.type))
    made = pl.DataFrame(members).to_struct(name)
    return made if whole else mask(made, pl.Series(there, dtype=pl.Boolean))


def mask(column: pl.Series, there: pl.Series) -> pl.Series:
    """Return a column with null where `there` is false; a struct is null itself then, not a struct of nulls."""
    import polars as pl

    frame = pl.DataFrame([column.alias("value"), there.alias("there")])
    return frame.select(pl.when(pl.col("there")).then(pl.col("value")).otherwise(None)).to_series().alias(column.name)


def _list_series(name: str, values: list[Any], type: FieldType) -> pl.Series:
    """Build a list column from its flattened items: Polars takes 10 times as long for nested Python lists."""
    assert type.item is not None
    items = series("item", list(chain.from_iterable(value for value in values if value)), type.item)
    lengths = [None if value is None else len(value) for value in values]
    return nest(name, items, lengths)


def nest(name: str, items: pl.Series, lengths: Sequence[int | None]) -> pl.Series:
    """Return a list column with the given lengths (None: null) that takes its items in order."""
    import polars as pl

    rows = pl.DataFrame({"length": pl.Series(lengths, dtype=pl.UInt32)}).with_row_index("row")
    filled = rows.filter(pl.col("length") > 0)
    place = filled.select(pl.col("row").repeat_by("length").list.explode()).to_series()
    lists = pl.DataFrame([place, items.alias("item")]).group_by("row", maintain_order=True).agg("item")
    empty = pl.Series([[]], dtype=pl.List(items.dtype))
    whole = rows.join(lists, on="row", how="left", maintain_order="left").select(
        pl.when(pl.col("length") == 0).then(pl.lit(empty).first()).otherwise(pl.col("item")).alias(name)
    )
    return whole.to_series()


def items_of(column: pl.Series) -> pl.Series:
    """Return the items of a list column end to end: the opposite of `nest`."""
    return column.filter(column.list.len() > 0).list.explode()


# --- from the user's values, without a detour over msgpack -----------------------------------------------------------


def direct_frame(values: Sequence[Any], type: ValueType[Any]) -> pl.DataFrame:
    """Return the stored frame of values of the user's class whose fields are all plain.

    Raises:
        NotDirect: A field is nested, or a value is not exactly what its field takes: validate the long way.
    """
    import polars as pl

    schema = type.schema
    if schema.raw:
        return pl.DataFrame([pl.Series("value", list(values), dtype=pl.Binary())])
    if not type.of_class or not all(field.type.kind in _DIRECT for field in schema.fields):
        raise NotDirect
    columns = []
    for field in schema.fields:
        column = list(map(attrgetter(type.attributes[field.name]), values))
        try:
            columns.append(_direct_series(field.name, column, field.type))
        except (TypeError, ValueError, OverflowError, pl.exceptions.PolarsError) as error:
            raise NotDirect from error
    return pl.DataFrame(columns)


_NONE: Final = type(None)
_DURATION_DAYS_MAX: Final = 99_999_999
"""As rows have it: what 64 bits of microseconds hold, in whole digits."""

_DIRECT: Final[Mapping[Kind, frozenset[type]]] = {
    Kind.BOOL: frozenset({bool}),
    Kind.INT: frozenset({int}),
    Kind.FLOAT: frozenset({float, int}),
    Kind.STR: frozenset({str}),
    Kind.BYTES: frozenset({bytes}),
    Kind.DATETIME: frozenset({datetime}),
    Kind.DATE: frozenset({date}),
    Kind.TIME: frozenset({time}),
    Kind.DURATION: frozenset({timedelta}),
    Kind.DECIMAL: frozenset({Decimal}),
    Kind.UUID: frozenset({UUID}),
    Kind.ENUM: frozenset({str, int}),
}
"""Kinds that have a column of their own, and the classes (not subclasses) that go there as they are."""


def _direct_series(name: str, values: list[Any], type: FieldType) -> pl.Series:
    if type.kind is Kind.ENUM:
        values = [value.value if isinstance(value, Enum) else value for value in values]
    found = set(map(_class, values))
    if _NONE in found and not type.nullable:
        raise NotDirect
    found.discard(_NONE)
    if not found <= _DIRECT[type.kind]:
        raise NotDirect
    match type.kind:
        case Kind.ENUM if not set(values) <= {*type.values, None} or not found <= {_class(type.values[0])}:
            raise NotDirect
        case Kind.FLOAT if int in found:
            values = [None if value is None else float(value) for value in values]
        case Kind.DECIMAL | Kind.UUID:
            values = [None if value is None else str(value) for value in values]
        case Kind.TIME if any(value is not None and value.tzinfo is not None for value in values):
            raise NotDirect
        case Kind.DURATION if any(value is not None and abs(value.days) > _DURATION_DAYS_MAX for value in values):
            raise NotDirect
    return series(name, values, type)


_class: Final[Callable[[Any], type]] = type
