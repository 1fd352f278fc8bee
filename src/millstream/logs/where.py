"""Conditions on events: SQL over the fields of a `LogEvent`.

    kind = 'login' AND NOT success AND user IN ('root', 'admin')

Source: the expressions of Polars SQL.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import msgspec

from millstream.errors import UsageError
from millstream.parsers.log_event import LogEvent

if TYPE_CHECKING:
    import polars as pl

FIELDS: Final = LogEvent.__struct_fields__
"""What a condition may name, and a message."""

_TOKEN: Final = re.compile(r"'(?:[^']|'')*'|\"[^\"]*\"|[A-Za-z_][A-Za-z_0-9]*|.", re.DOTALL)


def condition(text: str, *, what: str = "where", of: type[msgspec.Struct] = LogEvent) -> pl.Expr:
    """Return a condition as a Polars expression.

    Args:
        what: For messages: where it is written.
        of: The Struct that it is about.

    Raises:
        UsageError: It is no SQL expression, or names something that events do not have.
    """
    import polars as pl

    # Some fields are words of SQL (`user`): every field is meant as a name.
    fields = of.__struct_fields__
    names = {*fields, *FIELDS}
    quoted = _TOKEN.sub(lambda token: f'"{token[0]}"' if token[0] in names else token[0], text)
    try:
        found = pl.sql_expr(quoted)
        used = found.meta.root_names()
        unknown = sorted(set(used) - set(fields))
        if unknown:
            many = "events" if of is LogEvent else f"{of.__name__.lower()}s"
            raise UsageError(f"{what}: {many} have no field {unknown[0]!r} in {text!r}; they have {', '.join(fields)}")
        _empty(of).select(found.cast(pl.Boolean)).collect()
    except pl.exceptions.PolarsError as error:
        reason = str(error).splitlines()[0]
        raise UsageError(f"{what}: {text!r} is no condition: {reason}; write SQL such as kind = 'login'") from error
    # What names no field is one value for all events; a stream wants one for each.
    return found if used else found & pl.col("time").is_not_null()


def _empty(of: type[msgspec.Struct]) -> pl.LazyFrame:
    import polars as pl

    from millstream.log.frames import frame_schema
    from millstream.log.types import schema_of

    return pl.LazyFrame(schema=frame_schema(schema_of(of, time="time")))
