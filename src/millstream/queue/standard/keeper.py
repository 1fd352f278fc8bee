"""Keeper: the thread that gives back what lies too long in a process's hands, and forgets what was taken by all.

It sleeps until something is taken, and does not keep a queue alive that nobody refers to any more.
"""

from __future__ import annotations

import logging
import threading
import weakref
from typing import Protocol

from millstream.errors import ClosedError, MillstreamError

_logger = logging.getLogger("millstream.queue")

_AFTER_ERROR_S = 1.0


class Kept(Protocol):
    """What a keeper looks after."""

    def keep(self) -> float | None:
        """Do what is due; return the seconds until something will be, None where nothing will."""
        ...


class Keeper:
    """One thread, started when there is something to do."""

    def __init__(self, kept: Kept) -> None:
        self._wake = threading.Event()
        self._kept = weakref.ref(kept, lambda _: self._wake.set())
        self._mutex = threading.Lock()
        self._thread: threading.Thread | None = None
        self._closed = False
        self._idle = True

    def notice(self) -> None:
        """Something was taken; costs next to nothing while the thread is at work."""
        if self._idle:
            self._idle = False
            with self._mutex:
                if self._thread is None and not self._closed:
                    self._thread = threading.Thread(target=self._work, name="millstream-queue", daemon=True)
                    self._thread.start()
            self._wake.set()

    def stop(self) -> None:
        """End the thread after what it is at."""
        with self._mutex:
            self._closed = True
            thread = self._thread
        self._wake.set()
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def _work(self) -> None:
        while not self._closed:
            # Idle first: what is noticed from here on wakes.
            self._idle = True
            self._wake.clear()
            kept = self._kept()
            if kept is None or self._closed:
                return
            try:
                wait_s = kept.keep()
            except ClosedError:
                return
            except MillstreamError as error:
                _logger.warning("a queue could not be looked after, will try again: %s", error)
                wait_s = _AFTER_ERROR_S
            del kept
            if wait_s is None:
                self._wake.wait()
            else:
                self._idle = False
                # Only the end wakes it: whatever is taken meanwhile is seen then.
                self._wake.clear()
                self._wake.wait(wait_s)
