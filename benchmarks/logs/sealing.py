"""What tamper evidence costs: the same lines stored with seals and without, and the check."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.harness import Options, Report, alternate, folder
from benchmarks.logs.inputs import write_sshd
from millstream.engines.connect import connect
from millstream.log.log import Log
from millstream.log.seals.check import verify
from millstream.log.seals.sealer import Sealer
from millstream.parsers.log_event import LogEvent
from millstream.parsers.log_lines import LogParser
from millstream.sources.writer import OnceWriter

AT_ONCE = 5000
"""Lines of a reading of a file."""


def measure(options: Options) -> Report:
    count = options.records(500_000)
    report = Report(
        "logs_sealing",
        "Sealing costs less computing time than reading and storing does.",
        {
            "input": f"{count:,} lines of sshd, parsed and stored {AT_ONCE:,} at a time, as a follower does",
            "time": "of the processor, all threads: what runs beside it does not count",
        },
    )
    with folder(options) as directory:
        file = directory / "auth.log"
        write_sshd(file, count)
        lines = file.read_bytes().splitlines()
        plain, sealed, checked = alternate(
            options.runs,
            lambda: count / _stored(directory, lines, sealed=False)[0],
            lambda: count / _stored(directory, lines, sealed=True)[0],
            lambda: count / _stored(directory, lines, sealed=True)[1],
        )
        report.add("stored", plain, "lines/s of CPU")
        row = report.add("stored and sealed", sealed, "lines/s of CPU", reach="half of that without")
        row.reached = row.median >= report.rows[0].median / 2
        report.add("checked", checked, "lines/s of CPU")
    return report


def _stored(directory: Path, lines: list[bytes], *, sealed: bool) -> tuple[float, float]:
    """Return how long storing took and, where they were sealed, the check of all of them."""
    with (
        TemporaryDirectory(dir=directory) as place,
        closing(Log(connect(f"{place}/log.db"), housekeeping=False)) as log,
    ):
        topic = log.topic("logs", LogEvent, time="time")
        writer = OnceWriter(topic, "reader", sealer=Sealer(topic) if sealed else None)
        parser = LogParser("auth.log")

        def store() -> None:
            for start in range(0, len(lines), AT_ONCE):
                some = parser.columns(lines[start : start + AT_ONCE], now=datetime.now(UTC))
                writer.store(some, {}, writer.positions()[0])

        def check() -> None:
            found = verify(log, "logs")
            assert (found.records, found.findings) == (len(lines), ())

        return _seconds(store), _seconds(check) if sealed else 0.0


def _seconds(work: Callable[[], None]) -> float:
    begun = time.process_time()
    work()
    return time.process_time() - begun
