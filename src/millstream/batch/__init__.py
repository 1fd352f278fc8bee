"""The log read as batches: a fixed piece of it, [start, end), as a Polars frame.

General layout:

    batch.py        Batch: what `@app.batch` declares;  work.py  claims, runs, and commits a run with the offsets
    batch_run.py    BatchRun: what a handler asks of its run, and what it gives it: topics, files, state
    handler.py      what a handler looks like;  calling.py  how it is called
    inputs.py       what a run reads: lazy frames, pieces, DuckDB relations
    files.py        files of a run: prepared, committed, renamed
    claim.py        whose turn it is;  beats.py  its sign of life
    options.py      how a batch is declared;  conditions.py  when enough has gathered
    planning.py     which due times are run: pure;  scheduler.py  what looks at the time
    runs.py         Run: what is remembered of a run; the topic that holds them
    registry.py     which batches there are;  info.py  how they fare
"""

from __future__ import annotations

from millstream.batch.batch import Batch
from millstream.batch.batch_run import BatchRun
from millstream.batch.conditions import Gathered, gathered
from millstream.batch.runs import Input, Run, RunOutcome, RunResult

__all__ = ["Batch", "BatchRun", "Gathered", "Input", "Run", "RunOutcome", "RunResult", "gathered"]
