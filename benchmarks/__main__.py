"""Run the benchmarks named on the command line, or all."""

from __future__ import annotations

from benchmarks.command import run

NAMES = ("extend", "append_concurrent", "append_single", "read", "disk_bytes", "memory", "startup")

if __name__ == "__main__":
    run("benchmarks", NAMES)
