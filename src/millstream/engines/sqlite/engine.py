"""The engine itself: every method of the protocol, as one transaction each."""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TypeVar

import apsw

from millstream import limits
from millstream.clock import Clock, SystemClock
from millstream.engines.protocol import (
    Append,
    BatchHeader,
    Bound,
    Capabilities,
    Durability,
    Entry,
    Finding,
    GroupInfo,
    Lease,
    OffsetMove,
    Rate,
    Settlement,
    StateChange,
    TopicInfo,
    TopicSpec,
)
from millstream.engines.sqlite import check, driver, groups, leases, maintenance, records, sorting, topics
from millstream.engines.sqlite.checkpoints import Checkpoints
from millstream.engines.sqlite.connections import Connections
from millstream.engines.sqlite.file_lock import FileLock
from millstream.engines.sqlite.group_commit import GroupCommit, Ticket
from millstream.engines.sqlite.owners import Owners
from millstream.engines.sqlite.transaction import Transaction
from millstream.engines.sqlite.waiting import Waiters
from millstream.errors import (
    ClosedError,
    LimitExceededError,
    MillstreamError,
    StorageError,
    StorageFullError,
    StorageReadOnlyError,
    UsageError,
)
from millstream.records import Position, StoredBatch

R = TypeVar("R")


class SqliteEngine:
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
    )

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        durability: Durability | str = Durability.FSYNC,
        clock: Clock | None = None,
        vfs: str | None = None,
        read_only: bool = False,
    ) -> None:
        """Open a log, and make it where there is none.

        Args:
            path: The file; two more (`-wal`, `-shm`) and the locks live beside it.
            vfs: Name of a registered APSW file layer; for tests of power loss.
            read_only: Never write; the file must exist.

        Raises:
            StorageError: Of the kind that says what is wrong with the file or its place.
        """
        self._path = os.path.realpath(path)
        self._durability = Durability(durability)
        self._clock: Clock = clock or SystemClock()
        self._vfs = vfs
        self._read_only = read_only
        driver.check_place(self._path)
        self._prepared = False
        self._lock: FileLock | None = None
        self._lock_mutex = threading.Lock()
        self._connections = Connections(self._open)
        self._commits = GroupCommit(self._write_group)
        self._waiters = Waiters(self._path + "-wake")
        self._owners = Owners(self._path + "-wake")
        self._checkpoints = Checkpoints(self._checkpoint)
        self._closed = False
        with driver.wrapped(self._path), self._connections.reader():
            pass  # opens: problems with the file show now
        _survive_forks(self)

    @property
    def url(self) -> str:
        return f"sqlite:///{self._path}"

    @property
    def path(self) -> str:
        """The file, as an absolute path without links."""
        return self._path

    @property
    def clock(self) -> Clock:
        return self._clock

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

    def wait(self, positions: Mapping[str, Mapping[int, int]], timeout_us: int) -> bool:
        with self._reading() as transaction:
            topic_ids = {topic: transaction.topic_id(topic) for topic in positions}
            for topic, seen in positions.items():
                for partition in seen:
                    transaction.partition_id(topic, partition)

        def look(thoroughly: bool) -> bool:
            with self._reading() as transaction:
                for topic, seen in positions.items():
                    ends = {
                        number: end for _, number, _, end, *_ in transaction.rows("partitions_of", topic_ids[topic])
                    }
                    if any(number not in ends or ends[number] > end for number, end in seen.items()):
                        return True  # more is there, or the topic is not: reading on will tell
                    if thoroughly:
                        self._owners.look(self._expire_owner)
                        row = transaction.row("topic_is_due", topic_ids[topic], transaction.now_us)
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

    def groups(self, topic: str) -> list[str]:
        with self._reading() as transaction:
            return groups.names(transaction, topic)

    def commit(
        self,
        topic: str,
        group: str,
        moves: Sequence[OffsetMove],
        *,
        state: Sequence[StateChange] = (),
        appends: Sequence[Append] = (),
    ) -> list[Position]:
        records.check_appends(appends)
        return self._run(lambda transaction: groups.commit(transaction, topic, group, moves, state, appends))

    def state(self, topic: str, group: str, partition: int, keys: Sequence[bytes] | None = None) -> dict[bytes, bytes]:
        with self._reading() as transaction:
            return groups.state(transaction, topic, group, partition, keys)

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
        with driver.wrapped(self._path):
            owner = self._owners.own_name()
        self._owners.look(self._expire_owner)
        # Not synced: after a power loss the workers are gone too, and what they held is handed over again.
        return self._run(
            lambda transaction: leases.lease(
                transaction,
                topic,
                group,
                worker=worker,
                records_max=records_max,
                duration_us=duration_us,
                lifo=lifo,
                rate=rate,
                owner=owner,
            ),
            durability=Durability.RELAXED,
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
            lambda transaction: leases.settle(transaction, settlements, appends, state),
            durability=None if appends else Durability.RELAXED,
        )

    def extend(self, leases_: Sequence[Lease], duration_us: int) -> list[Lease]:
        return self._run(
            lambda transaction: leases.extend(transaction, leases_, duration_us), durability=Durability.RELAXED
        )

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
        return self._run(
            lambda transaction: maintenance.trim(transaction, topic, partition, before, force=force),
            durability=Durability.RELAXED,
        )

    def vacuum(self, bytes_max: int) -> int:
        return self._run(lambda transaction: maintenance.vacuum(transaction, bytes_max), durability=Durability.RELAXED)

    def check(self, progress: Callable[[int, int], None] | None = None) -> list[Finding]:
        with self._lending() as connection:
            return check.check(Transaction(connection, self._clock.now_us(), self.url), progress)

    def backup(self, path: str, progress: Callable[[int, int], None] | None = None) -> None:
        with self._lending() as connection:
            maintenance.backup(connection, path, progress)

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._waiters.close()
        self._commits.close()
        self._checkpoints.close()
        self._owners.close()
        with driver.wrapped(self._path):
            self._connections.close()
        if self._lock is not None:
            self._lock.close()
        _ENGINES.discard(self)

    # --- how it runs ----------------------------------------------------------------------------------------------

    def _run(self, operation: Callable[[Transaction], R], *, durability: Durability | None = None) -> R:
        self._check_writable()
        fsync = (durability or self._durability) is Durability.FSYNC
        return self._commits.run(operation, fsync=fsync)

    def _check_writable(self) -> None:
        if self._read_only:
            raise StorageReadOnlyError(f"{self._path} was opened for reading only")

    @contextmanager
    def _lending(self) -> Iterator[apsw.Connection]:
        with driver.wrapped(self._path), self._connections.reader() as connection:
            yield connection

    @contextmanager
    def _reading(self) -> Iterator[Transaction]:
        """One consistent view of the file."""
        with self._lending() as connection:
            connection.execute("BEGIN")
            try:
                yield Transaction(connection, self._clock.now_us(), self.url)
            finally:
                connection.execute("ROLLBACK")

    def _write_group(self, tickets: Sequence[Ticket], *, made_room: bool = False) -> None:  # type: ignore[type-arg]
        """Run operations as one transaction; where that fails, each as its own, so that no one fails for another."""
        try:
            with driver.wrapped(self._path):
                self._transact(tickets)
        except Exception as error:  # given to whoever waits for the operation
            if any(ticket.settled for ticket in tickets):
                raise  # it is committed: to run it again would store it twice
            if isinstance(error, StorageFullError) and not made_room and self._make_room():
                self._write_group(tickets, made_room=True)
            elif len(tickets) > 1:
                for ticket in tickets:
                    self._write_group([ticket], made_room=made_room)
            else:
                tickets[0].error = error
                tickets[0].settled = True

    def _transact(self, tickets: Sequence[Ticket]) -> None:  # type: ignore[type-arg]
        fsync = any(ticket.fsync for ticket in tickets)
        with self._connections.writer() as connection, self._writers_lock():
            committing = False
            try:
                connection.sync_by(fsync)
                connection.execute("BEGIN IMMEDIATE")
                transaction = Transaction(connection, self._clock.now_us(), self.url)
                _run_all(transaction, tickets)
                committing = True
                connection.execute("COMMIT")
            except BaseException as error:
                if connection.in_transaction:
                    with contextlib.suppress(apsw.Error):
                        connection.execute("ROLLBACK")
                elif committing and not isinstance(error, Exception):
                    for ticket in tickets:  # interrupted just after the commit: it holds
                        ticket.settled = True
                if isinstance(error, apsw.Error) or connection.in_transaction:
                    self._connections.drop_writer()
                raise
            for ticket in tickets:
                ticket.settled = True
            if transaction.changed:
                self._waiters.announce(transaction.changed)
            self._checkpoints.after_commit(connection)

    def _make_room(self) -> bool:
        """Copy all of the write-ahead log back, so that it begins anew in the room it has; False where that fails.

        A full disk would else stay full for ever: no commit, so no copying; no copying, so no room for a commit.
        """
        try:
            with self._lending() as connection:
                pages, copied = connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
        except StorageError:
            return False
        return pages == copied

    def _expire_owner(self, owner: str) -> None:
        def expire(transaction: Transaction) -> None:
            transaction.changed.update(row[0] for row in transaction.rows("topics_of_owner", owner).fetchall())
            transaction.do("expire_owner", owner)

        self._run(expire, durability=Durability.RELAXED)

    def _checkpoint(self) -> None:
        with contextlib.suppress(MillstreamError), self._lending() as connection:
            connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)

    def _writers_lock(self) -> FileLock:
        with self._lock_mutex:
            if self._lock is None:
                self._lock = FileLock(self._path + "-lock")
            return self._lock

    def _open(self) -> driver.LogConnection:
        connection = driver.connect(self._path, vfs=self._vfs, read_only=self._read_only)
        try:
            if not self._prepared:
                self._prepare(connection)
            connection.set_wal_hook(self._checkpoints.note_pages)
        except BaseException:
            connection.close()
            raise
        return connection

    def _prepare(self, connection: apsw.Connection) -> None:
        if not driver.is_prepared(connection, self._path):
            if self._read_only:
                raise StorageReadOnlyError(
                    f"{self._path} is empty or of an older format: open it once without read_only"
                )
            with self._writers_lock():
                driver.prepare_file(connection, self._path)
        self._prepared = True

    # --- forks ----------------------------------------------------------------------------------------------------

    def _before_fork(self) -> None:
        self._connections.freeze()

    def _after_fork_in_parent(self) -> None:
        self._connections.thaw()

    def _after_fork_in_child(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None
        self._lock_mutex = threading.Lock()
        self._connections.thaw_in_child()
        self._commits.reset()
        self._waiters.reset_in_child()
        self._owners.reset_in_child()
        self._checkpoints.reset()


def _run_all(transaction: Transaction, tickets: Sequence[Ticket]) -> None:  # type: ignore[type-arg]
    """Run operations in order; appends that follow one another are written together."""
    waiting: list[tuple[Ticket, records.Appending]] = []  # type: ignore[type-arg]

    def write() -> None:
        positions = records.write(transaction, [operation for _, operation in waiting])
        for (ticket, _), result in zip(waiting, positions, strict=True):
            ticket.result = result
        waiting.clear()

    for ticket in tickets:
        if isinstance(ticket.operation, records.Appending) and not ticket.operation.conditional:
            waiting.append((ticket, ticket.operation))
            continue
        if waiting:
            write()
        ticket.result = ticket.operation(transaction)
        transaction.write_counts()
    if waiting:
        write()


_ENGINES: weakref.WeakSet[SqliteEngine] = weakref.WeakSet()
_fork_hooks_set = False


def _survive_forks(engine: SqliteEngine) -> None:
    """Have the engine let go of its connections around every fork of this process."""
    global _fork_hooks_set
    _ENGINES.add(engine)
    if _fork_hooks_set or not hasattr(os, "register_at_fork"):
        return
    _fork_hooks_set = True
    os.register_at_fork(before=_before_fork, after_in_parent=_after_in_parent, after_in_child=_after_in_child)


def _before_fork() -> None:
    for engine in list(_ENGINES):
        engine._before_fork()


def _after_in_parent() -> None:
    for engine in list(_ENGINES):
        engine._after_fork_in_parent()


def _after_in_child() -> None:
    for engine in list(_ENGINES):
        engine._after_fork_in_child()
