"""The events: 1 person, 3 auctions and 46 bids in every 50, one every 100 us of event time.

An event depends on its number and the seed alone, so that any piece can be made without those before it, and everywhere
the same: the random bits are integer arithmetic (SplitMix64), not a library's generator.

Source: Apache Beam, `sdk.nexmark.sources.generator`: proportions, hot auctions, bidders and sellers, ids that are not
there yet. Left out: the credit card and the filler text `extra`, which no query reads.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

import msgspec
import polars as pl

PERSON: Final = 0
AUCTION: Final = 1
BID: Final = 2

EPOCH_EVENTS: Final = 50
"""One person, three auctions, then bids."""
EPOCH_AUCTIONS: Final = 3

EVENTS_PER_SECOND: Final = 10_000
STARTS: Final = datetime(2015, 7, 15, tzinfo=UTC)
_STARTS_US: Final = int(STARTS.timestamp()) * 1_000_000

FIRST_ID: Final = 1000
"""Of persons and of auctions."""
FIRST_CATEGORY: Final = 10
CATEGORIES: Final = 5
_HOT_RATIO: Final = 100
"""Every so many ids there is a hot one."""
_AUCTIONS_IN_FLIGHT: Final = 100
_PERSONS_ACTIVE: Final = 1000
_LEAD: Final = 10
"""Bids and auctions may name somebody who comes a little later."""
_OPEN_EVENTS_MAX: Final = 2 * _AUCTIONS_IN_FLIGHT * EPOCH_EVENTS // EPOCH_AUCTIONS
"""An auction is open for at most so many events, 0.33 s at the usual rate."""

_STATES: Final = ("AZ", "CA", "ID", "OR", "WA", "WY")
_CITIES: Final = (
    ("Phoenix", "AZ"),
    ("Los Angeles", "CA"),
    ("San Francisco", "CA"),
    ("Boise", "ID"),
    ("Portland", "OR"),
    ("Bend", "OR"),
    ("Redmond", "WA"),
    ("Seattle", "WA"),
    ("Kent", "WA"),
    ("Cheyenne", "WY"),
)
_FIRST_NAMES: Final = ("Peter", "Paul", "Luke", "John", "Saul", "Vicky", "Kate", "Julie", "Sarah", "Deiter", "Walter")
_LAST_NAMES: Final = ("Shultz", "Abrams", "Spencer", "White", "Bartels", "Walton", "Smith", "Jones", "Noris")
_CHANNELS: Final = ("Google", "Facebook", "Baidu", "Apple")


class Event(msgspec.Struct):
    """A person, an auction or a bid, told by `kind`; what belongs to another kind is None."""

    kind: int
    time: datetime
    id: int | None
    """Of the person or the auction."""
    name: str | None
    """Of the person, or of what is sold."""
    email: str | None
    city: str | None
    state: str | None
    seller: int | None
    category: int | None
    initial_bid: int | None
    reserve: int | None
    expires: datetime | None
    auction: int | None
    bidder: int | None
    price: int | None
    channel: str | None


_INSTANT: Final = pl.Datetime("us", "UTC")
COLUMNS: Final[dict[str, pl.DataType]] = {
    "kind": pl.Int64(),
    "time": _INSTANT,
    "id": pl.Int64(),
    "name": pl.String(),
    "email": pl.String(),
    "city": pl.String(),
    "state": pl.String(),
    "seller": pl.Int64(),
    "category": pl.Int64(),
    "initial_bid": pl.Int64(),
    "reserve": pl.Int64(),
    "expires": _INSTANT,
    "auction": pl.Int64(),
    "bidder": pl.Int64(),
    "price": pl.Int64(),
    "channel": pl.String(),
}


def events(start: int, end: int, *, seed: int = 0, per_second: int = EVENTS_PER_SECOND) -> pl.DataFrame:
    """Return the events with the numbers [start, end), in order of their time.

    Args:
        per_second: How many there are in a second of event time.

    Shape:
        `COLUMNS`: those of `Event`.
    """
    numbers = pl.DataFrame({"n": pl.int_range(start, end, dtype=pl.Int64, eager=True)})
    place = pl.col("n") % EPOCH_EVENTS
    step_us = 1_000_000 // per_second
    parts = [
        _persons(numbers.filter(place == 0), seed),
        _auctions(numbers.filter(place.is_between(1, EPOCH_AUCTIONS)), seed, step_us),
        _bids(numbers.filter(place > EPOCH_AUCTIONS), seed),
    ]
    whole = pl.concat(parts, how="diagonal").sort("n")
    return whole.select(time_of(step_us).alias("time"), pl.exclude("n")).select(list(COLUMNS))


def pieces(count: int, *, seed: int = 0, size: int = 1_000_000) -> Iterator[pl.DataFrame]:
    """Yield the first `count` events in frames of `size`."""
    for start in range(0, count, size):
        yield events(start, min(start + size, count), seed=seed)


# --- random bits -----------------------------------------------------------------------------------------------------


def bits(salt: int, seed: int) -> pl.Expr:
    """Return 64 random bits of each event. Source: Steele, Lea, Flood, SplitMix64, 2014."""
    start = (seed * 0x632BE59BD9B4E019 + salt * 0xD1342543DE82EF95) % 2**64
    state = pl.col("n").cast(pl.UInt64) * _word(0x9E3779B97F4A7C15) + _word(start)
    state = (state ^ (state // _word(2**30))) * _word(0xBF58476D1CE4E5B9)
    state = (state ^ (state // _word(2**27))) * _word(0x94D049BB133111EB)
    return state ^ (state // _word(2**31))


def _word(value: int) -> pl.Expr:
    return pl.lit(value, dtype=pl.UInt64)


def part(word: str, shift: int, bits: int) -> pl.Expr:
    """Return some of the bits of a word: an integer of [0, 2**bits)."""
    return (pl.col(word) // _word(2**shift) % _word(2**bits)).cast(pl.Int64)


def _price(word: str, shift: int) -> pl.Expr:
    """Return cents from 1 to a million dollars, as many between 10 and 100 as between 100 and 1000."""
    return (pl.lit(10.0) ** (part(word, shift, 24) / 2**24 * 6) * 100).round().cast(pl.Int64)


def _one_of(texts: tuple[str, ...], place: pl.Expr) -> pl.Expr:
    return pl.lit(pl.Series(texts)).gather(place.cast(pl.UInt32))


# --- the three kinds -------------------------------------------------------------------------------------------------


def time_of(step_us: int = 1_000_000 // EVENTS_PER_SECOND) -> pl.Expr:
    """Return the event time by the number `n`."""
    return (pl.col("n") * step_us + _STARTS_US).cast(_INSTANT)


def _persons(numbers: pl.DataFrame, seed: int) -> pl.DataFrame:
    frame = numbers.with_columns(bits(1, seed).alias("r"), (pl.col("n") // EPOCH_EVENTS).alias("person"))
    first = _one_of(_FIRST_NAMES, part("r", 0, 16) % len(_FIRST_NAMES))
    last = _one_of(_LAST_NAMES, part("r", 16, 16) % len(_LAST_NAMES))
    place = part("r", 32, 16) % len(_CITIES)
    return frame.select(
        "n",
        pl.lit(PERSON, pl.Int64).alias("kind"),
        (pl.col("person") + FIRST_ID).alias("id"),
        pl.concat_str(first, last, separator=" ").alias("name"),
        pl.concat_str(last, pl.lit("."), pl.col("person"), pl.lit("@example.com")).alias("email"),
        _one_of(tuple(city for city, _ in _CITIES), place).alias("city"),
        _one_of(tuple(state for _, state in _CITIES), place).alias("state"),
    )


def _auctions(numbers: pl.DataFrame, seed: int, step_us: int) -> pl.DataFrame:
    epoch = pl.col("n") // EPOCH_EVENTS
    frame = numbers.with_columns(
        bits(2, seed).alias("r"),
        bits(3, seed).alias("q"),
        (epoch * EPOCH_AUCTIONS + pl.col("n") % EPOCH_EVENTS - 1).alias("auction"),
        epoch.alias("person"),
    )
    hot = part("r", 0, 2) > 0
    return frame.select(
        "n",
        pl.lit(AUCTION, pl.Int64).alias("kind"),
        (pl.col("auction") + FIRST_ID).alias("id"),
        pl.concat_str(pl.lit("item "), part("q", 0, 16)).alias("name"),
        pl.when(hot).then(_hot("person", FIRST_ID)).otherwise(_anybody(part("r", 2, 20))).alias("seller"),
        (FIRST_CATEGORY + part("q", 16, 16) % CATEGORIES).alias("category"),
        _price("r", 22).alias("initial_bid"),
        (_price("r", 22) + _price("q", 32)).alias("reserve"),
        (time_of(step_us) + pl.duration(microseconds=1 + part("r", 46, 18) % (_OPEN_EVENTS_MAX * step_us))).alias(
            "expires"
        ),
    )


def _bids(numbers: pl.DataFrame, seed: int) -> pl.DataFrame:
    epoch = pl.col("n") // EPOCH_EVENTS
    frame = numbers.with_columns(
        bits(4, seed).alias("r"),
        (epoch * EPOCH_AUCTIONS + EPOCH_AUCTIONS - 1).alias("last_auction"),
        epoch.alias("person"),
    )
    oldest = pl.max_horizontal(pl.col("last_auction") - _AUCTIONS_IN_FLIGHT, pl.lit(0, pl.Int64))
    open_ = oldest + part("r", 1, 16) % (pl.col("last_auction") - oldest + 1 + _LEAD) + FIRST_ID
    hot_auction, hot_bidder = part("r", 0, 1) > 0, part("r", 17, 2) > 0
    return frame.select(
        "n",
        pl.lit(BID, pl.Int64).alias("kind"),
        pl.when(hot_auction).then(_hot("last_auction", FIRST_ID)).otherwise(open_).alias("auction"),
        pl.when(hot_bidder).then(_hot("person", FIRST_ID + 1)).otherwise(_anybody(part("r", 19, 18))).alias("bidder"),
        _price("r", 37).alias("price"),
        _one_of(_CHANNELS, part("r", 61, 2)).alias("channel"),
    )


def _hot(newest: str, first: int) -> pl.Expr:
    return pl.col(newest) // _HOT_RATIO * _HOT_RATIO + first


def _anybody(random: pl.Expr) -> pl.Expr:
    """Return one of the latest persons, or of those who come next."""
    there = pl.col("person") + 1
    active = pl.min_horizontal(there, pl.lit(_PERSONS_ACTIVE, pl.Int64))
    return there - active + random % (active + _LEAD) + FIRST_ID
