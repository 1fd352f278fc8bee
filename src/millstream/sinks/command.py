"""The sink that runs a program."""

from __future__ import annotations

import hashlib
import logging
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

import msgspec

from millstream.durations import duration
from millstream.errors import SinkError, UsageError
from millstream.sinks.command_words import Words
from millstream.sinks.protocol import PATIENCE, Guarantee, Patience, Sink, SinkPlace, SinkWriter
from millstream.sinks.rows import Rows
from millstream.sinks.texts import json_lines

_log = logging.getLogger(__name__)

TIMEOUT: Final = "1m"
SAID_BYTES: Final = 500
"""Of what a program says on stderr, for the message: its end."""


@dataclass(frozen=True)
class CommandSink(Sink):
    """See `command`."""

    arguments: tuple[str, ...] = field(repr=False)
    timeout_s: float
    patience: Patience = PATIENCE
    words: Words | None = field(default=None, repr=False, compare=False)
    """The arguments of a program that is run for each row; None: it is run for all of them."""

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
        self._rows: Rows | None = None
        self._done = 0
        """Of these rows: when they are written again, the program is not run again for them."""

    def write(self, rows: Rows) -> None:
        lines = json_lines(rows)
        if self._sink.words is None:
            self._run(self._sink.arguments, lines, str(rows))
            return
        if rows is not self._rows:
            self._rows, self._done = rows, 0
        for line in lines.splitlines()[self._done :]:
            self._run_for(self._sink.words, line)
            self._done += 1

    def _run_for(self, words: Words, line: bytes) -> None:
        arguments = words.of(msgspec.json.decode(line))
        if isinstance(arguments, str):
            _log.warning("%s was not run for a result: %s: %.500r", self._sink.arguments[0], arguments, line)
        else:
            self._run(arguments, line + b"\n", "a result")

    def _run(self, arguments: Sequence[str], lines: bytes, what: str) -> None:
        program = self._sink.arguments[0]
        try:
            done = subprocess.run(
                arguments,
                input=lines,
                stdout=subprocess.DEVNULL,  # ours may be read by a program
                stderr=subprocess.PIPE,
                timeout=self._sink.timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise SinkError(f"{program} had not ended after {self._sink.timeout_s:g} s with {what}") from None
        except OSError as error:
            raise SinkError(f"{program} cannot be run: {error.strerror}") from error
        if done.returncode:
            said = done.stderr[-SAID_BYTES:].decode(errors="replace").strip()
            raise SinkError(f"{program} ended with {done.returncode} for {what}" + (f": {said}" if said else ""))


def command(
    arguments: Sequence[str],
    *,
    timeout: timedelta | str | float = TIMEOUT,
    patience: Patience = PATIENCE,
    each: bool = False,
) -> CommandSink:
    """Run a program with results on its standard input, a line of JSON each: at least once.

    No shell reads the arguments: what others wrote into a log cannot become a command. The program is run once for the
    rows of a micro-batch, however many they are. Exit code 0 says that all are done; after any other it is run again
    with the same rows, with growing waits. Its standard output is not used.

    Args:
        arguments: The program and its arguments, such as `["/usr/local/bin/ban", "--for", "1h"]`.
        each: Run it for each result, one after another; `{by.source_ip}` in an argument is a value of the result, `{{`
            a brace. A result without that value, or whose value begins an argument with a dash, has control characters
            or is longer than 4,096, is left out, and told as a warning of the logger `millstream.sinks.command`. A
            program that fails is run again for that result, and not for those before it.
        timeout: A program that takes longer is killed, and has failed.

    Raises:
        UsageError: There is no program, no such time, or a name in braces cannot be read.
    """
    found = () if isinstance(arguments, str) else tuple(arguments)
    words: Sequence[object] = found  # of a program without types
    if not found or not found[0] or not all(isinstance(one, str) and "\0" not in one for one in words):
        raise UsageError(f'command({arguments!r}): give a list, the program first, such as ["/usr/local/bin/ban"]')
    seconds = duration(timeout).total_seconds()
    if seconds <= 0:
        raise UsageError(f"command(timeout={timeout!r}): give more than nothing")
    return CommandSink(found, seconds, patience, Words(found) if each else None)
