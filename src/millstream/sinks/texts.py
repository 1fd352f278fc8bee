"""Rows as text: lines of JSON, cells of CSV. Times are RFC 3339 in UTC, bytes base64, durations ISO 8601."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

import msgspec

from millstream.sinks.rows import Rows

if TYPE_CHECKING:
    import polars as pl

_MOMENT: Final = "%Y-%m-%dT%H:%M:%S%.f"
"""As much of the fraction as there is."""


def json_lines(rows: Rows) -> bytes:
    """Return a line of JSON for each row; UTF-8.

    Raises:
        UsageError: The values have no fields.
    """
    if rows.objects is not None:
        return b"".join(json_list(rows.objects))
    frame = as_texts(rows.columns())
    if any(_has_bytes(dtype) for dtype in frame.schema.values()):
        return b"".join(json_list(frame.to_dicts()))
    return frame.write_ndjson().encode()


def json_list(values: Iterable[Any]) -> list[bytes]:
    """Return each value as a line of JSON."""
    encode = msgspec.json.Encoder().encode_lines
    return encode(values).splitlines(keepends=True)


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
