"""Waiting for news: from threads of this process by a condition, from other processes by a push."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable

from millstream.engines.sqlite.push import Listener, Sender

POLL_US = 1_000_000
"""How long a waiter sleeps at most without looking itself; only a lost push makes it matter."""

POLL_WITHOUT_PUSH_US = 50_000
"""The same where the system has no push (Windows, a folder that cannot hold sockets)."""


class Waiters:
    """Those who wait for changes of topics."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._reset()

    def _reset(self) -> None:
        self._changed = threading.Condition(threading.Lock())
        self._counts: dict[int, int] = {}
        self._any = 0
        self._sender = Sender(self._folder)
        self._listener: Listener | None = None
        self._thread: threading.Thread | None = None
        self._push_works = True
        self._closed = False

    def reset_in_child(self) -> None:
        """Start anew in a forked child: socket and thread are the parent's."""
        if self._listener is not None:
            self._listener.release()
        self._sender.close()
        self._reset()

    def announce(self, topic_ids: Iterable[int]) -> None:
        """Wake everyone who waits for one of these topics, here and in other processes. One caller at a time."""
        self._wake(topic_ids)
        listener = self._listener
        self._sender.send(topic_ids, but=listener.name if listener else None)

    def wait(self, topic_ids: Iterable[int], look: Callable[[bool], bool], timeout_us: int) -> bool:
        """Sleep until `look` finds something, or a change is announced for which it says so.

        Args:
            look: Called with whether a change was announced or a poll is due since the last call; not under a lock.
        """
        self._listen()
        ids = frozenset(topic_ids)
        until_us = _now_us() + timeout_us
        seen = self._count(ids)
        if look(False):
            return True
        while True:
            left_us = until_us - _now_us()
            if left_us <= 0:
                return False
            nap_us = min(left_us, POLL_US if self._push_works else POLL_WITHOUT_PUSH_US)
            with self._changed:
                if not self._closed and self._count_locked(ids) == seen:
                    self._changed.wait(nap_us / 1e6)
                if self._closed:
                    return False
                now_seen = self._count_locked(ids)
            announced = now_seen != seen
            seen = now_seen
            if look(announced or nap_us < left_us) or announced:
                return True

    def close(self) -> None:
        """Wake everyone for the last time."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._listener is not None:
            self._listener.close()
        if self._thread is not None:
            self._thread.join()
        if self._listener is not None:
            self._listener.release()
        self._sender.close()

    def _count(self, ids: frozenset[int]) -> int:
        with self._changed:
            return self._count_locked(ids)

    def _count_locked(self, ids: frozenset[int]) -> int:
        return self._any + sum(self._counts.get(topic_id, 0) for topic_id in ids)

    def _wake(self, topic_ids: Iterable[int]) -> None:
        with self._changed:
            for topic_id in topic_ids:
                self._counts[topic_id] = self._counts.get(topic_id, 0) + 1
            self._changed.notify_all()

    def _listen(self) -> None:
        with self._changed:
            if self._listener is not None or not self._push_works or self._closed:
                return
            try:
                self._listener = Listener(self._folder)
            except OSError:
                self._push_works = False
                return
            self._thread = threading.Thread(
                target=self._receive, args=(self._listener,), name="millstream-wake", daemon=True
            )
            self._thread.start()

    def _receive(self, listener: Listener) -> None:
        while True:
            try:
                topic_ids = listener.receive()
            except OSError:
                return
            if topic_ids is None:
                return
            if topic_ids:
                self._wake(topic_ids)
            else:
                with self._changed:
                    self._any += 1
                    self._changed.notify_all()


def _now_us() -> int:
    """Return real time, also where a test owns the clock: whoever sleeps, sleeps for real."""
    return time.monotonic_ns() // 1000
