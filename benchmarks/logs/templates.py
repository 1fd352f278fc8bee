"""Templates of lines that no parser knows: how fast they are found, beside drain3 where it is installed."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import polars as pl

from benchmarks.harness import Options, Report, alternate, folder
from benchmarks.logs.inputs import write_sshd, write_words
from millstream.parsers.templates import TemplateMiner

WANTED = 100_000
BATCH = 10_000


def measure(options: Options) -> Report:
    count = options.records(500_000)
    peer = find_spec("drain3")
    report = Report(
        "logs_templates",
        "100,000 lines a second find their template, on one core.",
        {
            "sshd": f"{count:,} lines of eight shapes",
            "words": f"{count:,} lines of 300 templates of 9 to 14 words, one to three of them parameters",
            "Millstream": f"TemplateMiner, {BATCH:,} lines a batch; lines by CPU time",
            "drain3": "line by line, without masks, a twentieth of the lines"
            if peer
            else "not installed: pip install drain3",
        },
    )
    with folder(options) as directory:
        for name, write in (("sshd", write_sshd), ("words", write_words)):
            file = directory / f"{name}.log"
            write(file, count)
            lines = [line.partition("]: ")[2] or line for line in file.read_text().splitlines()]
            series = pl.Series(lines)
            works: list[Callable[[], float]] = [lambda series=series: _ours(series)]  # type: ignore[misc]
            if peer:
                works.append(lambda lines=lines: _peer(lines[: len(lines) // 20]))  # type: ignore[misc]
            values = alternate(options.runs, *works)
            row = report.add(f"Millstream, {name}", values[0], "lines/CPU s", reach=f"{WANTED:,}/s")
            row.reached = row.median >= WANTED
            if peer:
                report.add(f"drain3, {name}", values[1], "lines/CPU s")
    return report


def _ours(series: pl.Series) -> float:
    miner = TemplateMiner()

    def work() -> None:
        for place in range(0, len(series), BATCH):
            miner.add(series[place : place + BATCH])

    return len(series) / _cpu_seconds(work)


def _peer(lines: list[str]) -> float:
    module: Any = importlib.import_module("drain3")
    miner = module.TemplateMiner()

    def work() -> None:
        for line in lines:
            miner.add_log_message(line)

    return len(lines) / _cpu_seconds(work)


def _cpu_seconds(work: Callable[[], None]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started
