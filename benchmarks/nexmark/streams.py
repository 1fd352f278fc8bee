"""The queries as streams: each function describes one, from the events to the topic of its answer.

Q7 takes the first of the highest bids, where others take all of them; prices are fine enough that there is one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import msgspec
import polars as pl

from benchmarks.nexmark.generator import AUCTION, BID, PERSON
from millstream.stream.aggregates import agg_expr, arg_max, count, max_, mean
from millstream.stream.keyed.context import Context
from millstream.stream.windows import hopping, session, tumbling

if TYPE_CHECKING:
    from millstream.stream.description import Stream

LONG: Final = "1d"
"""Longer than the events last: a window of it holds all."""

SECONDS: Final = "10s"


def q0(events: Stream) -> Stream:
    return _bids(events).select("auction", "bidder", "price", "channel", "time")


def q1(events: Stream) -> Stream:
    euros = (pl.col("price") * 0.908).alias("euros")
    return _bids(events).select("auction", "bidder", euros, "channel", "time")


def q2(events: Stream) -> Stream:
    return _bids(events).filter(pl.col("auction") % 123 == 0).select("auction", "price")


def q3(events: Stream) -> Stream:
    sellers = events.filter((pl.col("kind") == PERSON) & pl.col("state").is_in(["OR", "ID", "CA"]))
    offers = events.filter((pl.col("kind") == AUCTION) & (pl.col("category") == 10))
    return (
        offers.select("seller", pl.col("id").alias("auction"))
        .join(sellers.select("id", "name", "city", "state"), left_on="seller", right_on="id", within=LONG)
        .select("name", "city", "state", "auction")
    )


def q4(events: Stream) -> Stream:
    winners = _valid_bids(events).window(tumbling(LONG), by=("id", "category")).agg(final=max_("price"))
    return winners.window(tumbling(LONG), by="category").agg(price=mean("final")).select("category", "price")


def q5(events: Stream) -> Stream:
    counts = _bids(events).window(hopping(SECONDS, "2s"), by="auction").agg(bids=count())
    hottest = pl.struct("auction", "bids").filter(pl.col("bids") == pl.col("bids").max())
    # The event time of a result is the start of its window, so that windows of the advance hold one window's results.
    return (
        counts.window(tumbling("2s"))
        .agg(hot=agg_expr(hottest))
        .explode("hot")
        .select("window_start", pl.col("hot").struct.field("auction"), pl.col("hot").struct.field("bids"))
    )


class Winner(msgspec.Struct):
    """An auction with the highest bid so far."""

    auction: int
    seller: int
    expires: datetime
    final: int


class Average(msgspec.Struct):
    seller: int
    auction: int
    price: float


def q6(events: Stream) -> Stream:
    winners = _valid_bids(events).stateful_map(_keep_highest, None, by="id", on_timer=_auction_ends)
    return winners.stateful_map(_average_of_ten, list, by="seller")


def _keep_highest(state: Winner | None, bid: Any, context: Context) -> tuple[Winner | None, Winner | None]:
    if state is None:
        # A bid at the very end still counts.
        context.set_timer(bid.expires + timedelta(microseconds=1))
        return Winner(bid.id, bid.seller, bid.expires, bid.price), None
    state.final = max(state.final, bid.price)
    return state, None


def _auction_ends(state: Winner | None, context: Context) -> tuple[Winner | None, Winner | None]:
    return None, state


def _average_of_ten(prices: list[int], winner: Winner) -> tuple[list[int], Average]:
    last = [*prices[-9:], winner.final]
    return last, Average(winner.seller, winner.auction, sum(last) / len(last))


def q7(events: Stream) -> Stream:
    highest = _bids(events).window(tumbling(SECONDS))
    return highest.agg(
        auction=arg_max("auction", "price"), bidder=arg_max("bidder", "price"), price=max_("price")
    ).select("window_start", "auction", "bidder", "price")


def q8(events: Stream) -> Stream:
    persons = events.filter(pl.col("kind") == PERSON).select("id", "name", "time")
    sellers = events.filter(pl.col("kind") == AUCTION).select("seller")
    together = persons.join(sellers, left_on="id", right_on="seller", window=tumbling(SECONDS))
    return together.dedupe("id", within=SECONDS).select(
        pl.col("time").dt.truncate(SECONDS).alias("window_start"), pl.col("id").alias("person"), "name"
    )


def q11(events: Stream) -> Stream:
    visits = _bids(events).window(session(SECONDS, slack=0), by="bidder")
    return visits.agg(bids=count()).select("bidder", "window_start", "window_end", "bids")


def words(lines: Stream) -> Stream:
    each = lines.select(pl.col("text").str.split(" ").alias("word")).explode("word")
    return each.window(tumbling(LONG), by="word").agg(times=count()).select("word", "times")


def _bids(events: Stream) -> Stream:
    return events.filter(pl.col("kind") == BID)


def _valid_bids(events: Stream) -> Stream:
    """Return each auction with each of its bids that came while it was open."""
    auctions = events.filter(pl.col("kind") == AUCTION).select("id", "category", "seller", "expires")
    bids = _bids(events).select("auction", "price", "time")
    together = auctions.join(bids, left_on="id", right_on="auction", within=("0s", "2s"))
    return together.filter(pl.col("time") <= pl.col("expires"))


STREAMS: Final[Mapping[str, Callable[[Stream], Stream]]] = {
    "q0": q0,
    "q1": q1,
    "q2": q2,
    "q3": q3,
    "q4": q4,
    "q5": q5,
    "q6": q6,
    "q7": q7,
    "q8": q8,
    "q11": q11,
    "words": words,
}
