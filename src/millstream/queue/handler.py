"""How a queue's handler is called."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec

from millstream.errors import UsageError
from millstream.records import Record

if TYPE_CHECKING:
    from millstream.log.topic import Topic


class Delivery(msgspec.Struct, frozen=True):
    """One hand-over of a record to a worker."""

    record: Record[Any]
    """The first one, for a handler of batches."""
    attempt: int
    """1 for the first."""
    worker: str


class Delivering(Protocol):
    """A worker, seen from the handler that it calls."""

    def delivery(self) -> Delivery | None: ...


DELIVERING: Final[ContextVar[Delivering | None]] = ContextVar("millstream_delivering", default=None)


def current_delivery() -> Delivery | None:
    """Return what the handler that calls this is working on; None outside a handler."""
    worker = DELIVERING.get()
    return worker.delivery() if worker is not None else None


class Handler:
    """A handler of the user: takes a value, or a value and its record; a plain or an `async` function.

    A handler of batches takes a list of values, or a Polars frame where its parameter is annotated as `pl.DataFrame`,
    and may take the list of records too.

    Raises:
        UsageError: The function cannot be called with one or two arguments.
    """

    def __init__(self, function: Callable[..., Any], *, batches: bool = False) -> None:
        self.function = function
        self.batches = batches
        self.takes_record = _takes_record(function, "records" if batches else "record")
        self.takes_frame = batches and _takes_frame(function)
        self.is_async = inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
            getattr(function, "__call__", None)  # noqa: B004 - an object whose __call__ is async
        )

    def call(self, record: Record[Any]) -> Any:
        """Call it with one record; raises what it raises. Of an async one this is its coroutine."""
        result = self.function(record.value, record) if self.takes_record else self.function(record.value)
        if result is not None and not self.is_async and inspect.iscoroutine(result):
            result.close()
            raise TypeError("the handler returned a coroutine; declare it with `async def`, so that it is awaited")
        return result

    def call_batch(self, topic: Topic[Any], records: Sequence[Record[Any]]) -> Any:
        """Call it with several records."""
        values = _frame(topic, records) if self.takes_frame else [record.value for record in records]
        return self.function(values, list(records)) if self.takes_record else self.function(values)


def _frame(topic: Topic[Any], records: Sequence[Record[Any]]) -> Any:
    """Return records of a topic as a frame, in the order given: `topic.frame` says which columns."""
    import polars as pl

    pieces = []
    numbered = enumerate(records)
    # Neighbours in the log have the same distance between offset and place.
    for _, run in groupby(numbered, key=lambda at: (at[1].partition, at[1].offset - at[0])):
        found = [record for _, record in run]
        pieces.append(topic.read_frame(found[0].offset, found[-1].offset + 1, partition=found[0].partition))
    return pl.concat(pieces)


def _takes_record(function: Callable[..., Any], name: str) -> bool:
    """True for `f(value, record)`; a second parameter with a default counts when it is called `record`."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return False
    if _accepts(signature, 1):
        second = list(signature.parameters.values())[1:2]
        return bool(second) and second[0].name == name and _accepts(signature, 2)
    if _accepts(signature, 2):
        return True
    raise UsageError(
        f"a queue's handler takes the value, or the value and the record; "
        f"{getattr(function, '__name__', function)!r} has the parameters {signature}"
    )


def _takes_frame(function: Callable[..., Any]) -> bool:
    try:
        first = next(iter(inspect.signature(function).parameters.values()), None)
    except (TypeError, ValueError):
        return False
    if first is None or first.annotation is inspect.Parameter.empty:
        return False
    try:
        annotation: Any = typing.get_type_hints(function).get(first.name, first.annotation)
    except (NameError, TypeError, AttributeError):
        # A name that is imported for type checkers only: its text has to do.
        annotation = first.annotation
    name = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", "")
    return name.rpartition(".")[2] == "DataFrame"


def _accepts(signature: inspect.Signature, count: int) -> bool:
    try:
        signature.bind(*[None] * count)
    except TypeError:
        return False
    return True
