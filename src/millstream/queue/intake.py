"""Appending through a queue's bound."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from typing import Any, Final, TypeVar

from millstream.durations import duration
from millstream.engines.protocol import Bound
from millstream.errors import QueueFullError
from millstream.log.dead_letter import DeadLetter, Failure, Origin, dead_letter_append, dead_topic_name
from millstream.log.delivery import Due
from millstream.log.group import Group
from millstream.log.producer import Headers, Key
from millstream.log.ranges import OffsetRange
from millstream.queue.options import QueueOptions, WhenFull
from millstream.records import Record, time_from_us

T = TypeVar("T")

LOOK_S_MIN: Final = 0.002
LOOK_S_MAX: Final = 0.05
"""Room that somebody waits for is noticed within this time: workers do not announce each record they finish."""

SHED_OFFSET: Final = -1
"""Offset in the dead letter of a record that was never in its topic."""


class Intake:
    """Appends to the topic of one queue, and keeps the queue at its bound."""

    def __init__(self, group: Group[Any], options: QueueOptions) -> None:
        self._group = group
        self._full = WhenFull(options.full)
        self._bound = None if options.maxsize is None else Bound(group.topic.name, group.name, options.maxsize)

    def extend(
        self,
        values: Iterable[Any],
        *,
        keys: Sequence[Key] | None,
        headers: Sequence[Headers] | None,
        due: Due,
        priority: int,
        timeout: timedelta | str | float | None,
    ) -> list[OffsetRange]:
        """Append all or nothing; see `QueueReader.extend`."""
        listed = list(values)

        def append(bound: Bound | None) -> list[OffsetRange]:
            return self._group.topic.extend(listed, keys=keys, headers=headers, due=due, priority=priority, bound=bound)

        try:
            return self.admitted(append, len(listed), timeout)
        except QueueFullError as error:
            if self._full is not WhenFull.SHED:
                raise
            self._shed(listed, keys, headers, error)
            return []

    def admitted(self, append: Callable[[Bound | None], T], records: int, timeout: timedelta | str | float | None) -> T:
        """Append with the queue's bound, once there is room or, where the queue does not block, at once.

        Raises:
            QueueFullError: There was no room, or there never will be for so many records; nothing was appended.
        """
        until = None if timeout is None else time.monotonic() + duration(timeout).total_seconds()
        look_s = LOOK_S_MIN
        while True:
            try:
                return append(self._bound)
            except QueueFullError:
                never = self._bound is not None and records > self._bound.records_max
                left = look_s if until is None else until - time.monotonic()
                if self._full is not WhenFull.BLOCK or never or left <= 0:
                    raise
            time.sleep(min(look_s, left))
            look_s = min(look_s * 1.5, LOOK_S_MAX)

    def _shed(
        self,
        values: Sequence[Any],
        keys: Sequence[Key] | None,
        headers: Sequence[Headers] | None,
        error: QueueFullError,
    ) -> None:
        topic = self._group.topic
        dead = topic.log.topic(dead_topic_name(topic.name), DeadLetter)
        now_us = topic.log.clock.now_us()
        failure = Failure(QueueFullError.__name__, str(error), "")
        origin = Origin(group=self._group.name, worker="", attempts=0, failed_at=time_from_us(now_us))
        appends = []
        for place, value in enumerate(values):
            key = keys[place] if keys else None
            given = (headers[place] if headers else None) or {}
            record = Record(
                topic=topic.name,
                partition=0,
                offset=SHED_OFFSET,
                value=value,
                key=key.encode() if isinstance(key, str) else key,
                headers={name: text.encode() if isinstance(text, str) else text for name, text in given.items()},
                event_time_us=now_us,
                append_time_us=now_us,
            )
            appends += dead_letter_append(dead, record, failure, origin)
        if appends:
            topic.engine.append(appends)
