"""Lines into a topic, each once.

A consumer group of the topic itself keeps the positions of the sources, as state. Events and positions are stored by
one `Group.commit`. That commit also counts on a number beside the positions, so two processes that both follow this
machine exclude each other: the one whose view is old is refused, and reads its positions anew.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final, Generic, NamedTuple, TypeVar

from millstream.engines.protocol import Append, OffsetMove, StateChange, StateRange
from millstream.errors import CommitConflictError
from millstream.log.seals.seal import NO_HEAD
from millstream.log.seals.sealer import Sealer, is_sealed
from millstream.log.topic import Topic
from millstream.records import Position

if TYPE_CHECKING:
    import polars as pl

T = TypeVar("T")

_STATE_PARTITION: Final = 0
_OWN: Final = b"millstream."
"""Begins the keys of the state that are no positions."""
_TURN: Final = b"millstream.turn"
"""In the state, beside the positions: counts commits, so that one without values finds out as well that it is late."""
_HEAD: Final = b"millstream.seals.head"
"""In the state, beside the positions: the head of the chain of seals, by which each commit finds its predecessor."""


class OnceWriter(Generic[T]):
    """Stores values together with the positions they were read at. Safe to use from many threads, a source each."""

    def __init__(self, topic: Topic[T], group: str, *, sealer: Sealer | None = None) -> None:
        """Take a topic, the group that keeps the positions, and what seals each commit, if anything."""
        self._topic = topic
        self._sealer = sealer
        self._group = topic.group(group)
        self._lock = threading.Lock()
        self._epoch = 0
        """Counts reloads: positions read before the last one may be old."""
        self._turn: bytes | None = None
        self._committed: dict[int, int] = {}
        self._ends: dict[int, int] = {}
        self._beside: dict[str, _Chain | None] = {}
        """Of other topics, where they are sealed."""
        self.records = 0
        """Values stored by this writer."""
        self.reload()

    def positions(self) -> tuple[int, Mapping[bytes, bytes]]:
        """Return the stored positions of all sources, and the epoch to hand to `store`."""
        with self._lock:
            state = self._group.state(_STATE_PARTITION)
            return self._epoch, {key: value for key, value in state.items() if not key.startswith(_OWN)}

    def reload(self) -> None:
        """Look again where the group stands, after a conflict or after somebody else's append."""
        with self._lock:
            info = self._group.info()
            # Read before any position is: what another process stores in between makes the next commit fail, not lie.
            self._committed = dict(info.committed)
            self._ends = dict(info.end_offsets)
            self._turn = self._group.state(_STATE_PARTITION, within=StateRange.of_prefix(_TURN)).get(_TURN)
            self._epoch += 1
            if self._sealer is not None:
                self._sealer.load()
            self._beside.clear()

    def store(
        self,
        values: Sequence[T] | pl.DataFrame,
        positions: Mapping[bytes, bytes | None],
        epoch: int,
        *,
        beside: Sequence[tuple[Topic[T], pl.DataFrame]] = (),
        anyway: bool = False,
    ) -> None:
        """Store values and positions, all or nothing.

        Without values nothing is stored: their positions come with the next ones.

        Args:
            beside: Values for other topics, in the same transaction.
            anyway: Store the positions also without values: those that were there are to be in no topic.

        Raises:
            CommitConflictError: Another process stored since `epoch`; nothing was changed. Reload and read positions.
        """
        if not len(values) and not beside and not anyway:
            return
        appends = self._topic.encode(values) if len(values) else []
        others = [(topic, topic.encode(frame)) for topic, frame in beside]
        state = [StateChange(_STATE_PARTITION, key, value) for key, value in positions.items()]
        with self._lock:
            if epoch != self._epoch:
                raise CommitConflictError(f"the positions kept for topic {self._topic.name!r} were read anew meanwhile")
            moves = [
                OffsetMove(partition, start, self._ends[partition])
                for partition, start in self._committed.items()
                if self._ends[partition] > start
            ]
            stored = self._commit(moves, state, appends, others)
            for move in moves:
                self._committed[move.partition] = move.end
            for position, append in zip(stored, appends, strict=False):  # behind them are those of the seals
                end = position.offset + append.batch.count
                self._ends[position.partition] = max(end, self._ends[position.partition])
            self.records += len(values)

    def _commit(
        self,
        moves: Sequence[OffsetMove],
        state: Sequence[StateChange],
        appends: Sequence[Append],
        others: Sequence[tuple[Topic[T], Sequence[Append]]],
    ) -> list[Position]:
        """Commit, with the seals of what is appended to sealed topics; return positions, those of `appends` first."""
        turn = _next_turn(self._turn)
        state = [*state, StateChange(_STATE_PARTITION, _TURN, turn)]
        expect = [StateChange(_STATE_PARTITION, _TURN, self._turn)]
        seals: list[Append] = []
        sealer = self._sealer
        if sealer is not None and appends:
            seals, head = sealer.seal(appends, self._ends)
            state.append(StateChange(_STATE_PARTITION, _HEAD, head))
            # Who sealed meanwhile has made this head an old one.
            expect.append(StateChange(_STATE_PARTITION, _HEAD, None if sealer.head == NO_HEAD else sealer.head))
        chains = [(chain, some) for topic, some in others if (chain := self._chain(topic)) is not None]
        heads = []
        for chain, some in chains:
            more, head_beside = chain.sealer.seal(some, chain.ends)
            seals += more
            heads.append(head_beside)
        beside = [append for _, some in others for append in some]
        stored = self._group.commit(moves, state=state, appends=[*appends, *beside, *seals], expect=expect)
        self._turn = turn
        if sealer is not None and appends:
            sealer.head = head
        for (chain, some), head_beside in zip(chains, heads, strict=True):
            chain.sealer.head = head_beside
            for append in some:
                chain.ends[append.partition] += append.batch.count
        return stored

    def _chain(self, topic: Topic[T]) -> _Chain | None:
        """Return the chain of another topic; None where it is not sealed."""
        if topic.name not in self._beside:
            sealer = None
            if self._sealer is not None:
                sealer = self._sealer.of(topic)
            elif is_sealed(topic):
                sealer = Sealer(topic)
            self._beside[topic.name] = None if sealer is None else _Chain(sealer, dict(topic.end_offsets()))
        return self._beside[topic.name]


class _Chain(NamedTuple):
    """The chain of seals of another topic. Who stores there as well has the same turn to wait for."""

    sealer: Sealer
    ends: dict[int, int]


def _next_turn(turn: bytes | None) -> bytes:
    return (int.from_bytes(turn or b"", "big") + 1).to_bytes(8, "big")
