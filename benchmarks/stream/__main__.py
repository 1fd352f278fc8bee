"""Run the benchmarks of streams named on the command line, or all."""

from __future__ import annotations

from benchmarks.command import run

NAMES = ("nexmark", "peers", "lines", "values", "latency", "exactly_once", "catch_up", "state", "joins")

if __name__ == "__main__":
    run("benchmarks.stream", NAMES)
