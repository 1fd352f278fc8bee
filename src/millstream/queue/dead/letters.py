"""Dead letters as something to work with: list, look, send back, change, throw away.

The topic `<topic>.dead` keeps them; its consumer group `redrive` says which of them are still open. Whatever settles
one (sent back, changed, thrown away) holds a lease on it and does all of it in one transaction, so two people who send
the same letters back at the same moment, or one whose machine fails in between, send each of them once.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec

from millstream.engines.protocol import GroupInfo
from millstream.errors import ConflictError, GroupNotFoundError, TopicNotFoundError, UsageError
from millstream.log.dead_letter import DEAD, DeadLetter, dead_topic_name
from millstream.log.log import Log
from millstream.log.topic import Topic
from millstream.queue.dead.claim import Settled, marker_key
from millstream.queue.dead.filter import DeadFilter, Place, position_of
from millstream.queue.dead.redrive import (
    REDRIVES_MAX,
    Redriven,
    Wishes,
    edit,
    purge,
    redrive,
    redrives_of,
    rehearse,
)
from millstream.queue.dead.value import value_of
from millstream.queue.rate import rate_per_s
from millstream.queue.stats import REDRIVE_GROUP, open_dead_letters
from millstream.records import Position, Record

PAGE_RECORDS: Final = 500
"""Dead letters read at once: few enough to hold, also where each is large."""

LIST_MAX: Final = 100


class DeadRecord(msgspec.Struct, frozen=True):
    """A dead letter and its place among the others."""

    position: Position
    letter: DeadLetter
    headers: dict[str, bytes]
    """Of the record that was given up on."""
    settled: Settled | None = None
    """None: open."""

    @property
    def redrives(self) -> int:
        """How often its record was sent back before."""
        return redrives_of(self.headers)

    @property
    def place(self) -> str:
        """As the command line takes it."""
        partition, offset = self.position.partition, self.position.offset
        return f"{partition}/{offset}" if partition else str(offset)


class DeadLetters:
    """The dead letters of one topic; `app.dead("jobs")`.

    Raises:
        TopicNotFoundError: There are none and never were.
    """

    def __init__(self, log: Log, topic: str) -> None:
        if dead_topic_name(topic) not in log.topics():
            raise TopicNotFoundError(dead_topic_name(topic), f"{log.engine.url}: {_why_none(log, topic)}")
        self.log = log
        self.topic_name = topic
        self.topic: Topic[DeadLetter] = log.topic(dead_topic_name(topic), DeadLetter)

    def __repr__(self) -> str:
        return f"<dead letters of {self.topic_name!r}: {self.count()} open>"

    def count(self) -> int:
        """Return how many are open, without a scan."""
        return open_dead_letters(self.log, self.topic_name)

    def list(self, *, limit: int = LIST_MAX, newest: bool = True, **where: Any) -> list[DeadRecord]:
        """Return open dead letters.

        Args:
            limit: At most this many.
            newest: Newest first; False: oldest first.
            where: error=, text=, key=, group=, since=, until=, at=; see `DeadFilter`. Without a filter only what is
                returned is read; with one, as much as it takes to find so many.
        """
        found = itertools.islice(self.matching(self._filter(**where), newest=newest), limit)
        return [DeadRecord(record.position, record.value, dict(record.headers)) for record in found]

    def get(self, place: Place) -> DeadRecord:
        """Return one dead letter, open or settled.

        Raises:
            UsageError: There is none at this place.
        """
        position = position_of(place)
        info = self.topic.info()
        partition = next((p for p in info.partitions if p.partition == position.partition), None)
        if partition is None or not partition.start_offset <= position.offset < partition.end_offset:
            raise UsageError(f"there is no dead letter {place} of {self.topic_name!r}; `millstream dead` lists them")
        record = self.topic.read(position.offset, partition=position.partition, records_max=1)[0]
        return DeadRecord(position, record.value, dict(record.headers), self._settled(position))

    def value(self, place: Place) -> Any:
        """Return the value of the record that was given up on, as its topic without a type has it: dict or bytes.

        Raises:
            SchemaError: It is no value of the topic.
        """
        return value_of(self.get(place).letter, self.log.topic(self.topic_name))

    # --- doing ------------------------------------------------------------------------------------------------------

    def redrive(
        self,
        *,
        dry_run: bool = False,
        rate: str | float | None = None,
        redrives_max: int = REDRIVES_MAX,
        force: bool = False,
        **where: Any,
    ) -> Redriven:
        """Send records back to their topic, oldest first, each exactly once.

        A record is appended to its topic with its key and headers, and its letter settled, in one transaction. All
        readers of the topic but the queue that gave up pass over it, as they had it already.

        Args:
            dry_run: Change nothing; say what would be sent back and what refused.
            rate: At most so many a second ("10/s", "600/m", 10): whatever made them fail may need time.
            redrives_max: Refuse what was sent back so often already: it would only come back again.
            force: Send that back as well.
            where: error=, text=, key=, group=, since=, until=, at=, as for `list`; none: all that are open.

        Raises:
            ConflictError: The leases were lost meanwhile; what was sent back stays so, once.
        """
        wishes = Wishes(per_s=rate_per_s(rate), redrives_max=None if force else redrives_max)
        if dry_run:
            return rehearse(self.log, self.topic_name, self.matching(self._filter(**where)), wishes)
        return redrive(self.log, self.topic_name, self.topic, self._filter(**where), wishes)

    def edit(self, place: Place, value: Any) -> Position:
        """Give a dead letter a new value, and return where the changed letter is; it waits there for `redrive`.

        Args:
            value: A value of the topic: an object of its class, a dict, or bytes (of a raw topic; else JSON).

        Raises:
            SchemaError: It is no value of the topic. Nothing was changed.
            ConflictError: The letter is settled, or somebody else has it in hand.
            UsageError: There is none at this place.
        """
        record = self.get(place)
        if record.settled is not None:
            raise ConflictError(f"dead letter {record.place} of {self.topic_name!r} was {record.settled.how} already")
        return edit(self.log, self.topic_name, self.topic, record.position, value)

    def purge(self, *, confirm: str, **where: Any) -> int:
        """Throw dead letters away for good; return how many.

        Args:
            confirm: The name of the topic, as proof that this one is meant.
            where: error=, text=, key=, group=, since=, until=, at=, as for `list`; none: all that are open.

        Raises:
            UsageError: `confirm` is something else. Nothing was changed.
        """
        if confirm != self.topic_name:
            raise UsageError(
                f"purge throws dead letters of {self.topic_name!r} away for good; confirm it with that name, "
                f"not {confirm!r}"
            )
        return purge(self.log, self.topic, self._filter(**where))

    # --- inside -----------------------------------------------------------------------------------------------------

    def _filter(self, **where: Any) -> DeadFilter:
        return DeadFilter.of(clock=self.log.clock, **where)

    def matching(self, filter_: DeadFilter, *, newest: bool = False) -> Iterator[Record[DeadLetter]]:
        """Yield open dead letters page by page; where the filter names places, only those are read."""
        info = self._info()
        for partition, start, end in self._ranges(filter_, info, newest=newest):
            while start < end:
                first = max(start, end - PAGE_RECORDS) if newest else start
                past = end if newest else min(end, start + PAGE_RECORDS)
                page = self._open_page(partition, first, past, info)
                yield from filter(filter_.matches, reversed(page) if newest else page)
                start, end = (start, first) if newest else (past, end)

    def _ranges(self, filter_: DeadFilter, info: GroupInfo | None, *, newest: bool) -> Sequence[tuple[int, int, int]]:
        """Return partition, start and end of what may be open, in the order wanted."""
        open_ = {}
        for p in self.topic.info().partitions:
            committed = p.start_offset if info is None else info.committed.get(p.partition, p.start_offset)
            open_[p.partition] = range(max(p.start_offset, committed), p.end_offset)
        if filter_.at is None:
            ranges = [(partition, offsets.start, offsets.stop) for partition, offsets in open_.items()]
        else:
            ranges = [
                (place.partition, place.offset, place.offset + 1)
                for place in filter_.at
                if place.offset in open_.get(place.partition, ())
            ]
        return sorted(ranges, reverse=newest)

    def _open_page(self, partition: int, first: int, past: int, info: GroupInfo | None) -> Sequence[Record[DeadLetter]]:
        records = self.topic.read(first, partition=partition, records_max=past - first)
        while records and records[-1].offset + 1 < past:
            part = self.topic.read(records[-1].offset + 1, partition=partition, records_max=past - first - len(records))
            if not part:
                break
            records += part
        if info is None or not records or records[0].offset >= info.next_offsets[partition]:
            return records  # nobody ever had a hand on these
        keys = {marker_key(record.offset): record.offset for record in records}
        settled = {keys[key] for key in self._state(partition, list(keys))}
        return [record for record in records if record.offset not in settled]

    def _settled(self, position: Position) -> Settled | None:
        info = self._info()
        if info is None:
            return None
        key = marker_key(position.offset)
        marker = self._state(position.partition, [key]).get(key)
        if marker is not None:
            return msgspec.msgpack.decode(marker, type=Settled)
        # Below the committed offset everything is settled; how is not kept for ever.
        below = position.offset < info.committed.get(position.partition, 0)
        return Settled("settled", 0) if below else None

    def _info(self) -> GroupInfo | None:
        try:
            return self.log.engine.describe_group(self.topic.name, REDRIVE_GROUP)
        except GroupNotFoundError:
            return None

    def _state(self, partition: int, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        return self.log.engine.state(self.topic.name, REDRIVE_GROUP, partition, keys)


def _why_none(log: Log, topic: str) -> str:
    """Return why a topic has no dead letters, and which have: people give the name of a queue or a task."""
    if topic in log.topics():
        return f"nothing of {topic!r} was given up on"
    having = [name.removesuffix(DEAD) for name in log.topics() if name.endswith(DEAD)]
    return "there are dead letters of " + ", ".join(having) if having else "nothing was given up on"
