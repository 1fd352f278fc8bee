"""A process without Polars that keeps house; prints what became of its topic as one JSON object.

housekeeping_process.py FILE merge|alone|retain
"""

from __future__ import annotations

import json
import sys
import time

from millstream.engines.sqlite import SqliteEngine
from millstream.log import Log, Retention
from millstream.log.housekeeping import Housekeeping
from millstream.testing import FakeClock

PATIENCE_S = 200.0


def merge(log: Log) -> None:
    topic = log.topic("jobs")
    house = Housekeeping(log.engine, log.clock)
    until = time.monotonic() + PATIENCE_S
    while topic.info().partitions[0].batches > 1 and time.monotonic() < until:
        house.run_once(idle_us=0)
        time.sleep(0.05)
    house.stop()


def retain(log: Log, clock: FakeClock) -> None:
    """Keep house before and after the age of the last batch, which is one of columns."""
    log.topic("jobs", retention=Retention(age="1h"))
    house = Housekeeping(log.engine, clock)
    counts: list[int] = []
    for _ in range(3):
        clock.advance("50m")
        house.run_once(idle_us=10**15)
        counts.append(log.topic("jobs").info().records)
    print(json.dumps({"counts": counts, "polars": "polars" in sys.modules}))


def main(path: str, act: str) -> None:
    clock = FakeClock(1_700_000_000_000_000)
    log = Log(SqliteEngine(path, durability="relaxed", clock=clock), clock=clock, housekeeping=False)
    if act == "retain":
        retain(log, clock)
    else:
        if act == "alone":
            # What starts and does not merge, as the executable of a server that embeds Python.
            sys.executable = "/bin/false"
        merge(log)
        batches = log.topic("jobs").info().partitions[0].batches
        print(json.dumps({"batches": batches, "polars": "polars" in sys.modules}))
    log.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
