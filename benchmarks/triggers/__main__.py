"""Run the benchmarks of triggers named on the command line, or all."""

from __future__ import annotations

from benchmarks.command import run

NAMES = ("new_file", "web_hooks")

if __name__ == "__main__":
    run("benchmarks.triggers", NAMES)
