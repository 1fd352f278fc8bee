"""The same events three times: one Parquet file, lines of JSON, and a topic."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from benchmarks.nexmark.generator import AUCTION, BID, PERSON, Event, pieces
from millstream import Topic

_LINE_COLUMNS = {
    PERSON: ("kind", "time", "id", "name", "email", "city", "state"),
    AUCTION: ("kind", "time", "id", "name", "seller", "category", "initial_bid", "reserve", "expires"),
    BID: ("kind", "time", "auction", "bidder", "price", "channel"),
}
"""A line has the fields of its kind only, as a web page would send it."""

_ROWS_AT_ONCE = 65_536


def write_parquet(path: Path, count: int, *, seed: int = 0) -> None:
    """Write the first `count` events as one file, with Polars' defaults (zstd, statistics)."""
    pl.concat(list(pieces(count, seed=seed))).write_parquet(path)


def write_lines(path: Path, count: int, *, seed: int = 0) -> None:
    """Write them as one JSON object a line, times in ISO 8601."""
    with path.open("wb") as file:
        for frame in pieces(count, seed=seed, size=_ROWS_AT_ONCE * 4):
            file.write("".join(lines_of(frame)).encode())


def lines_of(frame: pl.DataFrame) -> pl.Series:
    """Return events as lines of JSON, each with its end of line."""
    spelled = frame.with_row_index("n").with_columns(
        pl.col("time", "expires").dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ"),
    )
    parts = [
        spelled.filter(pl.col("kind") == kind).select("n", pl.struct(names).struct.json_encode().alias("line"))
        for kind, names in _LINE_COLUMNS.items()
    ]
    return pl.concat(parts).sort("n").select(pl.col("line") + "\n").to_series()


def fill_topic(topic: Topic[Event], count: int, *, seed: int = 0) -> None:
    """Append them, a million a call."""
    for frame in pieces(count, seed=seed):
        topic.extend(frame)
