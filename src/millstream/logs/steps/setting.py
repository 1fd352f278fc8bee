"""Gives fields one value for all events of a reading, or none; leaves out what has no name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

from millstream.logs.names import Name
from millstream.logs.steps.members import (
    are_odd,
    are_plain_names,
    none_if_empty,
    under_all_of_it,
    with_named,
    without_member,
)
from millstream.logs.steps.objects import with_members, with_only
from millstream.logs.steps.step import Step

if TYPE_CHECKING:
    import polars as pl

Values = Mapping[Name, str | None]


class Setting(Step):
    """Sets fields to a text, or makes them empty."""

    def __init__(self, values: Callable[[datetime], Values]) -> None:
        """Take what gives the values, by name, at the time of reading."""
        self._values = values

    def apply(self, frame: pl.DataFrame, *, now: datetime) -> pl.DataFrame:
        import polars as pl

        values = self._values(now)
        further = {name: value for name, value in values.items() if name.path}
        own = {name.column: value for name, value in values.items() if not name.path}
        said = {name: empty_of(name) if value is None else value for name, value in own.items()}
        changed = frame.with_columns(pl.lit(value, pl.String).alias(name) for name, value in said.items())
        return changed.with_columns(_with_further(frame.get_column("fields"), further)) if further else changed


class Keeping(Step):
    """Leaves out all parts of `fields` but some."""

    def __init__(self, names: Sequence[Name]) -> None:
        self._names = names

    def apply(self, frame: pl.DataFrame, *, now: datetime) -> pl.DataFrame:
        import polars as pl

        fields = frame.get_column("fields")
        kept = [None if text is None else with_only(text, self._names) for text in fields]
        return frame.with_columns(pl.Series(fields.name, kept, dtype=pl.String))


def empty_of(name: str) -> str | None:
    """Return what a field is that says nothing: an event always has a message."""
    return "" if name == "message" else None


def _with_further(fields: pl.Series, values: Values) -> pl.Series:
    import polars as pl

    if not are_plain_names(values):
        return pl.Series(fields.name, [with_members(text, values) for text in fields], dtype=pl.String)
    changed = _with_named(fields, values)
    places = are_odd(fields, values)
    if not places.len():
        return changed
    odd = [with_members(text, values) for text in fields.gather(places)]
    return changed.clone().scatter(places, pl.Series(odd, dtype=pl.String))


def _with_named(fields: pl.Series, values: Values) -> pl.Series:
    """Return what `_with_further` does, of objects that are not odd."""
    import polars as pl

    said = {name: pl.Series([msgspec.json.encode(text).decode()]) for name, text in values.items() if text is not None}
    whole = {name: under_all_of_it(fields, name) for name in said if name.is_deep}
    changed = fields
    for name in values:
        changed = without_member(changed, name.whole)
    for name, value in said.items():
        changed = with_named(changed, name, value, whole.get(name))
    return none_if_empty(changed)
