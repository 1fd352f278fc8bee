"""What the usual steps cost, beside the parsing that comes before them: an access log, sshd's, and a container's."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.harness import Options, Report, alternate, folder
from benchmarks.logs.inputs import write_access, write_sshd
from millstream.logs.config import parse_config
from millstream.logs.steps.chain import Chain
from millstream.parsers.containers import ContainerParser
from millstream.parsers.event_parser import LogEventParser
from millstream.parsers.log_lines import LogParser
from millstream.parsers.web import WebParser

if TYPE_CHECKING:
    import polars as pl

AT_ONCE = 5000
"""Lines of a reading of a file."""
WANTED = 200_000
NOW = datetime(2026, 6, 1, tzinfo=UTC)
STEPS = """
[[step]]
kind = "redact"
what = ["secrets", "email", "card"]
[[step]]
kind = "set"
values = { service = "shop", "fields.environment" = "prod" }
[[step]]
kind = "rename"
names = { "fields.referrer" = "fields.referer", "user" = "fields.who" }
[[step]]
kind = "remove"
names = ["fields.http_version", "method"]
"""


def measure(options: Options) -> Report:
    count = options.records(200_000)
    report = Report(
        "logs_steps",
        "redact, set, rename and remove together let 200,000 lines a second through, where little is found.",
        {
            "input": f"{count:,} lines of each, {AT_ONCE:,} at a time; every line of the access log has a session in "
            "its address, which is redacted in three fields",
            "time": "of the processor, all threads: what runs beside it does not count",
        },
    )
    with folder(options) as directory:
        for name, parser, lines in _inputs(directory, count):
            parse, step = _parsing(parser, lines), _stepping(parser, lines)
            parsed, stepped = alternate(options.runs, parse, step)
            report.add(f"{name}: parsed", parsed, "lines/s of CPU")
            row = report.add(f"{name}: four steps", stepped, "lines/s of CPU")
            if name != "access":
                row.reach, row.reached = f"{WANTED:,}/s", row.median >= WANTED
    return report


def _inputs(directory: Path, count: int) -> Sequence[tuple[str, LogEventParser, list[bytes]]]:
    access, sshd = directory / "access.log", directory / "auth.log"
    write_access(access, count)
    write_sshd(sshd, count)
    lines = sshd.read_bytes().splitlines()
    inside = [b"2026-05-01T10:00:00.123456789Z stderr F " + line.partition(b"]: ")[2] for line in lines]
    return (
        ("access", WebParser("access.log"), access.read_bytes().splitlines()),
        ("sshd", LogParser("auth.log"), lines),
        ("container", ContainerParser("0.log"), inside),
    )


def _parsing(parser: LogEventParser, lines: list[bytes]) -> Callable[[], float]:
    """Return what measures how many lines are parsed in a second."""

    def parse() -> float:
        begun = time.process_time()
        _frames(parser, lines)
        return len(lines) / (time.process_time() - begun)

    return parse


def _stepping(parser: LogEventParser, lines: list[bytes]) -> Callable[[], float]:
    """Return what measures how many parsed lines go through the steps in a second."""
    frames = _frames(parser, lines)

    def step() -> float:
        steps = Chain(parse_config(STEPS, "steps.toml", {}).steps, {})
        begun = time.process_time()
        for frame in frames:
            steps.apply(frame, now=NOW)
        return len(lines) / (time.process_time() - begun)

    return step


def _frames(parser: LogEventParser, lines: list[bytes]) -> list[pl.DataFrame]:
    return [parser.columns(lines[start : start + AT_ONCE], now=NOW) for start in range(0, len(lines), AT_ONCE)]
