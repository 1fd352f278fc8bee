"""Storms become one event: what comes within a time of what came before is waited for, and the last one goes on."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any, Final

from millstream.durations import duration_us
from millstream.engines.protocol import OffsetMove
from millstream.errors import CommitConflictError, UsageError
from millstream.log.log import Log
from millstream.log.topic import Topic
from millstream.records import Record
from millstream.triggers.protocol import EventSource, Trigger

LATEST: Final = 10
"""A storm that does not end is interrupted after so many times the quiet that is waited for."""

STOP_S: Final = 0.2
"""A stop is noticed within this time."""


class QuietTrigger(Trigger):
    """The last event of each storm of another trigger. `@app.on(trigger, debounce="2s")` makes one."""

    kind = "quiet"

    def __init__(self, other: Trigger, quiet: timedelta | str | float, *, name: str) -> None:
        super().__init__(name)
        self.event = other.event  # type: ignore[misc]
        self.time_field = other.time_field  # type: ignore[misc]
        self.other = other
        self.quiet_us = duration_us(quiet)
        if not self.quiet_us:
            raise UsageError("debounce is 0; give how long nothing may come until the last event goes on, such as '2s'")

    def source(self, log: Log) -> EventSource:
        return QuietSource(log, self)


class QuietSource:
    """Reads the events of the other trigger; what is waited for is what this group has not read, so nothing is lost."""

    def __init__(self, log: Log, trigger: QuietTrigger) -> None:
        self._clock = log.clock
        self._quiet_us = trigger.quiet_us
        self._topic: Topic[Any] = trigger.other.events(log)
        self._events: Topic[Any] = trigger.events(log)
        self._group = self._topic.group(trigger.name)

    def run(self, stop: threading.Event) -> None:
        while not stop.is_set():
            end, wait_s = self._look()
            if wait_s is None:
                self._topic.wait({0: end}, STOP_S, until=stop.is_set)
            elif wait_s > 0:
                stop.wait(min(wait_s, STOP_S))

    def run_now(self, stop: threading.Event) -> int:
        """Wait for the quiet where something came."""
        before = self._events.end_offsets()[0]
        while not stop.is_set():
            _, wait_s = self._look()
            if wait_s is None:
                break
            stop.wait(min(wait_s, STOP_S))
        return self._events.end_offsets()[0] - before

    def _look(self) -> tuple[int, float | None]:
        """Write the last event if it is quiet; return the end of the topic, and how long to wait (None: for news)."""
        info = self._group.info()
        start, end = info.committed[0], info.end_offsets[0]
        if start >= end:
            return end, None
        [first], [last] = self._topic.read(start, records_max=1), self._topic.read(end - 1, records_max=1)
        due_us = min(last.append_time_us + self._quiet_us, first.append_time_us + LATEST * self._quiet_us)
        left_us = due_us - self._clock.now_us()
        if left_us > 0:
            return end, left_us / 1e6
        self._write(OffsetMove(0, start, end), last)
        return end, 0.0

    def _write(self, move: OffsetMove, last: Record[Any]) -> None:
        try:
            self._group.commit([move], appends=self._events.encode([last.value]))
        except CommitConflictError:
            pass  # another process was faster
