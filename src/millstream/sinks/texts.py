"""Rows as text: lines of JSON, cells of CSV. Times are RFC 3339 in UTC, bytes base64, durations ISO 8601.

What is JSON in a column (a dict, any value) is part of a line as it is, not a text in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

import msgspec

from millstream.log.schema import FieldType, Kind
from millstream.sinks.rows import Rows, dicts_of

if TYPE_CHECKING:
    import polars as pl

_MOMENT: Final = "%Y-%m-%dT%H:%M:%S%.f"
"""As much of the fraction as there is."""

_FEW: Final = 100
"""Rows that are written faster one by one: a query for each run of columns takes as long as 100 rows of 28."""

_ROWS_AT_ONCE: Final = 8192
"""Cut and joined together: a few MB of text, whose memory the next ones reuse; 100,000 at once take half as long again.
"""


def json_lines(rows: Rows) -> bytes:
    """Return a line of JSON for each row; UTF-8.

    Raises:
        UsageError: The values have no fields.
    """
    if rows.objects is not None:
        return b"".join(json_list(rows.objects))
    frame = as_texts(rows.columns())
    json = {name: type for name, type in rows.json.items() if name in frame.columns}
    if not json and not any(map(_has_bytes, frame.dtypes)):
        return frame.write_ndjson().encode()
    if _is_for_dicts(frame, json):
        return b"".join(json_list(dicts_of(frame, json, _raw)))
    return _spliced(frame, json.keys())


def _is_for_dicts(frame: pl.DataFrame, json: Mapping[str, FieldType]) -> bool:
    """Return whether row by row it goes at all, or faster, where the text is the same either way."""
    if any(map(_has_bytes, frame.dtypes)) or any(type.kind is not Kind.JSON for type in json.values()):
        return True
    return frame.height <= _FEW and all(map(_is_plain, frame.dtypes))


def json_list(values: Iterable[Any]) -> list[bytes]:
    """Return each value as a line of JSON."""
    encode = msgspec.json.Encoder().encode_lines
    return encode(values).splitlines(keepends=True)


def _spliced(frame: pl.DataFrame, json: AbstractSet[str]) -> bytes:
    """Return lines of JSON, as `write_ndjson` does, with the text of some columns as it is.

    Polars writes the columns between them as objects, of which the members are taken: nothing is decoded.
    """
    import polars as pl

    made: list[bytes] = []
    for part in frame.iter_slices(_ROWS_AT_ONCE):
        members = pl.DataFrame([column.alias(str(place)) for place, column in enumerate(_members(part, json))])
        lines = pl.concat_str(pl.all(), separator=",").str.join("}\n{").cast(pl.Binary)
        made += b"{", members.select(lines).item(), b"}\n"
    return b"".join(made)


def _members(frame: pl.DataFrame, json: AbstractSet[str]) -> Iterator[pl.Series]:
    """Return the members of each row's object, in order: those of adjacent columns together."""
    import polars as pl

    for is_json, columns in groupby(frame, key=lambda column: column.name in json):
        if not is_json:
            objects = pl.DataFrame(list(columns)).to_struct("object")
            yield objects.struct.json_encode().str.strip_prefix("{").str.strip_suffix("}")
            continue
        for column in columns:
            name = msgspec.json.encode(column.name).decode()
            yield f"{name}:" + column.cast(pl.String).fill_null("null")


def _raw(text: str) -> msgspec.Raw:
    return msgspec.Raw(text.encode())


def as_texts(frame: pl.DataFrame) -> pl.DataFrame:
    """Return the columns with texts in place of what text formats have no word for."""
    import polars as pl

    texts = []
    for name, dtype in frame.schema.items():
        column = pl.col(name)
        if isinstance(dtype, pl.Datetime):
            moment = column if dtype.time_zone is None else column.dt.convert_time_zone("UTC")
            texts.append(moment.dt.to_string(_MOMENT + ("" if dtype.time_zone is None else "Z")))
        elif dtype == pl.Binary:
            texts.append(column.bin.encode("base64"))
        elif dtype == pl.Duration:
            texts.append(column.dt.to_string("iso"))
    return frame.with_columns(texts) if texts else frame


def _is_plain(dtype: pl.DataType) -> bool:
    """Return whether Python's values and Polars' columns are the same text as JSON; floats are not (1e300, 1e+300)."""
    import polars as pl

    if isinstance(dtype, pl.List):
        return _is_plain(_known(dtype.inner))
    return dtype in (pl.String, pl.Int64, pl.Int32, pl.Boolean, pl.Null)


def _has_bytes(dtype: pl.DataType) -> bool:
    import polars as pl

    if isinstance(dtype, pl.Struct):
        return any(_has_bytes(_known(field.dtype)) for field in dtype.fields)
    if isinstance(dtype, pl.List | pl.Array):
        return _has_bytes(_known(dtype.inner))
    return dtype == pl.Binary


def _known(dtype: object) -> pl.DataType:
    import polars as pl

    assert isinstance(dtype, pl.DataType)
    return dtype
