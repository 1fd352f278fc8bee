"""A combined access log: file to parsed, typed, durable topic."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import polars as pl

from benchmarks.harness import Options, Report, alternate, folder, seconds
from benchmarks.logs.inputs import ODD, write_access
from benchmarks.logs.loading import load_seconds

WANTED = 400_000


def measure(options: Options) -> Report:
    count = options.records(2_000_000)
    goaccess = shutil.which("goaccess")
    report = Report(
        "logs_access",
        "An access log is parsed, typed and durable as fast as Polars splits it, and no line is lost.",
        {
            "input": f"{count:,} lines of the combined format, {ODD:.1%} of them with escapes; the file is in memory",
            "Millstream": "millstream put --format access; each line a record with 17 fields, the raw line among them",
            "Polars": "split at the quotes, dates and numbers read, the raw line kept, written to Parquet (zstd); "
            "lines with escapes come out wrong",
            "GoAccess": "counts, and keeps no line; " + (_version(goaccess) if goaccess else "not installed"),
        },
    )
    with folder(options) as directory:
        file = directory / "access.log"
        write_access(file, count)
        fsync, relaxed, polars = alternate(
            options.runs,
            lambda: count / load_seconds(directory, file, "access", durability="fsync"),
            lambda: count / load_seconds(directory, file, "access", durability="relaxed"),
            lambda: count / seconds(lambda: _by_polars(file, directory / "out.parquet")),
        )
        peer = report.add("Polars to Parquet", polars, "lines/s")
        for name, values in (("fsync", fsync), ("relaxed", relaxed)):
            row = report.add(f"Millstream, {name}", values, "lines/s", reach=f"{WANTED:,}/s, and 1/1.5 of Polars")
            row.reached = row.median >= WANTED and row.median * 1.5 >= peer.median
            row.note = f"{row.median / peer.median:.2f} of Polars"
        if goaccess:
            [values] = alternate(
                2, lambda: count / seconds(lambda: _by_goaccess(goaccess, file, directory / "out.json"))
            )
            other = report.add("GoAccess to JSON", values, "lines/s")
            times = fsync and sorted(fsync)[len(fsync) // 2] / other.median
            row = report.add("Millstream, fsync, of GoAccess", [times], "times", reach="8 times")
            row.reached = times >= 8
    return report


def _by_polars(file: Path, out: Path) -> None:
    frame = pl.read_csv(
        file, separator="\x1f", has_header=False, quote_char=None, new_columns=["raw"], infer_schema=False
    )
    parts = pl.col("raw").str.split_exact('"', 6)
    found = frame.with_columns(parts.alias("parts")).unnest("parts")
    front = pl.col("field_0").str.split_exact(" ", 5).struct
    request = pl.col("field_1").str.split_exact(" ", 2).struct
    numbers = pl.col("field_2").str.split_exact(" ", 3).struct
    time = pl.col("field_0").str.extract(r"\[([^\]]+)\]").str.to_datetime("%d/%b/%Y:%H:%M:%S %z", strict=False)
    found.select(
        "raw",
        time.alias("time"),
        front.field("field_0").alias("source_ip"),
        front.field("field_2").alias("user"),
        request.field("field_0").alias("http_method"),
        request.field("field_1").alias("url"),
        request.field("field_2").alias("http_version"),
        numbers.field("field_1").cast(pl.Int64, strict=False).alias("status"),
        numbers.field("field_2").cast(pl.Int64, strict=False).alias("body_bytes"),
        pl.col("field_3").alias("referrer"),
        pl.col("field_5").alias("user_agent"),
    ).write_parquet(out)


def _by_goaccess(program: str, file: Path, out: Path) -> None:
    command = [program, str(file), "--log-format=COMBINED", f"--output={out}", "--no-progress"]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, capture_output=True, timeout=600)


def _version(program: str) -> str:
    return (
        subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
        .stdout.splitlines()[0]
        .strip()
    )
