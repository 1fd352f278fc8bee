"""Blocks of lines of a known format into a topic, as columns: the next block is parsed while one is stored."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from millstream.cli.lines import Block
from millstream.cli.load import Totals
from millstream.sources.batches import BATCHES, with_records

if TYPE_CHECKING:
    from millstream.log.topic import Topic
    from millstream.parsers.formats import Parser
    from millstream.sources.line_split import Split

_PIECE_BYTES = 1024 * 1024
"""More than an event may have, so that there is always one to be cut off."""


class FormatLoader:
    """Stores blocks of lines in a topic; each line becomes a record, whatever it says, but for empty ones.

    The line of a batch becomes a record for each of its own.
    A block is one transaction. What is counted is stored.
    """

    def __init__(self, topic: Topic[Any], parser: Parser, split: Split | None = None) -> None:
        """Take lines.

        Args:
            split: Puts lines together to events, each of which becomes a record; None: each line is one.
        """
        self.totals = Totals()
        self._split = split
        self._held = b""
        """The last event so far, which may go on in the next block."""
        self._topic = topic
        self._parser = parser
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="millstream-store")
        self._storing: Future[None] | None = None

    def store(self, block: Block) -> None:
        """Parse a block, and have it stored once the one before is."""
        if self._split is None:
            lines = block.data.split(b"\n")
            if not lines[-1]:
                lines.pop()
            found = [line.removesuffix(b"\r") for line in lines if line.strip()]
            blank = len(lines) - len(found)
            # A look at the whole block costs nothing beside one at each line.
            if any(beginning in block.data for beginning in BATCHES):
                found = with_records(found)
            self._store(found, len(lines), blank)
        else:
            events, self._held = _events(self._split, self._held + block.data)
            self._store(events, block.lines, 0)

    def _store(self, found: list[bytes], lines: int, blank: int) -> None:
        frame = self._parser.columns(found, now=datetime.now(UTC)) if found else None
        self._wait()

        def work() -> None:
            if frame is not None:
                self._topic.extend(frame)
            self.totals.lines += lines
            self.totals.stored += len(found)
            self.totals.blank += blank

        self._storing = self._thread.submit(work)

    def close(self) -> None:
        """Wait until all is stored."""
        try:
            self._wait()
            if self._split is not None and self._held:
                events, _ = self._split(self._held if self._held.endswith(b"\n") else self._held + b"\n", True)
                self._held = b""
                self._store([event for event in events if event], 0, 0)
                self._wait()
        finally:
            self._thread.shutdown()

    def _wait(self) -> None:
        storing, self._storing = self._storing, None
        if storing is not None:
            storing.result()


def _events(split: Split, data: bytes) -> tuple[list[bytes], bytes]:
    """Return the events that are complete, and what is left."""
    events: list[bytes] = []
    place = 0
    while True:
        found, consumed = split(data[place : place + _PIECE_BYTES], False)
        events += [event for event in found if event]
        place += consumed
        if not consumed:
            return events, data[place:]
