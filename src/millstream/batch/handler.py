"""What a batch's handler must look like."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from millstream.errors import UsageError


def check_handler(function: Callable[..., Any]) -> None:
    """Check that a function can be called with one argument, the frame, and is not a coroutine function.

    Raises:
        UsageError: It cannot.
    """
    name = getattr(function, "__name__", repr(function))
    if inspect.iscoroutinefunction(function):
        raise UsageError(f"the batch handler {name!r} is async; a batch works on a frame, write it as a plain function")
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return
    try:
        signature.bind(None)
    except TypeError:
        raise UsageError(
            f"a batch's handler takes one argument, the frame; {name!r} has the parameters {signature}"
        ) from None
