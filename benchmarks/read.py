"""Reading a typed topic: as columns (a Polars frame), and as Python structs."""

from __future__ import annotations

from pathlib import Path

import msgspec
import polars as pl

from benchmarks.events import PageView, page_views
from benchmarks.harness import Options, Report, alternate, folder, seconds
from millstream import App, Topic

COLUMNS_MIN = 5_000_000
STRUCTS_MIN = 1_000_000
FIELDS = ("visitor", "page", "load_ms", "bytes_sent", "scrolled")


def measure(options: Options) -> Report:
    count = options.records(2_000_000)
    report = Report(
        "read",
        "What lies behind the hot tail is read as columns without decoding.",
        {"records": f"{count:,} of five fields, written by extend in pieces of 65,536; the file is in the page cache"},
    )
    values = page_views(count)
    with folder(options) as directory:
        path = directory / "read.db"
        lines = directory / "read.ndjson"
        _write_lines(lines, values)
        with App(f"sqlite:///{path}") as app:
            topic = app.topic("views", PageView)
            for start in range(0, count, 65_536):
                topic.extend(values[start : start + 65_536])
            del values

            frame, some, structs, ndjson = alternate(
                options.runs,
                lambda: count / seconds(lambda: _all_columns(topic, count)),
                lambda: count / seconds(lambda: _one_aggregate(topic, count)),
                lambda: count / seconds(lambda: _structs(topic, count)),
                lambda: count / seconds(lambda: pl.read_ndjson(lines)),
            )
    row = report.add("as columns: frame().select(5 fields).collect()", frame, "records/s", reach=f"{COLUMNS_MIN:,}/s")
    row.reached = row.median >= COLUMNS_MIN
    report.add("as columns: mean load_ms by page", some, "records/s")
    row = report.add("as Python structs: Topic.read", structs, "records/s", reach=f"{STRUCTS_MIN:,}/s")
    row.reached = row.median >= STRUCTS_MIN
    report.add("polars.read_ndjson of the same records", ndjson, "records/s")
    return report


def _all_columns(topic: Topic[PageView], count: int) -> None:
    frame = topic.frame().select(FIELDS).collect()
    assert frame.shape == (count, len(FIELDS))


def _one_aggregate(topic: Topic[PageView], count: int) -> None:
    pages = topic.frame().group_by("page").agg(pl.col("load_ms").mean(), pl.len()).collect()
    assert pages["len"].sum() == count


def _structs(topic: Topic[PageView], count: int) -> None:
    offset = slow = 0
    while offset < count:
        records = topic.read(offset, records_max=10_000)
        for record in records:
            if record.value.load_ms > 1000:
                slow += 1
        offset = records[-1].offset + 1
    assert slow > 0


def _write_lines(path: Path, values: list[PageView]) -> None:
    with path.open("wb") as file:
        for start in range(0, len(values), 10_000):
            file.write(msgspec.json.Encoder().encode_lines(values[start : start + 10_000]))
