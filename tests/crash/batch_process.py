"""A program that is killed while it runs a batch: `python batch_process.py LOG FOLDER`."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

import msgspec
import polars as pl

from millstream import App, BatchRun, gathered


class Event(msgspec.Struct, frozen=True):
    number: int


def declare(app: App, folder: Path, pause_s: float) -> None:
    events, out = app.topic("events", Event), app.topic("out", Event)

    @app.batch(events, when=gathered(records=1), name="report")
    def report(frame: pl.LazyFrame, run: BatchRun) -> None:
        numbers = frame.collect()["number"].to_list()
        run.to(out, [Event(number) for number in numbers[::2]])
        run.write(folder / f"{run.id}.csv", frame.select("number").collect())
        # Wide enough to be hit: a kill should meet every part of a run.
        time.sleep(pause_s)
        run.to(out, [Event(number) for number in numbers[1::2]])


def main(place: str, folder: str) -> None:
    with App(place, durability="relaxed") as app:
        declare(app, Path(folder), 0.05)
        app.run(stop=threading.Event())


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
