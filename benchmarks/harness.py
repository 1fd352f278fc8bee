"""What all benchmarks share: repeated runs, the machine, and a table as Markdown."""

from __future__ import annotations

import gc
import os
import platform
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec

from millstream.version import __version__

ROOT = Path(__file__).parents[1]
RUNS_MIN = 5


class Options(msgspec.Struct, frozen=True):
    """What the command line said."""

    data: Path
    runs: int = RUNS_MIN
    scale: float = 1.0
    """Of the number of records; below 1 for a quick look."""

    def records(self, count: int) -> int:
        return max(1000, int(count * self.scale))


class Row(msgspec.Struct):
    """One thing measured, several times."""

    what: str
    values: list[float]
    unit: str
    reach: str = ""
    """The claim, in words."""
    reached: bool | None = None
    note: str = ""

    @property
    def median(self) -> float:
        return statistics.median(self.values)


class Report(msgspec.Struct):
    """The table of one benchmark."""

    name: str
    claim: str
    settings: dict[str, str]
    rows: list[Row] = []
    findings: list[str] = []

    def add(self, what: str, values: Sequence[float], unit: str, **more: Any) -> Row:
        row = Row(what, list(values), unit, **more)
        self.rows.append(row)
        print(f"  {what}: {_number(row.median)} {unit}", flush=True)
        return row


@contextmanager
def folder(options: Options) -> Iterator[Path]:
    """A folder on the disk under test, removed afterwards."""
    with TemporaryDirectory(prefix="millstream-benchmark-", dir=options.data) as path:
        yield Path(path)


def seconds(work: Callable[[], object]) -> float:
    """Run once; return how long it took. Garbage of the run before is not counted."""
    gc.collect()
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def alternate(runs: int, *works: Callable[[], float]) -> list[list[float]]:
    """Run each in turn, `runs` times, after one round that is not counted; return the values of each.

    In turn, so that a machine that slows down slows all of them down.
    """
    values: list[list[float]] = [[] for _ in works]
    for run in range(runs + 1):
        for kept, work in zip(values, works, strict=True):
            value = work()
            if run:
                kept.append(value)
    return values


def percentiles(latencies: Iterable[float]) -> str:
    """Return p50, p99 and the longest, in milliseconds."""
    ordered = sorted(latencies)
    p50, p99 = ordered[len(ordered) // 2], ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)]
    return f"p50 {p50 * 1000:.2f} ms, p99 {p99 * 1000:.2f} ms, max {ordered[-1] * 1000:.1f} ms"


def sync_ms(directory: Path, count: int = 50) -> float:
    """Return the median of a bare write of 100 bytes with fdatasync."""
    times = []
    path = directory / "sync"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
    try:
        for _ in range(count):
            started = time.perf_counter()
            os.write(descriptor, b"x" * 100)
            _datasync(descriptor)
            times.append(time.perf_counter() - started)
    finally:
        os.close(descriptor)
        path.unlink()
    return statistics.median(times) * 1000


def _datasync(descriptor: int) -> None:
    getattr(os, "fdatasync", os.fsync)(descriptor)


def machine(options: Options) -> dict[str, str]:
    """Return what a reader needs to know to judge the numbers."""
    with folder(options) as directory:
        sync = sync_ms(directory)
    return {
        "machine": f"{_processor()}, {os.cpu_count()} cores, {_memory_gb():.0f} GB",
        "system": f"{platform.system()} {platform.release()}, file system {_file_system(options.data)}",
        "bare write + fdatasync": f"{sync:.2f} ms",
        "load before": f"{os.getloadavg()[0]:.1f}",
        "versions": f"Millstream {__version__}, Python {platform.python_version()}, "
        + ", ".join(f"{name} {metadata.version(name)}" for name in ("apsw", "msgspec", "polars")),
    }


def markdown(report: Report, options: Options, about: dict[str, str], command: Sequence[str]) -> str:
    lines = [f"# {report.name}", "", report.claim, "", f"    {shlex.join(command)}", "", "| | |", "|---|---|"]
    lines += [f"| {name} | {value} |" for name, value in {**about, **report.settings}.items()]
    lines += ["", "| measured | median | spread (min to max) | runs | reach for | |", "|---|---|---|---|---|---|"]
    for row in report.rows:
        verdict = {True: "reached", False: "missed", None: ""}[row.reached]
        spread = f"{_number(min(row.values))} to {_number(max(row.values))}" if len(row.values) > 1 else ""
        notes = "; ".join(part for part in (verdict, row.note) if part)
        lines.append(
            f"| {row.what} | {_number(row.median)} {row.unit} | {spread} | {len(row.values)} | {row.reach} | {notes} |"
        )
    if report.findings:
        lines += ["", *(f"- {finding}" for finding in report.findings)]
    return "\n".join(lines) + "\n"


def child(code: str, *arguments: str) -> dict[str, Any]:
    """Run a module of the benchmarks in a process of its own; it prints JSON."""
    done = subprocess.run(
        [sys.executable, "-m", code, *arguments], cwd=ROOT, stdout=subprocess.PIPE, check=True, timeout=1800
    )
    result: dict[str, Any] = msgspec.json.decode(done.stdout)
    return result


def _number(value: float) -> str:
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _memory_gb() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9


def _file_system(directory: Path) -> str:
    """Return the type of the file system of a directory, where the system tells."""
    try:
        mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
    except OSError:
        return "unknown"
    resolved = directory.resolve()
    found = [(len(point), kind) for point, kind in mounts if resolved.is_relative_to(point)]
    return max(found)[1] if found else "unknown"
