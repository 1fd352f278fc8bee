"""Which dead letters are meant: by error, text, key, queue, time, place."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

import msgspec

from millstream.clock import Clock
from millstream.durations import duration_us
from millstream.errors import UsageError
from millstream.log.dead_letter import DeadLetter
from millstream.records import Position, Record, time_to_us

Place = Position | int | str
"""A dead letter's own place in its topic: an offset, `partition/offset`, or a Position."""

Moment = datetime | timedelta | str | float
"""A moment, or how long ago."""


class DeadFilter(msgspec.Struct, frozen=True):
    """What a dead letter has to be like; everything that is given must fit."""

    error: str | None = None
    """In the error's type, such as "ValueError"; upper and lower case are the same."""
    text: str | None = None
    """In the message, the traceback, or the value as text; upper and lower case are the same."""
    key: bytes | None = None
    group: str | None = None
    """The queue that gave up."""
    since_us: int | None = None
    until_us: int | None = None
    """When it was given up on: [since, until)."""
    at: frozenset[Position] | None = None

    @classmethod
    def of(
        cls,
        *,
        clock: Clock,
        error: str | None = None,
        text: str | None = None,
        key: str | bytes | None = None,
        group: str | None = None,
        since: Moment | None = None,
        until: Moment | None = None,
        at: Place | Iterable[Place] | None = None,
    ) -> DeadFilter:
        """Return the filter for what users give.

        Raises:
            UsageError: A place or a moment is none.
        """
        places: frozenset[Position] | None = None
        if at is not None:
            given = [at] if isinstance(at, Position | int | str) else list(at)
            places = frozenset(map(position_of, given))
        return cls(
            error=error.lower() if error else None,
            text=text.lower() if text else None,
            key=key.encode() if isinstance(key, str) else key,
            group=group,
            since_us=None if since is None else _moment_us(since, clock),
            until_us=None if until is None else _moment_us(until, clock),
            at=places,
        )

    def matches(self, record: Record[DeadLetter]) -> bool:
        letter = record.value
        if self.at is not None and record.position not in self.at:
            return False
        if self.error is not None and self.error not in letter.error_type.lower():
            return False
        if self.key is not None and letter.key != self.key:
            return False
        if self.group is not None and letter.group != self.group:
            return False
        if self.since_us is not None or self.until_us is not None:
            failed_us = time_to_us(letter.failed_at)
            if self.since_us is not None and failed_us < self.since_us:
                return False
            if self.until_us is not None and failed_us >= self.until_us:
                return False
        return self.text is None or self._has_text(letter)

    def _has_text(self, letter: DeadLetter) -> bool:
        assert self.text is not None
        return any(
            self.text in part.lower()
            for part in (letter.message, letter.traceback, letter.value.decode("utf-8", "replace"))
        )


def position_of(place: Place) -> Position:
    """Return the position that a user means: 17, "17", "0/17".

    Raises:
        UsageError: None of these.
    """
    if isinstance(place, Position):
        return place
    partition, slash, offset = str(place).rpartition("/")
    if not (offset.isascii() and offset.isdigit()) or (slash and not (partition.isascii() and partition.isdigit())):
        raise UsageError(f"{place!r} is no place of a dead letter; give an offset such as 17, or partition/offset")
    return Position(int(partition or 0), int(offset))


def _moment_us(moment: Moment, clock: Clock) -> int:
    return time_to_us(moment) if isinstance(moment, datetime) else clock.now_us() - duration_us(moment)
