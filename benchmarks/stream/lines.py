"""A file of JSON lines in, NEXMark Q5 and Q7 out: through a topic and a stream, and by a plain loop in Python."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec
import polars as pl

from benchmarks.harness import Options, Report, alternate, folder, seconds
from benchmarks.nexmark import oracle
from benchmarks.nexmark.generator import BID
from benchmarks.nexmark.inputs import write_lines, write_parquet
from benchmarks.nexmark.streams import STREAMS
from benchmarks.stream.runs import long_after, opened
from millstream.log.topic import Topic
from millstream.stream.reader import StreamReader

QUERIES: Final = ("q5", "q7")
_ROWS_AT_ONCE: Final = 524_288
_ANSWERS: Final = {"q5": ("window_start", "auction", "bids"), "q7": ("window_start", "auction", "bidder", "price")}


class Record(msgspec.Struct):
    """What these queries need of an event; both sides read no more of a line."""

    kind: int
    time: datetime
    auction: int | None = None
    bidder: int | None = None
    price: int | None = None


_COLUMNS: Final[dict[str, Any]] = {
    "kind": pl.Int64,
    "time": pl.String,
    "auction": pl.Int64,
    "bidder": pl.Int64,
    "price": pl.Int64,
}


def measure(options: Options) -> Report:
    count = options.records(2_000_000)
    report = Report(
        "stream_lines",
        "Whoever has a file of JSON lines is not better off with a loop of his own.",
        {
            "input": f"{count:,} events of NEXMark, a JSON object each",
            "stream": "Polars scans the file, extend, run_now, durability fsync: the events are in the log too",
            "loop": "msgspec decodes each line to a struct; counts in dicts; nothing is stored",
        },
    )
    with folder(options) as directory:
        lines, parquet = directory / "events.ndjson", directory / "events.parquet"
        write_lines(lines, count)
        write_parquet(parquet, count)
        for query in QUERIES:
            wanted = oracle.by_duckdb(query, parquet)
            stream, loop = alternate(
                options.runs,
                lambda query=query, wanted=wanted: count / _by_stream(directory, query, lines, wanted),  # type: ignore[misc]
                lambda query=query, wanted=wanted: count / _by_loop(query, lines, wanted),  # type: ignore[misc]
            )
            peer = report.add(f"{query}: loop", loop, "events/s")
            row = report.add(f"{query}: stream", stream, "events/s", reach="as many as the loop")
            row.reached = row.median >= peer.median
            row.note = f"{row.median / peer.median:.2f} of the loop"
    return report


def _by_stream(directory: Path, query: str, lines: Path, wanted: pl.DataFrame) -> float:
    for file in directory.glob("lines.db*"):
        file.unlink()
    with opened(directory / "lines.db", "fsync") as log:
        topic: Topic[Record] = log.topic("events", Record, time="time")
        run = StreamReader(topic, description=lambda events: STREAMS[query](events).to("answer"), name=query).open()

        def work() -> None:
            for frame in _frames(lines):
                topic.extend(frame)
                run.run_now(threading.Event())
            topic.extend(long_after(frame).with_columns(pl.lit(9, pl.Int64).alias("kind")))
            run.run_now(threading.Event())

        took = seconds(work)
        assert oracle.same(wanted, log.topic("answer").frame().collect())
    return took


def _frames(lines: Path) -> Iterator[pl.DataFrame]:
    """Yield a file of JSON lines in frames; Polars reads ahead while one is worked on."""
    text = pl.col("time")
    # Of a time's text, Polars remembers the seconds that it has parsed: 10,000 events have the same.
    second = text.str.head(19).str.strptime(pl.Datetime("us"), "%Y-%m-%dT%H:%M:%S").dt.replace_time_zone("UTC")
    micros = pl.duration(microseconds=text.str.slice(20, 6).cast(pl.Int64))
    frames = pl.scan_ndjson(lines, schema=_COLUMNS).with_columns(second + micros)
    yield from frames.collect_batches(chunk_size=_ROWS_AT_ONCE)


# --- the loop --------------------------------------------------------------------------------------------------------


def _by_loop(query: str, lines: Path, wanted: pl.DataFrame) -> float:
    rows: list[tuple[Any, ...]] = []
    took = seconds(lambda: rows.extend(_q5(lines) if query == "q5" else _q7(lines)))
    answer = pl.DataFrame(rows, schema=list(_ANSWERS[query]), orient="row")
    answer = answer.with_columns((pl.col("window_start") * 1_000_000).cast(pl.Datetime("us", "UTC")))
    assert oracle.same(wanted, answer)
    return took


def _q5(lines: Path) -> Iterator[tuple[int, int, int]]:
    """Yield (window start in s, auction, bids): counts of 2 seconds, five of which are a window."""
    panes: dict[int, Counter[int]] = {}
    for second, bid in _bids(lines):
        pane = second // 2 * 2
        if pane not in panes:
            panes[pane] = Counter()
        panes[pane][bid.auction] += 1
    for start in range(min(panes) - 8, max(panes) + 2, 2):
        counts: Counter[int] = Counter()
        for pane in range(start, start + 10, 2):
            counts.update(panes.get(pane, {}))
        most = max(counts.values())
        yield from ((start, auction, bids) for auction, bids in counts.items() if bids == most)


def _q7(lines: Path) -> Iterator[tuple[int, int, int, int]]:
    """Yield (window start in s, auction, bidder, price)."""
    highest: dict[int, Record] = {}
    for second, bid in _bids(lines):
        start = second // 10 * 10
        best = highest.get(start)
        if best is None or bid.price > best.price:  # type: ignore[operator]
            highest[start] = bid
    for start, bid in highest.items():
        yield start, bid.auction, bid.bidder, bid.price


def _bids(lines: Path) -> Iterator[tuple[int, Record]]:
    decode = msgspec.json.Decoder(Record).decode
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    with lines.open("rb") as file:
        for line in file:
            record = decode(line)
            if record.kind == BID:
                since = record.time - epoch
                yield since.days * 86400 + since.seconds, record
