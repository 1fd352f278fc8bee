"""Bytes on disk, against the same records as NDJSON."""

from __future__ import annotations

from pathlib import Path

import msgspec

from benchmarks.events import PageView, page_views
from benchmarks.extend import remove
from benchmarks.harness import Options, Report, folder
from millstream import App

SHARE_MAX = 25.0


def measure(options: Options) -> Report:
    count = options.records(1_000_000)
    report = Report(
        "disk_bytes",
        "A log is a quarter of the same records as NDJSON, at most.",
        {
            "records": f"{count:,} of five fields",
            "counted": "the log's file after close, with everything beside it; each run other records (other seeds)",
        },
    )
    shares: dict[tuple[int, bool], list[float]] = {(65_536, False): [], (1000, False): [], (1000, True): []}
    sizes: list[float] = []
    with folder(options) as directory:
        for run in range(options.runs):
            values = page_views(count, seed=run)
            ndjson = len(msgspec.json.Encoder().encode_lines(values))
            sizes.append(ndjson / 1e6)
            for (call, merged), kept in shares.items():
                path = directory / f"{run}.db"
                with App(f"sqlite:///{path}") as app:
                    topic = app.topic("views", PageView)
                    for start in range(0, count, call):
                        topic.extend(values[start : start + call])
                    if merged:
                        keep_house(app, path)
                kept.append(100 * _size(path) / ndjson)
                remove(path)
    report.add("as NDJSON", sizes, "MB")
    for (call, merged), kept in shares.items():
        what = f"written {call:,} a call, " + ("merged as in the background" if merged else "at once")
        row = report.add(what, kept, "% of NDJSON")
        if merged or call > 1000:
            row.reach = f"{SHARE_MAX:.0f}%"
            row.reached = row.median <= SHARE_MAX
        else:
            row.note = "the hot tail, before the background merge"
    return report


def keep_house(app: App, path: Path) -> None:
    """Do at once what the background does a bounded step at a time, every two seconds, until there is nothing left."""
    before = -1
    while before != (before := path.stat().st_size):
        app.log.keep_house()


def _size(path: Path) -> int:
    return sum(file.stat().st_size for file in path.parent.glob(f"{path.name}*"))
