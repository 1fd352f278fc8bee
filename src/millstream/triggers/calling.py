"""How the function behind `@app.on` is called: with the event, with the event and its record, or with nothing."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

E = TypeVar("E")


def called_with(function: Callable[..., Any], prepare: Callable[[Any], Any | None] | None = None) -> Callable[..., Any]:
    """Return a handler of a queue that calls a function which may have no parameters.

    Args:
        prepare: Makes what the function gets of the event; None of it: the function is not called.
    """
    takes_none = _takes_none(function)
    if not takes_none and prepare is None:
        return function
    takes_record = not takes_none and _takes_two(function)

    def arguments(event: Any, record: Any) -> tuple[Any, ...] | None:
        given = event if prepare is None else prepare(event)
        if given is None:
            return None
        return () if takes_none else (given, record) if takes_record else (given,)

    if inspect.iscoroutinefunction(function):

        async def call_async(event: Any, record: Any) -> Any:
            found = arguments(event, record)
            return None if found is None else await function(*found)

        return _named(call_async, function)

    def call(event: Any, record: Any) -> Any:
        found = arguments(event, record)
        return None if found is None else function(*found)

    return _named(call, function)


def _named(wrapper: Callable[..., Any], function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a wrapper that looks like its function, but for the parameters, which are its own."""
    functools.update_wrapper(wrapper, function)
    del wrapper.__wrapped__  # type: ignore[attr-defined]
    wrapper.__annotations__ = {}
    return wrapper


def _takes_none(function: Callable[..., Any]) -> bool:
    try:
        return not inspect.signature(function).parameters
    except (TypeError, ValueError):
        return False


def _takes_two(function: Callable[..., Any]) -> bool:
    """True for `f(event, record)`, as queues have it: a second parameter with a default counts when it is `record`."""
    try:
        parameters = list(inspect.signature(function).parameters.values())[:2]
    except (TypeError, ValueError):
        return False
    if len(parameters) < 2 or parameters[1].kind not in (
        inspect.Parameter.POSITIONAL_ONLY,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
    ):
        return False
    return parameters[1].default is inspect.Parameter.empty or parameters[1].name in ("record", "records")
