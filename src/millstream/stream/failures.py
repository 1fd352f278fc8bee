"""Records that a function of a stream raised for: who they were, and the dead letters they become."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from millstream.engines.protocol import Append
from millstream.log.batches import BadRecord
from millstream.log.dead_letter import DeadLetter, Failure, Origin, dead_letter_append, dead_topic_name
from millstream.log.log import Log
from millstream.records import Record, time_from_us
from millstream.stream.keyed.failing import Failed, Guard
from millstream.stream.piece import Piece

if TYPE_CHECKING:
    from millstream.stream.graph import Node
    from millstream.stream.source import SourceReader

NOWHERE: Final = -1
"""The offset of a record that is not one of the log's, but was made by a step."""


class GivenUp(NamedTuple):
    """A record that goes no further."""

    node: Node
    piece: Piece
    """Of one record, as it came to the step."""
    error: Exception
    attempts: int


def given_up(node: Node, piece: Piece | None, guard: Guard) -> list[GivenUp]:
    """Return what a guard gave up on while it handled a piece; None: timers."""
    return [_one(node, piece, failed) for failed in guard.failed()]


def blame(node: Node, piece: Piece | None, guard: Guard, error: Exception) -> None:
    """Note with an error which step it was, and which record."""
    where = f"in {node.step}, written at {node.where}"
    if piece is not None and guard.stopped_at is not None and (origin := piece.origin(guard.stopped_at)) is not None:
        where += f", of the record at partition {origin[1]}, offset {origin[2]}"
    error.add_note(f"{where}. Nothing of this micro-batch was committed.")


def letters(
    failures: Sequence[GivenUp], sources: Sequence[SourceReader], log: Log, *, stream: str, worker: str
) -> list[Append]:
    """Return the dead letters of records, for the commit that passes over them."""
    appends: list[Append] = []
    for failure in failures:
        item = _record(failure, sources)
        topic = item.record.topic if isinstance(item, BadRecord) else item.topic
        dead = log.topic(dead_topic_name(topic), DeadLetter)
        origin = Origin(
            group=stream,
            worker=worker,
            attempts=failure.attempts,
            failed_at=time_from_us(log.clock.now_us()),
            step=str(failure.node.step),
        )
        appends += dead_letter_append(dead, item, Failure.of(failure.error), origin)
    return appends


def _one(node: Node, piece: Piece | None, failed: Failed) -> GivenUp:
    of = failed.instead
    if of is None:
        assert piece is not None, "what is none of the records says what it is"
        of = piece.slice(failed.place, 1)
    return GivenUp(node, of, failed.error, failed.attempts)


def _record(failure: GivenUp, sources: Sequence[SourceReader]) -> Any:
    """Return the record of the log that failed; where a step made it of several, that one as a record."""
    if (origin := failure.piece.origin(0)) is not None:
        number, partition, offset = origin
        source = next(source for source in sources if source.node.number == number)
        if found := source.group.peek(partition, offset, offset + 1):
            return found[0]
    carried = failure.piece.carried
    event_us = carried.get_column("_event_time").to_physical()[0]
    return Record(
        topic=sources[0].topic.name,
        partition=0,
        offset=NOWHERE,
        value=failure.piece.values()[0],
        key=carried.get_column("_key")[0],
        headers={},
        event_time_us=event_us,
        append_time_us=event_us,
    )
