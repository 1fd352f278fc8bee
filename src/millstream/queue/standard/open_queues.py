"""What a process has open of standard queues: their names, what becomes of them at its end, and in a forked child."""

from __future__ import annotations

import atexit
import contextlib
import itertools
import os
import threading
import weakref
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from millstream.errors import MillstreamError

if TYPE_CHECKING:
    from millstream.queue.standard.queue import Queue


class OpenQueues:
    """The open queues of this process; those that nobody refers to any more leave by themselves."""

    def __init__(self) -> None:
        self._queues: weakref.WeakSet[Queue[Any]] = weakref.WeakSet()
        self._numbers: dict[str, Iterator[int]] = {}
        self._is_called = False
        """Whether Python calls us at the end of the process, and after a fork."""

    def next_name(self, of: str) -> str:
        """Return `queue`, `queue-2`, ...: the same in each run of a program that opens its queues in the same order."""
        number = next(self._numbers.setdefault(of, itertools.count(1)))
        return of if number == 1 else f"{of}-{number}"

    def add(self, queue: Queue[Any]) -> None:
        """Have the queue give back what is at hand when the process ends, and forget it in a forked child."""
        self._queues.add(queue)
        if self._is_called:
            return
        self._is_called = True
        atexit.register(self._end)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._after_fork_in_child)

    def discard(self, queue: Queue[Any]) -> bool:
        """Return whether the queue was open; it no longer is."""
        if queue not in self._queues:
            return False
        self._queues.discard(queue)
        return True

    def _end(self) -> None:
        # Daemon threads may wait in `get` to the very end, and work on what they leased: nothing is taken from them.
        others = threading.main_thread(), threading.current_thread()
        alone = all(thread in others or thread.name.startswith("millstream-") for thread in threading.enumerate())
        for queue in list(self._queues):
            with contextlib.suppress(MillstreamError):
                queue.close() if alone else queue._taker.give_back()

    def _after_fork_in_child(self) -> None:
        for queue in list(self._queues):
            queue._taker.reset()


OPEN_QUEUES: Final = OpenQueues()
"""One for the process: what ends, and forks, is the process."""
