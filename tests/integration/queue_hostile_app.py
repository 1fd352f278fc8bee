"""An application whose jobs leak memory, and some of which end their process; what they begin is noted in a file."""

from __future__ import annotations

import os

import msgspec

from millstream import App, Retry
from millstream.queue.memory import resident_bytes
from millstream.queue.options import Recycle

FOLDER = os.environ.get("QUEUE_HOSTILE_FOLDER", ".")
LEAK_BYTES = int(os.environ.get("QUEUE_HOSTILE_LEAK_BYTES", "0"))
LIMIT_BYTES = 150_000_000
WORKERS = 3


class Job(msgspec.Struct):
    number: int
    exits: bool


app = App(os.path.join(FOLDER, "log.db"), durability="relaxed")
jobs = app.topic("jobs", Job)
kept: list[bytearray] = []
notes = os.open(os.path.join(FOLDER, "notes"), os.O_WRONLY | os.O_APPEND | os.O_CREAT)


@app.queue(
    jobs,
    kind="processes",
    workers=WORKERS,
    retry=Retry(attempts=3, delay="10ms"),
    recycle=Recycle(bytes=LIMIT_BYTES),
)
def work(job: Job) -> None:
    kept.append(bytearray(b"x" * LEAK_BYTES))
    os.write(notes, b"%d %d %d\n" % (os.getpid(), job.number, resident_bytes()))
    if job.exits:
        os._exit(3)
