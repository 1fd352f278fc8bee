"""Blocks of lines of a known format into a topic, as columns: the next block is parsed while one is stored."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from millstream.cli.lines import Block
from millstream.cli.load import Totals

if TYPE_CHECKING:
    from millstream.log.topic import Topic
    from millstream.parsers.formats import Parser


class FormatLoader:
    """Stores blocks of lines in a topic; each line becomes a record, whatever it says, but for empty ones.

    A block is one transaction. What is counted is stored.
    """

    def __init__(self, topic: Topic[Any], parser: Parser) -> None:
        self.totals = Totals()
        self._topic = topic
        self._parser = parser
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="millstream-store")
        self._storing: Future[None] | None = None

    def store(self, block: Block) -> None:
        """Parse a block, and have it stored once the one before is."""
        lines = block.data.split(b"\n")
        if not lines[-1]:
            lines.pop()
        found = [line.removesuffix(b"\r") for line in lines if line.strip()]
        frame = self._parser.columns(found, now=datetime.now(UTC)) if found else None
        self._wait()

        def work() -> None:
            if frame is not None:
                self._topic.extend(frame)
            self.totals.lines += len(lines)
            self.totals.stored += len(found)
            self.totals.blank += len(lines) - len(found)

        self._storing = self._thread.submit(work)

    def close(self) -> None:
        """Wait until all is stored."""
        try:
            self._wait()
        finally:
            self._thread.shutdown()

    def _wait(self) -> None:
        storing, self._storing = self._storing, None
        if storing is not None:
            storing.result()
