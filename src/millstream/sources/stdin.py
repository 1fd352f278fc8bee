"""What another program writes into our standard input: `app | millstream logs --stdin`.

A pipe has no place to go on from: lines that were read and are not stored when the process is killed are lost (at most
once). They are few, and a pipe that is not read makes its writer wait.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Generator, Mapping, Sequence
from typing import Final

from millstream.clock import Clock, SystemClock
from millstream.parsers.event_parser import LogEventParser
from millstream.sources.multiline import Multiline, multiline
from millstream.sources.record_split import split_with_records
from millstream.sources.sampled import AUTO, parser_of
from millstream.sources.source import Note, Reading
from millstream.sources.stream_lines import Pipes, StreamLines

ORIGIN: Final = "stdin"
_STOP_CHECK_S: Final = 0.5


class StdinSource:
    """Standard input, to its end; a `Source` without positions."""

    def __init__(
        self,
        *,
        format: str = AUTO,
        multiline: Multiline | str | None = None,
        descriptor: int | None = None,
        clock: Clock | None = None,
    ) -> None:
        """Read a pipe.

        Args:
            format: As of a `FileSource`.
            multiline: Likewise.
            descriptor: What to read; None: standard input.

        Raises:
            UsageError: There is no such format or preset, or an expression is wrong.
        """
        self._descriptor = descriptor
        self._parser = parser_of(format)
        self._multiline = _multiline(multiline)
        self._clock = clock or SystemClock()
        self._reading = False

    @property
    def name(self) -> str:
        return "standard input"

    def following(self) -> Sequence[str]:
        return (ORIGIN,) if self._reading else ()

    def parser(self, origin: str) -> LogEventParser:
        return self._parser(origin)

    def read(
        self, positions: Mapping[bytes, bytes], stop: threading.Event, note: Note
    ) -> Generator[Reading, None, None]:
        cut = split_with_records if self._multiline is None else self._multiline.splitter()
        quiet_us = None if self._multiline is None else self._multiline.quiet_us
        pipes = Pipes()
        pipes.add(
            sys.stdin.fileno() if self._descriptor is None else self._descriptor,
            StreamLines(ORIGIN, cut, quiet_us=quiet_us, now_us=self._clock.monotonic_us),
        )
        self._reading = True
        try:
            while not pipes.ended:
                ending = stop.is_set()
                lines = pipes.read(0.0 if ending else _STOP_CHECK_S)
                if lines:
                    yield Reading(lines, {})
                elif ending:
                    return
        finally:
            self._reading = False


_multiline = multiline
