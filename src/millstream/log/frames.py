"""Frames as readers see them, and frames as users give them.

A read frame has the fields of the topic's current schema, then the metadata columns:

    _partition Int32, _offset Int64, _key Binary, _event_time and _append_time Datetime us UTC,
    _headers Binary (a msgpack map of str to bytes; null where a record has none)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import msgspec

from millstream.errors import SchemaError
from millstream.log import columns as stored
from millstream.log.row_runs import BatchRun
from millstream.log.rows import decode_meta
from millstream.log.schema import METADATA_COLUMNS, Field, FieldType, Kind, Schema, has_json
from millstream.log.storage import Form, dtype, dtypes, storage_type
from millstream.records import Coding, StoredBatch

if TYPE_CHECKING:
    import polars as pl


_KEPT = (stored.KEY, stored.EVENT_TIME, stored.APPEND_TIME, stored.HEADERS)
"""Metadata that is stored; the rest is the place of the batch."""


def frame_schema(schema: Schema) -> dict[str, pl.DataType]:
    """Return the names and types of the columns of `frame_of`."""
    return {**dtypes(schema), **metadata_dtypes()}


@lru_cache(maxsize=1)  # Asked for by every batch that is read.
def metadata_dtypes() -> Mapping[str, pl.DataType]:
    """Return the columns that every topic has."""
    import polars as pl

    instant = pl.Datetime("us", "UTC")
    types = (pl.Int32(), pl.Int64(), pl.Binary(), instant, instant, pl.Binary())
    return MappingProxyType(dict(zip(METADATA_COLUMNS, types, strict=True)))


def frame_of(
    batch: StoredBatch | BatchRun, written: Schema, current: Schema, columns: Sequence[str] | None = None
) -> pl.DataFrame:
    """Return a batch as readers see it; decodes only the columns asked for.

    Args:
        batch: Or adjacent ones of `written` as a run.
        written: The schema the batch was written with.
        current: The schema to read it as: fields it has more get their default or null, removed ones are left out.
        columns: Names and order of the columns wanted; None is all of them.

    Raises:
        SchemaError: There is no such column.
    """
    import polars as pl

    run = batch if isinstance(batch, BatchRun) else BatchRun(batch)
    names = list(frame_schema(current)) if columns is None else list(columns)
    fields = [current.by_name[name] for name in names if name in current.by_name]
    metadata = [name for name in names if name in METADATA_COLUMNS and name not in current.by_name]
    if len(fields) + len(metadata) < len(names):
        unknown = next(n for n in names if n not in current.by_name and n not in METADATA_COLUMNS)
        raise SchemaError(f"there is no column {unknown!r}; the columns are {', '.join(frame_schema(current))}")
    source = stored_frame(run, written, [field.name for field in fields], metadata)
    made = evolve(source, written.fields, tuple(fields), run.batch.count)
    found: dict[str, pl.Series] = {}
    for field, column in zip(fields, made, strict=True):
        found[field.name] = readable(column, field.type)
    for name in metadata:
        found[name] = _metadata(name, run.batch, source)
    if not found:
        return pl.DataFrame()
    return pl.DataFrame([found[name] for name in names])


def stored_frame(
    batch: StoredBatch | BatchRun, written: Schema, names: Sequence[str], metadata: Sequence[str] = METADATA_COLUMNS
) -> pl.DataFrame:
    """Return the stored frame of a batch (or a run of them) in either coding: the fields named, and complete `_key`,
    `_event_time`, `_append_time`, `_headers` as far as asked for."""
    import polars as pl

    run = batch if isinstance(batch, BatchRun) else BatchRun(batch)
    batch = run.batch
    wanted = set(names)
    if stored.KEY in metadata and written.key is not None:
        wanted.add(written.key)
    if stored.EVENT_TIME in metadata and written.time is not None:
        wanted.add(written.time)
    fields = [name for name in written.names if name in wanted]
    if batch.coding is Coding.COLD:
        from millstream.log.cold.reading import read_part

        there = [name for name in metadata if name in _KEPT]
        frame = read_part(batch, written, fields, there or [stored.APPEND_TIME])
        given = {name: frame.get_column(name) for name in there}
        frame = pl.DataFrame([frame.get_column(name) for name in fields])
    elif batch.coding is Coding.ROWS:
        frame = stored.frame_of_rows(batch.data, batch.count, written, fields) if fields else pl.DataFrame()
        given = _given_rows(batch) if batch.meta is not None else {}
    else:
        frame = stored.read(batch.data, [*fields, *metadata, *((stored.APPEND_TIME,) if metadata else ())])
        given = {name: frame.get_column(name) for name in METADATA_COLUMNS if name in frame.columns}
        if given:
            frame = pl.DataFrame([frame.get_column(name) for name in fields])
    extra = _complete(frame, given, run, written, metadata)
    return frame.hstack(extra) if fields else pl.DataFrame(extra)


def _given_rows(batch: StoredBatch) -> dict[str, pl.Series]:
    import polars as pl

    assert batch.meta is not None
    keys, times, headers = zip(*decode_meta(batch.meta, batch.count), strict=True)
    encode = msgspec.msgpack.encode
    return {
        stored.KEY: pl.Series(stored.KEY, keys, dtype=pl.Binary()),
        stored.EVENT_TIME: stored.instants(stored.EVENT_TIME, times),
        stored.HEADERS: pl.Series(
            stored.HEADERS, [encode(entry) if entry else None for entry in headers], dtype=pl.Binary()
        ),
    }


def _complete(
    frame: pl.DataFrame, given: dict[str, pl.Series], run: BatchRun, written: Schema, metadata: Sequence[str]
) -> list[pl.Series]:
    """Return the metadata asked for, with what the schema says where a batch says nothing."""
    types = metadata_dtypes()
    count = run.batch.count

    def nothing(name: str) -> pl.Series:
        return _constant(name, None, count, types[name])

    def appended() -> pl.Series:
        there = given.get(stored.APPEND_TIME)
        return run.append_time_column() if there is None else there

    made = []
    if stored.KEY in metadata:
        choices = (given.get(stored.KEY), key_column(frame, written))
        made.append(first_of(choices, stored.KEY, nothing))
    if stored.EVENT_TIME in metadata:
        choices = (given.get(stored.EVENT_TIME), time_column(frame, written))
        made.append(first_of(choices, stored.EVENT_TIME, lambda _: appended()))
    if stored.APPEND_TIME in metadata:
        made.append(appended())
    if stored.HEADERS in metadata:
        made.append(first_of([given.get(stored.HEADERS)], stored.HEADERS, nothing))
    return made


def first_of(
    choices: Sequence[pl.Series | None], name: str, rest: Callable[[str], pl.Series] | None = None
) -> pl.Series:
    """Return, row by row, the first of the columns that is not null.

    Args:
        choices: None of them need be there if there is a `rest`.
        rest: Makes the last choice from the name, if one is needed.
    """
    import polars as pl

    there: list[pl.Series] = []
    for choice in choices:
        if choice is not None:
            there.append(choice)
            if not choice.null_count():
                break
    else:
        if rest is not None:
            there.append(rest(name))
    if len(there) == 1 or not there[0].null_count():
        return there[0].alias(name)
    made = pl.DataFrame([choice.alias(str(i)) for i, choice in enumerate(there)])
    return made.select(pl.coalesce(pl.all()).alias(name)).to_series()


def _constant(name: str, value: Any, count: int, type: pl.DataType) -> pl.Series:
    import polars as pl

    if value is None:
        return _null(type).new_from_index(0, count).alias(name)
    return pl.Series(name, [value], dtype=type).new_from_index(0, count)


@lru_cache(maxsize=64)  # Asked for by every batch that is read: to make one takes longer than to copy it.
def _null(type: pl.DataType) -> pl.Series:
    import polars as pl

    return pl.Series([None], dtype=type)


def key_column(frame: pl.DataFrame, schema: Schema) -> pl.Series | None:
    """Return the keys that the key field gives, None where the schema has none (or the records lack it)."""
    import polars as pl

    if schema.key is None or schema.key not in frame.columns:
        return None
    column = frame.get_column(schema.key)
    return column if column.dtype == pl.Binary() else column.cast(pl.String()).cast(pl.Binary())


def time_column(frame: pl.DataFrame, schema: Schema) -> pl.Series | None:
    """Return the event times that the time field gives, None where the schema has none.

    A time field of text (open topics: JSON has no datetimes) was read at append, and is in `_event_time`.
    """
    import polars as pl

    if schema.time is None or schema.time not in frame.columns:
        return None
    column = frame.get_column(schema.time)
    return column if isinstance(column.dtype, pl.Datetime) else None


def _metadata(name: str, batch: StoredBatch, source: pl.DataFrame) -> pl.Series:
    import polars as pl

    match name:
        case "_partition":
            return _constant(name, batch.partition, batch.count, pl.Int32())
        case "_offset":
            return pl.int_range(batch.offset, batch.end_offset, dtype=pl.Int64(), eager=True).alias(name)
        case _:
            return source.get_column(name)


# --- reading an older schema as a newer one --------------------------------------------------------------------------


def evolve(frame: pl.DataFrame, written: tuple[Field, ...], current: tuple[Field, ...], count: int) -> list[pl.Series]:
    """Return the stored columns of `current` from those that were written."""
    before = {field.name: field for field in written}
    made = []
    for field in current:
        was = before.get(field.name)
        if was is None:
            made.append(_constant(field.name, stored_default(field), count, dtype(field.type, stored=True)))
        else:
            made.append(_evolved(frame.get_column(field.name), was, field))
    return made


def _evolved(column: pl.Series, was: Field, field: Field) -> pl.Series:
    if was.type != field.type:
        column = _widened(column, was.type, field.type)
    # A record that lacked a field that is still not null: the default of today.
    if not field.type.nullable and column.null_count() and field.default is not None and not was.required:
        there = column.is_not_null()
        filler = _constant(field.name, stored_default(field), column.len(), column.dtype)
        column = column.zip_with(there, filler)
    return column


def _widened(column: pl.Series, was: FieldType, type: FieldType) -> pl.Series:
    import polars as pl

    wanted = dtype(type, stored=True)
    if was.kind is Kind.NULL:
        return _constant(column.name, None, column.len(), wanted)
    if type.kind is Kind.STRUCT:
        inner = column.struct.unnest()
        made = pl.DataFrame(evolve(inner, was.fields, type.fields, column.len())).to_struct(column.name)
        return stored.mask(made, column.is_not_null()) if column.null_count() else made
    if type.kind is Kind.LIST:
        assert was.item is not None
        assert type.item is not None
        lengths = column.list.len().to_list()
        items = _widened(stored.items_of(column), was.item, type.item)
        return stored.nest(column.name, items, lengths)
    return column if column.dtype == wanted else column.cast(wanted)


def stored_default(field: Field) -> Any:
    """Return what a record that lacks the field has, as Polars takes it; None where there is nothing fixed."""
    if field.default is None:
        return None
    record: Any = storage_type(Schema(fields=(field,)), Form.COLUMNS)
    lacking = msgspec.msgpack.decode(b"\x80", type=record)
    column = stored.series(field.name, [lacking.f0], field.type)
    return column.item()


# --- JSON as text ----------------------------------------------------------------------------------------------------


def readable(column: pl.Series, type: FieldType) -> pl.Series:
    """Return a stored column as readers see it: JSON as text."""
    return _json_text(column, type) if has_json(type) else column


def _json_text(column: pl.Series, type: FieldType) -> pl.Series:
    import polars as pl

    if type.kind is Kind.JSON:
        return pl.Series(column.name, list(map(json_text, column.to_list())), dtype=pl.String())
    if type.kind is Kind.STRUCT:
        inner = column.struct.unnest()
        members = [readable(inner.get_column(field.name), field.type) for field in type.fields]
        made = pl.DataFrame(members).to_struct(column.name)
        return stored.mask(made, column.is_not_null()) if column.null_count() else made
    assert type.item is not None
    items = readable(stored.items_of(column), type.item)
    return stored.nest(column.name, items, column.list.len().to_list())


def json_text(data: bytes | None) -> str | None:
    """Return stored JSON as text: bytes in base64, times in ISO 8601, NaN and infinities as null."""
    if data is None:
        return None
    value = msgspec.msgpack.decode(data)
    try:
        return msgspec.json.encode(value).decode()
    except (TypeError, ValueError):
        # Keys that JSON has no spelling for, msgpack extensions: as Python spells them.
        return msgspec.json.encode(_spelled(value)).decode()


def _spelled(value: Any) -> Any:
    if isinstance(value, dict):
        return {key if isinstance(key, str) else str(key): _spelled(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_spelled(entry) for entry in value]
    if isinstance(value, msgspec.msgpack.Ext):
        return {"code": value.code, "data": bytes(value.data)}
    return value
