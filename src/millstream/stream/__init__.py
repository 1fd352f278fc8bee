"""The log read as a stream: records in order, continuously, exactly once in the engine.

General layout, in the order a record passes:

    reader.py       StreamReader: what `@app.stream` declares
    description.py  Stream: the steps and outputs, as written; arguments.py: how their parameters may be written
    graph.py        Graph, Node: what was written, checked as it is written; windowed.py; explain.py: drawn for people
    plan.py         an operator for each step with state; needs.py: the columns each source reads; options.py
    run.py          StreamRun: micro-batch after micro-batch; offsets, state and outputs in one commit;
                    turns.py: who may commit; standby.py: who looks on; progress.py: how it fares
    sharing.py      SharedRun: partitions shared by processes; membership.py: which has which; copartition.py: may it
    intake.py       Intake: what is read next; source.py: one topic; watermark.py: how far its event time has come;
                    fit.py: how many records at once; waiting.py: for more
    flow.py         Flow: records and the watermark go through the graph once
    piece.py        Piece: records between two steps, as columns or as Python values; chunks.py: how they lie in memory
    steps.py        steps without state: filter, with_columns, select, explode, map, flat_map, map_batches, ...
    kept.py         the columns that steps leave as they were; failures.py: records that a function raised for
    operators.py    Operator: what a step with state is
    keyed/          functions of the user, with state by key or without; deduping.py: the first of each key
    joining/        joins of streams and tables
    windowing/      windows at work; windows.py: which; aggregates/: what they compute; exact_sum.py
    runs.py         rows of state, kept as runs and stored as they change; run_values.py: as bytes;
                    manifest.py: which steps have state, so that a changed description keeps what fits
    output.py       Output: what arrives becomes appends; row_types.py: the struct of a row; record_keys.py;
                    sinking.py: what arrives at sinks

and around it:

    info.py         how streams fare, from the log alone; outline.py: what they do; presence.py: who runs them
    health.py       is one stuck?
    dropping.py     the end of a stream
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from millstream.lazy_names import getattr_of

if TYPE_CHECKING:
    from millstream.stream.aggregates import (
        Aggregate,
        agg_expr,
        aggregator,
        approx_n_unique,
        approx_quantile,
        arg_max,
        arg_min,
        collect,
        count,
        first,
        last,
        max_,
        mean,
        min_,
        n_unique,
        quantile,
        std,
        sum_,
        top_k,
    )
    from millstream.stream.description import Stream, table
    from millstream.stream.info import StreamInfo, StreamState, StreamWatch
    from millstream.stream.keyed.context import Context
    from millstream.stream.reader import StreamReader
    from millstream.stream.windows import global_window, hopping, session, sliding, tumbling

# Imported when they are asked for: a program that has no stream starts without them, in half the time.
_NAMES_OF: Final = {
    "millstream.stream.aggregates": (
        "Aggregate",
        "agg_expr",
        "aggregator",
        "approx_n_unique",
        "approx_quantile",
        "arg_max",
        "arg_min",
        "collect",
        "count",
        "first",
        "last",
        "max_",
        "mean",
        "min_",
        "n_unique",
        "quantile",
        "std",
        "sum_",
        "top_k",
    ),
    "millstream.stream.description": (
        "Stream",
        "table",
    ),
    "millstream.stream.info": (
        "StreamInfo",
        "StreamState",
        "StreamWatch",
    ),
    "millstream.stream.keyed.context": ("Context",),
    "millstream.stream.reader": ("StreamReader",),
    "millstream.stream.windows": (
        "global_window",
        "hopping",
        "session",
        "sliding",
        "tumbling",
    ),
}

__all__ = [
    "Aggregate",
    "Context",
    "Stream",
    "StreamInfo",
    "StreamReader",
    "StreamState",
    "StreamWatch",
    "agg_expr",
    "aggregator",
    "approx_n_unique",
    "approx_quantile",
    "arg_max",
    "arg_min",
    "collect",
    "count",
    "first",
    "global_window",
    "hopping",
    "last",
    "max_",
    "mean",
    "min_",
    "n_unique",
    "quantile",
    "session",
    "sliding",
    "std",
    "sum_",
    "table",
    "top_k",
    "tumbling",
]


if not TYPE_CHECKING:
    __getattr__ = getattr_of(__name__, _NAMES_OF)


def __dir__() -> list[str]:
    return __all__
