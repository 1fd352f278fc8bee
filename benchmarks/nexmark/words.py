"""Lines of text for WordCount: five words a line, of a thousand, the first ones more often."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Final

import msgspec
import polars as pl

from benchmarks.nexmark.generator import bits, part, time_of

WORDS_A_LINE: Final = 5
WORDS_KNOWN: Final = 1000


class Line(msgspec.Struct):
    time: datetime
    text: str


def lines(start: int, end: int, *, seed: int = 0) -> pl.DataFrame:
    """Return the lines with the numbers [start, end): `time` and `text`; one every 100 us."""
    numbers = pl.DataFrame({"n": pl.int_range(start, end, dtype=pl.Int64, eager=True)})
    frame = numbers.with_columns(bits(9, seed).alias("r"))
    known = pl.lit(pl.Series([f"word{i:03}" for i in range(WORDS_KNOWN)]))
    # The square of an even number of [0, 1) lies near 0 more often.
    places = [((part("r", 12 * i, 12) / 4096) ** 2 * WORDS_KNOWN).cast(pl.UInt32) for i in range(WORDS_A_LINE)]
    text = pl.concat_str(*(known.gather(place) for place in places), separator=" ")
    return frame.select(time_of().alias("time"), text.alias("text"))


def pieces(count: int, *, seed: int = 0, size: int = 1_000_000) -> Iterator[pl.DataFrame]:
    """Yield the first `count` lines in frames of `size`."""
    for start in range(0, count, size):
        yield lines(start, min(start + size, count), seed=seed)
