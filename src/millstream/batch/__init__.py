"""The log read as batches: a fixed piece of it, [start, end), as a Polars frame.

General layout:

    batch.py      Batch: what `@app.batch` declares; runs it and records the run with the offsets
    runs.py       Run: what is remembered of a run; the topic that holds them
    handler.py    what a handler must look like
"""

from __future__ import annotations

from millstream.batch.batch import Batch
from millstream.batch.runs import Run, RunOutcome, RunResult

__all__ = ["Batch", "Run", "RunOutcome", "RunResult"]
