"""Every operation of a queue with millions of records in it, beside the same with a thousand: nothing scans."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from benchmarks.harness import Options, Report, folder
from millstream import App, DeadLetter, Topic
from millstream.engines.protocol import Entry, Outcome, Settlement
from millstream.log.dead_letter import ValueCoding
from millstream.log.group import Group

SMALL: Final = (1_000, 1_000, 1_000)
LARGE: Final = (1_000_000, 1_000_000, 100_000)
CALL: Final = 10_000
REPEATS: Final = 100
KEYS: Final = 10_000
LEASE: Final = "60s"
HOUR_US: Final = 3_600_000_000
SLOWER_MAX: Final = 1.5
"""Above what the machine's own noise does to medians of microseconds."""


class Job(msgspec.Struct):
    number: int


def measure(options: Options) -> Report:
    report = Report(
        "queue_backlog",
        "With a million records ready, a million delayed and a hundred thousand dead, each operation is as fast as "
        "with a thousand of each.",
        {
            "records": f"{LARGE[0]:,} ready, {LARGE[1]:,} delayed (each until a moment of its own), {LARGE[2]:,} dead; "
            f"beside a file with {SMALL[0]:,} of each",
            "measured": f"the two files in turn, {REPEATS} times an operation in each run; relaxed, one process",
            "in order of keys": f"a second group, sorted, has the ready ones: {KEYS:,} keys, half of them delayed",
        },
    )
    with folder(options) as directory:
        subjects = []
        for name, sizes in (("small", SMALL), ("large", tuple(options.records(size) for size in LARGE))):
            started = time.perf_counter()
            subjects.append(Subject(directory / f"{name}.db", *sizes))
            report.findings.append(f"the {name} file was filled in {time.perf_counter() - started:.0f} s")
        small, large = subjects
        for what in small.operations:
            times: tuple[list[float], list[float]] = ([], [])
            for _ in range(options.runs):
                for kept, median in zip(times, _medians(small.operations[what], large.operations[what]), strict=True):
                    kept.append(median * 1e6)
            few, many = statistics.median(times[0]), statistics.median(times[1])
            row = report.add(what, times[1], "us", reach=f"{SLOWER_MAX} x {few:,.0f} us at most")
            row.reached, row.note = many <= SLOWER_MAX * few, f"{many / few:.2f} of the time with a thousand"
        for subject in subjects:
            subject.app.close()
    return report


def _medians(*operations: Callable[[], float]) -> list[float]:
    """Return the median seconds of each, taken in turn after three rounds that are not counted."""
    times: list[list[float]] = [[] for _ in operations]
    for number in range(REPEATS + 3):
        for kept, operation in zip(times, operations, strict=True):
            took = operation()
            if number >= 3:
                kept.append(took)
    return [statistics.median(kept) for kept in times]


class Subject:
    """A file with a backlog, and what is done to it: operations return their seconds."""

    def __init__(self, path: Path, ready: int, delayed: int, dead: int) -> None:
        self.app = App(f"sqlite:///{path}", durability="relaxed")
        self.topic: Topic[Job] = self.app.topic("jobs", Job)
        self.group: Group[Job] = self.topic.group("work")
        self.due_us = time.time_ns() // 1000 + HOUR_US
        self._extend(delayed)
        self._settle_all(lambda lease, at: Settlement(lease, at, at + 1, Outcome.RELEASE, self.due_us + at))
        self._extend(dead)
        self._kill_all()
        self.sorted: Group[Job] = self.topic.group("by_key", start="end", parallel=1)
        self._extend(ready)
        self._sort()
        self.value = Job(1)
        self.values = [Job(number) for number in range(1000)]
        self.operations: dict[str, Callable[[], float]] = {
            "append one": lambda: _timed(lambda: self.topic.append(self.value)),
            "append one, delayed": lambda: _timed(lambda: self.topic.append(self.value, due="1h")),
            "extend, 1,000 a call": lambda: _timed(lambda: self.topic.extend(self.values)),
            "lease 100, read them, acknowledge": lambda: _timed(lambda: self._take(self.group, 100, Outcome.ACK)),
            "lease 1, give it back for in an hour": lambda: _timed(lambda: self._take(self.group, 1, Outcome.NACK)),
            "depth and ledger": lambda: _timed(self.group.info),
            "in order of keys: sort 100": self._sort_timed,
            "in order of keys: lease 100, read, acknowledge": lambda: _timed(
                lambda: self._take(self.sorted, 100, Outcome.ACK)
            ),
            "in order of keys: depth and ledger": lambda: _timed(self.sorted.info),
        }

    def _take(self, group: Group[Job], count: int, outcome: Outcome) -> None:
        due_us = self.due_us if outcome is Outcome.NACK else 0
        leases = group.lease(worker="bench", records_max=count, duration=LEASE)
        for lease in leases:
            group.records(lease)
        group.settle([Settlement(lease, lease.start, lease.end, outcome, due_us) for lease in leases])

    def _sort_timed(self) -> float:
        self.topic.extend(self.values[:100])
        start = self.sorted.info().next_offsets[0]
        end = self.topic.end_offsets()[0]
        entries = [self._entry(offset) for offset in range(start, end)]
        self.sorted.sort(0, start, entries[:-100])
        return _timed(lambda: self.sorted.sort(0, end - 100, entries[-100:]))

    def _extend(self, count: int) -> None:
        for start in range(0, count, CALL):
            self.topic.extend([Job(number) for number in range(start, min(start + CALL, count))])

    def _settle_all(self, settlement: Callable[[Any, int], Settlement]) -> None:
        while leases := self.group.lease(worker="bench", records_max=1000, duration=LEASE):
            self.group.settle([settlement(lease, at) for lease in leases for at in range(lease.start, lease.end)])

    def _kill_all(self) -> None:
        """Give up on what is ready, with a dead letter for each record."""
        dead = self.app.topic("jobs.dead", DeadLetter)
        while leases := self.group.lease(worker="bench", records_max=1000, duration=LEASE):
            for lease in leases:
                letters = [_letter(lease.start + number) for number in range(lease.end - lease.start)]
                settlement = Settlement(lease, lease.start, lease.end, Outcome.REJECT)
                self.group.settle([settlement], appends=dead.encode(letters))

    def _sort(self) -> None:
        start_of_all, end = self.sorted.info().next_offsets[0], self.topic.end_offsets()[0]
        for start in range(start_of_all, end, CALL):
            entries = [self._entry(offset) for offset in range(start, min(start + CALL, end))]
            self.sorted.sort(0, start, entries)

    def _entry(self, offset: int) -> Entry:
        return Entry(b"%d" % (offset % KEYS), due_us=self.due_us + offset if offset % KEYS % 2 else 0)


def _timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _letter(offset: int) -> DeadLetter:
    return DeadLetter(
        topic="jobs",
        partition=0,
        offset=offset,
        group="work",
        key=None,
        value=b'{"number":1}',
        value_coding=ValueCoding.JSON,
        error_type="ValueError",
        message="the address does not exist",
        traceback="Traceback (most recent call last): ...",
        attempts=5,
        worker="work-1",
        failed_at=datetime(2026, 1, 1, tzinfo=UTC),
    )
