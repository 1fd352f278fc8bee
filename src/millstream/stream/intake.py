"""What a stream reads next, of all its topics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from millstream.clock import Clock
from millstream.engines.protocol import OffsetMove
from millstream.stream.failures import GivenUp
from millstream.stream.graph import Graph, Node
from millstream.stream.operators import StateWrite
from millstream.stream.options import StreamOptions
from millstream.stream.piece import Piece
from millstream.stream.plan import needs_of
from millstream.stream.source import NEVER_US, SourceReader


class MicroBatch(msgspec.Struct, frozen=True, eq=False):
    """Records that are processed and committed together."""

    moves: Mapping[str, Sequence[OffsetMove]]
    """By topic."""
    pieces: Mapping[Node, Sequence[Piece]]
    watermarks_us: Mapping[Node, int | None]
    """Of each source, with these records."""
    watermark_us: int | None
    """Of all that are not tables."""
    read_us: int | None
    """When the newest record of these had been appended."""
    state: Sequence[StateWrite]
    """What the sources have to store."""
    refused: Sequence[GivenUp]
    """Records that the topics' types refuse, and that are passed over."""
    full: bool
    """Whether there is more to read at once."""

    @property
    def offsets(self) -> int:
        return sum(move.end - move.start for moves in self.moves.values() for move in moves)


class Intake:
    """Reads the sources of a stream, each from where it was committed last. Used by one thread at a time.

    Args:
        partition: Of every source; None: all of them.
    """

    def __init__(self, graph: Graph, options: StreamOptions, clock: Clock, partition: int | None = None) -> None:
        needs = needs_of(graph)
        self._clock = clock
        self.sources = [SourceReader(graph, node, needs[node], options, partition) for node in graph.sources()]

    @property
    def streams(self) -> list[SourceReader]:
        """The sources whose event time counts: all but tables."""
        return [source for source in self.sources if not source.is_table]

    @property
    def paused(self) -> bool:
        """Whether somebody told the stream to wait, as of the last look."""
        return self.sources[0].paused

    def load(self, state: Mapping[bytes, bytes]) -> None:
        for source in self.sources:
            source.load(state)

    def next(self, records_max: int, *, live: bool) -> MicroBatch | None:
        """Read what comes next; None where everything is read.

        Args:
            live: Partitions that get nothing do not hold the others back; otherwise only records count.
        """
        clock_us = self._clock.now_us() if live else None
        moves = self._moves(records_max)
        if not moves:
            return None
        pieces = {source.node: source.read(some) for source, some in moves.items()}
        return MicroBatch(
            moves={source.topic.name: some for source, some in moves.items()},
            pieces={node: [piece] for node, piece in pieces.items() if piece is not None},
            watermarks_us=self._watermarks_us(clock_us),
            watermark_us=self.watermark_us(),
            read_us=max((us for s in self.sources if (us := s.watermarks.appended_us()) is not None), default=None),
            refused=[one for source in moves for one in source.refused],
            state=[write for source in self.sources for write in source.watermarks.changes()],
            full=any(source.unread for source in self.sources),
        )

    def seen(self) -> dict[str, Mapping[int, int]]:
        """Return the ends that were seen, by topic and partition."""
        return {source.topic.name: source.ends for source in self.sources}

    def watermark_us(self) -> int | None:
        return min((us for source in self.streams if (us := source.watermark_us()) is not None), default=None)

    def newest_us(self) -> int | None:
        """Return the newest event time of all records read."""
        return max((us for source in self.streams if (us := source.watermarks.newest_us()) is not None), default=None)

    def idle_us(self, clock_us: int) -> int | None:
        """Return the watermark at a time of the wall clock, when everything is read and nothing comes."""
        known = [us for source in self.streams if (us := source.watermarks.idle_us(clock_us)) is not None]
        return min([*known, *(source.watermarks.silent_us(clock_us) for source in self._silent())]) if known else None

    def idle_wait_us(self, clock_us: int, target_us: int) -> int:
        """Return how long idle input needs to bring the watermark to `target_us`."""
        waits = [source.watermarks.idle_wait_us(clock_us, target_us) for source in self.streams]
        waits += [target_us - source.watermarks.silent_us(clock_us) for source in self._silent()]
        return max([0, *waits])

    # --- inside -----------------------------------------------------------------------------------------------------

    def _moves(self, records_max: int) -> dict[SourceReader, list[OffsetMove]]:
        """Choose what to read: tables first, then of several topics the one whose event time is furthest behind."""
        for source in self.sources:
            source.look()
        if self.paused:
            return {}
        waiting = [source for source in self.sources if source.unread]
        if tables := [source for source in waiting if source.is_table]:
            waiting = tables
        elif len(waiting) > 1 and sum(source.unread for source in waiting) > records_max:
            waiting = [min(waiting, key=_behind)]
        return {source: source.moves(max(1, records_max // len(waiting))) for source in waiting}

    def _silent(self) -> list[SourceReader]:
        """Return the sources with a partition that never had a record."""
        return [source for source in self.streams if not source.watermarks.knows(source.ends)]

    def _watermarks_us(self, clock_us: int | None) -> dict[Node, int | None]:
        """Return the watermark of each source with what was read.

        Over history, a source without any record does not hold the others back. In a stream that runs on, the event
        time of a partition that is read to its end and gets nothing goes on as the clock does, up to the newest of the
        others; that of one without any record is taken to be as late as the clock says. So neither holds back for
        long, and the first record of a topic is not too late because it is the first.
        """
        newest_us = self.newest_us()
        found = {source.node: source.watermark_us_now(clock_us, newest_us or 0) for source in self.sources}
        if clock_us is not None and newest_us is not None:
            for source in self._silent():
                if (us := found[source.node]) is not None:
                    found[source.node] = min(us, newest_us, source.watermarks.silent_us(clock_us))
        return found if any(us != NEVER_US for us in found.values()) else dict.fromkeys(found)


def _behind(source: SourceReader) -> float:
    us = source.watermark_us()
    return float("-inf") if us is None else us
