"""When a rule speaks up: what each kind remembers, and what it says of one more event.

All is event time. Events may come out of order, as far as a rule looks back: a late one counts where it belongs.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from millstream.durations import duration_us
from millstream.logs.alert import Alert
from millstream.logs.gathering import gathered, in_order
from millstream.logs.memory import REMEMBERED, Memory, Then, run_of_times, run_of_values
from millstream.logs.message import values_said
from millstream.logs.rules import Absence, Each, FirstSeen, Rate, Rule, Steps, Threshold, Together
from millstream.records import time_from_us, time_to_us
from millstream.stream import Context

DURATIONS: Final = ("within", "window", "forget", "learn")
"""Options of the kinds of rules that are a time."""

FORGET: Final = "forget"
"""The timer that looks whether a key has had no event for long enough."""

AHEAD_US: Final = 60_000_000
"""How far before the events that were read the watermark may be: more than by what listeners are apart."""

_LATEST_US: Final = time_to_us(datetime.max.replace(tzinfo=UTC))


class Detector:
    """One rule at work: `event` for each that its condition lets through, `timer` when nothing came."""

    def __init__(self, rule: Rule, *, begun_us: Callable[[], int]) -> None:
        """Take a rule.

        Args:
            begun_us: Returns when the log began, for what is learned before the first alert.
        """
        self.rule = rule
        self._one = rule.detection
        # Read once: an event costs little more than to read a duration.
        self._spans = {name: duration_us(getattr(self._one, name)) for name in DURATIONS if hasattr(self._one, name)}
        self._span_us = self._spans.get("within", self._spans.get("window", 0))
        self._begun_us = begun_us
        self._quiet_us = rule.quiet_us
        self._columns = rule.columns
        self._message = rule.written()
        self.ttl_us: Final = max(
            duration_us(rule.remember),
            self._quiet_us,
            2 * self._spans.get("within", 0),
            self._spans.get("forget", 0),
            (self._one.before + 2) * self._span_us if isinstance(self._one, Rate) else 0,
        )
        """How long what is remembered of a key is kept after its last event."""

    def event(self, memory: Memory, value: Any, context: Context) -> tuple[Memory, Alert | None]:
        """Return what is remembered after an event, and what is said about it.

        Args:
            value: A `LogEvent`; for a sequence with `is_then`: whether it meets the second condition; for
                events of several conditions with `met`: which, a bit each.
        """
        at_us = time_to_us(value.time)
        come_us = self._come_us(memory, at_us, context)
        match self._one:
            case Each():
                return memory, self.alert_of(value)
            case Threshold(distinct=str()) as one:
                return memory, self._distinct(one, memory, value, at_us)
            case Threshold() as one:
                return memory, self._threshold(one, memory, value, at_us)
            case Steps() as one:
                return memory, self._steps(one, memory, value, at_us)
            case Together() as one:
                return memory, self._together(one, memory, value, at_us)
            case FirstSeen():
                return memory, self._first_seen(memory, value, at_us)
            case Rate() as one:
                return memory, self._rate(one, memory, value, at_us)
            case Absence():
                self._absence(memory, value, come_us, context)
                return memory, None

    def _come_us(self, memory: Memory, at_us: int, context: Context) -> int:
        """Return how far event time has come with an event, noted in what is remembered.

        Of a file that is read long after it was written, what counts is when it was read.
        """
        known_us = memory.come_us
        if known_us is not None and at_us > known_us:
            memory.come_us = at_us
            return at_us
        come_us = at_us if context.watermark is None else max(at_us, time_to_us(context.watermark))
        if known_us is None:
            context.set_timer(_moment(come_us + self.ttl_us), FORGET)
        memory.come_us = come_us if known_us is None else max(come_us, known_us)
        return come_us  # what is known may be from a clock that was years ahead

    def alert_of(self, value: Any) -> Alert:
        """Return what is said of an event that is enough by itself."""
        at_us = time_to_us(value.time)
        return self._alert(value, (at_us, at_us), 1)

    def timer(self, memory: Memory, context: Context) -> tuple[Memory | None, Alert | None]:
        """Return what is said when the time of an absence has passed; or forget what has been kept for long enough."""
        if context.timer == FORGET:
            return self._forgotten(memory, context), None
        if not memory.times or not memory.tell(time_to_us(context.event_time), self._quiet_us):
            return memory, None
        last_us = memory.times[0]
        by = memory.by or {}
        message = self._message.said(by, self._words((last_us, last_us), 0))
        return memory, self._made(context.event_time, message, 0, last_us, by, "")

    def _forgotten(self, memory: Memory, context: Context) -> Memory | None:
        """Return nothing, or what is remembered when an event has come since the timer was set."""
        until_us = min((memory.come_us or 0) + self.ttl_us, _LATEST_US)
        if until_us <= time_to_us(context.event_time):
            return None
        context.set_timer(_moment(until_us), FORGET)
        return memory

    def _absence(self, memory: Memory, value: Any, come_us: int, context: Context) -> None:
        at_us = time_to_us(value.time)
        if memory.times and at_us <= memory.times[0] and not _is_ahead(memory.times[0], context):
            return  # a late one; what came after it is what is waited from
        memory.by = self._by(value)
        memory.times = (at_us,)
        # Lines of an old file follow one another when they are read, whatever time it is by then.
        context.set_timer(_moment(come_us + self._span_us))

    def _threshold(self, one: Threshold, memory: Memory, value: Any, at_us: int) -> Alert | None:
        memory.add_time(at_us, one.count)
        if memory.is_quiet(at_us, self._quiet_us):
            return None
        span_us = run_of_times(memory.times, at_us, one.count, self._span_us)
        return None if span_us is None else self._say(memory, value, at_us, span_us, one.count)

    def _distinct(self, one: Threshold, memory: Memory, value: Any, at_us: int) -> Alert | None:
        assert one.distinct is not None
        given = getattr(value, self._columns[one.distinct])
        if given is None:
            return None
        memory.add_value(at_us, str(given), one.count)
        if memory.is_quiet(at_us, self._quiet_us):
            return None
        found = run_of_values(memory.values, at_us, one.count, self._span_us)
        return None if found is None else self._say(memory, value, at_us, found[0], len(found[1]), found[1])

    def _steps(self, one: Steps, memory: Memory, value: Any, at_us: int) -> Alert | None:
        if not value.is_then:
            memory.add_time(at_us, one.count)
            return self._late_step(one, memory, value, at_us)
        first_us = self._led_to(one, memory, at_us)
        if first_us is None:
            event = self._message.named(msgspec.structs.asdict(value))
            memory.add_then(Then(at_us, event, value.raw))
            return None
        return self._say(memory, value, at_us, (first_us, at_us), one.count + 1)

    def _late_step(self, one: Steps, memory: Memory, value: Any, at_us: int) -> Alert | None:
        """Return what is said when an event comes after what it leads to."""
        for then in sorted(memory.thens, key=lambda then: then.at_us):
            if not 0 <= then.at_us - at_us < self._span_us:
                continue
            first_us = self._led_to(one, memory, then.at_us)
            if first_us is None:
                continue
            memory.thens = tuple(one for one in memory.thens if one is not then)
            if not memory.tell(then.at_us, self._quiet_us):
                return None
            count = one.count + 1
            message = self._message.said(then.event, self._words((first_us, then.at_us), count))
            return self._made(time_from_us(then.at_us), message, count, first_us, self._by(value), then.raw)
        return None

    def _led_to(self, one: Steps, memory: Memory, then_us: int) -> int | None:
        """Return the first of the events that led to another, None where they are too few; they lead to no other."""
        within_us = self._span_us
        before = sorted([time for time in memory.times if 0 <= then_us - time < within_us])
        if len(before) < one.count:
            return None
        gone = set(before)
        memory.times = tuple(time for time in memory.times if time not in gone)
        return before[-one.count]

    def _together(self, one: Together, memory: Memory, value: Any, at_us: int) -> Alert | None:
        count = len(one.of)
        least = one.least or count
        memory.add_mark((at_us, value.met), count, ordered=one.ordered)
        look, wanted = (in_order, count) if one.ordered else (gathered, least)
        span_us = look(memory.marks, at_us, wanted, self._span_us)
        if span_us is None:
            return None
        # What led to this leads to nothing else.
        since_us = span_us[1] - self._span_us
        memory.marks = tuple(mark for mark in memory.marks if not since_us < mark[0] <= span_us[1])
        return self._say(memory, value, at_us, span_us, least)

    def _first_seen(self, memory: Memory, value: Any, at_us: int) -> Alert | None:
        is_new = not memory.times or at_us - memory.times[0] >= self._spans["forget"]
        memory.times = (max(at_us, *memory.times),) if memory.times else (at_us,)
        learn_us = self._spans["learn"]
        if not is_new or (learn_us and at_us - self._begun_us() < learn_us):
            return None
        return self._say(memory, value, at_us, (at_us, at_us), 1)

    def _rate(self, one: Rate, memory: Memory, value: Any, at_us: int) -> Alert | None:
        window_us = self._span_us
        start = at_us - at_us % window_us
        memory.times = (min(start, *memory.times),) if memory.times else (start,)
        count = memory.add_window(start, REMEMBERED * (one.before + 1))
        # A key that is new has no usual; windows without an event count as such from its first one on.
        passed = min(one.before, (start - memory.times[0]) // window_us)
        windows = memory.windows
        if count < one.count or not passed or windows is None:
            return None
        earlier = sum(windows.get(start - back * window_us, 0) for back in range(1, passed + 1))
        if count <= one.factor * earlier / passed or memory.was_told(start, start + window_us):
            return None
        return self._say(memory, value, at_us, (start, at_us), count)

    def _say(
        self, memory: Memory, value: Any, at_us: int, span_us: tuple[int, int], count: int, values: Collection[str] = ()
    ) -> Alert | None:
        """Return the alert, unless it is too near to another one.

        Args:
            span_us: When the first and the last of its events were.
            values: The different ones, where these count.
        """
        return self._alert(value, span_us, count, values) if memory.tell(at_us, self._quiet_us) else None

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


def _moment(at_us: int) -> datetime:
    """Return a time; the last that there is for one beyond (lines say such things)."""
    return time_from_us(min(at_us, _LATEST_US))


def _is_ahead(at_us: int, context: Context) -> bool:
    """Return whether the time of an earlier event was beyond its reading: it came from a clock that is wrong."""
    return context.watermark is not None and at_us > time_to_us(context.watermark) + AHEAD_US


def _plain(value: Any) -> Any:
    """Return a value as JSON keeps it."""
    if isinstance(value, datetime):
        return value.isoformat()
    return value if value is None or isinstance(value, int) else str(value)
