"""The log read as a queue: one record, one worker, at least once.

General layout, in the order a record passes:

    reader.py     QueueReader: what `@app.queue` declares; depth, workers, observers
    crew.py       Crew: the worker threads of one run of a queue; hands out leases, keeps them alive, stops softly
    worker.py     Worker: takes a run of records, calls the handler, settles
    handler.py    how a handler is called: with or without the record, plain or async
    retry.py      Retry and the pure decision what happens to a failed record
    dead.py       DeadLetter: a record given up on
    events.py     what observers see
"""

from __future__ import annotations

from millstream.queue.dead import DeadLetter
from millstream.queue.events import QueueEvent, QueueEventKind, QueueObserver, WorkerState
from millstream.queue.reader import QueueReader
from millstream.queue.retry import Retry

__all__ = ["DeadLetter", "QueueEvent", "QueueEventKind", "QueueObserver", "QueueReader", "Retry", "WorkerState"]
