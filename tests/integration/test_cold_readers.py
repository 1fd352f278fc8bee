"""An application's queue, stream and batch over a topic of which most is cold."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import polars as pl

from millstream import App, count, tumbling
from millstream.log.cold.compaction import ColdRange, compact
from millstream.log.cold.store import ColdStore


class Click(msgspec.Struct):
    visitor: str
    page: str
    load_ms: int
    at: datetime


START = datetime(2024, 1, 1, tzinfo=UTC)


def click(i: int) -> Click:
    return Click(f"v{i % 7}", f"/{i % 3}", i, START + timedelta(seconds=i))


def test_a_queue_a_stream_and_a_batch_see_every_record_once(tmp_path: Path) -> None:
    handled: list[int] = []
    frames: list[pl.DataFrame] = []
    with App(str(tmp_path / "x.db"), durability="relaxed") as app:
        clicks = app.topic("clicks", Click, key="visitor", time="at")
        clicks.extend([click(i) for i in range(5000)])
        compact(app.log.engine, ColdStore.of(app.log.engine), ColdRange("clicks", 0, 5000))
        clicks.extend([click(i) for i in range(5000, 5500)])

        @app.queue(clicks, workers=2)
        def enrich(click: Click) -> None:
            handled.append(click.load_ms)

        @app.stream(clicks)
        def per_page(s: Any) -> Any:
            return s.window(tumbling(hours=1), by="page").agg(views=count()).to("page_views")

        @app.batch(clicks, every="1h")
        def report(frame: pl.LazyFrame) -> None:
            frames.append(frame.filter(pl.col("page") == "/1").select("load_ms", "_offset").collect())

        app.run(until="now")
        assert sorted(handled) == list(range(5500))
        assert [value for frame in frames for value in frame["load_ms"].to_list()] == list(range(1, 5500, 3))
        ledger = clicks.groups()["enrich"].ledger
        assert (ledger.done, ledger.dead) == (5500, 0)
        views = app.topic("page_views").frame().collect().sort("page")
        assert views["page"].to_list() == ["/0", "/1", "/2"]
        assert views["views"].to_list() == [1200, 1200, 1200]  # of the first hour; the second is not over
