"""The key of a record from columns: the text of one value, several as a JSON array, null as no key."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    import polars as pl


def key_series(frame: pl.DataFrame, columns: Sequence[str]) -> pl.Series:
    """Return the keys of a frame's rows. Binary, null where there is no column or the only one is null."""
    import polars as pl

    if not columns:
        return pl.Series("_key", [None], dtype=pl.Binary).new_from_index(0, frame.height)
    if len(columns) == 1:
        column = frame.get_column(columns[0])
        if column.dtype == pl.Binary:
            return column.alias("_key")
        if column.dtype == pl.String or column.dtype.is_integer():
            return column.cast(pl.String).cast(pl.Binary).alias("_key")
    return pl.Series("_key", [key_of(row) for row in frame.select(columns).iter_rows()], dtype=pl.Binary)


def key_of(values: tuple[Any, ...]) -> bytes | None:
    """Return the key of one row."""
    if len(values) > 1:
        return msgspec.json.encode(values)
    value = values[0]
    return None if value is None else str(value).encode()
