"""The standard output and standard error of a process that we start, and start again when it ends.

What it has written and is not stored when our process is killed is lost (at most once); it is told apart by origin:
`NAME stdout` and `NAME stderr`.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Final

from millstream.clock import Clock, SystemClock
from millstream.errors import SettingsError
from millstream.parsers.event_parser import LogEventParser
from millstream.parsers.log_lines import LogParser
from millstream.sources.multiline import Multiline, multiline
from millstream.sources.record_split import split_with_records
from millstream.sources.sampled import parser_of
from millstream.sources.source import Note, Reading
from millstream.sources.stream_lines import Pipes, StreamLines
from millstream.sources.troubles import Troubles

STREAMS: Final = ("stdout", "stderr")
RESTART_S: Final = 1.0
"""Before the first start after an end; twice as long after each further one."""
RESTART_MAX_S: Final = 60.0
SETTLED_US: Final = 60_000_000
"""A process that ran for this long counts as one that works: the next wait is the first again."""
WORKS_US: Final = 10_000_000
"""One that was in trouble and is still there after this long is in none any more."""
GRACE_S: Final = 5.0
"""From asking it to end to killing it."""
_STOP_CHECK_S: Final = 0.5


class ProcessSource:
    """What a command prints; a `Source` without positions."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        name: str | None = None,
        format: str | None = None,
        multiline: Multiline | str | None = None,
        directory: Path | str | None = None,
        environment: Mapping[str, str] | None = None,
        restart: bool = True,
        restart_s: float = RESTART_S,
        clock: Clock | None = None,
    ) -> None:
        """Run a command as long as the source is read.

        Args:
            command: The program and its arguments; no shell looks at them.
            name: For origins, and the `program` of lines that name none; None: the program's.
            format: As of a `FileSource`.
            multiline: Likewise; each stream's lines are put together by themselves.
            environment: Added to our own.
            restart: Start it again when it ends, whatever its exit code; False: once.
            restart_s: Seconds before the first of these.

        Raises:
            UsageError: There is no command, format or preset, or an expression is wrong.
        """
        if not command:
            raise SettingsError("command is empty; give the program and its arguments as a list")
        self._command = list(command)
        self._name = name or Path(command[0]).name
        self._parser = None if format is None else parser_of(format)
        self._multiline = _multiline(multiline)
        self._directory = directory
        self._environment = None if environment is None else {**os.environ, **environment}
        self._restart = restart
        self._restart_s = restart_s
        self._clock = clock or SystemClock()
        self._running = False
        self._started_us: int | None = None
        self._troubles = Troubles()

    @property
    def name(self) -> str:
        return f"process {self._name}"

    def following(self) -> Sequence[str]:
        return tuple(f"{self._name} {stream}" for stream in STREAMS) if self._running else ()

    def troubles(self) -> Sequence[str]:
        started_us = self._started_us
        if started_us is not None and self._clock.monotonic_us() - started_us >= WORKS_US:
            self._troubles.over()
        return self._troubles.sentences()

    def parser(self, origin: str) -> LogEventParser:
        return LogParser(origin, program=self._name) if self._parser is None else self._parser(origin)

    def read(
        self, positions: Mapping[bytes, bytes], stop: threading.Event, note: Note
    ) -> Generator[Reading, None, None]:
        wait_s = self._restart_s
        while not stop.is_set():
            started_us = self._clock.monotonic_us()
            yield from self._run(stop, note)
            if not self._restart or stop.is_set():
                return
            if self._clock.monotonic_us() - started_us >= SETTLED_US:
                wait_s = self._restart_s
            stop.wait(wait_s)
            wait_s = min(2 * wait_s, RESTART_MAX_S)

    def _run(self, stop: threading.Event, note: Note) -> Generator[Reading, None, None]:
        """Run the command once, to its end or ours."""
        try:
            process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=self._directory,
                env=self._environment,
                # A group of its own: Ctrl-C is for us, and what it started ends with it.
                start_new_session=sys.platform != "win32",
            )
        except OSError as error:
            self._trouble(f"{self._name} cannot be started: {_reason(error, self._command, self._directory)}", note)
            return
        kill = functools.partial(_kill, process)
        atexit.register(kill)  # where we end in a hurry, nothing of it is left either
        self._started_us = self._clock.monotonic_us()
        self._running = True
        try:
            yield from self._outputs(process, stop)
            if not stop.is_set():
                self._tell_end(process.wait(), note)
        finally:
            self._running = False
            self._started_us = None
            _end(process)
            atexit.unregister(kill)

    def _tell_end(self, code: int, note: Note) -> None:
        sentence = f"{self._name} ended with {_ending(code)}{' and is started again' * self._restart}"
        if code == 0:
            self._troubles.over()
            note(sentence)
        else:
            self._trouble(sentence, note)

    def _trouble(self, sentence: str, note: Note) -> None:
        self._troubles.have(sentence)
        note(sentence)

    def _outputs(self, process: subprocess.Popen[bytes], stop: threading.Event) -> Generator[Reading, None, None]:
        cut = split_with_records if self._multiline is None else self._multiline.splitter()
        quiet_us = None if self._multiline is None else self._multiline.quiet_us
        pipes = Pipes()
        assert process.stdout is not None
        assert process.stderr is not None
        for stream, pipe in zip(STREAMS, (process.stdout, process.stderr), strict=True):
            lines = StreamLines(f"{self._name} {stream}", cut, quiet_us=quiet_us, now_us=self._clock.monotonic_us)
            pipes.add(pipe.fileno(), lines)
        until_us: int | None = None
        while not pipes.ended:
            if stop.is_set() and until_us is None:
                _ask_to_end(process)  # and read what it says to that
                until_us = self._clock.monotonic_us() + int(GRACE_S * 1e6)
            if until_us is not None and self._clock.monotonic_us() > until_us:
                return
            if lines_found := pipes.read(_STOP_CHECK_S):
                yield Reading(lines_found, {})


def _reason(error: OSError, command: Sequence[str], directory: Path | str | None) -> str:
    """Return why a program cannot be started, and what to do."""
    if directory is not None and not os.path.isdir(directory):
        return f"there is no directory {directory}; give one that exists, or none"
    program = command[0]
    if isinstance(error, FileNotFoundError) and "/" not in program:
        return f"there is no program {program!r} on PATH; install it, or give its path; its command is {list(command)}"
    return f"{error.strerror or error}; its command is {list(command)}"


def _ending(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    with contextlib.suppress(ValueError):
        return f"signal {signal.Signals(-code).name}"
    return f"signal {-code}"


def _ask_to_end(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if sys.platform != "win32":
            os.killpg(process.pid, signal.SIGTERM)
        else:
            process.terminate()


def _kill(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if sys.platform != "win32":
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()


def _end(process: subprocess.Popen[bytes]) -> None:
    """See to it that nothing of a process is left."""
    if process.poll() is None:
        _ask_to_end(process)
        try:
            process.wait(1.0)
        except subprocess.TimeoutExpired:
            _kill(process)
            process.wait()
    for pipe in (process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()


_multiline = multiline
