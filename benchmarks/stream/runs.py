"""Streams over a topic that is there: each run is a new reader with a new output."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl

from benchmarks.harness import seconds
from benchmarks.nexmark.generator import Event, pieces
from benchmarks.nexmark.words import Line
from benchmarks.nexmark.words import pieces as word_pieces
from millstream.clock import SystemClock
from millstream.engines.connect import connect
from millstream.log.log import Log
from millstream.log.topic import Topic
from millstream.stream.description import Stream
from millstream.stream.reader import StreamReader

NOTHING_KIND = 9
"""Of the last record: no query takes it, and it says that event time has come to an end."""

_numbers = itertools.count()


@contextmanager
def opened(path: Path, durability: str) -> Iterator[Log]:
    """Open a log of this benchmark."""
    log = Log(connect(f"sqlite:///{path}", durability=durability, clock=SystemClock()), housekeeping=False)
    try:
        yield log
    finally:
        log.close()


def fill_events(log: Log, count: int) -> Topic[Event]:
    """Return the topic `events` of NEXMark's first events and a last record that closes every window."""
    topic: Topic[Event] = log.topic("events", Event, time="time")
    for frame in pieces(count):
        topic.extend(frame)
    topic.extend(long_after(frame).with_columns(pl.lit(NOTHING_KIND, pl.Int64).alias("kind")))
    return topic


def fill_lines(log: Log, count: int) -> Topic[Line]:
    """Return the topic `lines` of text, and an empty line that closes every window."""
    topic: Topic[Line] = log.topic("lines", Line, time="time")
    for frame in word_pieces(count):
        topic.extend(frame)
    topic.extend(long_after(frame).with_columns(text=pl.lit("")))
    return topic


def long_after(frame: pl.DataFrame) -> pl.DataFrame:
    """Return the last record again, days later."""
    return frame.tail(1).with_columns(pl.col("time") + pl.duration(days=9))


def timed(
    topic: Topic[Any],
    describe: Callable[[Stream], Stream],
    *,
    check: Callable[[pl.DataFrame], bool] | None = None,
    run: Callable[[StreamReader], float] | None = None,
) -> float:
    """Run a stream over all that is in a topic; return the seconds it took, with the commits.

    Args:
        check: Whether this is the answer; asked outside the time.
        run: Runs it in another way.
    """
    name = f"run{next(_numbers)}"
    reader = StreamReader(topic, description=lambda stream: describe(stream).to(name), name=name)
    took = seconds(lambda: reader.run_now(threading.Event())) if run is None else run(reader)
    target = topic.log.topic(name)
    assert check is None or check(target.frame().collect()), f"a wrong answer in {name}"
    target.delete()
    return took
