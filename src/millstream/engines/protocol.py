"""What keeps a log, seen from above: the Engine protocol and its values.

General layout of one engine: topics hold partitions; a partition holds record batches at increasing offsets; a consumer
group holds, for each partition, a position and (for queues) leases and waiting records. Every method is blocking, safe
to call from many threads, and raises only errors of `millstream.errors`.

`millstream.testing.EngineSuite` states the same as tests; each engine binds it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final, Protocol, runtime_checkable

from millstream.engines.values import (
    Append,
    BatchHeader,
    Bound,
    Capabilities,
    Durability,
    Entry,
    Finding,
    Found,
    GroupInfo,
    Lease,
    Ledger,
    OffsetMove,
    Outcome,
    PartitionInfo,
    Place,
    Rate,
    Settlement,
    StateChange,
    StateRange,
    TopicInfo,
    TopicSpec,
)
from millstream.records import Position, StoredBatch

__all__ = [
    "NO_MOVES",
    "Append",
    "BatchHeader",
    "Bound",
    "Capabilities",
    "Durability",
    "Engine",
    "Entry",
    "Finding",
    "Found",
    "GroupInfo",
    "Lease",
    "Ledger",
    "Maintenance",
    "OffsetMove",
    "Outcome",
    "PartitionInfo",
    "Place",
    "Rate",
    "Settlement",
    "StateChange",
    "StateRange",
    "TopicInfo",
    "TopicSpec",
]


NO_MOVES: Final[Mapping[str, Sequence[OffsetMove]]] = MappingProxyType({})


class Engine(Protocol):
    """What keeps the log."""

    @property
    def capabilities(self) -> Capabilities: ...

    @property
    def url(self) -> str:
        """How this engine was opened, fit for messages (no secrets)."""
        ...

    # --- topics ---------------------------------------------------------------------------------------------------

    def create_topic(self, spec: TopicSpec) -> TopicInfo:
        """Create a topic, or return the existing one; retention settings are updated to those of `spec`.

        Raises:
            TopicExistsError: It exists with another number of partitions.
            LimitExceededError: Too many topics or partitions.
        """
        ...

    def delete_topic(self, topic: str) -> None:
        """Delete a topic with its records, groups and state.

        Raises:
            TopicNotFoundError: There is none of that name.
        """
        ...

    def describe_topic(self, topic: str) -> TopicInfo:
        """Return offsets, sizes and schemas, without a scan.

        Raises:
            TopicNotFoundError: There is none of that name.
        """
        ...

    def topics(self) -> list[str]:
        """Return the names of all topics, sorted."""
        ...

    def put_schema(self, topic: str, schema: bytes, *, after: int | None = None) -> int:
        """Register an encoded schema and return its id (1 up); the same bytes give the same id.

        Args:
            after: The id that must be the newest (0: none yet) if the schema is not there yet; None does not care.

        Raises:
            ConflictError: Another schema was registered since `after`.
        """
        ...

    # --- records --------------------------------------------------------------------------------------------------

    def append(
        self, appends: Sequence[Append], *, durability: Durability | None = None, bound: Bound | None = None
    ) -> list[Position]:
        """Make batches durable, all or nothing; return the position of the first record of each.

        Appends of many threads share one commit. Batches of one partition keep the order of the call.

        Args:
            durability: None takes the engine's setting.
            bound: Store nothing if the queue would grow beyond it.

        Raises:
            QueueFullError: It would; carries how many records wait.
            TopicNotFoundError: A topic or partition does not exist.
            StorageFullError: Nothing was stored.
        """
        ...

    def submit(
        self,
        appends: Sequence[Append],
        done: Callable[[list[Position] | None, BaseException | None], None],
        *,
        durability: Durability | None = None,
    ) -> None:
        """Start an append and return at once; `done` is called from another thread, and must not block.

        The one hand-over for asyncio: many tasks that append at the same moment share one commit.
        """
        ...

    def read(
        self, topic: str, partition: int, offset: int, *, records_max: int, bytes_max: int = 64 * 1024 * 1024
    ) -> list[StoredBatch]:
        """Return the batches that hold records from `offset` on, oldest first; empty at the end of the log.

        The first batch may begin before `offset`, the last may end after `offset + records_max`: batches are whole.
        Stops after the batch that reaches either limit, and returns at least one batch where there is one. Never
        returns records whose append is not durable as its durability promises.

        Raises:
            OffsetOutOfRangeError: `offset` is below the start or above the end of the partition.
        """
        ...

    def wait(
        self,
        positions: Mapping[str, Mapping[int, int]],
        timeout_us: int,
        *,
        until: Callable[[], bool] | None = None,
    ) -> bool:
        """Block until a topic's partition ends beyond the given offset, or its queue state changes.

        Args:
            positions: topic -> partition -> end offset already seen.
            timeout_us: Return False after this long.
            until: Ends the wait as well. Asked once changes are being noticed, and after each: what happens between a
                caller's own look and the wait is not missed.

        Returns:
            True when something may be there; a caller reads again and may find nothing (another took it).
        """
        ...

    # --- groups ---------------------------------------------------------------------------------------------------

    def create_group(
        self, topic: str, group: str, *, start: Mapping[int, int] | None = None, parallel: int | None = None
    ) -> GroupInfo:
        """Create a consumer group, or return the existing one.

        Args:
            start: First offset by partition; None is the start of the log.
            parallel: Sorted order: records are handed over as `sort` was told, of each key at most so many at once
                (1: strictly one after another, also while one waits for its next attempt). None leaves an existing
                group as it is, and makes one that hands over runs of offsets.

        Raises:
            UsageError: The group exists and hands over runs of offsets, and some are out or were given back.
        """
        ...

    def describe_group(self, topic: str, group: str) -> GroupInfo:
        """Return committed offsets and the ledger, without a scan of the log.

        Raises:
            GroupNotFoundError: Nobody created it.
        """
        ...

    def find(self, topic: str, group: str, partition: int, offset: int) -> Found:
        """Return how one record stands, without a scan.

        Raises:
            OffsetOutOfRangeError: No such record was appended yet.
        """
        ...

    def groups(self, topic: str) -> list[str]:
        """Return the names of the topic's groups, sorted."""
        ...

    def delete_group(self, topic: str, group: str) -> None:
        """Delete a group with its position, its state and what is out of it; a new one of the name starts anew.

        Raises:
            GroupNotFoundError: Nobody created it.
        """
        ...

    def commit(
        self,
        topic: str,
        group: str,
        moves: Sequence[OffsetMove],
        *,
        state: Sequence[StateChange] = (),
        appends: Sequence[Append] = (),
        others: Mapping[str, Sequence[OffsetMove]] = NO_MOVES,
        expect: Sequence[StateChange] = (),
    ) -> list[Position]:
        """Move offsets, change state and append outputs in one transaction: exactly once inside the engine.

        Args:
            others: Moves of the groups of the same name of other topics: of one reader of several topics.
            expect: State as it has to be before the commit (value None: not there), which fences out a reader that was
                replaced.

        Returns:
            The position of each of `appends`.

        Raises:
            CommitConflictError: A move does not start at the committed offset, or state is not as expected: another
                process of the group was faster. Nothing was changed.
        """
        ...

    def state(
        self,
        topic: str,
        group: str,
        partition: int,
        keys: Sequence[bytes] | None = None,
        *,
        within: StateRange | None = None,
    ) -> dict[bytes, bytes]:
        """Return the group's state of a partition: all of it, or those of the given keys or range that are there.

        What has expired is not. Of a range the keys come in order, so that a reader goes on after the last one.
        """
        ...

    def pause(self, topic: str, group: str, *, paused: bool = True) -> None:
        """Hand over nothing more of a group, or (False) go on; what is out is settled as ever. Survives restarts."""
        ...

    def sort(self, topic: str, group: str, partition: int, start: int, entries: Sequence[Entry]) -> bool:
        """Tell a group in sorted order about the records from `start` on, one entry each.

        Returns:
            False where the group knows them already (another worker was faster); nothing is changed then.

        Raises:
            UsageError: The group is not in sorted order.
            OffsetOutOfRangeError: There are fewer records.
        """
        ...

    # --- leases ---------------------------------------------------------------------------------------------------

    def lease(
        self,
        topic: str,
        group: str,
        *,
        worker: str,
        records_max: int,
        duration_us: int,
        lifo: bool = False,
        rate: Rate | None = None,
    ) -> list[Lease]:
        """Hand records to a worker: first what is waiting and due, then what nobody had, oldest first.

        A group in sorted order hands over, of what `sort` was told, what is due by rank and offset, and of each key the
        next `parallel` only; records of one key may follow one another in one call. A worker handles what it gets in
        the order of the result. `lifo` is not for it, and `rate` is for it alone: a record that comes too early gets a
        later due time, no attempt.

        A lease runs out by the clock that nobody sets (`Clock.monotonic_us`), due times come by the wall clock.
        Leases whose deadline passed, or whose process is known to have died, are taken back first: the first record of
        such a lease counts as one more attempt (the worker may have died of it), the others keep theirs.

        Returns:
            Leases of `records_max` records in all at most; each is one run of offsets with one attempt number. Empty
            when nothing is due.
        """
        ...

    def settle(
        self,
        settlements: Sequence[Settlement],
        *,
        appends: Sequence[Append] = (),
        state: Sequence[StateChange] = (),
    ) -> list[Position]:
        """Record outcomes of leased records, append (outputs, dead letters) and change state, in one transaction.

        Args:
            state: Of the group of the settlements, which must be of one group then.

        Returns:
            The position of each of `appends`.

        Raises:
            LeaseLostError: A lease is no longer held for some record in it. Nothing was changed.
        """
        ...

    def extend(self, leases: Sequence[Lease], duration_us: int) -> list[Lease]:
        """Move the deadlines to `duration_us` from now; return those leases that are still held, renewed.

        Parts that were settled meanwhile are left out of the ranges. A lease that was lost is missing.
        """
        ...

    def close(self) -> None:
        """Finish running calls and release everything. Further calls raise ClosedError. Closing twice is fine."""
        ...


@runtime_checkable
class Maintenance(Protocol):
    """What an engine lets us do to its storage (capability `maintenance`)."""

    def batch_headers(self, topic: str, partition: int, start: int, end: int, *, headers_max: int) -> list[BatchHeader]:
        """Return the batches that overlap [start, end), without reading their records."""
        ...

    def replace(self, topic: str, partition: int, old: Sequence[BatchHeader], new: Sequence[StoredBatch]) -> bool:
        """Put batches in place of adjacent older ones that cover the same offsets; False if those changed meanwhile."""
        ...

    def trim(self, topic: str, partition: int, before: int, *, force: bool = False) -> int:
        """Delete whole batches below an offset; return the new start offset.

        Without `force`, stops at the lowest offset that a group still needs. With it, the records taken from a group
        are counted as expired in its ledger.
        """
        ...

    def vacuum(self, bytes_max: int) -> int:
        """Give unused space back to the file system, at most this much at a time; return the bytes still unused."""
        ...

    def check(self, progress: Callable[[int, int], None] | None = None) -> list[Finding]:
        """Check the whole file: structure, offsets, counters, orphaned state. Empty: all is well."""
        ...

    def backup(self, path: str, progress: Callable[[int, int], None] | None = None) -> None:
        """Write a consistent copy to a new file while others read and write."""
        ...
