"""The sink that calls a function with frames."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from millstream.errors import UsageError
from millstream.sinks.protocol import PATIENCE, Guarantee, Patience, Sink, SinkPlace, SinkWriter
from millstream.sinks.rows import Rows

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True)
class FunctionSink(Sink):
    """See `function`."""

    call: Callable[[pl.DataFrame], Any]
    patience: Patience = PATIENCE

    @property
    def guarantee(self) -> Guarantee:
        return Guarantee.AT_LEAST_ONCE

    def __str__(self) -> str:
        return f"function {getattr(self.call, '__qualname__', type(self.call).__qualname__)}"

    def open(self, place: SinkPlace, stored: bytes | None) -> SinkWriter:
        return _FunctionWriter(self.call)


class _FunctionWriter(SinkWriter):
    def __init__(self, call: Callable[[pl.DataFrame], Any]) -> None:
        self._call = call

    def write(self, rows: Rows) -> None:
        self._call(rows.frame())


def function(call: Callable[[pl.DataFrame], Any], *, patience: Patience = PATIENCE) -> FunctionSink:
    """Call a function with the frames of results, before the offsets move: at least once.

    The frame has the columns of the results, `_key` and `_event_time`. Where a micro-batch ends means nothing. When the
    function raises it is called again with the same frame, with growing waits; then the stream stops. A function whose
    effect is the same when it is called twice for a row makes this exactly once.

    Raises:
        UsageError: It cannot be called.
    """
    if not callable(call):
        raise UsageError(f"function({call!r}): give a function of a Polars frame")
    return FunctionSink(call, patience)
