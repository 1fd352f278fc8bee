"""Which columns a step needs of what comes in, so that the log decodes no others.

None stands for all of them. A step that is not sure says None: too many columns cost time, too few an answer.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import polars as pl

Needs: TypeAlias = frozenset[str] | None


def union(some: Needs, more: Needs) -> Needs:
    return None if some is None or more is None else some | more


def roots_of(exprs: Iterable[Any]) -> Needs:
    """Return the columns that expressions (or names of columns) read; None where they choose by pattern."""
    names: set[str] = set()
    for expr in exprs:
        if isinstance(expr, str):
            names.add(expr)
            continue
        if not is_plain(expr):
            return None
        names.update(expr.meta.root_names())
    return frozenset(names)


def names_of(exprs: Iterable[Any], named: Iterable[str]) -> frozenset[str]:
    """Return the columns that expressions make, as far as it is known; for `with_columns`."""
    made = set(named)
    for expr in exprs:
        if not isinstance(expr, str) and is_plain(expr):
            made.add(expr.meta.output_name())
    return frozenset(made)


def is_plain(expr: Any) -> bool:
    """Return whether it is an expression that makes one column, of columns that it names."""
    import polars as pl

    return isinstance(expr, pl.Expr) and not expr.meta.has_multiple_outputs() and not _by_type(expr)


def _by_type(expr: pl.Expr) -> bool:
    """Whether a selector is inside, such as `cs.numeric().sum()`: it has no names before it meets a frame."""
    return not expr.meta.root_names() and not expr.meta.is_literal()
