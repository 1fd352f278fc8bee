"""The queries for Bytewax, in one process: its file source is one partition, which more workers do not share."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import bytewax.operators as op
import bytewax.operators.windowing as win
import msgspec
from bytewax.connectors.files import FileSource
from bytewax.dataflow import Dataflow
from bytewax.operators import KeyedStream, Stream
from bytewax.operators.windowing import EventClock, SessionWindower, SlidingWindower, TumblingWindower
from bytewax.testing import TestingSink, run_main

PERSON, AUCTION, BID = range(3)
ALIGN = datetime(2015, 7, 15, tzinfo=UTC)
TEN = timedelta(seconds=10)
TWO = timedelta(seconds=2)


class Event(msgspec.Struct):
    kind: int
    time: datetime
    id: int | None = None
    name: str | None = None
    seller: int | None = None
    auction: int | None = None
    bidder: int | None = None
    price: int | None = None
    channel: str | None = None


class Line(msgspec.Struct):
    text: str


# Its watermark also goes on with the wall clock: without a wait, records of a slow run would be late.
CLOCK = EventClock(ts_getter=lambda event: event.time, wait_for_system_duration=timedelta(hours=1))
TUMBLING = TumblingWindower(length=TEN, align_to=ALIGN)


def _window_start(number: int, advance: timedelta = TEN) -> datetime:
    return ALIGN + number * advance


def _bids(events: Stream[Event]) -> Stream[Event]:
    return op.filter("bids", events, lambda event: event.kind == BID)


def q1(events: Stream[Event]) -> Stream[Any]:
    return op.map("euros", _bids(events), lambda b: (b.auction, b.bidder, b.price * 0.908, b.channel, b.time))


def q5(events: Stream[Event]) -> Stream[Any]:
    windows = SlidingWindower(length=TEN, offset=TWO, align_to=ALIGN)
    counts = win.count_window("count", _bids(events), CLOCK, windows, lambda bid: str(bid.auction)).down
    by_window: KeyedStream[Any] = op.map(
        "by window", counts, lambda item: (str(item[1][0]), (int(item[0]), item[1][1]))
    )
    hottest = op.fold_final("hottest", by_window, list, _keep_most)
    return op.flat_map(
        "rows", hottest, lambda item: [(_window_start(int(item[0]), TWO), auction, n) for auction, n in item[1]]
    )


def _keep_most(kept: list[tuple[int, int]], item: tuple[int, int]) -> list[tuple[int, int]]:
    if not kept or item[1] > kept[0][1]:
        return [item]
    return [*kept, item] if item[1] == kept[0][1] else kept


def q7(events: Stream[Event]) -> Stream[Any]:
    keyed = op.key_on("all", _bids(events), lambda _: "all")
    highest = win.max_window("highest", keyed, CLOCK, TUMBLING, by=lambda bid: bid.price).down
    return op.map(
        "rows",
        highest,
        lambda item: (_window_start(item[1][0]), item[1][1].auction, item[1][1].bidder, item[1][1].price),
    )


def q8(events: Stream[Event]) -> Stream[Any]:
    persons = op.filter("persons", events, lambda event: event.kind == PERSON)
    auctions = op.filter("auctions", events, lambda event: event.kind == AUCTION)
    joined = win.join_window(
        "join",
        CLOCK,
        TUMBLING,
        op.key_on("by id", persons, lambda event: str(event.id)),
        op.key_on("by seller", auctions, lambda event: str(event.seller)),
    ).down
    both = op.filter("both", joined, lambda item: None not in item[1][1])
    return op.map("rows", both, lambda item: (_window_start(item[1][0]), int(item[0]), item[1][1][0].name))


def q11(events: Stream[Event]) -> Stream[Any]:
    keyed = op.key_on("by bidder", _bids(events), lambda bid: str(bid.bidder))
    out = win.fold_window(
        "sessions",
        keyed,
        CLOCK,
        SessionWindower(gap=TEN),
        lambda: (None, None, 0),
        lambda kept, bid: (kept[0] or bid.time, bid.time, kept[2] + 1),
        lambda a, b: (min(a[0], b[0]), max(a[1], b[1]), a[2] + b[2]),
    )
    return op.map("rows", out.down, lambda item: (int(item[0]), item[1][1][0], item[1][1][1] + TEN, item[1][1][2]))


def words(lines: Stream[Line]) -> Stream[Any]:
    each = op.flat_map("split", lines, lambda line: line.text.split(" "))
    return op.count_final("count", each, lambda word: word)


QUERIES: dict[str, tuple[Callable[[Any], Stream[Any]], tuple[str, ...]]] = {
    "q1": (q1, ("auction", "bidder", "euros", "channel", "time")),
    "q5": (q5, ("window_start", "auction", "bids")),
    "q7": (q7, ("window_start", "auction", "bidder", "price")),
    "q8": (q8, ("window_start", "person", "name")),
    "q11": (q11, ("bidder", "window_start", "window_end", "bids")),
    "words": (words, ("word", "times")),
}


def main(name: str, source: str, target: str) -> None:
    query, columns = QUERIES[name]
    decoder = msgspec.json.Decoder(Line if name == "words" else Event)
    answer: list[Any] = []
    flow = Dataflow(name)
    decoded = op.map("decode", op.input("in", flow, FileSource(source, batch_size=1000)), decoder.decode)
    op.output("out", query(decoded), TestingSink(answer))
    started = time.perf_counter()
    run_main(flow)
    seconds = time.perf_counter() - started
    encode = msgspec.json.Encoder().encode_lines
    Path(target).write_bytes(encode([dict(zip(columns, row, strict=True)) for row in answer]))
    print(json.dumps({"seconds": seconds}))


if __name__ == "__main__":
    main(*sys.argv[1:])
