"""One queue at a stated load for a while, in a process of its own; prints what became of each record, as JSON.

Usage: python -m benchmarks.advise.one_queue FILE SEED LOAD SECONDS MEAN_S
"""

from __future__ import annotations

import math
import random
import sys
import time

import msgspec

from benchmarks.advise.course import SPREAD, WORKERS, Course
from millstream import App
from millstream.advise.observing import observe
from millstream.records import Record


class Work(msgspec.Struct):
    seconds: float


def main() -> None:
    path, seed = sys.argv[1], int(sys.argv[2])
    load, seconds, mean_s = (float(text) for text in sys.argv[3:6])
    # Short leases of the interpreter: a thread that wakes up does not wait for another one's bytes.
    sys.setswitchinterval(0.0005)
    rows: list[tuple[int, int, int, int, float]] = []
    with App(path, durability="relaxed") as app:
        topic = app.topic("work", Work)

        @app.queue(topic, workers=WORKERS, name="nap")
        def nap(work: Work, record: Record[Work]) -> None:
            started = time.time_ns() // 1000
            time.sleep(work.seconds)
            rows.append((record.offset, record.append_time_us, started, time.time_ns() // 1000, work.seconds))

        with app.start():
            produce(topic, random.Random(seed), load, seconds, mean_s)
            until = time.monotonic() + 60
            while len(rows) < topic.info().records and time.monotonic() < until:
                time.sleep(0.05)
        observed = observe(app.log, "work")
    ordered = sorted(rows)
    queue = observed.queues[0]
    course = Course(
        arrivals_us=[row[1] for row in ordered],
        starts_us=[row[2] for row in ordered],
        ends_us=[row[3] for row in ordered],
        asked_s=[row[4] for row in ordered],
        told_s=queue.services_s,
        told_arrivals_us=observed.times_us,
    )
    sys.stdout.buffer.write(msgspec.json.encode(course))


def produce(topic: object, draw: random.Random, load: float, seconds: float, mean_s: float) -> None:
    """Append at random (Poisson) with the rate of the load; work is log-normal."""
    sigma = math.sqrt(math.log(1 + SPREAD**2))
    mu = math.log(mean_s) - sigma**2 / 2
    rate = load * WORKERS / mean_s
    begun = due = time.monotonic()
    while (due := due + draw.expovariate(rate)) < begun + seconds:
        time.sleep(max(0.0, due - time.monotonic()))
        topic.append(Work(draw.lognormvariate(mu, sigma)))  # type: ignore[attr-defined]


if __name__ == "__main__":
    main()
