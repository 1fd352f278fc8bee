"""Events of a rule that is about several conditions: which each meets, and by what it belongs to others."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from millstream.logs.names import FIELDS
from millstream.logs.rules import Part, Together
from millstream.logs.where import column_of, condition
from millstream.parsers.log_event import LogEvent

if TYPE_CHECKING:
    import polars as pl

    from millstream.stream import Stream

MET: Final = "met"
"""The column with the conditions that are met, a bit each."""


def with_parts(stream: Stream, one: Together, used: set[str]) -> Stream:
    """Go on with the events that meet a condition, with `met`, and columns `part_0`, ... where `by` has no own.

    Where the conditions have different names for what is common, an event is there once for each of these that it
    meets a condition of.

    Args:
        used: Columns that are wanted further on.
    """
    import polars as pl

    ways: list[list[str]] = []
    for part in one.parts:
        if part.by not in ways:
            ways.append(part.by)
    if ways == [one.by]:
        parts = {f"part_{place}": column_of(name) for place, name in enumerate(one.by) if name not in FIELDS}
        return stream.with_columns(**{MET: _met(one.parts, one.by)}, **parts).filter(pl.col(MET) > 0)
    met = {f"met_{way}": _met(one.parts, by) for way, by in enumerate(ways)}
    values = {f"way_{way}_{place}": _text_of(name) for way, by in enumerate(ways) for place, name in enumerate(by)}
    kept = sorted(used & set(FIELDS))
    return stream.with_columns(**met, **values).select(*kept, *met, *values).flat_map(_split(kept, len(ways), one))


def _met(parts: Sequence[Part], by: Sequence[str]) -> pl.Expr:
    """Return which conditions with these names an event meets."""
    import polars as pl

    bits = [
        condition(part.where).fill_null(value=False).cast(pl.Int64) * (1 << bit)
        for bit, part in enumerate(parts)
        if part.by == by
    ]
    return functools.reduce(operator.add, bits)


def _text_of(name: str) -> pl.Expr:
    """Return a field as text: what is a number in one event is compared with what is a text in another."""
    import polars as pl

    return column_of(name).cast(pl.String)


def _split(kept: Sequence[str], ways: int, one: Together) -> Callable[[Any], list[Any]]:
    """Return what makes of an event one for each way in which it belongs to others."""
    types = {field.name: field.type for field in msgspec.structs.fields(LogEvent)}
    types["fields"] = str | None
    parts = range(len(one.by))
    names = [(name, types[name]) for name in kept]
    own = [(MET, int), *((f"part_{place}", str | None) for place in parts)]
    member = msgspec.defstruct("Member", [*names, *own])

    def split(value: Any) -> list[Any]:
        of_event = {name: getattr(value, name) for name in kept}
        return [
            member(
                **of_event,
                met=getattr(value, f"met_{way}"),
                **{f"part_{place}": getattr(value, f"way_{way}_{place}") for place in parts},
            )
            for way in range(ways)
            if getattr(value, f"met_{way}")
        ]

    # What comes out has no name that could be written.
    split.__annotations__["return"] = list[member]  # type: ignore[valid-type]
    return split
