"""Moves what fields say to other fields."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from millstream.logs.names import Name, value_of
from millstream.logs.steps.members import (
    are_odd,
    are_plain_names,
    member,
    member_of_text,
    text_of_member,
    with_plain_values,
    without_member,
)
from millstream.logs.steps.objects import object_of, put, take, text_of, text_of_object
from millstream.logs.steps.setting import empty_of
from millstream.logs.steps.step import Step

if TYPE_CHECKING:
    import polars as pl


class Renaming(Step):
    """Moves fields. All are taken at once, so that two may change places; of several to one the last one counts."""

    def __init__(self, names: Mapping[Name, Name]) -> None:
        """Take the new name of each."""
        self._names = dict(names)
        every = [*names, *names.values()]
        self._own = list(dict.fromkeys(name for name in every if not name.path))
        self._further = list(dict.fromkeys(name for name in every if name.path))
        self._columns = [*(name.column for name in self._own), *(["fields"] if self._further else [])]

    def apply(self, frame: pl.DataFrame, *, now: datetime) -> pl.DataFrame:
        used = frame.select(self._columns)
        if not self._further:
            return frame.with_columns(self._of_plain(used).get_columns())
        if not are_plain_names(self._further):
            return frame.with_columns(self._of_odd(used).get_columns())
        fields = used.get_column("fields")
        places = are_odd(fields, self._further)
        if not places.len():
            return frame.with_columns(self._of_plain(used).get_columns())
        changed = self._of_plain(used.with_columns(fields.clone().scatter(places, None)))
        odd = self._of_odd(used[places])
        return frame.with_columns(
            column.scatter(places, odd.get_column(column.name)) for column in changed.get_columns()
        )

    def _of_plain(self, used: pl.DataFrame) -> pl.DataFrame:
        """Return the columns that change, where all `fields` are plain."""
        said: dict[Name, pl.Series] = {}
        for old, new in self._names.items():
            found = self._said(used, old, new)
            # The last that says something counts.
            said[new] = found if new not in said else found.zip_with(found.is_not_null(), said[new])
        members = {name: one for name, one in said.items() if name.path}
        changed = used.with_columns(self._own_column(name, said.get(name)) for name in self._own)
        return changed.with_columns(self._fields(used.get_column("fields"), members)) if self._further else changed

    def _said(self, used: pl.DataFrame, old: Name, new: Name) -> pl.Series:
        """Return what a field says, as the new one holds it."""
        if old.path:
            found = member(used.get_column("fields"), old.whole)
            return found if new.path else text_of_member(found)
        found = used.get_column(old.column)
        return member_of_text(found) if new.path else found

    def _own_column(self, name: Name, said: pl.Series | None) -> pl.Expr:
        import polars as pl

        column = name.column
        rest = pl.lit(empty_of(column), pl.String) if name in self._names else pl.col(column)
        return (rest if said is None else pl.coalesce(pl.lit(said), rest)).alias(column)

    def _fields(self, fields: pl.Series, said: Mapping[Name, pl.Series]) -> pl.Series:
        for name in self._names:
            if name.path:
                fields = without_member(fields, name.whole)
        return with_plain_values(fields, said)

    def _of_odd(self, used: pl.DataFrame) -> pl.DataFrame:
        """Return the columns that change, whatever `fields` look like."""
        import polars as pl

        rows = [self._row(row) for row in used.iter_rows(named=True)]
        return pl.DataFrame({name: [row[name] for row in rows] for name in self._columns}, schema=used.schema)

    def _row(self, row: dict[str, Any]) -> dict[str, Any]:
        inner = object_of(row["fields"]) if self._further else {}
        found = [(old, new, said) for old, new in self._names.items() if (said := _said(row, inner, old)) is not None]
        for old, _, _ in found:
            if old.path:
                take(inner, old)
            else:
                row[old.column] = empty_of(old.column)
        for _, new, said in found:
            if new.path:
                put(inner, new, said)
            else:
                row[new.column] = text_of(said)
        if any(old.path or new.path for old, new, _ in found):
            row["fields"] = text_of_object(inner)
        return row


def _said(row: Mapping[str, Any], inner: Mapping[str, Any], name: Name) -> Any:
    """Return what a field says, so that it stays as it is when something is taken out of it; None: it says nothing."""
    if not name.path:
        return row[name.column]
    value = value_of(inner, name)
    return copy.deepcopy(value) if isinstance(value, dict | list) else value
