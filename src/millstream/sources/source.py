"""What a source is: something to read lines from, that can be read on from a position.

A source keeps nothing itself. The positions of a `Reading` are stored by whoever stores its lines, in the same
transaction; the next start gets them back. That is what makes each line appear once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Protocol

import msgspec

from millstream.parsers.event_parser import LogEventParser

Note = Callable[[str], None]
"""Takes one sentence for a person: what is missing, may not be read, or was lost. Said twice, it is kept once."""


class Line(msgspec.Struct, frozen=True):
    """One line, or entry, as it was written."""

    origin: str
    """Where exactly: the path of a file, or the name of the source."""
    data: bytes
    """Without the line end."""


class Reading(msgspec.Struct, frozen=True):
    """Lines, and where to go on once they are stored."""

    lines: Sequence[Line]
    positions: Mapping[bytes, bytes | None]
    """What changed since the last reading, by a key that only this source uses; None: forget it."""


class Source(Protocol):
    """Something to read lines from.

    An implementation reads a bounded piece at a time, waits without a busy loop, and begins with a bounded number of
    the newest lines where it has no position.
    """

    @property
    def name(self) -> str:
        """A short name for messages."""
        ...

    def following(self) -> Sequence[str]:
        """Return the origins that are being read now."""
        ...

    def parser(self, origin: str) -> LogEventParser:
        """Return what reads the lines of one origin; asked once for each, at its first line."""
        ...

    def read(
        self, positions: Mapping[bytes, bytes], stop: threading.Event, note: Note
    ) -> Generator[Reading, None, None]:
        """Read on from stored positions until told to stop; ends early when there is nothing to follow.

        Asking for the next reading says that the last one is stored (the positions of one without lines may be stored
        later). Closing the iterator releases everything; a new one goes on from the positions it is given.
        """
        ...
