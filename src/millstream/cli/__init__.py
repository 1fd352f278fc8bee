"""The `millstream` command.

General layout: `application` lists the commands, one module each; `shell` holds the options that they share and opens
the log; `lines` and `load` are the inside of `put`; `output`, `progress` and `errors` are what all of them write
with. A command imports the rest of the package when it runs, so that `--help` and shell completion answer at once.
"""

from __future__ import annotations

__all__ = ["main"]


def main() -> None:
    """Run the command line of this process and exit with its code (see docs/command-line.md)."""
    import sys

    from millstream.cli.application import run

    sys.exit(run(sys.argv[1:]))
