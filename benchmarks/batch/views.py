"""The input: records of five fields as frames, made from a seed."""

from __future__ import annotations

import random
from collections.abc import Iterator

import polars as pl

from benchmarks.events import PageView
from millstream import App, Topic

PIECE = 65_536


def pieces(count: int, seed: int = 1) -> Iterator[pl.DataFrame]:
    """Yield frames of page views, as `benchmarks.events` makes them: many visitors, few pages, numbers that differ."""
    choose = random.Random(seed)
    visitors = pl.Series([f"{choose.getrandbits(64):016x}" for _ in range(100_000)])
    pages = pl.Series([f"/section/{i % 12}/article-{i}.html" for i in range(200)])
    for start in range(0, count, PIECE):
        rows = min(PIECE, count - start)
        numbers = pl.int_range(rows, eager=True)
        yield pl.DataFrame(
            {
                "visitor": visitors.sample(rows, with_replacement=True, seed=seed + start),
                "page": pages.gather((numbers.hash(seed + start) % 1000 * 200 // 1000).cast(pl.UInt32)),
                "load_ms": (numbers.hash(seed + start + 1) % 2000).cast(pl.Int64),
                "bytes_sent": (numbers.hash(seed + start + 2) % 2_000_000).cast(pl.Int64),
                "scrolled": (numbers.hash(seed + start + 3) % 10_000) / 10_000,
            }
        )


def filled(app: App, name: str, count: int) -> Topic[PageView]:
    """Return a topic that holds so many of them."""
    topic = app.topic(name, PageView)
    for piece in pieces(count):
        topic.extend(piece)
    return topic
