"""One log file, opened: its connections, who writes when, who is woken, and what happens around a fork.

Operations are functions of a `Transaction`; here they become transactions of the file.
"""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import apsw

from millstream.clock import Clock, SystemClock
from millstream.engines.protocol import (
    Durability,
)
from millstream.engines.sqlite import (
    driver,
    records,
)
from millstream.engines.sqlite.checkpoints import Checkpoints
from millstream.engines.sqlite.connections import Connections
from millstream.engines.sqlite.file_lock import FileLock
from millstream.engines.sqlite.group_commit import GroupCommit, Operation, Ticket
from millstream.engines.sqlite.owners import Owners
from millstream.engines.sqlite.transaction import Transaction
from millstream.engines.sqlite.waiting import Waiters
from millstream.engines.sqlite.wal_room import WalRoom
from millstream.errors import (
    MillstreamError,
    StorageBusyError,
    StorageError,
    StorageFullError,
    StorageReadOnlyError,
)

R = TypeVar("R")


class LogFile:
    """What every method of the engine stands on."""

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
        self._url = f"sqlite:///{self._path}"
        self._durability = Durability(durability)
        self._clock: Clock = clock or SystemClock()
        self._vfs = vfs
        self._read_only = read_only
        driver.check_place(self._path)
        self._prepared = False
        self._lock: FileLock | None = None
        self._lock_mutex = threading.Lock()
        self._connections = Connections(self._open)
        self._commits = GroupCommit(self._write_group, self._write_one)
        self._waiters = Waiters(self._path + "-wake", self._path + "-lock")
        self._owners = Owners(self._path + "-wake")
        self._checkpoints = Checkpoints(
            self._copy_back, None if vfs else WalRoom(self._path + "-wal", driver.PAGE_BYTES)
        )
        self._closed = False
        with driver.wrapped(self._path), self._connections.reader():
            pass  # opens: problems with the file show now
        _survive_forks(self)

    @property
    def url(self) -> str:
        return self._url

    @property
    def path(self) -> str:
        """The file, as an absolute path without links."""
        return self._path

    @property
    def clock(self) -> Clock:
        return self._clock

    def close(self) -> None:
        if self._closed:
            return
        self._commits.check_not_alone()
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
        if self._read_only:
            self._check_writable()
        fsync = (self._durability if durability is None else durability) is Durability.FSYNC
        return self._commits.run(operation, fsync=fsync)

    def _check_writable(self) -> None:
        if self._read_only:
            raise StorageReadOnlyError(f"{self._path} was opened for reading only")

    @contextmanager
    def _lending(self) -> Iterator[driver.LogConnection]:
        with driver.wrapped(self._path), self._connections.reader() as connection:
            yield connection

    @contextmanager
    def _reading(self) -> Iterator[Transaction]:
        """One consistent view of the file."""
        with self._lending() as connection:
            connection.execute("BEGIN")
            try:
                yield Transaction(connection, self._clock, self.url)
            finally:
                # Some errors of a disk have ended it already.
                if connection.in_transaction:
                    connection.execute("ROLLBACK")

    def _write_one(self, operation: Operation[R], fsync: bool) -> R:
        """Run one operation as a transaction."""
        try:
            return self._transact(operation, fsync, _nothing)
        except StorageFullError:
            if not self._make_room():
                raise
        return self._transact(operation, fsync, _nothing)

    def _write_group(self, tickets: Sequence[Ticket], *, made_room: bool = False) -> None:  # type: ignore[type-arg]
        """Run operations as one transaction; where that fails, each as its own, so that no one fails for another."""

        def settle() -> None:
            for ticket in tickets:
                ticket.settled = True

        try:
            fsync = any(ticket.fsync for ticket in tickets)
            self._transact(lambda transaction: _run_all(transaction, tickets), fsync, settle)
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

    def _transact(self, operation: Operation[R], fsync: bool, settle: Callable[[], None]) -> R:
        """Run an operation as a transaction, and tell who waits for what it changed.

        Args:
            settle: Called when it is committed; also where that is interrupted (Ctrl-C) too late to undo it.
        """
        try:
            connection = self._connections.lend_writer()
            try:
                lock = self._lock or self._writers_lock()
                lock.acquire()
                try:
                    result, changed = self._commit(connection, operation, fsync, settle)
                    if changed:
                        self._waiters.announce(changed)
                    self._checkpoints.after_commit(connection)
                finally:
                    lock.release()
            finally:
                self._connections.return_writer()
        except (apsw.Error, OSError) as error:
            if (ours := driver.as_ours(error, self._path)) is not None:
                raise ours from error
            raise
        return result

    def _commit(
        self, connection: driver.LogConnection, operation: Operation[R], fsync: bool, settle: Callable[[], None]
    ) -> tuple[R, set[int]]:
        """Return the result, and the ids of the topics that changed."""
        committing = False
        try:
            if fsync is not connection.fsync:
                connection.sync_by(fsync)
            connection.at_once.execute("BEGIN IMMEDIATE")
            transaction = Transaction(connection, self._clock, self._url)
            result = operation(transaction)
            transaction.write_counts()
            committing = True
            connection.at_once.execute("COMMIT")
        except BaseException as error:
            if connection.in_transaction:
                with contextlib.suppress(apsw.Error):
                    connection.execute("ROLLBACK")
            elif committing and not isinstance(error, Exception):
                settle()  # interrupted just after the commit: it holds
            if isinstance(error, apsw.Error) or connection.in_transaction:
                self._connections.drop_writer()
            raise
        settle()
        return result, transaction.changed

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

    def _copy_back(self) -> bool:
        """Copy the write-ahead log back beside the writers; True: none is left, or another process is at it."""
        try:
            with self._lending() as connection:
                pages, copied = connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
        except StorageBusyError:
            return True
        except MillstreamError:
            return False
        return pages == copied

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


def _nothing() -> None:
    """What there is to settle for one who waits for the operation itself."""


_ENGINES: weakref.WeakSet[LogFile] = weakref.WeakSet()
_fork_hooks_set = False


def _survive_forks(engine: LogFile) -> None:
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
