"""What a batch's handler looks like: how many parameters, in which form its input is wanted."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Any, Final

import msgspec

from millstream.errors import UsageError

RUN: Final = "run"
"""A parameter of this name, or annotated as BatchRun, gets the run."""


class Form(StrEnum):
    """How an input is handed over, by the annotation of its parameter."""

    LAZY = "LazyFrame"
    FRAME = "DataFrame"
    PIECES = "Iterator"
    """Of frames: an input larger than memory."""
    RELATION = "DuckDBPyRelation"


class Shape(msgspec.Struct, frozen=True):
    """How a handler is called."""

    inputs: tuple[tuple[str, Form], ...]
    """A parameter for each topic; one for all where there is only one."""
    run: str | None
    """The parameter that gets the run."""


def shape_of(function: Callable[..., Any], topics: Sequence[str]) -> Shape:
    """Return how to call a handler.

    Args:
        topics: Names of the batch's topics.

    Raises:
        UsageError: It is async, or its parameters are neither the input (or an input for each topic, by name) nor these
            and the run.
    """
    name = getattr(function, "__name__", repr(function))
    if inspect.iscoroutinefunction(function):
        raise UsageError(f"the batch handler {name!r} is async; a batch works on a frame, write it as a plain function")
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return Shape((("", Form.LAZY),), None)
    needed = [p for p in signature.parameters.values() if p.default is p.empty and p.kind not in _VARIADIC]
    run = next((p.name for p in signature.parameters.values() if _is_run(p)), None)
    inputs = [p for p in needed if p.name != run]
    if not inputs and any(p.kind is p.VAR_POSITIONAL for p in signature.parameters.values()):
        return Shape((("", Form.LAZY),), run)
    if not inputs:
        inputs = [p for p in signature.parameters.values() if p.kind not in _VARIADIC and p.name != run][:1]
    if any(p.kind is p.KEYWORD_ONLY for p in inputs):
        inputs = []
    if len(inputs) > 1 and len(topics) > 1:
        return Shape(_by_name(inputs, topics, name), run)
    if len(inputs) != 1:
        raise UsageError(
            f"a batch's handler takes one argument, the frame, and `{RUN}` if it wants the run; {name!r} has the "
            f"parameters {signature}"
        )
    return Shape(((inputs[0].name, _form(inputs[0])),), run)


_VARIADIC: Final = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def parameter_name(topic: str) -> str:
    """Return the parameter that a topic of several has in a handler."""
    return re.sub(r"\W", "_", topic)


def _by_name(inputs: Sequence[inspect.Parameter], topics: Sequence[str], name: str) -> tuple[tuple[str, Form], ...]:
    wanted = [parameter_name(topic) for topic in topics]
    found = {p.name: p for p in inputs}
    if sorted(found) != sorted(wanted):
        raise UsageError(
            f"the batch handler {name!r} has the parameters {', '.join(found)}; give one that takes a dict of frames, "
            f"or one for each topic: {', '.join(wanted)}"
        )
    return tuple((one, _form(found[one])) for one in wanted)


def _is_run(parameter: inspect.Parameter) -> bool:
    return parameter.name == RUN or "BatchRun" in _text(parameter.annotation)


def _form(parameter: inspect.Parameter) -> Form:
    text = _text(parameter.annotation)
    if Form.RELATION in text:
        return Form.RELATION
    if re.search(r"\b(Iterator|Iterable|Generator)\b", text):
        return Form.PIECES
    return Form.FRAME if re.search(r"\bDataFrame\b", text) else Form.LAZY


def _text(annotation: Any) -> str:
    """Return an annotation as it was written: modules that it names need not be there when the handler is declared."""
    if isinstance(annotation, str):
        return annotation
    return annotation.__name__ if isinstance(annotation, type) else str(annotation)
