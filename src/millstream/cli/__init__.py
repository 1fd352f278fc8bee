"""The `millstream` command.

General layout: `application` lists the commands, one module each; `shell` holds the options that they share and opens
the log; `lines` and `load` are the inside of `put`; `output`, `progress` and `errors` are what all of them write
with. A command imports the rest of the package when it runs, so that `--help` and shell completion answer at once.
"""

from __future__ import annotations

__all__ = ["main"]

STREAM_THREADS = "millstream-stream"
"""How the threads are called in which streams commit while they read on."""


def main() -> None:
    """Run the command line of this process and exit with its code (see docs/command-line.md)."""
    import os
    import sys
    import threading

    # Closed by whoever started us (`>&-`): Python has none then, and the next file that is opened would be it.
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - for as long as the process
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - likewise

    try:
        from millstream.cli.application import run

        code = run(sys.argv[1:])
    except KeyboardInterrupt:  # while the first modules are imported, before anybody else can catch it
        sys.exit(130)
    if any(thread.name.startswith(STREAM_THREADS) for thread in threading.enumerate()):
        # One waits for a receiver that does not answer, and Python would wait for it. Nothing of it was committed.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
