"""Which columns go through expressions as they were: what is known of them (that they are JSON) holds on.

A function that is not sure leaves a column out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from millstream.stream.needs import is_plain

if TYPE_CHECKING:
    import polars as pl


def kept_by_select(frame: pl.DataFrame, exprs: Iterable[Any], named: Mapping[str, Any]) -> dict[str, str]:
    """Return the columns of a `select` that are columns of the frame: new name to old name."""
    kept: dict[str, str] = {}
    for expr in exprs:
        if (column := _column_of(expr)) is not None:
            kept[expr if isinstance(expr, str) else expr.meta.output_name()] = column
        elif _is_expr(expr) and expr.meta.is_column_selection():
            kept |= {name: name for name in _names_of(frame, expr)}
    return kept | {name: column for name, expr in named.items() if (column := _column_of(expr)) is not None}


def kept_by_with_columns(frame: pl.DataFrame, exprs: Iterable[Any], named: Collection[str]) -> set[str]:
    """Return the columns of the frame that `with_columns` does not make anew."""
    made = set(named)
    for expr in exprs:
        if is_plain(expr):
            made.add(expr.meta.output_name())
        elif not isinstance(expr, str):
            made |= set(_names_of(frame, expr)) if _is_expr(expr) else set(frame.columns)
    return set(frame.columns) - made


def _column_of(expr: Any) -> str | None:
    """Return the column that an expression (or a name) is, under whatever name; None: it is none, or several."""
    if isinstance(expr, str):
        return expr
    if not is_plain(expr) or not expr.meta.is_column_selection(allow_aliasing=True):
        return None
    [name] = expr.meta.root_names()
    return str(name)


def _is_expr(expr: Any) -> bool:
    import polars as pl

    return isinstance(expr, pl.Expr)


def _names_of(frame: pl.DataFrame, expr: pl.Expr) -> list[str]:
    return frame.clear().select(expr).columns
