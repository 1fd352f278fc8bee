"""Run the benchmarks of the queue named on the command line, or all."""

from __future__ import annotations

from benchmarks.command import run
from benchmarks.queue import environments

NAMES = ("put_get", "one_by_one", "in_order", "throughput", "enqueue", "latency", "backlog", "worker_memory")

if __name__ == "__main__":
    environments.make()
    run("benchmarks.queue", NAMES)
