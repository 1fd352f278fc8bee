"""Five million keys of state: restart, memory, and what a commit of a thousand changed keys costs."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import msgspec
import polars as pl

from benchmarks.harness import Options, Report, child, folder
from benchmarks.stream.runs import opened
from millstream.log.topic import Topic
from millstream.stream.aggregates import count, sum_
from millstream.stream.description import Stream
from millstream.stream.reader import StreamReader
from millstream.stream.windows import tumbling

FEW: Final = 10_000
CHANGED: Final = 1_000
COMMITS: Final = 400
"""So many that what a commit puts off is done meanwhile."""
RESTART_MAX_S: Final = 5.0
MEMORY_MAX_MB: Final = 1_000
SLOWER_MAX: Final = 1.5
"""A commit of as many keys out of millions takes so much longer at most: more of it misses the machine's caches."""

_BEGIN: Final = datetime(2026, 1, 1, tzinfo=UTC)


class Event(msgspec.Struct):
    user: int
    amount: int
    time: datetime


def measure(options: Options) -> Report:
    many = options.records(5_000_000)
    report = Report(
        "stream_state",
        "A stream with millions of keys of state restarts in seconds; a commit costs what changed, not what there is.",
        {
            "input": f"a record for each of {many:,} keys, then {COMMITS} micro-batches of {CHANGED:,} keys",
            "state": "window: count and sum by key, of a window that stays open; keyed: a number by key, of a function",
            "memory": "the most that a process of its own held while it restarted and ran on",
            "durability": "relaxed, so that the disk's fsync does not hide the difference; the median commit",
        },
    )
    with folder(options) as directory:
        for kind in ("window", "keyed"):
            found = {}
            for keys in (FEW, many):
                path = directory / f"{kind}{keys}.db"
                child("benchmarks.stream.state", "fill", str(path), kind, str(keys))
                found[keys] = child("benchmarks.stream.state", "go_on", str(path), kind, str(keys))
            _add(report, kind, found[FEW], found[many], many)
    return report


def _add(report: Report, kind: str, few: dict[str, Any], many: dict[str, Any], keys: int) -> None:
    restart = report.add(f"{kind}: restart with {keys:,} keys", [many["restart_s"]], "s")
    restart.reach, restart.reached = f"under {RESTART_MAX_S:g} s", restart.median < RESTART_MAX_S
    memory = report.add(f"{kind}: memory with {keys:,} keys", [many["memory_mb"]], "MB")
    memory.reach, memory.reached = f"under {MEMORY_MAX_MB} MB", memory.median < MEMORY_MAX_MB
    small = report.add(f"{kind}: commit of {CHANGED:,} of {FEW:,} keys", few["commits_ms"], "ms")
    large = report.add(f"{kind}: commit of {CHANGED:,} of {keys:,} keys", many["commits_ms"], "ms")
    large.reach = f"at most {SLOWER_MAX:g} times as long"
    large.reached = large.median <= SLOWER_MAX * small.median
    large.note = f"slowest {max(many['commits_ms']):.0f} ms, of {FEW:,} keys {max(few['commits_ms']):.0f} ms"


def main(what: str, path: str, kind: str, keys: str) -> None:
    """Fill the state, or restart and go on; print what was measured as JSON."""
    total = int(keys)
    with opened(Path(path), "relaxed") as log:
        events: Topic[Event] = log.topic("events", Event, time="time", key="user")
        if what == "fill":
            for frame in _frames(total, 0):
                events.extend(frame)
            _reader(events, kind).open().run_now(threading.Event())
            print("{}")
            return
        begun = time.perf_counter()
        run = _reader(events, kind).open(records_max=CHANGED)
        events.extend(_some(total, 0))
        run.step()
        restart_s = time.perf_counter() - begun
        commits: list[float] = []
        for number in range(1, COMMITS + 1):
            events.extend(_some(total, number))
            begun = time.perf_counter()
            run.step()
            commits.append((time.perf_counter() - begun) * 1000)
    print(json.dumps({"restart_s": restart_s, "commits_ms": commits, "memory_mb": _memory_mb()}))


def _reader(events: Topic[Event], kind: str) -> StreamReader:
    def window(s: Stream) -> None:
        s.window(tumbling("365d"), by="user").agg(n=count(), total=sum_("amount")).to("totals")

    def keyed(s: Stream) -> None:
        s.stateful_map(_count, 0, name="count").to("counts")

    return StreamReader(events, description=window if kind == "window" else keyed, name="state")


def _count(state: int, event: Event) -> tuple[int, None]:
    return state + 1, None


def _frames(total: int, number: int) -> Iterator[pl.DataFrame]:
    for start in range(0, total, 500_000):
        yield _frame(pl.int_range(start, min(total, start + 500_000), eager=True), number)


def _some(total: int, number: int) -> pl.DataFrame:
    # Spread over all keys, others each time.
    return _frame((pl.int_range(CHANGED, eager=True) * 7919 + number * 104_729) % total, number)


def _frame(users: pl.Series, number: int) -> pl.DataFrame:
    moment = _BEGIN + timedelta(seconds=number)
    return pl.DataFrame({"user": users.cast(pl.Int64), "amount": users % 100}).with_columns(time=pl.lit(moment))


def _memory_mb() -> float:
    """Return the most memory that this process held; Linux."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1000
    raise RuntimeError("this system does not tell a process's memory")


if __name__ == "__main__":
    main(*sys.argv[1:])
