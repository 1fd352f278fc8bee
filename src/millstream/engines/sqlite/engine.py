"""The engine itself: every method of the protocol, as one transaction each."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from millstream import limits
from millstream.engines.fetching import Fetched
from millstream.engines.handing import Pop, Popped, Tally, TallyOrder
from millstream.engines.protocol import (
    NO_MOVES,
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
    OffsetMove,
    Rate,
    Settlement,
    StateChange,
    StateRange,
    TopicInfo,
    TopicSpec,
)
from millstream.engines.sqlite import (
    check,
    driver,
    fetching,
    groups,
    handing,
    leases,
    maintenance,
    popping,
    records,
    settling,
    sorting,
    topics,
)
from millstream.engines.sqlite.caller import CallerTransaction, caller_transaction
from millstream.engines.sqlite.lease_request import LeaseRequest
from millstream.engines.sqlite.log_file import LogFile, R
from millstream.engines.sqlite.transaction import Transaction
from millstream.engines.sqlite.waiting import NO_MARK
from millstream.errors import (
    ClosedError,
    LimitExceededError,
    StorageError,
    StorageFullError,
    UsageError,
)
from millstream.records import Position, StoredBatch


class SqliteEngine(LogFile):
    """A log in one file.

    Safe for many threads and, each with an engine of its own, many processes. A forked child may go on with the
    engine it inherited.
    """

    capabilities = Capabilities(
        name="sqlite",
        durable=True,
        many_processes=True,
        atomic_commit=True,
        atomic_append=True,
        leases=True,
        maintenance=True,
        transactions=True,
    )

    # --- topics ---------------------------------------------------------------------------------------------------

    def create_topic(self, spec: TopicSpec) -> TopicInfo:
        topics.check_spec(spec)
        return self._run(lambda transaction: topics.create(transaction, spec))

    def delete_topic(self, topic: str) -> None:
        self._run(lambda transaction: topics.delete(transaction, topic))

    def describe_topic(self, topic: str) -> TopicInfo:
        with self._reading() as transaction:
            return topics.describe(transaction, topic)

    def topics(self) -> list[str]:
        with self._reading() as transaction:
            return [row[0] for row in transaction.rows("topic_names")]

    def put_schema(self, topic: str, schema: bytes, *, after: int | None = None) -> int:
        return self._run(lambda transaction: topics.put_schema(transaction, topic, schema, after))

    # --- records --------------------------------------------------------------------------------------------------

    def append(
        self, appends: Sequence[Append], *, durability: Durability | None = None, bound: Bound | None = None
    ) -> list[Position]:
        records.check_appends(appends)
        return self._run(records.Appending(appends, bound), durability=durability)

    def submit(
        self,
        appends: Sequence[Append],
        done: Callable[[list[Position] | None, BaseException | None], None],
        *,
        durability: Durability | None = None,
    ) -> None:
        records.check_appends(appends)
        self._check_writable()
        fsync = (durability or self._durability) is Durability.FSYNC
        self._commits.start(records.Appending(appends), done, fsync=fsync)

    def read(
        self, topic: str, partition: int, offset: int, *, records_max: int, bytes_max: int = 64 * 1024 * 1024
    ) -> list[StoredBatch]:
        if records_max < 1 or bytes_max < 1:
            raise UsageError(f"a read needs at least one record and byte, not {records_max} and {bytes_max}")
        if records_max > limits.READ_RECORDS_MAX:
            raise LimitExceededError("a read's records", limit=limits.READ_RECORDS_MAX, size=records_max)
        with self._reading() as transaction:
            return records.read(transaction, topic, partition, offset, records_max=records_max, bytes_max=bytes_max)

    def wait(
        self,
        positions: Mapping[str, Mapping[int, int]],
        timeout_us: int,
        *,
        until: Callable[[], bool] | None = None,
    ) -> bool:
        with self._reading() as transaction:
            topic_ids = {topic: transaction.topic_id(topic) for topic in positions}
            for topic, seen in positions.items():
                for partition in seen:
                    transaction.partition_id(topic, partition)

        def look(thoroughly: bool) -> bool:
            if until is not None and until():
                return True
            with self._reading() as transaction:
                for topic, seen in positions.items():
                    ends = {
                        number: end for _, number, _, end, *_ in transaction.rows("partitions_of", topic_ids[topic])
                    }
                    if any(number not in ends or ends[number] > end for number, end in seen.items()):
                        return True  # more is there, or the topic is not: reading on will tell
                    if thoroughly:
                        self._owners.look(self._expire_owner, self._lease_owners)
                        row = transaction.row(
                            "topic_is_due", topic_ids[topic], transaction.now_us, transaction.steady_us
                        )
                        if row is not None and row[0]:
                            return True
            return False

        found = self._waiters.wait(topic_ids.values(), look, timeout_us)
        if self._closed:
            raise ClosedError("this log was closed")
        return found

    # --- groups ---------------------------------------------------------------------------------------------------

    def create_group(
        self, topic: str, group: str, *, start: Mapping[int, int] | None = None, parallel: int | None = None
    ) -> GroupInfo:
        return self._run(lambda transaction: groups.create(transaction, topic, group, start, parallel))

    def describe_group(self, topic: str, group: str) -> GroupInfo:
        with self._reading() as transaction:
            return groups.describe(transaction, topic, group)

    def find(self, topic: str, group: str, partition: int, offset: int) -> Found:
        with self._reading() as transaction:
            return groups.find(transaction, topic, group, partition, offset)

    def groups(self, topic: str) -> list[str]:
        with self._reading() as transaction:
            return groups.names(transaction, topic)

    def delete_group(self, topic: str, group: str) -> None:
        self._run(lambda transaction: groups.delete(transaction, topic, group))

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
        records.check_appends(appends)
        return self._run(
            lambda transaction: groups.commit(transaction, topic, group, moves, state, appends, others, expect)
        )

    def state(
        self,
        topic: str,
        group: str,
        partition: int,
        keys: Sequence[bytes] | None = None,
        *,
        within: StateRange | None = None,
    ) -> dict[bytes, bytes]:
        with self._reading() as transaction:
            return groups.state(transaction, topic, group, partition, keys, within)

    def pause(self, topic: str, group: str, *, paused: bool = True) -> None:
        self._run(lambda transaction: groups.pause(transaction, topic, group, paused=paused))

    def sort(self, topic: str, group: str, partition: int, start: int, entries: Sequence[Entry]) -> bool:
        return self._run(
            lambda transaction: sorting.sort(transaction, topic, group, partition, start, entries),
            durability=Durability.RELAXED,
        )

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
        request = self._request(topic, group, worker, records_max, duration_us, lifo=lifo, rate=rate)
        # Not synced: after a power loss the workers are gone too, and what they held is handed over again.
        return self._run(
            lambda transaction: leases.hand_over(transaction, request).leases, durability=Durability.RELAXED
        )

    def settle(
        self,
        settlements: Sequence[Settlement],
        *,
        appends: Sequence[Append] = (),
        state: Sequence[StateChange] = (),
    ) -> list[Position]:
        records.check_appends(appends)
        # An outcome that a power loss takes back is a redelivery, as at-least-once allows; outputs are appends.
        return self._run(
            self._holding(lambda transaction: settling.settle(transaction, settlements, appends, state)),
            durability=None if appends else Durability.RELAXED,
        )

    def extend(self, leases_: Sequence[Lease], duration_us: int) -> list[Lease]:
        try:
            return self._run(
                self._holding(lambda transaction: leases.extend(transaction, leases_, duration_us)),
                durability=Durability.RELAXED,
            )
        except StorageFullError:
            # Renewed without the disk: nobody takes them meanwhile, and the next write that succeeds says so.
            self._owners.hold_until(self._clock.monotonic_us() + duration_us)
            raise

    def fetch(
        self,
        topic: str,
        group: str,
        *,
        worker: str,
        records_max: int,
        duration_us: int,
        lifo: bool = False,
        rate: Rate | None = None,
        settlements: Sequence[Settlement] = (),
        flag: bytes,
    ) -> Fetched:
        request = self._request(topic, group, worker, records_max, duration_us, lifo=lifo, rate=rate, flag=flag)
        topic_id = self._waiters.topic_ids.get(topic)
        mark = self._waiters.mark(topic_id) if topic_id is not None else NO_MARK
        fetch = functools.partial(fetching.fetch, request=request, settlements=settlements)
        taken = self._run(self._holding(fetch) if settlements else fetch, durability=Durability.RELAXED)
        if taken.topic_id != topic_id:
            self._waiters.topic_ids[topic] = taken.topic_id
            mark = NO_MARK
        return Fetched(taken.leases, mark, taken.next_due_us, taken.batches, taken.flagged)

    def wait_news(self, topic: str, group: str, mark: int, timeout_us: int) -> bool:
        def look(thoroughly: bool) -> bool:
            with self._reading() as transaction:
                return thoroughly and fetching.has_news(transaction, topic, group)

        topic_id = self._waiters.topic_ids.get(topic)
        if topic_id is None:
            return True  # of a fetch of another process, before a fork
        found = self._waiters.wait((topic_id,), look, timeout_us, mark=mark)
        if self._closed:
            raise ClosedError("this log was closed")
        return found

    # --- a caller's transaction -----------------------------------------------------------------------------------

    @contextmanager
    def transaction(self) -> Iterator[CallerTransaction]:
        self._check_writable()
        with self._commits.alone(), contextlib.ExitStack() as held:
            with driver.wrapped(self._path):
                connection = held.enter_context(self._connections.writer())
                held.enter_context(self._writers_lock())
            try:
                with caller_transaction(
                    connection,
                    self._path,
                    self._clock,
                    self.url,
                    fsync=self._durability is Durability.FSYNC,
                    announce=self._waiters.announce,
                ) as caller:
                    yield caller
            except StorageError as error:
                self._connections.drop_writer()
                if isinstance(error, StorageFullError):
                    self._make_room()
                raise
            self._checkpoints.after_commit(connection)

    # --- handing over ---------------------------------------------------------------------------------------------

    def take(
        self,
        topic: str,
        group: str,
        *,
        worker: str,
        records_max: int,
        duration_us: int,
        lifo: bool = False,
        settlements: Sequence[Settlement] = (),
    ) -> list[Lease]:
        request = self._request(topic, group, worker, records_max, duration_us, lifo=lifo)
        return self._run(
            self._holding(lambda transaction: handing.take(transaction, request, settlements)),
            durability=Durability.RELAXED,
        )

    def pop(self, topic: str, group: str, *, kept: Callable[[int, int], bool], lifo: bool = False) -> Popped | Pop:
        self._owners.look(self._expire_owner, self._lease_owners)
        return self._run(
            lambda transaction: popping.pop(transaction, topic, group, lifo=lifo, kept=kept, holds=self._owners.holds),
            durability=Durability.RELAXED,
        )

    def tally(self, lease: Lease, order: TallyOrder) -> Tally:
        with driver.wrapped(self._path):
            return self._owners.tallies().open(lease, order)

    def finish(self, topic: str, group: str, count: int) -> int:
        return self._run(
            lambda transaction: handing.finish(transaction, topic, group, count), durability=Durability.RELAXED
        )

    def untold(self, topic: str, group: str, partition: int) -> tuple[int, int]:
        with self._reading() as transaction:
            return handing.untold(transaction, topic, group, partition)

    def unfinished(self, topic: str, group: str) -> int:
        with self._reading() as transaction:
            return handing.unfinished(transaction, topic, group)

    # --- maintenance ----------------------------------------------------------------------------------------------

    def batch_headers(self, topic: str, partition: int, start: int, end: int, *, headers_max: int) -> list[BatchHeader]:
        with self._reading() as transaction:
            return maintenance.batch_headers(transaction, topic, partition, start, end, headers_max)

    def replace(self, topic: str, partition: int, old: Sequence[BatchHeader], new: Sequence[StoredBatch]) -> bool:
        # Not synced: should power fail, the batches replaced are there again.
        return self._run(
            lambda transaction: maintenance.replace(transaction, topic, partition, old, new),
            durability=Durability.RELAXED,
        )

    def trim(self, topic: str, partition: int, before: int, *, force: bool = False) -> int:
        # Synced: what the batches referred to is deleted next, and must not be referred to again after a power loss.
        return self._run(lambda transaction: maintenance.trim(transaction, topic, partition, before, force=force))

    def vacuum(self, bytes_max: int) -> int:
        return self._run(lambda transaction: maintenance.vacuum(transaction, bytes_max), durability=Durability.RELAXED)

    def check(self, progress: Callable[[int, int], None] | None = None) -> list[Finding]:
        with self._lending() as connection:
            return check.check(Transaction(connection, self._clock, self.url), progress)

    def backup(self, path: str, progress: Callable[[int, int], None] | None = None) -> None:
        with self._lending() as connection:
            maintenance.backup(connection, path, progress)

    def _request(
        self,
        topic: str,
        group: str,
        worker: str,
        records_max: int,
        duration_us: int,
        *,
        lifo: bool,
        rate: Rate | None = None,
        flag: bytes = b"",
    ) -> LeaseRequest:
        """Return a request of this process; what processes held that have died is given back before it."""
        with driver.wrapped(self._path):
            owner = self._owners.own_name()
        self._owners.look(self._expire_owner, self._lease_owners)
        holds = self._owners.holds
        return LeaseRequest(topic, group, worker, records_max, duration_us, lifo, rate, owner, holds, flag)

    def _holding(self, operation: Callable[[Transaction], R]) -> Callable[[Transaction], R]:
        """Have an operation renew first what a full disk kept from being renewed."""
        until_us = self._owners.held_until_us
        if until_us <= self._clock.monotonic_us():
            return operation
        owner = self._owners.own_name()

        def renew_first(transaction: Transaction) -> R:
            transaction.do("renew_owner", until_us, owner)
            return operation(transaction)

        return renew_first

    def _lease_owners(self) -> list[str]:
        with self._reading() as transaction:
            return [row[0] for row in transaction.rows("lease_owners")]

    def _expire_owner(self, owner: str, tallies: Mapping[int, tuple[int, int]]) -> None:
        def expire(transaction: Transaction) -> None:
            if tallies:
                handing.settle_tallied(transaction, owner, tallies)
            transaction.changed.update(row[0] for row in transaction.rows("topics_of_owner", owner).fetchall())
            transaction.do("expire_owner", owner)

        self._run(expire, durability=Durability.RELAXED)
