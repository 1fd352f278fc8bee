"""When a rule speaks up: what each kind remembers, and what it says of one more event.

All is event time. Events may come out of order, as far as a rule looks back: a late one counts where it belongs.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Collection
from datetime import datetime
from typing import Any, Final

import msgspec

from millstream.durations import duration_us
from millstream.logs.alert import Alert
from millstream.logs.message import values_said
from millstream.logs.rules import Absence, Each, FirstSeen, Rate, Rule, Steps, Threshold
from millstream.records import time_from_us, time_to_us
from millstream.stream import Context

REMEMBERED: Final = 4
"""Times the count of a rule: so many events of a key are remembered, the newest."""

FORGET_US_MIN: Final = 35 * 86_400_000_000
"""What is remembered of a key is kept at least so long after its last event, measured by the newest of all events: a
file that is read for the first time may be weeks behind the journal, and counts by its own times all the same."""


class Memory(msgspec.Struct):
    """What a rule remembers of one key; each kind uses its part of it."""

    times: list[int] = []
    """Of events, sorted (us)."""
    told_us: int | None = None
    """Event time of the last alert."""
    windows: dict[int, int] = {}
    """Start of a window (us) -> events in it."""
    by: dict[str, Any] = {}
    values: list[tuple[int, str]] = []
    """When (us) an event had which value, sorted: of rules that count different values."""


class Detector:
    """One rule at work: `event` for each that its condition lets through, `timer` when nothing came."""

    def __init__(self, rule: Rule, *, begun_us: Callable[[], int]) -> None:
        """Take a rule.

        Args:
            begun_us: Returns when the log began, for what is learned before the first alert.
        """
        self.rule = rule
        self._one = rule.detection
        self._begun_us = begun_us
        self._quiet_us = rule.quiet_us
        self._columns = rule.columns
        self._message = rule.written()

    @property
    def ttl_us(self) -> int:
        """How long what is remembered of a key counts after its last event."""
        one = self._one
        spans = [self._quiet_us, FORGET_US_MIN]
        match one:
            case Threshold() | Steps() | Absence():
                spans.append(2 * duration_us(one.within))
            case FirstSeen():
                spans.append(duration_us(one.forget))
            case Rate():
                spans.append((one.before + 2) * duration_us(one.window))
        return max(spans)

    @property
    def has_timer(self) -> bool:
        return isinstance(self._one, Absence)

    def event(self, memory: Memory, value: Any, context: Context) -> tuple[Memory, Alert | None]:
        """Return what is remembered after an event, and what is said about it.

        Args:
            value: A `LogEvent`; for a sequence with `is_then`: whether it meets the second condition.
        """
        at_us = time_to_us(value.time)
        match self._one:
            case Each():
                return memory, self.alert_of(value)
            case Threshold(distinct=str()) as one:
                return memory, self._distinct(one, memory, value, at_us)
            case Threshold() as one:
                return memory, self._threshold(one, memory, value, at_us)
            case Steps() as one:
                return memory, self._steps(one, memory, value, at_us)
            case FirstSeen() as one:
                return memory, self._first_seen(one, memory, value, at_us)
            case Rate() as one:
                return memory, self._rate(one, memory, value, at_us)
            case Absence() as one:
                memory.by = self._by(value)
                memory.times = [max([at_us, *memory.times])]
                context.set_timer(time_from_us(memory.times[0] + duration_us(one.within)))
                return memory, None

    def alert_of(self, value: Any) -> Alert:
        """Return what is said of an event that is enough by itself."""
        at_us = time_to_us(value.time)
        return self._alert(value, (at_us, at_us), 1)

    def timer(self, memory: Memory, context: Context) -> tuple[Memory | None, Alert | None]:
        """Return what is said when the time of an absence has passed."""
        assert isinstance(self._one, Absence)
        if not memory.times:
            return None, None
        last_us = memory.times[0]
        message = self._message.said(memory.by, self._words((last_us, last_us), 0))
        return None, self._made(context.event_time, message, 0, last_us, memory.by, "")

    def _threshold(self, one: Threshold, memory: Memory, value: Any, at_us: int) -> Alert | None:
        within_us = duration_us(one.within)
        place = self._remember(memory, at_us, one.count, within_us)
        times = memory.times
        # Any run of `count` events with this one in it that is short enough.
        for start in range(max(0, place - one.count + 1), place + 1):
            end = start + one.count
            if end <= len(times) and times[end - 1] - times[start] < within_us:
                return self._say(memory, value, at_us, (times[start], times[end - 1]), one.count)
        return None

    def _distinct(self, one: Threshold, memory: Memory, value: Any, at_us: int) -> Alert | None:
        assert one.distinct is not None
        given = getattr(value, self._columns[one.distinct])
        if given is None:
            return None
        within_us = duration_us(one.within)
        values = self._remember_value(memory, (at_us, str(given)), one.count, within_us)
        starts = [at for at, _ in values if at_us - within_us < at <= at_us]
        if values[-1][0] == at_us:
            starts = starts[:1]  # nothing is later: the longest run that ends here is enough
        for start in starts:
            run = {text: at for at, text in values if start <= at < start + within_us}
            if len(run) >= one.count:
                return self._say(memory, value, at_us, (start, max(run.values())), len(run), sorted(run))
        return None

    def _remember_value(
        self, memory: Memory, entry: tuple[int, str], count: int, within_us: int
    ) -> list[tuple[int, str]]:
        """Add a value to those remembered: of each the newest few, so that one that comes often leaves the others."""
        values = memory.values
        bisect.insort(values, entry)
        same = [kept for kept in values if kept[1] == entry[1]]
        if len(same) > REMEMBERED:
            values.remove(same[0])
        oldest_us = values[-1][0] - 2 * within_us
        gone = max(bisect.bisect_left(values, (oldest_us, "")), len(values) - REMEMBERED * REMEMBERED * count)
        del values[: min(gone, bisect.bisect_left(values, entry))]
        return values

    def _steps(self, one: Steps, memory: Memory, value: Any, at_us: int) -> Alert | None:
        within_us = duration_us(one.within)
        if not value.is_then:
            self._remember(memory, at_us, one.count, within_us)
            return None
        before = [time for time in memory.times if at_us - within_us < time <= at_us]
        if len(before) < one.count:
            return None
        memory.times = [time for time in memory.times if time > at_us]  # these have led to what they lead to
        return self._say(memory, value, at_us, (before[-one.count], at_us), one.count + 1)

    def _first_seen(self, one: FirstSeen, memory: Memory, value: Any, at_us: int) -> Alert | None:
        is_new = not memory.times or at_us - memory.times[0] >= duration_us(one.forget)
        memory.times = [max([at_us, *memory.times])]
        if not is_new or at_us - self._begun_us() < duration_us(one.learn):
            return None
        return self._say(memory, value, at_us, (at_us, at_us), 1)

    def _rate(self, one: Rate, memory: Memory, value: Any, at_us: int) -> Alert | None:
        window_us = duration_us(one.window)
        start = at_us - at_us % window_us
        memory.windows[start] = memory.windows.get(start, 0) + 1
        oldest = max(memory.windows) - one.before * window_us
        memory.windows = {at: count for at, count in memory.windows.items() if at >= oldest}
        earlier = [count for at, count in memory.windows.items() if at < start]
        # A key that is new has no usual; windows without an event count as such from its first one on.
        first = min(memory.windows)
        passed = (start - first) // window_us
        count = memory.windows[start]
        if not earlier or count < one.count or count <= one.factor * sum(earlier) / passed:
            return None
        if memory.told_us is not None and memory.told_us >= start:
            return None  # said of this window already
        return self._say(memory, value, at_us, (start, at_us), count)

    def _remember(self, memory: Memory, at_us: int, count: int, within_us: int) -> int:
        """Add a time to those remembered; return its place among them."""
        times = memory.times
        place = bisect.bisect_right(times, at_us)
        times.insert(place, at_us)
        oldest_us = times[-1] - 2 * within_us
        gone = max(bisect.bisect_left(times, oldest_us), len(times) - REMEMBERED * count)
        gone = min(gone, place)
        del times[:gone]
        return place - gone

    def _say(
        self, memory: Memory, value: Any, at_us: int, span_us: tuple[int, int], count: int, values: Collection[str] = ()
    ) -> Alert | None:
        """Return the alert, unless it is too soon after the last one.

        Args:
            span_us: When the first and the last of its events were.
            values: The different ones, where these count.
        """
        if memory.told_us is not None and at_us - memory.told_us < max(self._quiet_us, 1):
            return None
        memory.told_us = at_us
        return self._alert(value, span_us, count, values)

    def _by(self, value: Any) -> dict[str, Any]:
        """Return what an event has in common with others of its key."""
        return {name: _plain(getattr(value, self._columns[name])) for name in self.rule.by}

    def _alert(self, value: Any, span_us: tuple[int, int], count: int, values: Collection[str] = ()) -> Alert:
        event = msgspec.structs.asdict(value)
        message = self._message.said(event, self._words(span_us, count, values))
        return self._made(value.time, message, count, span_us[0], self._by(value), value.raw)

    def _words(self, span_us: tuple[int, int], count: int, values: Collection[str] = ()) -> dict[str, Any]:
        """Return what a message may say beside the event."""
        return {
            "count": count,
            "first": time_from_us(span_us[0]),
            "last": time_from_us(span_us[1]),
            "level": self.rule.level,
            "rule": self.rule.name,
            "values": values_said(values) if values else None,
            "within": getattr(self._one, "within", None) or getattr(self._one, "window", ""),
        }

    def _made(self, at: datetime, message: str, count: int, first_us: int, by: dict[str, Any], raw: str) -> Alert:
        return Alert(
            time=at,
            rule=self.rule.name,
            level=self.rule.level,
            message=message,
            count=count,
            first=time_from_us(first_us),
            by=by,
            raw=raw,
            tags=list(self.rule.tags),
        )


def _plain(value: Any) -> Any:
    """Return a value as JSON keeps it."""
    if isinstance(value, datetime):
        return value.isoformat()
    return value if value is None or isinstance(value, int) else str(value)
