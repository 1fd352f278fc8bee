"""The answers, once over all events: by DuckDB, and again by Polars. They are the limit of speed as well.

q0 to q8, q11    over `inputs.write_parquet`
words            over `words.write_parquet`
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Final

import duckdb
import polars as pl

from benchmarks.nexmark.generator import AUCTION, BID, PERSON

QUERIES: Final = ("q0", "q1", "q2", "q3", "q4", "q5", "q6", "q7", "q8", "q11")
WORDS: Final = "words"


def by_duckdb(name: str, events: Path, *, threads: int | None = None) -> pl.DataFrame:
    """Return the answer of a query over a Parquet file."""
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        if threads is not None:
            connection.execute(f"SET threads = {threads}")
        connection.read_parquet(str(events)).create_view("events")
        return pl.DataFrame(connection.sql(_texts()[name]))


def by_polars(name: str, events: Path) -> pl.DataFrame:
    """Return the answer of a query over a Parquet file."""
    return _POLARS[name](pl.scan_parquet(events)).collect()


def same(left: pl.DataFrame, right: pl.DataFrame) -> bool:
    """Whether two answers have the same rows, in any order; prices to 9 digits."""
    return _normal(left).equals(_normal(right.select(left.columns)))


def _normal(frame: pl.DataFrame) -> pl.DataFrame:
    whole = frame.with_columns(
        pl.col(pl.Float64).round_sig_figs(9),
        pl.selectors.integer().cast(pl.Int64),
        pl.selectors.datetime().dt.convert_time_zone("UTC").dt.cast_time_unit("us"),
        pl.selectors.decimal().cast(pl.Int64),
    )
    return whole.sort(whole.columns)


@cache
def _texts() -> Mapping[str, str]:
    texts: dict[str, str] = {}
    for part in (Path(__file__).parent / "oracle.sql").read_text().split("\n-- ")[1:]:
        head, _, text = part.partition("\n")
        texts[head.partition(":")[0]] = text
    return texts


# --- Polars ----------------------------------------------------------------------------------------------------------


def _bids(events: pl.LazyFrame) -> pl.LazyFrame:
    return events.filter(pl.col("kind") == BID)


def _auctions(events: pl.LazyFrame) -> pl.LazyFrame:
    return events.filter(pl.col("kind") == AUCTION)


def _persons(events: pl.LazyFrame) -> pl.LazyFrame:
    return events.filter(pl.col("kind") == PERSON)


def _q0(events: pl.LazyFrame) -> pl.LazyFrame:
    return _bids(events).select("auction", "bidder", "price", "channel", "time")


def _q1(events: pl.LazyFrame) -> pl.LazyFrame:
    return _bids(events).select("auction", "bidder", (pl.col("price") * 0.908).alias("euros"), "channel", "time")


def _q2(events: pl.LazyFrame) -> pl.LazyFrame:
    return _bids(events).filter(pl.col("auction") % 123 == 0).select("auction", "price")


def _q3(events: pl.LazyFrame) -> pl.LazyFrame:
    sellers = _persons(events).filter(pl.col("state").is_in(["OR", "ID", "CA"])).select("id", "name", "city", "state")
    offers = _auctions(events).filter(pl.col("category") == 10).select("seller", pl.col("id").alias("auction"))
    return offers.join(sellers, left_on="seller", right_on="id").select("name", "city", "state", "auction")


def _winners(events: pl.LazyFrame) -> pl.LazyFrame:
    auctions = _auctions(events).select("id", "category", "seller", "expires", pl.col("time").alias("opens"))
    bids = _bids(events).select("auction", "price", "time")
    valid = auctions.join(bids, left_on="id", right_on="auction").filter(pl.col("time").is_between("opens", "expires"))
    return valid.group_by("id", "category", "seller", "expires").agg(pl.col("price").max().alias("final"))


def _q4(events: pl.LazyFrame) -> pl.LazyFrame:
    return _winners(events).group_by("category").agg(pl.col("final").mean().alias("price"))


def _q5(events: pl.LazyFrame) -> pl.LazyFrame:
    panes = _bids(events).group_by(pl.col("time").dt.truncate("2s").alias("pane"), "auction").agg(pl.len().alias("n"))
    hops = [panes.with_columns((pl.col("pane") - pl.duration(seconds=2 * i)).alias("window_start")) for i in range(5)]
    counts = pl.concat(hops).group_by("window_start", "auction").agg(pl.col("n").sum().alias("bids"))
    return counts.filter(pl.col("bids") == pl.col("bids").max().over("window_start")).select(
        "window_start", "auction", "bids"
    )


def _q6(events: pl.LazyFrame) -> pl.LazyFrame:
    ordered = _winners(events).sort("expires", "id")
    mean = pl.col("final").rolling_mean(10, min_samples=1).over("seller", order_by=["expires", "id"])
    return ordered.select("seller", pl.col("id").alias("auction"), mean.alias("price"))


def _q7(events: pl.LazyFrame) -> pl.LazyFrame:
    bids = _bids(events).select(pl.col("time").dt.truncate("10s").alias("window_start"), "auction", "bidder", "price")
    highest = bids.group_by("window_start").agg(pl.col("price").max())
    return bids.join(highest, on=["window_start", "price"], how="semi")


def _q8(events: pl.LazyFrame) -> pl.LazyFrame:
    window = pl.col("time").dt.truncate("10s").alias("window_start")
    persons = _persons(events).select(window, pl.col("id").alias("person"), "name")
    sellers = _auctions(events).select(window, pl.col("seller").alias("person"))
    return persons.join(sellers, on=["window_start", "person"], how="semi")


def _q11(events: pl.LazyFrame) -> pl.LazyFrame:
    bids = _bids(events).select("bidder", "time").sort("bidder", "time")
    gap = pl.duration(seconds=10)
    begins = (pl.col("time").diff() >= gap).fill_null(True) | (pl.col("bidder") != pl.col("bidder").shift())
    sessions = bids.with_columns(begins.fill_null(True).cum_sum().alias("session")).group_by("bidder", "session")
    answer = sessions.agg(
        pl.col("time").min().alias("window_start"),
        (pl.col("time").max() + gap).alias("window_end"),
        pl.len().alias("bids"),
    )
    return answer.select("bidder", "window_start", "window_end", "bids")


def _words(lines: pl.LazyFrame) -> pl.LazyFrame:
    words = lines.select(pl.col("text").str.split(" ").alias("word")).explode("word")
    return words.group_by("word").agg(pl.len().alias("times"))


_POLARS: Final[Mapping[str, Callable[[pl.LazyFrame], pl.LazyFrame]]] = {
    "q0": _q0,
    "q1": _q1,
    "q2": _q2,
    "q3": _q3,
    "q4": _q4,
    "q5": _q5,
    "q6": _q6,
    "q7": _q7,
    "q8": _q8,
    "q11": _q11,
    WORDS: _words,
}
