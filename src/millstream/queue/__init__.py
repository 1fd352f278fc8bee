"""The log read as a queue: one record, one worker, at least once.

General layout, in the order a record passes:

    reader.py     QueueReader: what `@app.queue` declares; depth, workers, observers
    crew.py       Crew: the worker threads of one run of a queue; hands out leases, keeps them alive, stops softly
    worker.py     Worker: takes a run of records, calls the handler, settles
    handler.py    how a handler is called: with or without the record, plain or async
    retry.py      Retry and the pure decision what happens to a failed record
    dead.py       DeadLetter: a record given up on
    events.py     what observers see

and of tasks, functions as job types:

    task.py       Task: what `@app.task` makes of a function; sending
    arguments.py  a function's arguments as data, checked both ways
    tasks.py      TaskQueue: the tasks of one queue, and the handler that calls them
    job.py        Job: the handle of one; what its function sees of itself
    results.py    outcomes and progress, kept with the queue for a time

and of the standard library's queue, on disk: standard/
"""

from __future__ import annotations

from millstream.queue.dead import DeadLetter
from millstream.queue.events import QueueEvent, QueueEventKind, QueueObserver, WorkerState
from millstream.queue.job import Job, JobStatus, current_job, progress
from millstream.queue.reader import QueueReader
from millstream.queue.retry import Retry
from millstream.queue.task import Task

__all__ = [
    "DeadLetter",
    "Job",
    "JobStatus",
    "QueueEvent",
    "QueueEventKind",
    "QueueObserver",
    "QueueReader",
    "Retry",
    "Task",
    "WorkerState",
    "current_job",
    "progress",
]
