"""A follower of a large file: its memory, and how fast it is. Plain, compressed, and with events of several lines."""

from __future__ import annotations

import argparse
import gzip
import resource
import shutil
import sys
import time
from pathlib import Path
from typing import Any, Final

import msgspec

from benchmarks.harness import Options, Report, child, folder
from benchmarks.logs.inputs import write_sshd
from millstream import App
from millstream.sources.files import FileSource
from millstream.sources.system import follow_system

FILE_BYTES: Final = 1_000_000_000
LINE_BYTES: Final = 105
"""About, of what `write_sshd` writes."""
LIMIT_MB: Final = 150
WAYS: Final[dict[str, dict[str, Any]]] = {
    "plain": {},
    "gzip": {},
    "events of several lines": {"multiline": "traces"},
}


def measure(options: Options) -> Report:
    count = options.records(FILE_BYTES // LINE_BYTES)
    report = Report(
        "logs_follow",
        "A follower's memory does not grow with the file.",
        {
            "input": f"{count:,} lines of sshd, of about {LINE_BYTES} bytes",
            "follower": "FileSource and follow_system into a topic of an engine on disk, durability fsync",
            "counted": "peak resident memory of the whole process, Python and Polars included",
        },
    )
    peaks: dict[str, list[float]] = {name: [] for name in WAYS}
    rates: dict[str, list[float]] = {name: [] for name in WAYS}
    with folder(options) as directory:
        plain = directory / "auth.log"
        write_sshd(plain, count)
        with plain.open("rb") as file, gzip.open(directory / "auth.log.gz", "wb", compresslevel=1) as packed:
            shutil.copyfileobj(file, packed, 1024 * 1024)
        for _ in range(options.runs):
            for name in WAYS:
                path = directory / ("auth.log.gz" if name == "gzip" else "auth.log")
                result = child("benchmarks.logs.follow", name, str(path), str(directory / "follow.db"))
                assert result["records"] == count
                peaks[name].append(result["peak_mb"])
                rates[name].append(count / result["seconds"])
                for old in directory.glob("follow.db*"):
                    old.unlink()
    for name in WAYS:
        row = report.add(f"peak, {name}", peaks[name], "MB", reach=f"under {LIMIT_MB} MB")
        row.reached = row.median < LIMIT_MB
        row.note = f"{sorted(rates[name])[len(rates[name]) // 2]:,.0f} lines/s"
    return report


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("way", choices=WAYS)
    parser.add_argument("path", type=Path)
    parser.add_argument("database", type=Path)
    arguments = parser.parse_args()
    source = FileSource([arguments.path], lines_first=None, follow=False, format="syslog", **WAYS[arguments.way])
    started = time.perf_counter()
    with App(f"sqlite:///{arguments.database}") as app, follow_system(app, "auth", sources=[source]) as follower:
        follower.join()
        records = follower.records
    taken = time.perf_counter() - started
    # Linux gives kilobytes, macOS bytes.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    print(msgspec.json.encode({"peak_mb": peak / 1e6, "seconds": taken, "records": records}).decode())


if __name__ == "__main__":
    main()
