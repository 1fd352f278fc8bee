"""Records of a topic as a trigger: those that match, or so many of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, Final

import msgspec

from millstream.errors import UsageError
from millstream.log.log import Log
from millstream.log.topic import Start, Topic
from millstream.triggers.following import Following, Piece
from millstream.triggers.protocol import EventSource, Trigger, name_of

if TYPE_CHECKING:
    import polars as pl

_COUNT: Final = b"count"
"""Key of the state: matches since the last event, and where the first of them is."""


class Matched(msgspec.Struct, frozen=True, kw_only=True):
    """A record that matched; of a count, the last one of it."""

    topic: str
    partition: int
    offset: int
    value: Any = None
    """As plain data; None of raw bytes, which are read by their place."""
    time: datetime
    """The event time of the record."""
    count: int = 1
    first_partition: int = 0
    first_offset: int = 0
    """Where the first record of the count is."""


def matching(
    topic: Topic[Any] | str,
    *,
    where: pl.Expr | Callable[[Any], object] | None = None,
    count: int = 1,
    start: Start = "end",
    name: str | None = None,
) -> MatchTrigger:
    """Follow a topic: `@app.on(matching(orders, where=pl.col("total") > 1000))`; the handler gets a `Matched`.

    Each matching record is in exactly one event, whatever crashes and however many processes run.

    Args:
        where: A Polars expression over the topic's columns, or a function of the value; None: every record.
        count: One event for so many matching records, of all partitions together.
        start: Where a new trigger begins: at the "end" of the topic, its "start", an offset or a time.
        name: Of the trigger, which is that of its consumer group as well; None: made of the topic's name.

    Raises:
        UsageError: `count` is below 1, or `where` is neither.
    """
    if count < 1:
        raise UsageError(f"count is {count}; give 1 or more")
    if where is not None and not callable(where) and type(where).__name__ != "Expr":
        raise UsageError(f"where is {where!r}; give a Polars expression such as pl.col('total') > 1000, or a function")
    topic_name = topic if isinstance(topic, str) else topic.name
    return MatchTrigger(topic, where, count, start, name=name or name_of("matching", topic_name))


class MatchTrigger(Trigger):
    """Records that match; see `matching`."""

    kind = "matching"
    event: ClassVar[type] = Matched
    time_field = "time"

    def __init__(self, topic: Topic[Any] | str, where: Any, count: int, start: Start, *, name: str) -> None:
        super().__init__(name)
        self.topic = topic
        self.where = where
        self.count = count
        self.start = start

    def source(self, log: Log) -> EventSource:
        return MatchSource(log, self)


class MatchSource(Following):
    """Reads a topic for one trigger."""

    def __init__(self, log: Log, trigger: MatchTrigger) -> None:
        super().__init__(log, topic_of(log, trigger.topic), trigger.events(log), trigger.name, start=trigger.start)
        self._where = trigger.where
        self._wanted = trigger.count
        self._run = (0, 0, 0)
        """How many matches there are since the last event, partition and offset of the first."""
        self._kept: bytes | None = None
        """The same, as it is in the log."""

    def load(self) -> None:
        self._remember(self.state().get(_COUNT))

    def expected(self) -> Mapping[bytes, bytes | None]:
        return {} if self._wanted == 1 else {_COUNT: self._kept}

    def take(self, piece: Piece) -> tuple[Sequence[Any], Mapping[bytes, bytes | None]]:
        matches = self._matches(piece)
        events: list[Matched] = []
        number, partition, offset = self._run
        for record in piece.records:
            if matches is not None and record.offset not in matches:
                continue
            if number == 0:
                partition, offset = record.partition, record.offset
            number += 1
            if number >= self._wanted:
                events.append(
                    Matched(
                        topic=record.topic,
                        partition=record.partition,
                        offset=record.offset,
                        value=_plain(record.value),
                        time=record.event_time,
                        count=number,
                        first_partition=partition,
                        first_offset=offset,
                    )
                )
                number = 0
        after = (number, partition, offset)
        # Without a count there is nothing to remember.
        return events, {} if self._wanted == 1 else {_COUNT: msgspec.msgpack.encode(after)}

    def taken(self, kept: Mapping[bytes, bytes | None]) -> None:
        if _COUNT in kept:
            self._remember(kept[_COUNT])

    def _remember(self, kept: bytes | None) -> None:
        self._kept = kept
        self._run = (0, 0, 0) if kept is None else msgspec.msgpack.decode(kept, type=tuple[int, int, int])

    def _matches(self, piece: Piece) -> set[int] | None:
        """Return the offsets that match; None: all."""
        if self._where is None:
            return None
        if callable(self._where):
            return {record.offset for record in piece.records if self._where(record.value)}
        move = piece.move
        frame = self.topic.read_frame(move.start, move.end, partition=move.partition)
        return set(frame.filter(self._where)["_offset"].to_list())


def topic_of(log: Log, topic: Topic[Any] | str) -> Topic[Any]:
    """Return the topic that a trigger follows.

    Raises:
        UsageError: It is of another log.
    """
    if isinstance(topic, str):
        return log.topic(topic)
    if topic.log is not log:
        raise UsageError(
            f"topic {topic.name!r} belongs to another app; make it with this app's topic(), or give its name"
        )
    return topic


def _plain(value: Any) -> Any:
    return None if isinstance(value, bytes | bytearray | memoryview) else msgspec.to_builtins(value)
