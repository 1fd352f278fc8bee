"""Run the benchmarks of logs named on the command line, or all."""

from __future__ import annotations

from benchmarks.command import run

NAMES = ("access", "follow", "sshd", "syslog", "templates", "template_accuracy", "brokers", "sealing", "steps")

if __name__ == "__main__":
    run("benchmarks.logs", NAMES)
