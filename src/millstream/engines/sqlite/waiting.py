"""Waiting for news: from threads of this process by a condition, from other processes by a push.

Of the threads that wait, one receives the pushes itself, so that a record that another process appended wakes the very
thread that will take it. The others wait on the condition; when the receiver leaves, one of them follows it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable

from millstream.engines.sqlite.push import Listener, Sender

POLL_US = 1_000_000
"""How long a waiter sleeps at most without looking itself; only a lost push makes it matter."""

POLL_WITHOUT_PUSH_US = 50_000
"""The same where the system has no push (Windows, a folder that cannot hold sockets)."""


NO_MARK = -1
"""A mark that there is news after: the wait ends at once."""


class Waiters:
    """Those who wait for changes of topics."""

    def __init__(self, folder: str, roll: str) -> None:
        """Take the folder of the listeners, and the file by which senders notice new ones."""
        self._folder = folder
        self._roll = roll
        self.topic_ids: dict[str, int] = {}
        """Ids of topics by name, as far as somebody has waited for them."""
        self._reset()

    def _reset(self) -> None:
        self._changed = threading.Condition(threading.Lock())
        self._counts: dict[int, int] = {}
        self._any = 0
        self._waited = False
        """Somebody in this process has waited: only then is there anything to count."""
        self._sender = Sender(self._folder, self._roll)
        self._listener: Listener | None = None
        self._receiving = False
        self._push_works = True
        self._closed = False

    def reset_in_child(self) -> None:
        """Start anew in a forked child: the socket is the parent's."""
        if self._listener is not None:
            self._listener.release()
        self._sender.close()
        self._reset()

    def announce(self, topic_ids: Iterable[int]) -> None:
        """Wake everyone who waits for one of these topics, here and in other processes. One caller at a time."""
        if not self._waited:
            # Who begins to wait just now looks at the log after that.
            self._sender.send(topic_ids)
            return
        with self._changed:
            self._count_up(topic_ids)
            # The receiver sleeps in its socket, where a condition does not wake it.
            own = self._listener.name if self._listener is not None and not self._receiving else None
        self._sender.send(topic_ids, but=own)

    def mark(self, topic_id: int) -> int:
        """Return a mark for `wait`: whatever is committed from now on ends a wait with it."""
        with self._changed:
            self._waited = True
            self._listen()
            return self._any + self._counts.get(topic_id, 0)

    def wait(
        self,
        topic_ids: Iterable[int],
        look: Callable[[bool], bool],
        timeout_us: int,
        *,
        mark: int | None = None,
    ) -> bool:
        """Sleep until a change is announced, or `look` finds something.

        Args:
            look: Called at the beginning with False unless there is a mark, and with True when a poll is due; not under
                a lock.
            mark: Of the one topic: changes announced since then are news as well.
        """
        ids = frozenset(topic_ids)
        until_us = _now_us() + timeout_us
        with self._changed:
            self._waited = True
            self._listen()
            if mark is None:
                self._catch_up()
            now = self._count(ids)
        if look(False) if mark is None else now != mark:
            return True
        seen = now if mark is None else mark
        while True:
            left_us = until_us - _now_us()
            if left_us <= 0:
                return False
            nap_us = min(left_us, POLL_US if self._push_works else POLL_WITHOUT_PUSH_US)
            if self._sleep(ids, seen, nap_us):
                return not self._closed
            if nap_us < left_us and look(True):
                return True

    def close(self) -> None:
        """Wake everyone for the last time."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            listener = self._listener
        if listener is not None:
            listener.close()
            with self._changed:
                self._changed.wait_for(lambda: not self._receiving)
            listener.release()
        self._sender.close()

    def _sleep(self, ids: frozenset[int], seen: int, nap_us: int) -> bool:
        """Return True as soon as something is announced, or at the end of all waiting; False after the nap."""
        with self._changed:
            until_us = _now_us() + nap_us
            while not self._closed and self._count(ids) == seen:
                left_us = until_us - _now_us()
                if left_us <= 0:
                    self._changed.notify()  # for whom the place in the socket may have been meant
                    return False
                if self._listener is None or self._receiving:
                    self._changed.wait(left_us / 1e6)
                else:
                    self._receive(self._listener, left_us)
            self._changed.notify()
            return True

    def _receive(self, listener: Listener, nap_us: int) -> None:
        """Sleep in the socket; the lock is held before and after, and not meanwhile."""
        self._receiving = True
        self._changed.release()
        messages: list[set[int]] = []
        try:
            messages = listener.receive(nap_us / 1e6)
        finally:
            self._changed.acquire()
            self._receiving = False
            self._note(messages)
            if self._closed:
                self._changed.notify_all()

    def _catch_up(self) -> None:
        """Take in what came while nobody waited, so that it does not end the wait that begins; the lock is held."""
        if self._listener is not None and not self._receiving:
            self._note(self._listener.receive(0))

    def _note(self, messages: Iterable[set[int]]) -> None:
        for topic_ids in messages:
            self._count_up(topic_ids)

    def _count_up(self, topic_ids: Iterable[int]) -> None:
        known = False
        for topic_id in topic_ids:
            known = True
            self._counts[topic_id] = self._counts.get(topic_id, 0) + 1
        if not known:
            self._any += 1
        self._changed.notify_all()

    def _count(self, ids: frozenset[int]) -> int:
        return self._any + sum(self._counts.get(topic_id, 0) for topic_id in ids)

    def _listen(self) -> None:
        if self._listener is not None or not self._push_works or self._closed:
            return
        try:
            self._listener = Listener(self._folder, self._roll)
        except OSError:
            self._push_works = False


def _now_us() -> int:
    """Return real time, also where a test owns the clock: whoever sleeps, sleeps for real."""
    return time.monotonic_ns() // 1000
