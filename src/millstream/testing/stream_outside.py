"""What `stream_pipeline` leaves out: a table, a function that is called, files; and what must be there in the end."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import msgspec

from millstream.app import App
from millstream.log.log import Log
from millstream.log.topic import Topic
from millstream.sinks import files
from millstream.stream import Stream, StreamReader, table
from millstream.stream.description import TableView
from millstream.testing.stream_pipeline import BEGIN, DELAY, VISITORS, Click, Order, Row, pipeline, topics

MOVES_S: Final = 45
"""So often a visitor moves, by event time."""

MOVES: Final = 200

FILE_BYTES: Final = 2_000
"""A file is complete after about a hundred rows: many are, between any two kills."""


class Home(msgspec.Struct, frozen=True):
    visitor: str
    home: int
    at: datetime


def homes(log: Log, partitions: int) -> Topic[Home]:
    return log.topic("people", Home, key="visitor", time="at", partitions=partitions)


def load_homes(log: Log, partitions: int) -> None:
    """Append where everybody lives, and when they move: all of it before there are clicks."""
    homes(log, partitions).extend(
        [
            Home(f"v{visitor}", move, BEGIN + timedelta(seconds=(move - 1) * MOVES_S))
            for move in range(MOVES)
            for visitor in range(VISITORS)
        ]
    )


def declare(app: App, folder: Path, *, partitions: int, share: bool) -> StreamReader:
    """Declare the pipeline and what goes outside, into a folder."""

    def described(clicks: Stream, orders: Stream, people: TableView) -> None:
        pipeline(clicks, orders)
        clicks.join(people, on="visitor", how="left").select("visitor", "n", "home").to("homes")
        clicks.select("visitor", "n").to(files(folder / "files", size=FILE_BYTES, age="1s"))
        clicks.each(_noting(folder / "called.txt"))

    sources = (*topics(app.log, partitions), table(homes(app.log, partitions)))
    return app.stream(*sources, share=share, delay=DELAY, name="pipeline")(described)


def expected_homes(some: Iterable[Click | Order]) -> Counter[Row]:
    """Return what must come out of the join with the table."""
    return Counter(
        (record.visitor, record.n, min(MOVES - 1, (record.at - BEGIN) // timedelta(seconds=MOVES_S) + 1))
        for record in some
        if isinstance(record, Click)
    )


def found_homes(log: Log) -> Counter[Row]:
    """Return what came out of it."""
    topic: Topic[dict[str, object]] = log.topic("homes")
    rows: Counter[Row] = Counter()
    for partition, end in topic.end_offsets().items():
        rows.update(topic.read_frame(0, end, partition=partition).select("visitor", "n", "home").iter_rows())
    return _of_visitors(rows)


def in_files(folder: Path) -> Counter[Row]:
    """Return the rows of all files that are complete."""
    rows = [
        msgspec.json.decode(line)
        for path in (folder / "files").glob("*.ndjson")
        for line in path.read_bytes().splitlines()
    ]
    return _of_visitors(Counter((row["visitor"], row["n"]) for row in rows))


def called(folder: Path) -> Counter[Row]:
    """Return what the function was called with."""
    lines = (folder / "called.txt").read_text().splitlines()
    return _of_visitors(Counter((visitor, int(n)) for visitor, n in (line.split() for line in lines)))


def _of_visitors(rows: Counter[Row]) -> Counter[Row]:
    """Return rows without those of the last records, which only close what is open."""
    return Counter({row: times for row, times in rows.items() if str(row[0]).startswith("v")})


def _noting(path: Path) -> Callable[[Click], None]:
    def note(click: Click) -> None:
        # Opened anew for each: a process that is killed has nothing in a buffer, and lines do not mix.
        line = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        try:
            os.write(line, f"{click.visitor} {click.n}\n".encode())
        finally:
            os.close(line)

    return note
