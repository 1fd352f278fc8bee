"""The sink that runs a program."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from millstream.durations import duration
from millstream.errors import SinkError, UsageError
from millstream.sinks.protocol import PATIENCE, Guarantee, Patience, Sink, SinkPlace, SinkWriter
from millstream.sinks.rows import Rows
from millstream.sinks.texts import json_lines

TIMEOUT: Final = "1m"
SAID_BYTES: Final = 500
"""Of what a program says on stderr, for the message: its end."""


@dataclass(frozen=True)
class CommandSink(Sink):
    """See `command`."""

    arguments: tuple[str, ...] = field(repr=False)
    timeout_s: float
    patience: Patience = PATIENCE

    @property
    def guarantee(self) -> Guarantee:
        return Guarantee.AT_LEAST_ONCE

    def __str__(self) -> str:
        # Arguments may be secrets.
        digest = hashlib.sha256("\0".join(self.arguments).encode()).hexdigest()[:8]
        return f"command {self.arguments[0]} ({digest})"

    def open(self, place: SinkPlace, stored: bytes | None) -> SinkWriter:
        return _CommandWriter(self)


class _CommandWriter(SinkWriter):
    def __init__(self, sink: CommandSink) -> None:
        self._sink = sink

    def write(self, rows: Rows) -> None:
        program = self._sink.arguments[0]
        try:
            done = subprocess.run(
                self._sink.arguments,
                input=json_lines(rows),
                stdout=subprocess.DEVNULL,  # ours may be read by a program
                stderr=subprocess.PIPE,
                timeout=self._sink.timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise SinkError(f"{program} had not ended after {self._sink.timeout_s:g} s with {rows}") from None
        except OSError as error:
            raise SinkError(f"{program} cannot be run: {error.strerror}") from error
        if done.returncode:
            said = done.stderr[-SAID_BYTES:].decode(errors="replace").strip()
            raise SinkError(f"{program} ended with {done.returncode} for {rows}" + (f": {said}" if said else ""))


def command(
    arguments: Sequence[str], *, timeout: timedelta | str | float = TIMEOUT, patience: Patience = PATIENCE
) -> CommandSink:
    """Run a program with results on its standard input, a line of JSON each: at least once.

    No shell reads the arguments, and nothing of a result is put among them: what others wrote into a log cannot become
    a command. The program is run once for the rows of a micro-batch, however many they are. Exit code 0 says that all
    are done; after any other it is run again with the same rows, with growing waits. Its standard output is not used.

    Args:
        arguments: The program and its arguments, such as `["/usr/local/bin/ban", "--for", "1h"]`.
        timeout: A program that takes longer is killed, and has failed.

    Raises:
        UsageError: There is no program, or no such time.
    """
    found = () if isinstance(arguments, str) else tuple(arguments)
    words: Sequence[object] = found  # of a program without types
    if not found or not found[0] or not all(isinstance(one, str) and "\0" not in one for one in words):
        raise UsageError(f'command({arguments!r}): give a list, the program first, such as ["/usr/local/bin/ban"]')
    seconds = duration(timeout).total_seconds()
    if seconds <= 0:
        raise UsageError(f"command(timeout={timeout!r}): give more than nothing")
    return CommandSink(found, seconds, patience)
