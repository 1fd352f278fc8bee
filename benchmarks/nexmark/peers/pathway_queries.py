"""The queries for Pathway, over a file that is read to its end, with two workers (PATHWAY_THREADS)."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pathway as pw

PERSON, AUCTION, BID = range(3)
TEN = timedelta(seconds=10)
TWO = timedelta(seconds=2)
FORMAT = "%Y-%m-%dT%H:%M:%S.%fZ"


NOTHING: Any = pw.column_definition(default_value=None)


class Event(pw.Schema):
    kind: int
    time: str
    ident: int | None = NOTHING
    """The name `id` is Pathway's own."""
    name: str | None = NOTHING
    seller: int | None = NOTHING
    auction: int | None = NOTHING
    bidder: int | None = NOTHING
    price: int | None = NOTHING
    channel: str | None = NOTHING


class Line(pw.Schema):
    text: str


def _at(event: Any) -> Any:
    return event.time.dt.strptime(FORMAT)


def _bids(events: Any) -> Any:
    bids = events.filter(events.kind == BID)
    return bids.select(
        auction=pw.unwrap(bids.auction),
        bidder=pw.unwrap(bids.bidder),
        price=pw.unwrap(bids.price),
        channel=bids.channel,
        time=_at(bids),
    )


def q1(events: Any) -> Any:
    bids = _bids(events)
    # The name `time` is taken in its outputs.
    return bids.select(bids.auction, bids.bidder, euros=bids.price * 0.908, channel=bids.channel, at=bids.time)


def q5(events: Any) -> Any:
    bids = _bids(events)
    windows = pw.temporal.sliding(hop=TWO, duration=TEN)
    counts = bids.windowby(bids.time, window=windows, instance=bids.auction).reduce(
        window_start=pw.this._pw_window_start, auction=pw.this._pw_instance, bids=pw.reducers.count()
    )
    most = counts.groupby(counts.window_start).reduce(counts.window_start, bids=pw.reducers.max(counts.bids))
    return counts.join(most, counts.window_start == most.window_start, counts.bids == most.bids).select(
        counts.window_start, counts.auction, counts.bids
    )


def q7(events: Any) -> Any:
    bids = _bids(events)
    windows = bids.windowby(bids.time, window=pw.temporal.tumbling(duration=TEN))
    highest = windows.reduce(window_start=pw.this._pw_window_start, which=pw.reducers.argmax(pw.this.price))
    found = bids.ix(highest.which, context=highest)
    return highest.select(highest.window_start, found.auction, found.bidder, found.price)


def q8(events: Any) -> Any:
    some = events.filter(events.kind != BID)
    timed = some.select(some.kind, some.ident, some.name, some.seller, time=_at(some))
    persons, auctions = timed.filter(timed.kind == PERSON), timed.filter(timed.kind == AUCTION)
    joined = persons.window_join(
        auctions,
        persons.time,
        auctions.time,
        pw.temporal.tumbling(duration=TEN),
        persons.ident == auctions.seller,
    ).select(window_start=pw.this._pw_window_start, person=persons.ident, name=persons.name)
    return joined.groupby(joined.window_start, joined.person, joined.name).reduce(
        joined.window_start, joined.person, joined.name
    )


def q11(events: Any) -> Any:
    bids = _bids(events)
    sessions = bids.windowby(
        bids.time,
        window=pw.temporal.session(predicate=lambda a, b: b - a < TEN),
        instance=bids.bidder,
    )
    return sessions.reduce(
        bidder=pw.this._pw_instance,
        window_start=pw.this._pw_window_start,
        window_end=pw.this._pw_window_end + TEN,
        bids=pw.reducers.count(),
    )


def words(lines: Any) -> Any:
    each = lines.select(word=pw.apply_with_type(lambda text: text.split(" "), list[str], lines.text)).flatten(
        pw.this.word
    )
    return each.groupby(each.word).reduce(each.word, times=pw.reducers.count())


QUERIES: dict[str, Callable[[Any], Any]] = {"q1": q1, "q5": q5, "q7": q7, "q8": q8, "q11": q11, "words": words}


def main(name: str, source: str, target: str) -> None:
    if name == "words":
        table = pw.io.jsonlines.read(source, schema=Line, mode="static")
    else:
        paths = {"ident": "/id"}
        table = pw.io.jsonlines.read(source, schema=Event, mode="static", json_field_paths=paths)
    pw.io.jsonlines.write(QUERIES[name](table), target)
    started = time.perf_counter()
    pw.run(monitoring_level=pw.MonitoringLevel.NONE)
    print(json.dumps({"seconds": time.perf_counter() - started}))


if __name__ == "__main__":
    main(*sys.argv[1:])
