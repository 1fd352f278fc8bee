"""The values of the Engine protocol: what goes into an engine and what comes out."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

import msgspec

from millstream.records import EncodedBatch


class Durability(StrEnum):
    """When an append returns."""

    FSYNC = "fsync"
    """After the records are on disk: survives power loss. The default."""

    RELAXED = "relaxed"
    """After the operating system has them: survives a killed process, not power loss."""


class Capabilities(msgspec.Struct, frozen=True):
    """What an engine can do; what it cannot is refused with a CapabilityError."""

    name: str
    durable: bool
    """Survives the process."""
    many_processes: bool
    atomic_commit: bool
    """`commit` and `settle` are one transaction with their appends: exactly once inside the engine."""
    atomic_append: bool
    """Appends to several partitions in one call are all or nothing."""
    leases: bool
    """Per-record lease, ack, nack with delay."""
    maintenance: bool
    """Implements `Maintenance`: merging, retention, check and backup are ours to do."""
    transactions: bool = False
    """Implements `engines.transactions.Transactions`: a program's own tables and appends change together."""


class TopicSpec(msgspec.Struct, frozen=True):
    """What a topic is created with."""

    name: str
    partitions: int = 1
    retention_age_us: int | None = None
    retention_bytes: int | None = None
    """Per partition."""


class PartitionInfo(msgspec.Struct, frozen=True):
    """One partition: records are [start_offset, end_offset)."""

    partition: int
    start_offset: int
    end_offset: int
    size_bytes: int
    batches: int


class TopicInfo(msgspec.Struct, frozen=True):
    """A topic as the engine keeps it."""

    spec: TopicSpec
    created_us: int
    partitions: tuple[PartitionInfo, ...]
    schemas: Mapping[int, bytes]
    """Encoded `millstream.log.schema.Schema` by its id (1 up, in order of registration); empty for a raw topic."""

    @property
    def records(self) -> int:
        return sum(p.end_offset - p.start_offset for p in self.partitions)

    @property
    def size_bytes(self) -> int:
        return sum(p.size_bytes for p in self.partitions)


class Append(msgspec.Struct, frozen=True):
    """One batch for one partition."""

    topic: str
    partition: int
    batch: EncodedBatch
    unique: bytes | None = None
    """Append nothing where a batch with this value was appended to the topic before, and `unique_until_us` of that one
    has not come; the position returned is the earlier one's."""
    unique_until_us: int = 0


class Bound(msgspec.Struct, frozen=True):
    """A queue that is not to grow beyond a size: what a group has not settled yet, with what is appended."""

    topic: str
    group: str
    records_max: int


class StateChange(msgspec.Struct, frozen=True):
    """A change of a group's keyed state; value None deletes."""

    partition: int
    key: bytes
    value: bytes | None
    expires_us: int | None = None
    """When the engine may forget it; it is not returned from then on."""


class StateRange(msgspec.Struct, frozen=True):
    """The keys [first, past) of a group's state, in order of their bytes, at most `keys_max` of them."""

    first: bytes
    past: bytes
    keys_max: int = 2**62

    @classmethod
    def of_prefix(cls, prefix: bytes) -> StateRange:
        """Return the range of the keys that begin with a prefix, of which not all bytes are the highest."""
        last = prefix.rstrip(b"\xff")
        return cls(prefix, last[:-1] + bytes((last[-1] + 1,)))


class OffsetMove(msgspec.Struct, frozen=True):
    """The group has read [start, end) of a partition."""

    partition: int
    start: int
    end: int


class Lease(msgspec.Struct, frozen=True):
    """The exclusive right of one worker to the records [start, end) of a partition until a deadline."""

    lease_id: int
    topic: str
    group: str
    partition: int
    start: int
    end: int
    attempt: int
    """1 for the first delivery."""
    deadline_us: int
    """By the wall clock as it was then; measured by the time that passes, whoever sets the clock meanwhile."""
    worker: str


class Entry(msgspec.Struct, frozen=True):
    """What a group in sorted order knows of one record."""

    key: bytes = b""
    """Records of one key are handed over in their order; those without a key do not wait for one another."""
    rank: int | bytes = 0
    """Lower ranks first (bytes after all numbers, byte by byte); within a rank by offset."""
    due_us: int = 0
    """Not handed over before."""


class Rate(msgspec.Struct, frozen=True):
    """At most so many deliveries of a key in a time, evenly spread after a burst of as many."""

    records: int
    per_us: int


class Outcome(StrEnum):
    """How a leased record ended."""

    ACK = "ack"
    """Done."""
    NACK = "nack"
    """Give back, due at `due_us`, with the attempt counted."""
    RELEASE = "release"
    """Give back, due at `due_us`, without counting an attempt: it was never started, or has to wait for its time."""
    REJECT = "reject"
    """Dead: given up on. Its dead letter is one of the `appends` of the same call."""


class Settlement(msgspec.Struct, frozen=True):
    """The outcome of [start, end), a part of a lease or all of it."""

    lease: Lease
    start: int
    end: int
    outcome: Outcome
    due_us: int = 0


class Ledger(msgspec.Struct, frozen=True):
    """Where every record is that a group was given: accepted = done + dead + expired + in_progress.

    Each number is kept or counted on its own, without a look at the log; `balanced` compares them.
    """

    accepted: int
    done: int
    dead: int
    expired: int
    """Deleted by a retention that was told not to wait for this group."""
    ready: int
    """Not handed over yet."""
    leased: int
    waiting: int
    """Given back; due now or later."""

    @property
    def in_progress(self) -> int:
        return self.ready + self.leased + self.waiting

    @property
    def balanced(self) -> bool:
        return self.accepted == self.done + self.dead + self.expired + self.in_progress


class GroupInfo(msgspec.Struct, frozen=True):
    """A consumer group of one topic."""

    topic: str
    group: str
    committed: Mapping[int, int]
    """Committed offset by partition: everything below it is settled."""
    next_offsets: Mapping[int, int]
    """By partition: everything from here on has neither been handed over nor sorted."""
    end_offsets: Mapping[int, int]
    ledger: Ledger
    next_due_us: int | None
    """When the next waiting record is due or the next lease runs out; None when there is neither."""
    paused: bool = False
    """Nothing is handed over until it is resumed."""
    parallel: int | None = None
    """In sorted order: how many records of a key may be out at once; None hands over runs of offsets."""

    @property
    def lag(self) -> int:
        return sum(end - self.committed[partition] for partition, end in self.end_offsets.items())


class Place(StrEnum):
    """Where a record is for a group."""

    READY = "ready"
    """Not handed over yet."""
    LEASED = "leased"
    WAITING = "waiting"
    """Given back; due now or later."""
    SETTLED = "settled"
    """Done or dead, or deleted by a retention that did not wait."""


class Found(msgspec.Struct, frozen=True):
    """How one record stands with a group."""

    place: Place
    attempt: int = 0
    """Of the lease, or of the next one; 0 where it is settled."""
    due_us: int = 0
    """Ready or waiting: not handed over before. Leased: until when."""
    worker: str = ""
    """Who holds it."""


class Finding(msgspec.Struct, frozen=True):
    """Something `check` found wrong."""

    where: str
    problem: str
    advice: str


class BatchHeader(msgspec.Struct, frozen=True):
    """A stored batch without its records."""

    partition: int
    offset: int
    coding: str
    count: int
    schema_id: int
    size_bytes: int
    append_time_us: int
    event_time_min_us: int | None
    event_time_max_us: int | None
