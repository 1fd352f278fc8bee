"""Moves what fields say to other fields."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from millstream.logs.steps.members import (
    is_plain,
    is_plain_name,
    member,
    member_of_text,
    none_if_empty,
    text_of,
    text_of_member,
    with_member,
    without_member,
)
from millstream.logs.steps.setting import FURTHER, empty_of
from millstream.logs.steps.step import Step

if TYPE_CHECKING:
    import polars as pl


class Renaming(Step):
    """Moves fields. All are taken at once, so that two may change places; of several to one the last one counts."""

    def __init__(self, names: Mapping[str, str]) -> None:
        """Take the new name of each."""
        self._names = dict(names)
        every = [*names, *names.values()]
        self._own = list(dict.fromkeys(name for name in every if not name.startswith(FURTHER)))
        self._further = [name.removeprefix(FURTHER) for name in every if name.startswith(FURTHER)]
        self._columns = [*self._own, *(["fields"] if self._further else [])]

    def apply(self, frame: pl.DataFrame, *, now: datetime) -> pl.DataFrame:
        used = frame.select(self._columns)
        if not self._further:
            return frame.with_columns(self._of_plain(used).get_columns())
        if not all(is_plain_name(name) for name in self._further):
            return frame.with_columns(self._of_odd(used).get_columns())
        fields = used.get_column("fields")
        places = (~is_plain(fields)).arg_true()
        if not places.len():
            return frame.with_columns(self._of_plain(used).get_columns())
        changed = self._of_plain(used.with_columns(fields.clone().scatter(places, None)))
        odd = self._of_odd(used[places])
        return frame.with_columns(
            column.scatter(places, odd.get_column(column.name)) for column in changed.get_columns()
        )

    def _of_plain(self, used: pl.DataFrame) -> pl.DataFrame:
        """Return the columns that change, where all `fields` are plain."""
        said: dict[str, pl.Series] = {}
        for old, new in self._names.items():
            found = self._said(used, old, new)
            # The last that says something counts.
            said[new] = found if new not in said else found.zip_with(found.is_not_null(), said[new])
        texts = {name: one for name, one in said.items() if not name.startswith(FURTHER)}
        members = {name.removeprefix(FURTHER): one for name, one in said.items() if name.startswith(FURTHER)}
        changed = used.with_columns(self._own_column(name, texts.get(name)) for name in self._own)
        return changed.with_columns(self._fields(used.get_column("fields"), members)) if self._further else changed

    def _said(self, used: pl.DataFrame, old: str, new: str) -> pl.Series:
        """Return what a field says, as the new one holds it."""
        if old.startswith(FURTHER):
            found = member(used.get_column("fields"), old.removeprefix(FURTHER))
            return found if new.startswith(FURTHER) else text_of_member(found)
        found = used.get_column(old)
        return member_of_text(found) if new.startswith(FURTHER) else found

    def _own_column(self, name: str, said: pl.Series | None) -> pl.Expr:
        import polars as pl

        rest = pl.lit(empty_of(name), pl.String) if name in self._names else pl.col(name)
        return (rest if said is None else pl.coalesce(pl.lit(said), rest)).alias(name)

    def _fields(self, fields: pl.Series, said: Mapping[str, pl.Series]) -> pl.Series:
        for name in self._names:
            if name.startswith(FURTHER):
                fields = without_member(fields, name.removeprefix(FURTHER))
        for name, values in said.items():
            fields = without_member(fields, name).zip_with(values.is_not_null(), fields)
            fields = with_member(fields, name, values)
        return none_if_empty(fields)

    def _of_odd(self, used: pl.DataFrame) -> pl.DataFrame:
        """Return the columns that change, whatever `fields` look like."""
        import polars as pl

        rows = [self._row(row) for row in used.iter_rows(named=True)]
        return pl.DataFrame({name: [row[name] for row in rows] for name in self._columns}, schema=used.schema)

    def _row(self, row: Mapping[str, Any]) -> dict[str, Any]:
        fields = {} if row["fields"] is None else msgspec.json.decode(row["fields"])

        def said(name: str) -> Any:
            return fields.get(name.removeprefix(FURTHER)) if name.startswith(FURTHER) else row[name]

        found = {old: value for old in self._names if (value := said(old)) is not None}
        values = dict.fromkeys(found)
        for old, value in found.items():
            new = self._names[old]
            values[new] = value if new.startswith(FURTHER) else text_of(value)
        changed = {name: values.get(name, row[name]) for name in self._own}
        changed |= {name: empty_of(name) for name, value in changed.items() if value is None}
        further = {name.removeprefix(FURTHER): value for name, value in values.items() if name.startswith(FURTHER)}
        if not further:
            return {**changed, "fields": row["fields"]}
        kept = {name: value for name, value in {**fields, **further}.items() if value is not None}
        return {**changed, "fields": msgspec.json.encode(kept).decode() if kept else None}
