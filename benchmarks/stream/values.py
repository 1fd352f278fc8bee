"""Python functions of one record: in a stream, and in a bare loop over the same structs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any, Final

import msgspec
import polars as pl

from benchmarks.harness import Options, Report, alternate, folder, seconds
from benchmarks.nexmark.generator import BID, pieces
from benchmarks.stream.runs import opened, timed
from millstream.log.topic import Topic
from millstream.stream.description import Stream

SHARE_MIN: Final = 0.6


class Bid(msgspec.Struct):
    auction: int
    bidder: int
    price: int
    channel: str


class Offer(msgspec.Struct):
    auction: int
    euros: float
    channel: str


def to_offer(bid: Bid) -> Offer | None:
    """The function of `map`: a result for one bid in ten, so that calls are measured and not the writing."""
    euros = round(bid.price * 0.908, 2)
    return Offer(bid.auction, euros, bid.channel.lower()) if bid.auction % 10 == 0 else None


def raise_(total: int, bid: Bid) -> tuple[int, Offer | None]:
    """The function of `stateful_map`: a result when a bidder passes another hundred thousand."""
    after = total + bid.price
    passed = after // 10_000_000 > total // 10_000_000
    return after, Offer(bid.auction, after * 0.908, bid.channel) if passed else None


def measure(options: Options) -> Report:
    count = options.records(1_000_000)
    report = Report(
        "stream_values",
        "A Python function for each record runs at more than half the speed of a bare loop.",
        {
            "input": f"{count:,} bids of NEXMark in a topic, a struct of four fields",
            "loop over the topic": "Topic.read, and the function for each value; nothing is stored",
            "loop in memory": "the function for each struct of a list; nothing is read and nothing stored",
            "stream": "run_now into a topic, durability fsync",
        },
    )
    with folder(options) as directory, opened(directory / "bids.db", "fsync") as log:
        topic: Topic[Bid] = log.topic("bids", Bid)
        for frame in pieces(count * 50 // 46 + 50):
            topic.extend(frame.filter(pl.col("kind") == BID).select("auction", "bidder", "price", "channel"))
        _add(report, options, topic, "map", lambda bids: bids.map(to_offer), _map_loop)
        _add(
            report,
            options,
            topic,
            "stateful_map",
            lambda bids: bids.stateful_map(raise_, 0, by="bidder"),
            _stateful_loop,
        )
    return report


def _add(
    report: Report,
    options: Options,
    topic: Topic[Bid],
    name: str,
    describe: Callable[[Stream], Stream],
    loop: Callable[[Any], int],
) -> None:
    count = topic.info().records
    bids = list(_values(topic))
    stream, over_topic, in_memory = alternate(
        options.runs,
        lambda: count / timed(topic, describe),
        lambda: count / seconds(lambda: loop(_values(topic))),
        lambda: count / seconds(lambda: loop(bids)),
    )
    memory = report.add(f"{name}: loop in memory", in_memory, "records/s")
    peer = report.add(f"{name}: loop over the topic", over_topic, "records/s")
    row = report.add(f"{name}: stream", stream, "records/s", reach=f"{SHARE_MIN} of the loop over the topic")
    row.reached = row.median >= SHARE_MIN * peer.median
    row.note = f"{row.median / peer.median:.2f} of the loop over the topic, {row.median / memory.median:.2f} in memory"


def _values(topic: Topic[Bid]) -> Any:
    offset = 0
    while records := topic.read(offset, records_max=65_536):
        for record in records:
            yield record.value
        offset = records[-1].offset + 1


def _map_loop(bids: Any) -> int:
    kept = [offer for bid in bids if (offer := to_offer(bid)) is not None]
    return len(kept)


def _stateful_loop(bids: Any) -> int:
    totals: defaultdict[int, int] = defaultdict(int)
    kept = []
    for bid in bids:
        totals[bid.bidder], offer = raise_(totals[bid.bidder], bid)
        if offer is not None:
            kept.append(offer)
    return len(kept)
