"""A trigger that follows a topic: what it has read, what it remembers and its events move in one transaction.

It is a consumer group of the topic, of the trigger's name: its lag is how far behind it is. Of two processes that
follow for one trigger one commits each piece; the other gets a conflict, and goes on from where that one came.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from millstream.engines.protocol import OffsetMove, StateChange
from millstream.errors import CommitConflictError
from millstream.log.log import Log
from millstream.log.topic import Start, Topic
from millstream.records import Record

PIECE_RECORDS_MAX: Final = 5000
"""Read and committed at once: what a crash repeats the reading of."""

LOOK_S: Final = 0.2
"""A stop is noticed within this time."""


class Piece:
    """Records of one partition, and the offsets that they are from."""

    def __init__(self, move: OffsetMove, records: Sequence[Record[Any]]) -> None:
        self.move = move
        self.records = records


class Following(ABC):
    """What the sources of such triggers have in common.

    Args:
        start: Where a trigger begins that is new.
    """

    def __init__(self, log: Log, topic: Topic[Any], events: Topic[Any], name: str, *, start: Start) -> None:
        self.topic = topic
        self._events = events
        self._clock = log.clock
        self._group = topic.group(name, start=start)

    def run(self, stop: threading.Event) -> None:
        self.load()
        while not stop.is_set():
            if not self._read():
                self.idle()
                wait_s = min(LOOK_S, self.wait_s())
                self.topic.wait(self._group.info().committed, wait_s, until=stop.is_set)

    def run_now(self, stop: threading.Event) -> int:
        self.load()
        count = 0
        while not stop.is_set() and (read := self._read()):
            count += read
        return count + self.idle()

    @abstractmethod
    def load(self) -> None:
        """Read what is remembered."""

    @abstractmethod
    def take(self, piece: Piece) -> tuple[Sequence[Any], Mapping[bytes, bytes | None]]:
        """Return the events of a piece, and what is remembered after it; changes nothing itself."""

    def expected(self) -> Mapping[bytes, bytes | None]:
        """Return the state that `take` is based on: another process may have read what was before the piece."""
        return {}

    def idle(self) -> int:
        """Do what time alone brings about; return how many events that were."""
        return 0

    def wait_s(self) -> float:
        """Return when `idle` has something to do at the earliest, in seconds from now."""
        return LOOK_S

    def state(self) -> dict[bytes, bytes]:
        return self._group.state(0)

    def write(
        self,
        moves: Sequence[OffsetMove],
        events: Sequence[Any],
        kept: Mapping[bytes, bytes | None],
        *,
        found: Mapping[bytes, bytes | None] | None = None,
        expires_us: int | None = None,
    ) -> bool:
        """Commit all of it; False where another process was faster, and what is remembered was read anew."""
        try:
            self._group.commit(
                moves,
                state=[StateChange(0, key, value, expires_us) for key, value in kept.items()],
                appends=self._events.encode(events) if events else (),
                expect=[StateChange(0, key, value) for key, value in (found or {}).items()],
            )
        except CommitConflictError:
            self.load()
            return False
        return True

    def _read(self) -> int:
        """Take what is there, a piece of each partition; return how many records."""
        count = 0
        for piece in self._pieces():
            events, kept = self.take(piece)
            if self.write([piece.move], events, kept, found=self.expected()):
                self.taken(kept)
                count += max(1, len(piece.records))
        return count

    def taken(self, kept: Mapping[bytes, bytes | None]) -> None:  # noqa: B027 - most have nothing to do
        """What was remembered is in the log."""

    def _pieces(self) -> Iterator[Piece]:
        info = self._group.info()
        for partition, end in info.end_offsets.items():
            start = info.committed[partition]
            if start >= end:
                continue
            records = self.topic.read(start, partition=partition, records_max=PIECE_RECORDS_MAX)
            if not records:
                continue
            yield Piece(OffsetMove(partition, start, records[-1].offset + 1), records)
