"""Group commit: all writes of a process that wait at the same moment share one transaction and one fsync.

Whoever comes while nobody writes leads: it runs its own operation, then hands the lead to one of those who came
meanwhile, which runs all of theirs. A single writer therefore never changes threads, and many writers pay for one fsync
together. (The scheme is LevelDB's writer queue.) Who wants a transaction of its own waits in the same line and leads
`alone`: nobody else writes until its block ends.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Generic, TypeVar, cast

from millstream.engines.sqlite.transaction import Transaction
from millstream.errors import ClosedError, UsageError

R = TypeVar("R")

Operation = Callable[[Transaction], R]
Done = Callable[[R | None, BaseException | None], None]

_logger = logging.getLogger("millstream.engines.sqlite")

_GROUP_MAX = 1024
"""Operations of one transaction: bounds how long the first of a group waits for the last."""


class Ticket(Generic[R]):
    """One operation that waits for its turn."""

    __slots__ = ("alone", "error", "finished", "fsync", "leads", "notify", "operation", "result", "settled", "signal")

    def __init__(
        self, operation: Operation[R], *, fsync: bool, notify: Done[R] | None = None, alone: bool = False
    ) -> None:
        self.operation = operation
        self.fsync = fsync
        self.notify = notify
        self.alone = alone
        """It stands for a block that leads alone; the operation is not run."""
        self.result: R | None = None
        self.error: BaseException | None = None
        self.settled = False
        """Its outcome is certain: committed, or failed for good."""
        self.finished = False
        self.leads = False
        self.signal = threading.Lock()
        self.signal.acquire()

    def finish(self) -> None:
        """Tell whoever waits for this operation."""
        self.finished = True
        if self.notify is not None:
            try:
                # An operation may have had its result before the commit failed.
                self.notify(self.result if self.error is None else None, self.error)
            except Exception:
                _logger.exception("the callback of a finished append failed")
        else:
            self.signal.release()


class GroupCommit:
    """Runs operations in groups, each group by `execute`, in the order in which they came."""

    def __init__(
        self,
        execute: Callable[[Sequence[Ticket]], None],  # type: ignore[type-arg]
        execute_one: Callable[[Operation[Any], bool], Any],
    ) -> None:
        """Take what runs a group.

        Args:
            execute: Settles every ticket with a result or an error. Where it is interrupted (Ctrl-C) it raises, and the
                tickets that are not settled have had no effect.
            execute_one: Runs the operation of one who found nobody writing; takes it and whether to sync, and returns
                or raises as the operation does.
        """
        self._execute = execute
        self._execute_one = execute_one
        self._closed = False
        self.reset()

    def reset(self) -> None:
        """Forget everything that waits: in a forked child it is the parent's."""
        self._mutex = threading.Lock()
        self._pending: list[Ticket] = []  # type: ignore[type-arg]
        self._led = False
        self._alone_waiting = 0
        self._alone_thread: int | None = None
        self._helper: threading.Thread | None = None
        self._helper_signal = threading.Semaphore(0)
        self._helper_leads = False

    def run(self, operation: Operation[R], *, fsync: bool) -> R:
        """Run an operation in a group and return its result.

        Raises:
            UsageError: This thread leads alone: it would wait for itself.
        """
        if self._alone_thread is not None:
            self.check_not_alone()
        ticket: Ticket[R] | None = None
        leads = False
        try:
            with self._mutex:
                if self._closed:
                    raise ClosedError("this log was closed")
                if self._led:
                    ticket = Ticket(operation, fsync=fsync)
                    self._pending.append(ticket)
                else:
                    self._led = leads = True  # and nobody waits: the last one who led would have handed over
            if ticket is None:
                return cast(R, self._execute_one(operation, fsync))
            ticket.signal.acquire()
            if ticket.leads:
                self._lead(ticket)
        except BaseException:
            if ticket is not None:
                self._withdraw(ticket)
            raise
        finally:
            if leads:
                self._hand_over()
        if ticket.error is not None:
            raise ticket.error
        return ticket.result  # type: ignore[return-value]

    def start(self, operation: Operation[R], notify: Done[R], *, fsync: bool) -> None:
        """Run an operation in a group from a thread of our own; `notify` gets the outcome there."""
        self.check_not_alone()
        ticket = Ticket(operation, fsync=fsync, notify=notify)
        with self._mutex:
            if self._closed:
                raise ClosedError("this log was closed")
            self._pending.append(ticket)
            leads = not self._led
            self._led = True
            self._helper_leads |= leads
            if self._helper is None:
                self._helper = threading.Thread(target=self._help, name="millstream-commit", daemon=True)
                self._helper.start()
        if leads:
            self._helper_signal.release()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Let nobody else of this process write until the end of the block; whoever comes meanwhile waits in line.

        Raises:
            UsageError: This thread is in such a block already.
        """
        self.check_not_alone()
        ticket: Ticket[None] = Ticket(_nothing, fsync=False, alone=True)
        try:
            with self._mutex:
                if self._closed:
                    raise ClosedError("this log was closed")
                if self._led:
                    self._alone_waiting += 1
                    self._pending.append(ticket)
                else:
                    self._led = ticket.leads = True
            if not ticket.leads:
                ticket.signal.acquire()
            self._alone_thread = threading.get_ident()
            yield
        finally:
            if ticket.leads:
                self._alone_thread = None
            self._withdraw(ticket)

    def check_not_alone(self) -> None:
        """Raise UsageError where this thread would wait for the end of its own block."""
        if self._alone_thread is not None and self._alone_thread == threading.get_ident():
            raise UsageError(
                "this thread has a transaction open and would wait for itself: write with transaction=, as in "
                "`topic.append(value, transaction=tx)`, or after the end of the block"
            )

    def close(self) -> None:
        """Take no more operations; those that wait are run."""
        with self._mutex:
            self._closed = True
            helper = self._helper
        if helper is not None:
            self._helper_signal.release()
            helper.join()

    def _withdraw(self, ticket: Ticket[Any]) -> None:
        """Leave the line, wherever in it: what did not begin never does; the lead, if it was handed over, goes on.

        Ctrl-C may come between any two steps of who waits or leads, so what is taken back is what is found.
        """
        with self._mutex:
            if ticket in self._pending:
                self._pending.remove(ticket)
                self._alone_waiting -= ticket.alone
            leads, ticket.leads = ticket.leads, False
        if leads:
            self._hand_over()

    def _lead(self, own: Ticket[R] | None) -> None:
        group: list[Ticket] = []  # type: ignore[type-arg]
        try:
            with self._mutex:
                end = self._group_end()
                group = self._pending[:end]
                del self._pending[:end]
            if group:
                self._execute(group)
        except BaseException:
            with self._mutex:
                self._pending[:0] = [ticket for ticket in group if not ticket.settled and ticket is not own]
            raise
        finally:
            if own is not None:
                own.leads = False
            self._hand_over()
            for ticket in group:
                if ticket.settled:
                    ticket.finish()

    def _hand_over(self) -> None:
        with self._mutex:
            if not self._pending:
                self._led = False
                return
            if self._pending[0].alone:
                heir: Ticket | None = self._pending.pop(0)  # type: ignore[type-arg]
                self._alone_waiting -= 1
            else:
                heir = next((ticket for ticket in self._pending[: self._group_end()] if ticket.notify is None), None)
            if heir is not None:
                heir.leads = True
            else:
                self._helper_leads = True
        if heir is not None:
            heir.signal.release()
        else:
            self._helper_signal.release()

    def _group_end(self) -> int:
        """Return how many of those who wait run together: all before the first that leads alone."""
        end = min(len(self._pending), _GROUP_MAX)
        if not self._alone_waiting:
            return end
        return next((place for place in range(end) if self._pending[place].alone), end)

    def _help(self) -> None:
        while True:
            self._helper_signal.acquire()
            with self._mutex:
                leads, self._helper_leads = self._helper_leads, False
            if leads:
                self._lead(None)
            with self._mutex:
                # What still waits is handed over to this thread, or to one that waits itself.
                if self._closed and not self._pending:
                    return


def _nothing(transaction: Transaction) -> None:
    """What a block that leads alone has for an operation."""
