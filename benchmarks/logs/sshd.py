"""The log of sshd: file to the one schema, typed and durable."""

from __future__ import annotations

from benchmarks.harness import Options, Report, alternate, folder
from benchmarks.logs.inputs import write_sshd
from benchmarks.logs.loading import load_seconds

WANTED = 400_000


def measure(options: Options) -> Report:
    count = options.records(2_000_000)
    report = Report(
        "logs_sshd",
        "The log of sshd becomes events of the one schema at 400,000 lines a second.",
        {
            "input": f"{count:,} lines of eight shapes; the file is in memory",
            "Millstream": "millstream put --format syslog; each line a record with 26 fields, the raw line among them",
        },
    )
    with folder(options) as directory:
        file = directory / "auth.log"
        write_sshd(file, count)
        for durability in ("fsync", "relaxed"):
            [values] = alternate(
                options.runs,
                lambda durability=durability: count / load_seconds(directory, file, "syslog", durability=durability),  # type: ignore[misc]
            )
            row = report.add(f"Millstream, {durability}", values, "lines/s", reach=f"{WANTED:,}/s")
            row.reached = row.median >= WANTED
    return report
