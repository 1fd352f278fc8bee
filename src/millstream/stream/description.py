"""What a stream does, written down by the function under `@app.stream`: steps that end in outputs.

Every call returns a new description, so one can branch:

    def clicks_by_kind(s):
        slow = s.filter(pl.col("load_ms") > 1000)
        slow.to("slow_clicks")
        slow.window(tumbling(minutes=1), by="page").agg(clicks=count()).to("slow_pages")

Nothing here needs Polars or the log: the description is checked when the program starts, and run later.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from datetime import timedelta
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, TypeAlias, Union, get_args, get_origin, get_type_hints

import msgspec

from millstream.durations import duration_us
from millstream.errors import UsageError
from millstream.log.topic import Topic
from millstream.records import check_name
from millstream.stream.aggregates import Aggregate
from millstream.stream.windows import Tumbling

if TYPE_CHECKING:
    import polars as pl

WINDOW_COLUMNS = ("window_start", "window_end")


class Filter(msgspec.Struct, frozen=True):
    predicates: tuple[Any, ...]


class WithColumns(msgspec.Struct, frozen=True):
    exprs: tuple[Any, ...]
    named: dict[str, Any]


class Select(msgspec.Struct, frozen=True):
    exprs: tuple[Any, ...]
    named: dict[str, Any]


class Map(msgspec.Struct, frozen=True):
    function: Callable[[Any], Any]
    type: type | None
    """What its return annotation names, if it does."""


class MapBatches(msgspec.Struct, frozen=True):
    function: Callable[[Any], Any]


class WindowStep(msgspec.Struct, frozen=True):
    window: Tumbling
    by: tuple[str, ...]
    lateness_us: int
    aggregates: dict[str, Aggregate]

    def fingerprint(self) -> str:
        """Return what its state depends on: windows, keys and aggregates, not the lateness."""
        parts = ", ".join(f"{name}={aggregate}" for name, aggregate in self.aggregates.items())
        return f"tumbling({self.window.size_us}) by {list(self.by)}: {parts}"


Step: TypeAlias = Filter | WithColumns | Select | Map | MapBatches | WindowStep


class ToTopic(msgspec.Struct, frozen=True):
    target: str | Topic[Any]


class Each(msgspec.Struct, frozen=True):
    function: Callable[[Any], Any]


class Output(msgspec.Struct, frozen=True):
    """Steps and where what comes out of them goes."""

    steps: tuple[Step, ...]
    sink: ToTopic | Each


class Stream:
    """The records of a topic on their way through steps."""

    def __init__(self, outputs: list[Output], steps: tuple[Step, ...] = ()) -> None:
        self._outputs = outputs
        self._steps = steps

    # --- columns --------------------------------------------------------------------------------------------------

    def filter(self, *predicates: pl.Expr) -> Stream:
        """Keep the records for which all Polars expressions are true."""
        if not predicates:
            raise UsageError('filter needs a Polars expression, such as filter(pl.col("load_ms") > 0)')
        return self._then(Filter(predicates))

    def with_columns(self, *exprs: pl.Expr, **named: pl.Expr) -> Stream:
        """Add or replace columns. Expressions see one record at a time in effect: batches end anywhere."""
        return self._then(WithColumns(exprs, named))

    def select(self, *exprs: pl.Expr | str, **named: pl.Expr) -> Stream:
        """Keep these columns only; key and event time stay with the record."""
        if not exprs and not named:
            raise UsageError('select needs columns, such as select("page", pl.col("load_ms") / 1000)')
        return self._then(Select(exprs, named))

    def map_batches(self, function: Callable[[pl.DataFrame], pl.DataFrame]) -> Stream:
        """Call a function with the frame of a micro-batch and go on with the frame it returns.

        The frame also has `_key`, `_event_time` and `_watermark` (the newest event time before the record, in us);
        they go on with the records, so keep them. Batches end anywhere: what the function returns for a record must not
        depend on the others.
        """
        return self._then(MapBatches(_one_argument(function, "map_batches")))

    # --- Python -----------------------------------------------------------------------------------------------------

    def map(self, function: Callable[[Any], Any]) -> Stream:
        """Call a function with each record's value and go on with what it returns; None drops the record.

        The value is of the topic's type; after a step on columns it is a struct of the columns. The function returns a
        Struct, a dataclass or a dict (bytes where the next step is a raw topic); name it in the return annotation.
        """
        return self._then(Map(_one_argument(function, "map"), _return_type(function)))

    # --- windows ------------------------------------------------------------------------------------------------

    def window(
        self, window: Tumbling, *, by: str | Sequence[str] | None = None, lateness: timedelta | str | float = 0
    ) -> Windowed:
        """Group the records by windows of event time and, with `by`, by columns. `agg` says what to compute.

        Args:
            lateness: How far behind the newest event time a record still counts; windows close that much later.

        Raises:
            UsageError: A second window in the same line of steps.
        """
        if not isinstance(window, Tumbling):
            raise UsageError(f"{window!r} is not a window; give tumbling(minutes=1)")
        if any(isinstance(step, WindowStep) for step in self._steps):
            raise UsageError("a window over the results of a window: send the first to a topic and read that one")
        columns = (by,) if isinstance(by, str) else tuple(by or ())
        return Windowed(self, window, columns, duration_us(lateness))

    # --- outputs ------------------------------------------------------------------------------------------------

    def to(self, target: str | Topic[Any]) -> None:
        """Append what arrives here to a topic, in the transaction that moves the offsets: exactly once in the engine.

        A topic that does not exist gets the schema of what arrives. Keys and event times go along; those of a window's
        result are its `by` columns and its start.
        """
        if isinstance(target, str):
            check_name("topic", target)
        elif not isinstance(target, Topic):
            raise UsageError(f"to({target!r}): give a topic or the name of one")
        self._outputs.append(Output(self._steps, ToTopic(target)))

    def each(self, function: Callable[[Any], Any]) -> None:
        """Call a function with each value that arrives here, before the offsets move: at least once."""
        self._outputs.append(Output(self._steps, Each(_one_argument(function, "each"))))

    def _then(self, step: Step) -> Stream:
        return Stream(self._outputs, (*self._steps, step))


class Windowed:
    """Records grouped by window and keys."""

    def __init__(self, stream: Stream, window: Tumbling, by: tuple[str, ...], lateness_us: int) -> None:
        self._stream = stream
        self._window = window
        self._by = by
        self._lateness_us = lateness_us

    def agg(self, **aggregates: Aggregate) -> Stream:
        """Compute one column each: `agg(views=count(), total=sum_("load_ms"))`.

        A result is emitted once, when its window closes: the `by` columns, window_start, window_end, the aggregates.

        Raises:
            UsageError: No aggregate, something that is none, or a name that is taken.
        """
        if not aggregates:
            raise UsageError("agg needs an aggregate, such as agg(views=count())")
        for name, aggregate in aggregates.items():
            if not isinstance(aggregate, Aggregate):
                raise UsageError(f'agg({name}={aggregate!r}): give an aggregate, such as count() or sum_("load_ms")')
            if name in (*self._by, *WINDOW_COLUMNS) or name.startswith("_"):
                raise UsageError(f"agg({name}=...): the name is taken by a column of the result, or starts with '_'")
        step = WindowStep(self._window, self._by, self._lateness_us, aggregates)
        return self._stream._then(step)


def describe(function: Callable[[Stream], Any], name: str) -> tuple[Output, ...]:
    """Call the function under `@app.stream` once and return the outputs it described.

    Raises:
        UsageError: It does not take one argument, or describes no output.
    """
    outputs: list[Output] = []
    _one_argument(function, "a stream's description")(Stream(outputs))
    if not outputs:
        raise UsageError(f'stream {name!r} has no output; end its steps with .to("topic") or .each(function)')
    return tuple(outputs)


def _one_argument(function: Callable[..., Any], what: str) -> Callable[..., Any]:
    name = getattr(function, "__name__", repr(function))
    if not callable(function):
        raise UsageError(f"{what}: {function!r} is not a function")
    if inspect.iscoroutinefunction(function):
        raise UsageError(f"{what}: {name!r} is async; a stream is processed in order, write it as a plain function")
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return function
    try:
        signature.bind(None)
    except TypeError:
        raise UsageError(f"{what}: the function takes one argument; {name!r} has {signature}") from None
    return function


def _return_type(function: Callable[..., Any]) -> type | None:
    try:
        hint = get_type_hints(function).get("return")
    except (NameError, TypeError, AttributeError):
        return None
    if isinstance(hint, UnionType) or get_origin(hint) is Union:
        others = [argument for argument in get_args(hint) if argument is not NoneType]
        hint = others[0] if len(others) == 1 else None
    found = get_origin(hint) or hint
    return found if isinstance(found, type) and found is not NoneType else None
