"""The log read as a stream: records in order, continuously, exactly once in the engine.

General layout, in the order a record passes:

    reader.py       StreamReader: what `@app.stream` declares
    description.py  Stream: the steps and outputs, as written
    run.py          StreamRun: reads micro-batches, commits offsets, state and outputs together
    watermark.py    Watermarks: how far event time has come, also when nothing comes
    line.py         Line: one output at work
    piece.py        Piece: records between two steps, as columns or as Python values
    steps.py        filter, with_columns, select, map, map_batches
    windows.py      tumbling
    state.py        OpenWindows: what is in them, what is late, what closes
    aggregates.py   count, sum_, min_, max_, mean, quantile
    exact_sum.py    sums of floats that do not depend on their order
    row_types.py    the struct of a row
"""

from __future__ import annotations

from millstream.stream.aggregates import Aggregate, count, max_, mean, min_, quantile, sum_
from millstream.stream.description import Stream
from millstream.stream.reader import StreamInfo, StreamReader
from millstream.stream.windows import Tumbling, tumbling

__all__ = [
    "Aggregate",
    "Stream",
    "StreamInfo",
    "StreamReader",
    "Tumbling",
    "count",
    "max_",
    "mean",
    "min_",
    "quantile",
    "sum_",
    "tumbling",
]
