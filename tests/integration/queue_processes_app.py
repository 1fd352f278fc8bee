"""An application whose queue runs in worker processes; what happens is noted in a file."""

from __future__ import annotations

import os
import time

import msgspec

from millstream import App, Retry
from millstream.queue.autoscale import Scaling
from millstream.queue.options import Recycle

FOLDER = os.environ.get("QUEUE_PROCESSES_FOLDER", ".")


class Job(msgspec.Struct):
    number: int
    act: str = ""


app = App(os.path.join(FOLDER, "log.db"), durability="relaxed")
jobs = app.topic("jobs", Job)
leaks = app.topic("leaks", Job)
slow = app.topic("slow", Job)
kept: list[bytearray] = []


def note(text: str) -> None:
    with open(os.path.join(FOLDER, "notes"), "a") as file:
        file.write(f"{text}\n")


def noted_processes() -> set[str]:
    with open(os.path.join(FOLDER, "notes")) as file:
        return {line.split()[0] for line in file}


@app.queue(jobs, workers=2, kind="processes", retry=Retry(attempts=2, delay="10ms"))
def work(job: Job) -> None:
    note(f"{os.getpid()} {job.number}")
    match job.act:
        case "exit":
            os._exit(0)
        case "meet":
            until = time.monotonic() + 60
            while len(noted_processes()) < 2 and time.monotonic() < until:
                time.sleep(0.01)
        case "wait":
            time.sleep(0.5)


@app.queue(
    app.topic("limited", Job), workers=2, kind="processes", retry=Retry(attempts=2, delay="10ms"), timeout="1500ms"
)
def in_time(job: Job) -> None:
    note(f"{os.getpid()} {job.number}")
    time.sleep(3600 if job.act == "hang" else 0)


@app.queue(slow, kind="processes")
def at_leisure(job: Job) -> None:
    note(f"{os.getpid()} {job.number}")
    time.sleep(3600 if job.act == "hang" else 0)


@app.queue(
    app.topic("scaled", Job),
    kind="processes",
    workers=Scaling(1, 3, drain="1s", down_after="2s"),
    retry=Retry(attempts=2),
)
def scaled(job: Job) -> None:
    note(f"{os.getpid()} {job.number}")
    time.sleep(0.2)


@app.queue(leaks, kind="processes", recycle=Recycle(bytes=300_000_000))
def leak(job: Job) -> None:
    kept.append(bytearray(os.urandom(1)) * 60_000_000)
    note(f"{os.getpid()} {job.number}")


@app.queue(app.topic("few", Job), kind="processes", recycle=Recycle(jobs=10))
def few(job: Job) -> None:
    note(f"{os.getpid()} {job.number}")
