"""A process that works on a queue until it is killed or nothing is left to do; it notes what it starts and ends.

    queue_worker_process.py LOG NOTES ORDER WORKERS CLOCK

ORDER is "key", "none", or "results": no order, and the log keeps some bytes of each job. CLOCK is a file with the
microseconds by which the machine's clock is off, or "-".
"""

from __future__ import annotations

import mmap
import os
import struct
import sys
import threading
import time
from pathlib import Path
from typing import Any

import msgspec

from millstream import App, Retry
from millstream.clock import SystemClock
from millstream.engines.protocol import StateChange
from millstream.queue import QueueReader
from millstream.queue.options import QueueOptions
from millstream.queue.outcome import HandlerOutcome
from millstream.records import Record
from millstream.run.supervisor import Running

RESULT_BYTES = 4_000


class Job(msgspec.Struct):
    number: int
    key: str


class SetClock(SystemClock):
    """A machine's clock that somebody sets now and then, for all processes at once."""

    __slots__ = ("_offset",)

    def __init__(self, path: str) -> None:
        with open(path, "r+b") as file:
            self._offset = mmap.mmap(file.fileno(), 8)

    def now_us(self) -> int:
        return time.time_ns() // 1000 + int(struct.unpack("q", self._offset[:8])[0])


def main(path: str, notes: str, order: str, workers: str, clock: str) -> None:
    app = App(path, durability="relaxed", clock=None if clock == "-" else SetClock(clock))
    file = os.open(notes, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def work(job: Job) -> None:
        os.write(file, b"start %d %d %d\n" % (job.number, threading.get_ident(), time.monotonic_ns()))
        time.sleep(0.004 * int(workers))  # so that all take as long, with time to be killed in
        os.write(file, b"end %d %d %d\n" % (job.number, threading.get_ident(), time.monotonic_ns()))

    def keep(record: Record[Any], outcome: HandlerOutcome) -> list[StateChange]:
        return [StateChange(0, b"%d" % record.value.number, bytes(RESULT_BYTES))]

    reader = QueueReader(
        app.topic("jobs", Job),
        work,
        name="work",
        workers=int(workers),
        retry=Retry(attempts=1000, delay="1ms"),
        options=QueueOptions(order_by="key" if order == "key" else None),
        hook=keep if order == "results" else None,
    )
    # Its supervisor starts the queue again where the disk was full for the very first step.
    with app, Running([reader]):
        while reader.info().ledger.in_progress:
            time.sleep(0.05)
    Path(notes + ".over").touch()


if __name__ == "__main__":
    main(*sys.argv[1:])
