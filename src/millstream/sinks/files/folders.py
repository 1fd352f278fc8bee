"""Which folder a row goes to: `country=DE/date=2026-01-31/hour=12`, as Hive, Spark and DuckDB name them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias
from urllib.parse import quote

import msgspec

from millstream.errors import UsageError
from millstream.sinks.rows import Rows

if TYPE_CHECKING:
    import polars as pl

Every: TypeAlias = Literal["month", "day", "hour"]

_TIMES: Final[dict[str, tuple[tuple[str, str], ...]]] = {
    "month": (("month", "%Y-%m"),),
    "day": (("date", "%Y-%m-%d"),),
    "hour": (("date", "%Y-%m-%d"), ("hour", "%H")),
}
NULL: Final = "__HIVE_DEFAULT_PARTITION__"
"""What other readers take for null in a folder's name."""

_PLAIN: Final = " !$&'()+,;@"
"""What stays as it is in a folder's name, beside letters, digits and `_.-~`. A dot is not enough to leave a folder."""


class Folders(msgspec.Struct, frozen=True):
    """How rows are spread over folders."""

    by: tuple[str, ...] = ()
    """Columns; they are in the folders' names and not in the files."""
    every: Every | None = None
    """Of event time, in UTC."""

    def check(self, schema: pl.Schema) -> None:
        """Raise UsageError where a column is missing, or there is one of a name that is needed."""
        if missing := [name for name in self.by if name not in schema]:
            raise UsageError(f"by={', '.join(missing)}: there is no such column; there are {', '.join(schema)}")
        for name in self.by:
            if schema[name].is_nested() or schema[name].is_float():
                raise UsageError(
                    f"by={name!r} is {schema[name]}, which makes no folders; choose a text, number or date"
                )
        if clash := [name for name, _ in _TIMES.get(self.every or "", ()) if name in schema]:
            raise UsageError(
                f"every={self.every!r} names folders {clash[0]}=..., as a column is named already; rename the column"
            )

    def spread(self, rows: Rows) -> Iterator[tuple[str, Rows]]:
        """Return the rows of each folder, in order; folders in the order of their first row.

        Raises:
            UsageError: See `check`.
        """
        import polars as pl

        if not self.by and self.every is None:
            yield "", rows
            return
        frame = rows.frame()
        self.check(rows.columns().schema)
        levels = [pl.col(name).cast(pl.String).alias(f"/{name}") for name in self.by]
        levels += [pl.col("_event_time").dt.to_string(form).alias(f"/{name}") for name, form in self._times()]
        names = [f"/{name}" for name in (*self.by, *(name for name, _ in self._times()))]
        groups = frame.with_columns(levels).partition_by(names, as_dict=True, maintain_order=True)
        for values, group in groups.items():
            yield _folder(names, values), Rows.of(group.drop(names, *self.by), rows.json)

    def _times(self) -> tuple[tuple[str, str], ...]:
        return _TIMES[self.every] if self.every is not None else ()


def _folder(names: list[str], values: tuple[Any, ...]) -> str:
    return "/".join(
        f"{quote(name[1:], safe=_PLAIN)}={NULL if value is None else quote(value, safe=_PLAIN)}"
        for name, value in zip(names, values, strict=True)
    )
