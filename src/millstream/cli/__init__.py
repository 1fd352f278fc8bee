"""The `millstream` command.

General layout:

    application     lists the commands, one module each: advise, backup, batch, compact, dead, demo, doctor, export,
                    import_, logs, put, queue, replay, run, sql, stream, tail, templates, top, topics
    shell           the options that they share; opens the log
    output, progress, errors        what all of them write with
    lines, load, load_format        the inside of `put`: blocks of lines, values, lines of a known format
    interrupt                       Ctrl-C between two of its blocks
    run_progress                    what `run --until now` says meanwhile
    queue_text, stream_text, batch_text, listener_text      rows of tables, which several commands write;
                                    stream_state: what steps keep
    monitoring                      `--metrics`: monitors are answered while a command runs
    advise_text, advise_workers     what `advise` asks and says
    logs_given                      files named on the command line of `logs`; logs_show: reads, stores and prints;
                                    logs_printer: events and alerts in order; logs_telling: what it says of its work
    logs_reload                     SIGHUP: another configuration of `logs`
    logs_check, logs_reparse, logs_status   what else `millstream logs` does

A command imports the rest of the package when it runs, so that `--help` and shell completion answer at once.
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
