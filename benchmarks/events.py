"""The input of the benchmarks: records of five fields, made from a seed."""

from __future__ import annotations

import random

import msgspec


class PageView(msgspec.Struct):
    """A record of a web site's log: two texts, two integers, a float."""

    visitor: str
    page: str
    load_ms: int
    bytes_sent: int
    scrolled: float


def page_views(count: int, seed: int = 1) -> list[PageView]:
    """Return records with the repetition that real ones have: many visitors, few pages, numbers that all differ."""
    choose = random.Random(seed)
    visitors = [f"{choose.getrandbits(64):016x}" for _ in range(max(1, count // 20))]
    pages = [f"/section/{i % 12}/article-{i}.html" for i in range(200)]
    return [
        PageView(
            choose.choice(visitors),
            pages[int(200 * choose.random() ** 3)],
            int(choose.lognormvariate(5, 1)),
            choose.randrange(500, 2_000_000),
            round(choose.random(), 4),
        )
        for _ in range(count)
    ]
