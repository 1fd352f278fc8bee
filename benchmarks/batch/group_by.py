"""A group-by over a topic, hot and cold, beside Polars and DuckDB on a plain Parquet file of the same records."""

from __future__ import annotations

from pathlib import Path

import duckdb
import polars as pl

from benchmarks.batch.views import filled, pieces
from benchmarks.harness import Options, Report, alternate, folder, seconds
from millstream import App
from millstream.log.cold.compaction import ColdRange, compact
from millstream.log.cold.store import ColdStore

COLD_OF_POLARS_MIN = 0.9
HOT_OF_POLARS_MIN = 0.5
SQL = "SELECT page, count(*) AS views, avg(load_ms) AS ms FROM {} GROUP BY page"


def measure(options: Options) -> Report:
    count = options.records(10_000_000)
    report = Report(
        "batch_group_by",
        "A question to old records costs what it costs of a Parquet file.",
        {"records": f"{count:,} of five fields; count and mean of one by another; files are in the page cache"},
    )
    with folder(options) as directory, App(f"sqlite:///{directory / 'views.db'}", durability="relaxed") as app:
        plain = directory / "plain.parquet"
        _write_plain(plain, count)
        hot = filled(app, "hot", count)
        cold = filled(app, "cold", count)
        compact(app.log.engine, ColdStore.of(app.log.engine), ColdRange("cold", 0, count))
        polars, duck, cold_s, hot_s = alternate(
            options.runs,
            lambda: seconds(lambda: _ask(pl.scan_parquet(plain), count)),
            lambda: seconds(lambda: _ask_duckdb(plain, count)),
            lambda: seconds(lambda: _ask(cold.frame(), count)),
            lambda: seconds(lambda: _ask(hot.frame(), count)),
        )
    report.add("Polars, a plain Parquet file", [count / s for s in polars], "records/s")
    report.add("DuckDB, the same file", [count / s for s in duck], "records/s")
    report.add("a topic, cold", [count / s for s in cold_s], "records/s")
    report.add("a topic, hot", [count / s for s in hot_s], "records/s")
    for what, of, reach in (("cold", cold_s, COLD_OF_POLARS_MIN), ("hot", hot_s, HOT_OF_POLARS_MIN)):
        ratios = [plain_s / topic_s for plain_s, topic_s in zip(polars, of, strict=True)]
        row = report.add(f"{what}, of Polars on the plain file", ratios, "times", reach=f"{reach}")
        row.reached = row.median >= reach
    return report


def _write_plain(path: Path, count: int) -> None:
    pl.concat(list(pieces(count))).write_parquet(path, compression="zstd")


def _ask(frame: pl.LazyFrame, count: int) -> None:
    found = frame.group_by("page").agg(pl.len().alias("views"), pl.col("load_ms").mean().alias("ms"))
    assert found.collect(engine="streaming")["views"].sum() == count


def _ask_duckdb(path: Path, count: int) -> None:
    found = duckdb.sql(SQL.format(f"'{path}'")).fetchall()
    assert sum(row[1] for row in found) == count
