"""Parameters of steps as people write them: columns, how far apart, functions and what they return."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from datetime import timedelta
from types import NoneType, UnionType
from typing import Any, Literal, TypeAlias, Union, get_args, get_origin, get_type_hints

from millstream.durations import duration_us
from millstream.errors import UsageError

Columns: TypeAlias = str | Sequence[str] | None
Span: TypeAlias = timedelta | str | float
Reach: TypeAlias = Span | tuple[Span, Span] | None


def columns(given: Columns) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given or ())


def reach_us(within: Reach) -> tuple[int, int] | None:
    """Return the earliest and the latest of `"10m"` (as much before as after) or `("-5m", "10m")`."""
    if within is None:
        return None
    if isinstance(within, tuple):
        earliest, latest = within
        return _signed_us(earliest), _signed_us(latest)
    return -duration_us(within), duration_us(within)


def of_table(how: str) -> Literal["inner", "left"]:
    """Return how a stream is joined with a table.

    Raises:
        UsageError: So that rows of the table alone would come out, which has no time at which to.
    """
    if how == "left":
        return "left"
    if how == "inner":
        return "inner"
    raise UsageError(f'join: how={how!r} cannot be had of a table; give "inner" or "left"')


def takes(function: Callable[..., Any], count: int, what: str, *, may_be_async: bool = False) -> Callable[..., Any]:
    """Return a function, a plain one unless told, that can be called with so many arguments.

    Raises:
        UsageError: It is none.
    """
    name = getattr(function, "__name__", repr(function))
    if not callable(function):
        raise UsageError(f"{what}: {function!r} is not a function")
    if inspect.iscoroutinefunction(function) and not may_be_async:
        raise UsageError(f"{what}: {name!r} is async; write it as a plain function, or use map for async ones")
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return function
    try:
        signature.bind(*[None] * count)
    except TypeError:
        arguments = "one argument" if count == 1 else f"{count} arguments"
        raise UsageError(f"{what}: the function takes {arguments}; {name!r} has {signature}") from None
    return function


def return_type(function: Callable[..., Any]) -> type | None:
    """Return the class that the return annotation names, None where it names none or several."""
    return _plain_type(_return_hint(function))


def item_type(function: Callable[..., Any]) -> type | None:
    """Return X of a return annotation list[X], Iterator[X] and the like."""
    arguments = get_args(_return_hint(function))
    return _plain_type(arguments[0]) if arguments else None


def output_type(function: Callable[..., Any], *, many: bool) -> type | None:
    """Return Y of a return annotation tuple[X, Y], with `many` of tuple[X, list[Y]]."""
    arguments = get_args(_return_hint(function))
    if len(arguments) != 2:
        return None
    items = get_args(arguments[1])
    return _plain_type(items[0] if items else None) if many else _plain_type(arguments[1])


def _return_hint(function: Callable[..., Any]) -> Any:
    try:
        return get_type_hints(function).get("return")
    except (NameError, TypeError, AttributeError):
        return None


def _plain_type(hint: Any) -> type | None:
    if isinstance(hint, UnionType) or get_origin(hint) is Union:
        others = [argument for argument in get_args(hint) if argument is not NoneType]
        hint = others[0] if len(others) == 1 else None
    found = get_origin(hint) or hint
    return found if isinstance(found, type) and found is not NoneType else None


def _signed_us(span: Span) -> int:
    if isinstance(span, str) and span.strip().startswith("-"):
        return -duration_us(span.strip()[1:])
    if isinstance(span, timedelta):
        return span // timedelta(microseconds=1)
    return duration_us(span) if isinstance(span, str) or span >= 0 else -duration_us(-span)
