"""Run the benchmark of what `advise` predicts."""

from benchmarks.command import run

NAMES = ("wait",)

if __name__ == "__main__":
    run("benchmarks.advise", NAMES)
