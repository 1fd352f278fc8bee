"""What the process's own log says of failures: enough to see that and why, never a line for each of a million."""

from __future__ import annotations

import logging
import threading
from typing import Final

from millstream.clock import Clock
from millstream.log.dead_letter import Failure, dead_topic_name
from millstream.records import Position

_log = logging.getLogger("millstream.queue")

LINES_AT_ONCE: Final = 10
"""Failures that are told one by one; a few are a mistake to look at, a thousand are one cause."""

LINE_EVERY_US: Final = 5_000_000
"""After those, one in so many microseconds, which says how many it stands for."""

REASON_CHARACTERS_MAX: Final = 300
"""Of an error in a line; whole, and with its traceback, it is in the dead letters."""


class FailureLog:
    """The failures of one queue in one process, told at a bounded rate. Threads of workers share it."""

    def __init__(self, queue: str, topic: str, *, clock: Clock) -> None:
        self._queue = queue
        self._topic = topic
        self._clock = clock
        self._lock = threading.Lock()
        self._lines = LINES_AT_ONCE
        self._refilled_us = clock.monotonic_us()
        self._untold = 0

    def again(self, position: Position, failure: Failure, *, attempt: int, delay_us: int) -> None:
        """Tell that a record failed and is tried again."""
        text = f"failed at attempt {attempt}, again in {delay_us / 1e6:.1f} s: {_reason(failure)}"
        self._tell(logging.WARNING, position, text)

    def given_up(self, position: Position, failure: Failure, *, attempts: int) -> None:
        """Tell that a record goes to the dead letters."""
        tries = "1 attempt" if attempts == 1 else f"{attempts} attempts"
        text = f"given up on after {tries}, now in {dead_topic_name(self._topic)}: {_reason(failure)}"
        self._tell(logging.ERROR, position, text)

    def close(self) -> None:
        """Tell how many were not told of, as the run ends."""
        with self._lock:
            untold, self._untold = self._untold, 0
        if untold:
            _log.warning("queue %s: %s", self._queue, _more(untold))

    def _tell(self, level: int, position: Position, what: str) -> None:
        with self._lock:
            if not self._take():
                self._untold += 1
                return
            untold, self._untold = self._untold, 0
        more = f" (and {_more(untold)})" if untold else ""
        place = f"{self._topic}:{position.partition}:{position.offset}"
        _log.log(level, "queue %s: %s %s%s", self._queue, place, what, more)

    def _take(self) -> bool:
        """Take one of the lines that may be written now; False: there is none."""
        now_us = self._clock.monotonic_us()
        gained = (now_us - self._refilled_us) // LINE_EVERY_US
        if gained > 0:
            self._lines = min(LINES_AT_ONCE, self._lines + gained)
            self._refilled_us += gained * LINE_EVERY_US
        if not self._lines:
            return False
        self._lines -= 1
        return True


def _reason(failure: Failure) -> str:
    """Return an error in one line."""
    text = " ".join(str(failure).split())
    return text if len(text) <= REASON_CHARACTERS_MAX else f"{text[:REASON_CHARACTERS_MAX]} ..."


def _more(count: int) -> str:
    return "1 more failure" if count == 1 else f"{count:,} more failures"
