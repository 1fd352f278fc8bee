"""An aggregate as it is written: `sum_("load_ms")`. What computes it is found when the columns are known."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from millstream.errors import UsageError
from millstream.stream.needs import Needs, roots_of

if TYPE_CHECKING:
    import polars as pl


class UserFunctions(msgspec.Struct, frozen=True):
    """The functions of a user-defined aggregate."""

    init: Callable[[], Any]
    add: Callable[[Any, Any], Any]
    merge: Callable[[Any, Any], Any]
    finish: Callable[[Any], Any]
    type: type
    """Of the result."""

    def __str__(self) -> str:
        names = (getattr(f, "__qualname__", repr(f)) for f in (self.init, self.add, self.merge, self.finish))
        return ", ".join((*names, getattr(self.type, "__name__", str(self.type))))


class Aggregate(msgspec.Struct, frozen=True):
    """An aggregate as written."""

    function: str
    column: str | None = None
    share: float | None = None
    """Of quantile."""
    k: int | None = None
    """Of top_k."""
    by: str | None = None
    """Of arg_max and arg_min: the column to compare; of first and last: the one to order by."""
    expr: Any = None
    """Of agg_expr."""
    user: UserFunctions | None = None

    def __str__(self) -> str:
        parts = (self.column, self.share, self.k, self.by)
        arguments = [repr(a) for a in parts if a is not None]
        arguments += [str(a) for a in (self.expr, self.user) if a is not None]
        return f"{self.function}({', '.join(arguments)})"

    def needs(self) -> Needs:
        """Return the columns that it reads; None: all of them, or nobody knows."""
        if self.user is not None and self.column is None:
            return None
        named = [column for column in (self.column, self.by) if column is not None]
        return roots_of([*named, *([] if self.expr is None else [self.expr])])

    def dtype(self, schema: pl.Schema, column: str | None = None) -> pl.DataType:
        """Return the type of a column that it works on, its own unless another is named.

        Raises:
            UsageError: There is no such column.
        """
        name = column or self.column
        assert name is not None
        found = schema.get(name)
        if found is None:
            raise UsageError(f"{self}: there is no column {name!r}; there are {', '.join(schema.names())}")
        return found

    def refusal(self, schema: pl.Schema, column: str | None = None) -> UsageError:
        """Return the error that a column's type cannot be used."""
        name = column or self.column
        return UsageError(
            f"{self}: the column {name!r} is {self.dtype(schema, name)}, which {self.function} cannot take"
        )
