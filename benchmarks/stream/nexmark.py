"""NEXMark over a topic of five million events, beside one-shot queries over the same events in a Parquet file."""

from __future__ import annotations

from pathlib import Path

import duckdb
import polars as pl

from benchmarks.harness import Options, Report, Row, alternate, folder, seconds
from benchmarks.nexmark import oracle, words
from benchmarks.nexmark.inputs import write_parquet
from benchmarks.nexmark.streams import STREAMS
from benchmarks.stream.runs import fill_events, fill_lines, opened, timed

SHARE_MIN = 0.5
"""Of the slower of DuckDB's and Polars' one-shot query."""

ENOUGH = 10e6
"""Events/s; Parquet's statistics let DuckDB and Polars skip nearly everything of some queries."""


def measure(options: Options) -> Report:
    count = options.records(5_000_000)
    report = Report(
        "stream_nexmark",
        "Streams run at half the speed of a one-shot query at least, with every micro-batch committed exactly once.",
        {
            "input": f"{count:,} events (words: lines) in a topic, and in one Parquet file; both in the page cache",
            "stream": "run_now over the whole topic into a new topic, durability fsync; every answer compared",
            "DuckDB, Polars": f"the answer in memory, nothing written; DuckDB {duckdb.__version__}",
        },
    )
    with folder(options) as directory:
        events, lines = directory / "events.parquet", directory / "lines.parquet"
        write_parquet(events, count)
        pl.concat(list(words.pieces(count))).write_parquet(lines)
        for query in STREAMS:
            _measure_query(report, options, directory, query, lines if query == "words" else events, count)
    return report


def _measure_query(report: Report, options: Options, directory: Path, query: str, parquet: Path, count: int) -> None:
    wanted = oracle.by_duckdb(query, parquet)

    def right(answer: pl.DataFrame) -> bool:
        if query == "words":
            answer = answer.filter(pl.col("word") != "")
        return oracle.same(wanted, answer)

    path = directory / ("lines.db" if query == "words" else "events.db")
    new = not path.exists()
    with opened(path, "fsync") as log:
        if new:
            topic = (fill_lines if query == "words" else fill_events)(log, count)
        else:
            topic = log.topic("lines" if query == "words" else "events")
        stream, duck, polars = alternate(
            options.runs,
            lambda: count / timed(topic, STREAMS[query], check=right),
            lambda: count / seconds(lambda: oracle.by_duckdb(query, parquet)),
            lambda: count / seconds(lambda: oracle.by_polars(query, parquet)),
        )
    row = report.add(f"{query}: stream", stream, "events/s")
    peers = [
        report.add(f"{query}: {name}", values, "events/s") for name, values in (("DuckDB", duck), ("Polars", polars))
    ]
    _judge(row, peers)


def _judge(row: Row, peers: list[Row]) -> None:
    slower = min(peer.median for peer in peers)
    goal = min(SHARE_MIN * slower, ENOUGH)
    row.reach = f"{goal / 1e6:.1f} M events/s"
    row.reached = row.median >= goal
    row.note = f"{row.median / slower:.2f} of the slower, {row.median / max(p.median for p in peers):.2f} of the faster"
