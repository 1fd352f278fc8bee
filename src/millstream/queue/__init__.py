"""The log read as a queue: one record, one worker, at least once.

General layout, in the order a record passes:

    reader.py       QueueReader: what `@app.queue` declares; options.py: how; rate.py: how fast; intake.py: its bound
    crew.py         Crew: the workers of one run of a queue; team.py: threads, async_team.py: `async def` handlers on
                    event_loop.py; keeper.py: keeps leases alive, notices what is slow or cancelled (cancelling.py)
    feed.py         where workers get their records from; sorter.py: groups in sorted order are told what is fresh
    opening.py      from leases to what a worker handles; part.py: what it holds of one
    worker.py       Worker: takes a run of records, calls the handler, settles
    handler.py      how a handler is called: with or without the record, plain or async
    ended.py        deliveries that have ended; outcome.py: how; unsettled.py: settled with the next fetch
    retry.py        Retry and the pure decision what happens to a failed record
    failures.py     what the process's own log says of failures
    dead/           records given up on: list, send back, change, throw away
    replay.py       old records once more

of what is seen of a queue and its workers:

    events.py           what observers see
    stats.py            depth, age, rates; health.py: is it stuck?
    presence.py         who works on which queue; service_times.py: how long single deliveries took; memory.py
    capacity.py         formulas; autoscale.py: how many workers there should be
    control.py          waiting until a queue is empty, or at rest

of tasks, functions as job types:

    task.py         Task: what `@app.task` makes of a function; sending
    arguments.py    a function's arguments as data, checked both ways
    tasks.py        TaskQueue: the tasks of one queue, and the handler that calls them
    job.py          Job: the handle of one; what its function sees of itself
    results.py      outcomes and progress, kept with the queue for a time

and of the standard library's queue, on disk: standard/
"""

from __future__ import annotations

from millstream.log.dead_letter import DeadLetter
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
