"""A source that not every machine has: what is missing of it is told, and is no failure while another one works."""

from __future__ import annotations

import threading
from collections.abc import Generator, Mapping, Sequence

from millstream.parsers.event_parser import LogEventParser
from millstream.sources.source import Note, Reading, Source
from millstream.sources.troubles import Troubled


class SpareSource:
    """One of the sources that are looked for on a machine without anybody having named them."""

    def __init__(self, source: Source) -> None:
        self.source = source

    @property
    def name(self) -> str:
        return self.source.name

    def following(self) -> Sequence[str]:
        return self.source.following()

    def parser(self, origin: str) -> LogEventParser:
        return self.source.parser(origin)

    def read(
        self, positions: Mapping[bytes, bytes], stop: threading.Event, note: Note
    ) -> Generator[Reading, None, None]:
        return self.source.read(positions, stop, note)

    def troubles(self) -> Sequence[str]:
        return self.source.troubles() if isinstance(self.source, Troubled) else ()
