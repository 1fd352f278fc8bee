"""Fields made of others, by expressions of SQL."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Final

from millstream.errors import UsageError
from millstream.logs.names import Name
from millstream.logs.steps.changes import changed_name
from millstream.logs.steps.members import member_of_value, text_of_member, with_values
from millstream.logs.steps.step import TEXT_FIELDS, Step, StepTable
from millstream.logs.where import value
from millstream.parsers.log_event import Kind
from millstream.parsers.system_event import Severity

if TYPE_CHECKING:
    import polars as pl

NUMBERS: Final = ("pid", "source_port")
WORDS: Final = {"kind": tuple(Kind), "severity": tuple(Severity)}
"""Fields that are one of some words."""
COMPUTED: Final = (*(name for name in TEXT_FIELDS if name != "raw"), "action", "success", *WORDS, *NUMBERS)
_TRUTHS: Final = {"true": True, "false": False}


class ComputeTable(StepTable, frozen=True, kw_only=True, tag="compute"):
    """Fields as SQL makes them of an event; where that is null, the field stays as it is."""

    values: dict[str, str]

    def check(self) -> None:
        super().check()
        for name, expr in self._values().items():
            _check_constant(name, expr)

    def open(self, environment: Mapping[str, str]) -> Step:
        return Computing(self._values())

    def _values(self) -> Mapping[Name, pl.Expr]:
        if not self.values:
            raise UsageError('values is empty; give fields and what they are, such as { user = "lower(user)" }')
        return {
            changed_name(name, "values", COMPUTED): value(text, what=f"values, {name}")
            for name, text in self.values.items()
        }


class Computing(Step):
    """Makes fields of others. All see the event as it was before."""

    def __init__(self, values: Mapping[Name, pl.Expr]) -> None:
        self._values = values

    def apply(self, frame: pl.DataFrame, *, now: datetime) -> pl.DataFrame:
        import polars as pl

        exprs = (expr.alias(f"value {place}") for place, expr in enumerate(self._values.values()))
        _, *made = frame.select(pl.col("time"), *exprs).get_columns()
        said = dict(zip(self._values, made, strict=True))
        own = [
            _of_column(name.column, one).fill_null(frame.get_column(name.column)).alias(name.column)
            for name, one in said.items()
            if not name.path
        ]
        further = {name: member_of_value(one) for name, one in said.items() if name.path}
        fields = [with_values(frame.get_column("fields"), further)] if further else []
        return frame.with_columns(*own, *fields)


def _of_column(name: str, values: pl.Series) -> pl.Series:
    """Return values as a field has them; null where they cannot be."""
    import polars as pl

    if name in NUMBERS:
        return values.cast(pl.Int64, strict=False)
    if name == "success":
        if values.dtype != pl.String:
            return values.cast(pl.Boolean, strict=False)
        return values.replace_strict(list(_TRUTHS), list(_TRUTHS.values()), default=None, return_dtype=pl.Boolean)
    texts = values if values.dtype == pl.String else text_of_member(member_of_value(values))
    if name in WORDS:
        return texts.zip_with(texts.is_in([str(word) for word in WORDS[name]]), texts.clear(len(texts)))
    return texts


def _check_constant(name: Name, expr: pl.Expr) -> None:
    """Look at a value that is the same for all events.

    Raises:
        UsageError: Its field cannot have it.
    """
    import polars as pl

    if name.path or expr.meta.root_names():
        return
    given = pl.select(expr.alias("given")).to_series()
    if given.null_count() or _of_column(name.column, given).null_count():
        words = WORDS.get(name.column, ("a whole number",) if name.column in NUMBERS else ("true", "false"))
        raise UsageError(f"values: {name.column} cannot be {given[0]!r}; it is {', '.join(words)}")
