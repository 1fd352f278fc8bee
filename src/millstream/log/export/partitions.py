"""Files by day or by a column, in folders as Hive names them: `day=2024-01-31/`, `country=CH/`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from millstream.errors import UsageError

if TYPE_CHECKING:
    import polars as pl

_CALL: Final = re.compile(r"(\w+)\((.+)\)\Z")
_UNITS: Final = {"year": "%Y", "month": "%Y-%m", "day": "%Y-%m-%d", "hour": "%Y-%m-%dT%H"}
_TIMES: Final = {"event_time": "_event_time", "append_time": "_append_time"}


def keys_of(by: str | Sequence[str], schema: pl.Schema) -> list[pl.Expr]:
    """Return what `by` says as expressions: `day(event_time)`, `hour(field)`, or the names of columns.

    Raises:
        UsageError: It names no column, a column that is no time, or no unit of time.
    """
    return [_key(one, schema) for one in ([by] if isinstance(by, str) else by)]


def _key(by: str, schema: pl.Schema) -> pl.Expr:
    import polars as pl

    call = _CALL.match(by)
    if call is None:
        _check(by, schema)
        if isinstance(schema[by], (pl.Struct, pl.List, pl.Binary)):
            raise UsageError(f"files cannot be by {by!r}, which is {schema[by]}; take text, numbers or times")
        return pl.col(by)
    unit, field = call[1], _TIMES.get(call[2], call[2])
    if unit not in _UNITS:
        raise UsageError(f"files are by {', '.join(_UNITS)} of a time, or by a column; not by {by!r}")
    _check(field, schema)
    if not isinstance(schema[field], (pl.Datetime, pl.Date)):
        raise UsageError(f"{by!r}: {field!r} is {schema[field]}, not a time")
    name = unit if unit not in schema else f"{unit}_of_{call[2]}"
    return pl.col(field).dt.to_string(_UNITS[unit]).alias(name)


def _check(name: str, schema: pl.Schema) -> None:
    if name not in schema:
        raise UsageError(f"there is no column {name!r} to make files by; there are {', '.join(schema)}")
