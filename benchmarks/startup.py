"""How long `import millstream` and `millstream --help` take."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence

from benchmarks.harness import Options, Report, alternate, folder

LIMIT_MS = 150.0


def measure(options: Options) -> Report:
    report = Report(
        "startup",
        "The command answers before one notices.",
        {"counted": "a whole process, from start to exit; compiled files and page cache are warm"},
    )
    with folder(options) as directory:

        def process(*arguments: str) -> float:
            started = time.perf_counter()
            subprocess.run([sys.executable, *arguments], cwd=directory, stdout=subprocess.DEVNULL, check=True)
            return 1000 * (time.perf_counter() - started)

        runs: Sequence[Sequence[float]] = alternate(
            4 * options.runs,
            lambda: process("-c", "pass"),
            lambda: process("-c", "import millstream"),
            lambda: process("-c", "from millstream import App, Topic"),
            lambda: process("-m", "millstream", "--help"),
        )
    report.add("Python itself: python -c pass", runs[0], "ms")
    for what, values in zip(
        ("import millstream", "from millstream import App, Topic", "millstream --help"), runs[1:], strict=True
    ):
        row = report.add(what, values, "ms", reach=f"under {LIMIT_MS:.0f} ms")
        row.reached = row.median < LIMIT_MS
    return report
