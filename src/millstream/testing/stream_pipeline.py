"""A pipeline with every kind of step, records for it, and by brute force what must come out: for tests that disturb it.

Every output holds rows that say what they were made of, so that one that is missing, wrong or there twice is seen.
"""

from __future__ import annotations

import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from random import Random
from typing import Any, Final, TypeAlias

import msgspec
import polars as pl

from millstream.app import App
from millstream.log.log import Log
from millstream.log.topic import Topic
from millstream.stream import Stream, StreamReader, count, hopping, session, sum_, tumbling

BEGIN: Final = datetime(2024, 5, 1, 12, 0, tzinfo=UTC)

DISORDER_S: Final = 5.0
"""So far behind the newest a record comes at most."""

DELAY: Final = "60s"
"""Far more than the disorder: a machine that stands still for a while makes event time go on while nothing is late."""

VISITORS: Final = 12
TUMBLE_S: Final = 10
HOP_S: Final = 5
GAP_S: Final = 4
REPEAT_S: Final = 3
NEAR_S: Final = 2
OLD_S: Final = 20

Row: TypeAlias = tuple[Any, ...]


class Click(msgspec.Struct, frozen=True):
    visitor: str
    n: int
    at: datetime


class Order(msgspec.Struct, frozen=True):
    visitor: str
    m: int
    at: datetime


class Numbered(msgspec.Struct, frozen=True):
    visitor: str
    n: int
    nth: int


FIELDS: Final[dict[str, tuple[str, ...]]] = {
    "even": ("visitor", "n"),
    "counts": ("visitor", "window_start", "n", "total"),
    "hops": ("visitor", "window_start", "n"),
    "visits": ("visitor", "window_start", "window_end", "n"),
    "numbered": ("visitor", "n", "nth"),
    "joined": ("visitor", "n", "m"),
    "newest": ("visitor", "n", "m"),
    "firsts": ("visitor", "n"),
}
"""The columns of each output that are compared."""


def topics(log: Log, partitions: int) -> tuple[Topic[Click], Topic[Order]]:
    return (
        log.topic("clicks", Click, key="visitor", time="at", partitions=partitions),
        log.topic("orders", Order, key="visitor", time="at", partitions=partitions),
    )


def declare(app: App, *, partitions: int = 1, share: bool = False, delay: str = DELAY) -> StreamReader:
    """Declare the pipeline; its outputs are the topics of `FIELDS`."""
    return app.stream(*topics(app.log, partitions), share=share, delay=delay)(pipeline)


def pipeline(clicks: Stream, orders: Stream) -> None:
    """Describe the pipeline."""
    clicks.filter(pl.col("n") % 2 == 0).select("visitor", "n").to("even")
    clicks.window(tumbling(seconds=TUMBLE_S), by="visitor").agg(n=count(), total=sum_("n")).to("counts")
    clicks.window(hopping(f"{TUMBLE_S}s", f"{HOP_S}s"), by="visitor").agg(n=count()).to("hops")
    clicks.window(session(f"{GAP_S}s"), by="visitor").agg(n=count()).to("visits")
    clicks.stateful_map(_numbered, 0, by="visitor").to("numbered")
    clicks.join(orders, on="visitor", within=f"{NEAR_S}s").select("visitor", "n", "m").to("joined")
    clicks.join_asof(orders, on="visitor", tolerance=f"{OLD_S}s").select("visitor", "n", "m").to("newest")
    clicks.dedupe("visitor", within=f"{REPEAT_S}s").select("visitor", "n").to("firsts")


def _numbered(state: int, click: Click) -> tuple[int, Numbered]:
    return state + 1, Numbered(click.visitor, click.n, state + 1)


def records(random: Random, count: int) -> Iterator[Click | Order]:
    """Yield records in the order of their appends; no two of a kind have the same time."""
    for number in range(count):
        at = BEGIN + timedelta(seconds=number / 4 - random.uniform(0, DISORDER_S - 1), microseconds=number % 7)
        visitor = f"v{random.randrange(VISITORS)}"
        yield Click(visitor, number, at) if random.random() < 0.7 else Order(visitor, number, at)


def last_records(count: int, partitions: int) -> Iterator[Click | Order]:
    """Yield records so late that everything closes, one for each partition of both topics."""
    at = BEGIN + timedelta(days=1, seconds=count)
    for partition in range(partitions):
        yield Click(_visitor_of("end", partition, partitions), -1, at)
        yield Order(_visitor_of("close", partition, partitions), -1, at)


def _visitor_of(word: str, partition: int, partitions: int) -> str:
    """Return a name that goes to a partition."""
    names = (f"{word}{number}" for number in range(1000))
    return next(name for name in names if zlib.crc32(name.encode()) % partitions == partition)


def append(log: Log, some: Iterable[Click | Order], partitions: int) -> None:
    """Append records, those of each topic in their order."""
    clicks, orders = topics(log, partitions)
    listed = list(some)
    clicks.extend([record for record in listed if isinstance(record, Click)])
    orders.extend([record for record in listed if isinstance(record, Order)])


# --- what came out, and what must ------------------------------------------------------------------------------------


def outputs(log: Log) -> dict[str, Counter[Row]]:
    """Return the rows of each output, and how many times each is there."""
    there = set(log.topics())
    return {name: Counter(_rows(log, name, fields)) for name, fields in FIELDS.items() if name in there}


def _rows(log: Log, name: str, fields: Sequence[str]) -> Iterator[Row]:
    topic: Topic[Any] = log.topic(name)
    for partition, end in topic.end_offsets().items():
        frame = topic.read_frame(0, end, partition=partition)
        yield from frame.select(fields).iter_rows()


def expected(some: Iterable[Click | Order]) -> dict[str, Counter[Row]]:
    """Return what must come out of records, the last ones not among them."""
    listed = list(some)
    clicks = [record for record in listed if isinstance(record, Click)]
    orders: dict[str, list[Order]] = defaultdict(list)
    for record in listed:
        if isinstance(record, Order):
            orders[record.visitor].append(record)
    by_visitor: dict[str, list[Click]] = defaultdict(list)
    for click in clicks:
        by_visitor[click.visitor].append(click)
    return {
        "even": Counter((click.visitor, click.n) for click in clicks if click.n % 2 == 0),
        "counts": Counter(
            (visitor, start, len(held), sum(click.n for click in held))
            for visitor, start, held in _windows(by_visitor, TUMBLE_S, TUMBLE_S)
        ),
        "hops": Counter((visitor, start, len(held)) for visitor, start, held in _windows(by_visitor, TUMBLE_S, HOP_S)),
        "visits": Counter(_visits(by_visitor)),
        "numbered": Counter(
            (visitor, click.n, nth) for visitor, mine in by_visitor.items() for nth, click in enumerate(mine, 1)
        ),
        "joined": Counter(
            (click.visitor, click.n, order.m)
            for click in clicks
            for order in orders[click.visitor]
            if abs(click.at - order.at) <= timedelta(seconds=NEAR_S)
        ),
        "newest": Counter((click.visitor, click.n, _newest(click, orders[click.visitor])) for click in clicks),
        "firsts": Counter(_firsts(by_visitor)),
    }


def _windows(
    by_visitor: dict[str, list[Click]], size_s: int, advance_s: int
) -> Iterator[tuple[str, datetime, list[Click]]]:
    held: dict[tuple[str, int], list[Click]] = defaultdict(list)
    for visitor, clicks in by_visitor.items():
        for click in clicks:
            first = int(click.at.timestamp()) // advance_s * advance_s
            for start in range(first, first - size_s, -advance_s):
                held[visitor, start].append(click)
    for (visitor, start), some in held.items():
        yield visitor, datetime.fromtimestamp(start, UTC), some


def _visits(by_visitor: dict[str, list[Click]]) -> Iterator[Row]:
    gap = timedelta(seconds=GAP_S)
    for visitor, clicks in by_visitor.items():
        times = sorted(click.at for click in clicks)
        starts = [0, *(place for place, (one, next) in enumerate(pairwise(times), 1) if next - one >= gap), len(times)]
        for start, end in pairwise(starts):
            yield visitor, times[start], times[end - 1] + gap, end - start


def _newest(click: Click, orders: Sequence[Order]) -> int | None:
    old = click.at - timedelta(seconds=OLD_S)
    near = [order for order in orders if old <= order.at <= click.at]
    return max(near, key=lambda order: order.at).m if near else None


def _firsts(by_visitor: dict[str, list[Click]]) -> Iterator[Row]:
    within = timedelta(seconds=REPEAT_S)
    for visitor, clicks in by_visitor.items():
        kept: list[datetime] = []
        for click in clicks:
            if all(abs(click.at - at) >= within for at in kept):
                kept.append(click.at)
                yield visitor, click.n


def difference(
    found: dict[str, Counter[Row]], wanted: dict[str, Counter[Row]]
) -> dict[str, tuple[list[Row], list[Row]]]:
    """Return, for each output that is not as it must be, what is missing and what is too much, some of it."""
    wrong: dict[str, tuple[list[Row], list[Row]]] = {}
    for name, rows in wanted.items():
        there = Counter({row: times for row, times in found.get(name, Counter()).items() if not _is_last(row)})
        if there != rows:
            wrong[name] = ([*(rows - there).elements()][:5], [*(there - rows).elements()][:5])
    return wrong


def _is_last(row: Row) -> bool:
    return not str(row[0]).startswith("v")
