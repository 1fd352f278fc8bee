"""Record batches of a topic: from values to what an engine keeps, and back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import repeat
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

import msgspec

from millstream import limits
from millstream.errors import SchemaError
from millstream.log import columns as stored
from millstream.log.frames import first_of, frame_of, key_column, stored_frame
from millstream.log.intake import check_frame
from millstream.log.objects import ObjectCoding
from millstream.log.row_runs import BatchRun
from millstream.log.rows import RecordMeta, RowCoding, check_count, decode_meta, encode_meta, split
from millstream.log.schema import Schema
from millstream.log.values import ValueType
from millstream.records import Coding, EncodedBatch, Record, StoredBatch

if TYPE_CHECKING:
    import polars as pl

T = TypeVar("T")

_NO_HEADERS: Final[Mapping[str, bytes]] = MappingProxyType({})
"""Of all records without headers: read-only, so that one serves all."""


_FRAME_IN_ROWS_MAX: Final = 32
"""Up to so many rows, a frame costs less time and a tenth of the bytes as rows, whose neighbours are decoded as one."""


class BadRecord(msgspec.Struct, frozen=True):
    """A record that the topic's type refuses."""

    record: Record[bytes]
    """Its value is msgpack: a map by field name."""
    error: str


class RecordCoding(Generic[T]):
    """How one program reads and writes the records of one topic. Safe to use from many threads."""

    def __init__(self, schema: Schema, type: Any = None, *, topic: str = "", schema_id: int = 0) -> None:
        """Take the user's class; None or dict: values are dicts (bytes where the schema is raw)."""
        self.schema = schema
        self.schema_id = schema_id
        self.topic = topic
        self._values: ValueType[T] = ValueType(schema, type, topic=topic)
        self._rows = RowCoding(self._values)
        self._objects = ObjectCoding(self._values)
        self.complete = not schema.open and (schema.raw or schema_id != 0)
        """Values are written with it as it is: it is registered, and no value can widen it."""
        self._untimed = schema.time is None

    @property
    def type(self) -> Any:
        """The class of the values: the user's, dict or bytes."""
        return self._values.type

    def keys(self, values: Sequence[T]) -> list[bytes | None] | None:
        """Return the key of each value, None where the schema has no key field."""
        return self._values.keys(values)

    def event_times(self, values: Sequence[T]) -> list[int | None] | None:
        """Return the event time of each value in us (None: its append time); None where there is no time field."""
        return self._values.event_times(values)

    def encode(
        self,
        values: Sequence[T],
        *,
        keys: Sequence[bytes | None] | None = None,
        times: Sequence[int | None] | None = None,
        headers: Sequence[Mapping[str, bytes] | None] | None = None,
        coding: Coding | None = None,
    ) -> EncodedBatch:
        """Return values as one batch, validated: what is accepted here, every reader can read.

        Args:
            keys: One for each value, in place of the key field; None as an entry takes the key field.
            times: Event times in us, the same way.
            headers: One mapping for each value.
            coding: None is rows below `limits.ROWS_RECORDS_MAX` records, and columns from there on.

        The event time range of the batch is of the times known here: where an entry has none, its event time is its
        append time, which readers of the range have to allow for.

        Raises:
            SchemaError: A value does not fit; `index` is its place. Nothing was encoded.
        """
        if not isinstance(values, (list, tuple)):
            values = list(values)
        plain = coding is None and keys is None and times is None and headers is None
        if plain and self._untimed and len(values) < limits.ROWS_RECORDS_MAX:
            # What is appended one by one, in few steps.
            return EncodedBatch(Coding.ROWS, len(values), self._rows.encode(values), None, self.schema_id)
        if coding is None:
            coding = Coding.ROWS if len(values) < limits.ROWS_RECORDS_MAX else Coding.COLUMNS
        if coding is Coding.COLUMNS:
            frame = self._frame(values)
            if self._values.time_is_text:
                times = _overlay(times, self.event_times(values))
            return self._encode_frame(frame, len(values), keys, times, headers)
        data = self._rows.encode(values)
        if self._values.time_is_text:
            times = _overlay(times, self.event_times(values))
        if times is None:
            low, high = self._values.event_time_range(values)
        else:
            low, high = _range(_overlay(times, self.event_times(values)))
        return EncodedBatch(
            coding=Coding.ROWS,
            count=len(values),
            data=data,
            meta=encode_meta(len(values), keys, times, headers),
            schema_id=self.schema_id,
            event_time_min_us=low,
            event_time_max_us=high,
        )

    def _frame(self, values: Sequence[T]) -> pl.DataFrame:
        """Return the stored frame of values, validated."""
        if wrong := self._values.wrong_type(values):
            raise wrong
        try:
            return stored.direct_frame(values, self._values)
        except stored.NotDirect:
            return stored.frame_of_rows(self._rows.encode(values), len(values), self.schema)

    def check_frame(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return a user's frame as a stored frame, for `encode_frame` (slices of it, too); see `intake.check_frame`."""
        return check_frame(frame, self.schema, topic=self.topic, json_types=self._values.json_types)

    def frame_key_column(self, frame: pl.DataFrame) -> pl.Series | None:
        """Return the key of each row of a stored frame, None where there are none."""
        there = [
            column for column in (_carried(frame, stored.KEY), key_column(frame, self.schema)) if column is not None
        ]
        return first_of(there, stored.KEY) if there else None

    def other_keys(self, frame: pl.DataFrame) -> Iterator[tuple[int, bytes, bytes]]:
        """Yield the place, `_key` and key field's value of the rows of a stored frame in which these differ."""
        given, own = _carried(frame, stored.KEY), key_column(frame, self.schema)
        if given is None or own is None:
            return
        for place in (given != own).fill_null(value=False).arg_true():
            yield place, given[place], own[place]

    def encode_frame(
        self,
        frame: pl.DataFrame,
        *,
        keys: Sequence[bytes | None] | None = None,
        times: Sequence[int | None] | None = None,
        headers: Sequence[Mapping[str, bytes] | None] | None = None,
    ) -> EncodedBatch:
        """Return a stored frame (of `check_frame`) as one batch: of columns, or of rows where it is small."""
        nothing_given = keys is None and times is None and headers is None
        if nothing_given and 0 < frame.height <= _FRAME_IN_ROWS_MAX and not self.schema.raw:
            try:
                return self._encode_rows_of(frame)
            except (SchemaError, ValueError, OverflowError):
                pass  # Columns hold what Python has no value for, such as the year 20000.
        return self._encode_frame(frame, frame.height, keys, times, headers)

    def _encode_rows_of(self, frame: pl.DataFrame) -> EncodedBatch:
        import polars as pl

        # By dicts: the user's class need not be made of what was columns a moment ago.
        plain: RecordCoding[Any] = self if self._values.type is dict else RecordCoding(self.schema)
        keys, times, headers = (_carried(frame, name) for name in (stored.KEY, stored.EVENT_TIME, stored.HEADERS))
        batch = plain.encode(
            plain._objects.decode(frame, self.schema),
            keys=None if keys is None else keys.to_list(),
            times=None if times is None else times.cast(pl.Int64).to_list(),
            headers=None if headers is None else list(map(_headers, headers)),
            coding=Coding.ROWS,
        )
        return msgspec.structs.replace(batch, schema_id=self.schema_id)

    def _encode_frame(
        self,
        frame: pl.DataFrame,
        count: int,
        keys: Sequence[bytes | None] | None,
        times: Sequence[int | None] | None,
        headers: Sequence[Mapping[str, bytes] | None] | None,
    ) -> EncodedBatch:
        """Take the number of records too: a frame of records without fields has no height."""
        import polars as pl

        for column in (keys, times, headers):
            check_count(column, count)
        extra: list[pl.Series] = []
        if keys is not None and any(key is not None for key in keys):
            given = pl.Series(stored.KEY, keys, dtype=pl.Binary())
            extra.append(first_of([given, _carried(frame, stored.KEY), key_column(frame, self.schema)], stored.KEY))
        if times is not None and any(moment is not None for moment in times):
            given = stored.instants(stored.EVENT_TIME, times)
            extra.append(first_of([given, _carried(frame, stored.EVENT_TIME)], stored.EVENT_TIME))
        if headers is not None and any(headers):
            encoded = [msgspec.msgpack.encode(entry) if entry else None for entry in headers]
            given = pl.Series(stored.HEADERS, encoded, dtype=pl.Binary())
            extra.append(first_of([given, _carried(frame, stored.HEADERS)], stored.HEADERS))
        whole = frame.with_columns(extra) if frame.width else pl.DataFrame(extra)
        low, high = self._frame_range(whole)
        return EncodedBatch(
            coding=Coding.COLUMNS,
            count=count,
            data=stored.write(whole),
            schema_id=self.schema_id,
            event_time_min_us=low,
            event_time_max_us=high,
        )

    def _frame_range(self, frame: pl.DataFrame) -> tuple[int | None, int | None]:
        import polars as pl

        names = [name for name in (stored.EVENT_TIME, self.schema.time) if name in frame.columns]
        found = [frame.get_column(name) for name in names if isinstance(frame.schema[name], pl.Datetime)]
        if not found:
            return None, None
        moments = found[0] if len(found) == 1 else found[0].zip_with(found[0].is_not_null(), found[1])
        low, high = moments.cast(pl.Int64).min(), moments.cast(pl.Int64).max()
        return (low, high) if isinstance(low, int) and isinstance(high, int) else (None, None)

    # --- reading -----------------------------------------------------------------------------------------------------

    def frame(
        self, batch: StoredBatch | BatchRun, written: Schema, columns: Sequence[str] | None = None
    ) -> pl.DataFrame:
        """Return a batch (or adjacent ones of `written` as a run) as readers of frames see it; see `frame_of`."""
        return frame_of(batch, written, self.schema, columns)

    def values(self, run: BatchRun, written: Schema) -> tuple[list[T], pl.DataFrame]:
        """Return the values of a batch or run, and its metadata columns as a frame.

        Raises:
            SchemaError: The topic's type refuses one of them.
        """
        import polars as pl

        batch = run.batch
        if batch.coding is Coding.ROWS:
            values = self._rows.decode(batch.data, batch.count, written)
            metadata = stored_frame(run, written, (), stored.METADATA)
        else:
            metadata = stored_frame(run, written, written.names, stored.METADATA)
            values = self._objects.decode(metadata, written)
        offsets = pl.int_range(batch.offset, batch.end_offset, dtype=pl.Int64(), eager=True).alias("_offset")
        return values, pl.DataFrame([*map(metadata.get_column, stored.METADATA), offsets])

    def records(self, batch: StoredBatch, written: Schema) -> list[Record[T]]:
        """Return all records of a batch.

        Raises:
            SchemaError: The topic's type refuses one of them.
        """
        if batch.coding is Coding.ROWS:
            values = self._rows.decode(batch.data, batch.count, written)
            return self._assemble(batch, values, self._row_metadata(batch, values, written))
        frame = stored_frame(batch, written, written.names, stored.METADATA)
        values = self._objects.decode(frame, written)
        return self._assemble(batch, values, _frame_metadata(frame))

    def records_each(self, batch: StoredBatch, written: Schema) -> list[Record[T] | BadRecord]:
        """Return all records of a batch; those that the topic's type refuses as `BadRecord`."""
        try:
            return list(self.records(batch, written))
        except Exception:  # noqa: BLE001 - the user's __post_init__ may raise anything; found one by one below
            frame = stored_frame(batch, written, written.names, stored.METADATA)
        if batch.coding is Coding.ROWS:
            values = self._rows.decode_each(batch.data, batch.count, written)
            raws = split(batch.data, batch.count)
        else:
            values = self._objects.decode_each(frame, written)
            plain: RecordCoding[Any] = RecordCoding(written)
            raws = split(plain._rows.encode(plain._objects.decode(frame, written)), batch.count)
        records = self._assemble(batch, values, _frame_metadata(frame))
        each: list[Record[T] | BadRecord] = []
        for record, raw in zip(records, raws, strict=True):
            value: Any = record.value
            if isinstance(value, SchemaError):
                each.append(BadRecord(msgspec.structs.replace(record, value=raw), str(value)))
            else:
                each.append(record)
        return each

    def _row_metadata(self, batch: StoredBatch, values: list[T], written: Schema) -> tuple[list[Any], ...]:
        count = batch.count
        if written.key != self.schema.key or written.time != self.schema.time:
            return _frame_metadata(stored_frame(batch, written, (), stored.METADATA))
        keys: list[bytes | None] = self.keys(values) or [None] * count
        times: list[int | None] = self.event_times(values) or [None] * count
        headers: list[Mapping[str, bytes]]
        if batch.meta is not None:
            given: list[RecordMeta] = decode_meta(batch.meta, count)
            keys = [key if entry[0] is None else entry[0] for entry, key in zip(given, keys, strict=True)]
            times = [moment if entry[1] is None else entry[1] for entry, moment in zip(given, times, strict=True)]
            headers = [entry[2] or _NO_HEADERS for entry in given]
        else:
            headers = [_NO_HEADERS] * count
        appended = batch.append_time_us
        event = [appended if moment is None else moment for moment in times]
        return keys, headers, event, [appended] * count

    def _assemble(self, batch: StoredBatch, values: Any, metadata: tuple[list[Any], ...]) -> list[Any]:
        offsets = range(batch.offset, batch.end_offset)
        return list(map(Record, repeat(self.topic), repeat(batch.partition), offsets, values, *metadata))


def _frame_metadata(frame: pl.DataFrame) -> tuple[list[Any], ...]:
    """Return keys, headers, event times and append times of a stored frame."""
    import polars as pl

    return (
        frame.get_column(stored.KEY).to_list(),
        [_headers(entry) or _NO_HEADERS for entry in frame.get_column(stored.HEADERS).to_list()],
        frame.get_column(stored.EVENT_TIME).cast(pl.Int64).to_list(),
        frame.get_column(stored.APPEND_TIME).cast(pl.Int64).to_list(),
    )


def _carried(frame: pl.DataFrame, name: str) -> pl.Series | None:
    return frame.get_column(name) if name in frame.columns else None


def _headers(entry: bytes | None) -> dict[str, bytes] | None:
    return None if entry is None else msgspec.msgpack.decode(entry)


def _overlay(given: Sequence[int | None] | None, derived: Sequence[int | None] | None) -> Sequence[int | None]:
    if given is None or derived is None:
        return (derived if given is None else given) or ()
    return [second if first is None else first for first, second in zip(given, derived, strict=True)]


def _range(times: Sequence[int | None]) -> tuple[int | None, int | None]:
    known = [moment for moment in times if moment is not None]
    return (min(known), max(known)) if known else (None, None)
