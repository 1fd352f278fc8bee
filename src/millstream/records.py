"""The words of the log: records, batches of them, positions.

A *record* is what users see. A *record batch* is what engines keep: consecutive records of one partition in one of
a few codings, opaque to the engine that stores it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final, Generic, TypeVar

import msgspec

from millstream import limits
from millstream.errors import LimitExceededError, UsageError

T = TypeVar("T")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*\Z")


class Coding(StrEnum):
    """How the records of a batch are written."""

    ROWS = "rows"
    """`data`: one msgpack object a record, end to end; `meta`: None, or `[key, event_time_us, headers]` a record."""

    COLUMNS = "columns"
    """`data`: one Arrow IPC file, compressed, one column a field; see `millstream.log.columns`."""

    COLD = "cold"
    """`data`: which rows of which Parquet file hold the records; see `millstream.log.cold`."""


ENCODINGS: Final = (Coding.ROWS, Coding.COLUMNS)
"""Those that hold records; a cold batch says where its records are."""


class Position(msgspec.Struct, frozen=True, order=True):
    """The place of a record in its topic."""

    partition: int
    offset: int


class Record(msgspec.Struct, Generic[T], frozen=True, gc=False):
    """One event of a topic, as readers get it.

    Not tracked by the garbage collector, which would look at each of a million again and again: a cycle through one
    (a value that was changed to refer to its own record) is never freed.
    """

    topic: str
    partition: int
    offset: int
    value: T
    key: bytes | None
    headers: Mapping[str, bytes]
    event_time_us: int
    append_time_us: int

    @property
    def event_time(self) -> datetime:
        """When it happened (UTC)."""
        return time_from_us(self.event_time_us)

    @property
    def append_time(self) -> datetime:
        """When the log took it (UTC)."""
        return time_from_us(self.append_time_us)

    @property
    def position(self) -> Position:
        return Position(self.partition, self.offset)


class EncodedBatch(msgspec.Struct, frozen=True):
    """Records on their way to an engine: no offsets yet."""

    coding: Coding
    count: int
    data: bytes
    meta: bytes | None = None
    schema_id: int = 0
    event_time_min_us: int | None = None
    """None: the event time of every record is its append time."""
    event_time_max_us: int | None = None

    @property
    def size_bytes(self) -> int:
        return len(self.data) + (len(self.meta) if self.meta else 0)


class StoredBatch(msgspec.Struct, frozen=True):
    """Consecutive records of one partition, [offset, offset + count), as an engine keeps them."""

    partition: int
    offset: int
    coding: Coding
    count: int
    data: bytes
    meta: bytes | None
    schema_id: int
    append_time_us: int
    """Of all its records; the earliest of them where the batch is merged (then `data` has a column of its own)."""
    event_time_min_us: int | None
    event_time_max_us: int | None

    @property
    def end_offset(self) -> int:
        return self.offset + self.count


def time_from_us(us: int) -> datetime:
    """Return a UTC datetime; exact, also before 1970."""
    return _EPOCH + timedelta(microseconds=us)


def time_to_us(moment: datetime) -> int:
    """Return microseconds since 1970 UTC.

    Raises:
        UsageError: A datetime without a time zone; it could mean any of 24 hours.
    """
    if moment.tzinfo is None:
        raise UsageError(f"the time {moment.isoformat()} has no time zone; give one, such as datetime.now(UTC)")
    return (moment - _EPOCH) // timedelta(microseconds=1)


def check_name(kind: str, name: str) -> str:
    """Return a topic's or group's name, or say why it cannot be one.

    Letters, digits, `.`, `_`, `-`, not starting with `.` or `-`: what is valid as a NATS subject token group, a Kafka
    topic and a file name on every system.
    """
    if len(name) > limits.NAME_CHARACTERS_MAX:
        raise LimitExceededError(f"the {kind} name's length", limit=limits.NAME_CHARACTERS_MAX, size=len(name))
    if not _NAME.match(name) or ".." in name or name.endswith("."):
        raise UsageError(
            f"{name!r} cannot be a {kind} name: use letters, digits, '_', '-' and single '.', "
            "starting with a letter, digit or '_'"
        )
    return name
