"""Run the benchmarks of batches named on the command line, or all."""

from __future__ import annotations

from benchmarks.command import run

NAMES = ("group_by", "compaction")

if __name__ == "__main__":
    run("benchmarks.batch", NAMES)
