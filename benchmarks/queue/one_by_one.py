"""The standard library's interface on disk: `put` and `get` one by one, where each is a transaction."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.harness import Options, Report, alternate, folder, seconds
from millstream import LifoQueue, PriorityQueue, Queue

GET_MIN = 10_000
BOUND = 1_000_000


def measure(options: Options) -> Report:
    count = options.records(10_000)
    report = Report(
        "queue_one_by_one",
        f"Where each item leaves by a transaction of its own, {GET_MIN:,} a second do.",
        {"items": f"{count:,} numbers (or pairs of them), put by one call and got one by one; one process, relaxed"},
    )
    numbers: list[Any] = list(range(count))
    pairs: list[Any] = [(number * 7919 % 1000, number) for number in numbers]
    kinds: list[tuple[str, Callable[[Path], Queue[Any]], list[Any]]] = [
        (f"Queue, maxsize={BOUND:,}", lambda path: Queue(path, BOUND, durability="relaxed"), numbers),
        ("LifoQueue", lambda path: LifoQueue(path, durability="relaxed"), numbers),
        ("PriorityQueue", lambda path: PriorityQueue(path, durability="relaxed"), pairs),
    ]
    with folder(options) as directory:
        names = itertools.count()

        def new() -> Path:
            return directory / f"{next(names)}.db"

        def got(make: Callable[[Path], Queue[Any]], items: list[Any]) -> float:
            with make(new()) as queue:
                queue.put_many(items)
                return count / seconds(lambda: [queue.get() for _ in items])

        def put() -> float:
            with Queue[int](new(), durability="relaxed") as queue:
                return count / seconds(lambda: [queue.put(number) for number in numbers])

        puts, *gets = alternate(options.runs, put, *(lambda kind=kind: got(*kind[1:]) for kind in kinds))  # type: ignore[misc]
    report.add("Queue.put", puts, "items/s")
    for (name, _, _), rates in zip(kinds, gets, strict=True):
        row = report.add(f"get: {name}", rates, "items/s", reach=f"{GET_MIN:,}/s")
        row.reached = row.median >= GET_MIN
    return report
