"""Gives fields one value for all events of a reading, or none."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Final

import msgspec

from millstream.logs.steps.members import (
    is_plain,
    is_plain_name,
    none_if_empty,
    with_member,
    with_members,
    without_member,
)
from millstream.logs.steps.step import Step

if TYPE_CHECKING:
    import polars as pl

FURTHER: Final = "fields."
"""In front of a name that is one of `fields`."""

Values = Mapping[str, str | None]


class Setting(Step):
    """Sets fields to a text, or makes them empty."""

    def __init__(self, values: Callable[[datetime], Values]) -> None:
        """Take what gives the values, by name, at the time of reading."""
        self._values = values

    def apply(self, frame: pl.DataFrame, *, now: datetime) -> pl.DataFrame:
        import polars as pl

        values = self._values(now)
        own = {name: value for name, value in values.items() if not name.startswith(FURTHER)}
        further = {name.removeprefix(FURTHER): value for name, value in values.items() if name.startswith(FURTHER)}
        said = {name: empty_of(name) if value is None else value for name, value in own.items()}
        changed = frame.with_columns(pl.lit(value, pl.String).alias(name) for name, value in said.items())
        return changed.with_columns(_with_further(frame.get_column("fields"), further)) if further else changed


def empty_of(name: str) -> str | None:
    """Return what a field is that says nothing: an event always has a message."""
    return "" if name == "message" else None


def _with_further(fields: pl.Series, values: Values) -> pl.Series:
    import polars as pl

    said = {name: None if value is None else msgspec.json.encode(value) for name, value in values.items()}
    if not all(is_plain_name(name) for name in said):
        return pl.Series(fields.name, [with_members(text, said) for text in fields], dtype=pl.String)
    changed = fields
    for name in said:
        changed = without_member(changed, name)
    for name, value in said.items():
        if value is not None:
            changed = with_member(changed, name, pl.Series([value.decode()]))
    changed = none_if_empty(changed)
    places = (~is_plain(fields)).arg_true()
    if not places.len():
        return changed
    odd = [with_members(text, said) for text in fields.gather(places)]
    return changed.clone().scatter(places, pl.Series(odd, dtype=pl.String))
