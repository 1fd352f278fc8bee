"""What can be done with dead letters: send back, change, throw away. Each of them once, whatever fails in between."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from time import monotonic, sleep
from typing import Any, Final

import msgspec

from millstream.engines.protocol import Append, Maintenance, Outcome
from millstream.errors import (
    ConflictError,
    LimitExceededError,
    SchemaError,
)
from millstream.log.addressed import FOR
from millstream.log.dead_letter import DeadLetter, ValueCoding, encoded_value
from millstream.log.delivery import DUE
from millstream.log.log import Log
from millstream.log.topic import Topic
from millstream.queue.dead.claim import Claim, Closing
from millstream.queue.dead.filter import DeadFilter
from millstream.queue.dead.value import value_from_json, value_of
from millstream.queue.stats import REDRIVE_GROUP
from millstream.records import Position, Record

REDRIVES_MAX: Final = 3
"""A record that came back so often will come back again; sending it back once more needs `force`."""

REDRIVES_HEADER: Final = "ms-redrives"
"""How often a record was sent back, as decimal text. Dead letters keep the headers of their record."""

REFUSALS_MAX: Final = 1000
"""Kept with their reasons; more of them are counted only."""

PAUSE_S_MAX: Final = 5.0
"""Of one pause between records sent back at a rate: leases are renewed in between."""


class Wishes(msgspec.Struct, frozen=True):
    """How to send back."""

    per_s: float | None = None
    redrives_max: int | None = REDRIVES_MAX
    """None: however often it was."""


class Refusal(msgspec.Struct, frozen=True):
    """A dead letter that was not sent back; it stays open."""

    position: Position
    reason: str


class Redriven(msgspec.Struct, frozen=True):
    """What was (or, in a dry run, would be) sent back."""

    dry_run: bool
    redriven: int
    refused: int
    refusals: tuple[Refusal, ...]
    """The first of them, with reasons."""


class _Tally:
    def __init__(self, *, dry_run: bool = False) -> None:
        self._dry_run = dry_run
        self.redriven = 0
        self._refused = 0
        self._refusals: list[Refusal] = []

    def refuse(self, record: Record[DeadLetter], reason: str) -> None:
        self._refused += 1
        if len(self._refusals) < REFUSALS_MAX:
            self._refusals.append(Refusal(record.position, reason))

    def result(self) -> Redriven:
        return Redriven(self._dry_run, self.redriven, self._refused, tuple(self._refusals))


def rehearse(log: Log, topic: str, records: Iterable[Record[DeadLetter]], wishes: Wishes) -> Redriven:
    """Say what `redrive` would do with these dead letters; change nothing."""
    target = log.topic(topic)
    tally = _Tally(dry_run=True)
    for record in records:
        sent = _sent_back(target, record, wishes)
        if isinstance(sent, str):
            tally.refuse(record, sent)
        else:
            tally.redriven += 1
    return tally.result()


def redrive(log: Log, topic: str, dead: Topic[DeadLetter], filter_: DeadFilter, wishes: Wishes) -> Redriven:
    """Send dead letters back to their topic, oldest first."""
    target = log.topic(topic)
    tally = _Tally()
    begun = monotonic()
    with Claim(dead.group(REDRIVE_GROUP), filter_) as claim:
        for page in claim.matching():
            closings: list[Closing] = []
            for held in page:
                sent = _sent_back(target, held.record, wishes)
                if isinstance(sent, str):
                    tally.refuse(held.record, sent)
                else:
                    closings.append(Closing(held, Outcome.ACK, "redriven", tuple(sent)))
            for part in _parts(closings, wishes.per_s):
                if wishes.per_s is not None:
                    _pace(claim, begun + tally.redriven / wishes.per_s)
                claim.close(part)
                tally.redriven += len(part)
    return tally.result()


def edit(log: Log, topic: str, dead: Topic[DeadLetter], position: Position, value: Any) -> Position:
    """Put a dead letter with another value in the place of one."""
    data, coding = _new_value(log.topic(topic), value)
    with Claim(dead.group(REDRIVE_GROUP), DeadFilter(at=frozenset([position]))) as claim:
        for page in claim.matching():
            record = page[0].record
            letter = msgspec.structs.replace(record.value, value=data, value_coding=coding)
            appends = dead.encode([letter], keys=[record.key], headers=[record.headers], times=_times(record))
            return claim.close([Closing(page[0], Outcome.ACK, "edited", tuple(appends))])[0]
    raise ConflictError(f"dead letter {position.offset} of {topic!r} is settled, or somebody else has it in hand")


def purge(log: Log, dead: Topic[DeadLetter], filter_: DeadFilter) -> int:
    """Throw dead letters away; return how many. What no open one lies before is also deleted from the log."""
    purged = 0
    group = dead.group(REDRIVE_GROUP)
    with Claim(group, filter_) as claim:
        for page in claim.matching():
            claim.close([Closing(held, Outcome.REJECT, "purged") for held in page])
            purged += len(page)
    engine: Any = log.engine
    if purged and isinstance(engine, Maintenance):
        for partition, committed in group.info().committed.items():
            engine.trim(dead.name, partition, committed)
    return purged


def redrives_of(headers: dict[str, bytes]) -> int:
    """Return how often a record was sent back; a header that is no number counts as never."""
    text = headers.get(REDRIVES_HEADER, b"0")
    return int(text) if text.isdigit() and len(text) < 10 else 0


def _sent_back(target: Topic[Any], record: Record[DeadLetter], wishes: Wishes) -> list[Append] | str:
    """Return what is appended for a record that is sent back, or why it is not."""
    letter = record.value
    headers = dict(record.headers)
    redrives = redrives_of(headers)
    if wishes.redrives_max is not None and redrives >= wishes.redrives_max:
        return f"sent back {redrives} times already"
    headers[REDRIVES_HEADER] = str(redrives + 1).encode()
    if letter.partition >= 0:
        headers[FOR] = letter.group.encode()
    # Its time has come long ago, or it could not have failed.
    headers.pop(DUE, None)
    try:
        return target.encode([value_of(letter, target)], keys=[letter.key], headers=[headers], times=_times(record))
    except (SchemaError, LimitExceededError) as error:
        return str(error)


def _times(record: Record[DeadLetter]) -> list[Any] | None:
    """Return the event time the record had, which its letter keeps as its own; None where it kept none."""
    return None if record.event_time_us == record.append_time_us else [record.event_time]


def _new_value(target: Topic[Any], value: Any) -> tuple[bytes, ValueCoding]:
    """Return a value as dead letters keep it.

    Raises:
        SchemaError: It is no value of the topic.
    """
    if isinstance(value, bytes | bytearray | memoryview):
        data = bytes(value)
        if target.schema.raw:
            return data, ValueCoding.RAW
        target.encode([value_from_json(data, target)])
        return data, ValueCoding.JSON
    if target.schema.raw:
        raise SchemaError(f"topic {target.name!r} takes bytes, not {type(value).__name__}")
    data, coding = encoded_value(value)
    if coding is not ValueCoding.JSON:
        raise SchemaError(f"{type(value).__name__} cannot be written as JSON, or is too large for a dead letter")
    target.encode([value_from_json(data, target)])
    return data, coding


def _parts(closings: Sequence[Closing], per_s: float | None) -> Iterable[Sequence[Closing]]:
    """Yield what is settled together: all of it, or at a rate about a tenth of a second's worth."""
    size = max(1, len(closings)) if per_s is None else max(1, int(per_s / 10))
    for start in range(0, len(closings), size):
        yield closings[start : start + size]


def _pace(claim: Claim, until: float) -> None:
    """Wait for a moment of the monotonic clock; keep the leases meanwhile."""
    while (left := until - monotonic()) > 0:
        sleep(min(left, PAUSE_S_MAX))
        claim.renew()
