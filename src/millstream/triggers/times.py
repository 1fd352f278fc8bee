"""Times as triggers: cron expressions, intervals, one moment. Each is one event, however many processes run."""

from __future__ import annotations

import threading
from datetime import datetime, timedelta
from typing import ClassVar, Final, Literal, NamedTuple

import msgspec

from millstream.durations import span_text
from millstream.errors import CommitConflictError, SettingsError
from millstream.log.log import Log
from millstream.records import time_from_us
from millstream.triggers.memory import Memory
from millstream.triggers.protocol import EventSource, Trigger, name_of
from millstream.triggers.schedule import At, Cron, Every, Schedule, dues_between

MISSED: Final = ("once", "skip", "all")

Missed = Literal["once", "skip", "all"]

LATE_US: Final = 60_000_000
"""A due time this long ago was missed: nobody was there, or the clock was set."""

LOOK_S: Final = 1.0
"""The wall clock is looked at this often: it may be set meanwhile, and a machine may sleep."""

EVENTS_MAX: Final = 1000
"""Of one transaction, when many due times are made up for."""

_LAST: Final = b"last"
"""Key of the state: the last due time that was dealt with."""


class Due(msgspec.Struct, frozen=True, kw_only=True):
    """A time that has come."""

    due: datetime
    """When it was due; later than that by what nobody was there for."""
    missed: int = 0
    """Due times before this one that it stands for, with missed="once"."""


def cron(expression: str, *, timezone: str = "UTC", missed: Missed = "once", name: str | None = None) -> TimeTrigger:
    """Be due as a cron expression says: `@app.on(cron("5 0 * * *", timezone="Europe/Berlin"))`.

    A time of day that the clocks skip is due at the first moment after the gap, one that comes twice is due once; an
    expression for an interval, whose minute or hour begins with `*`, runs in real time.

    Args:
        expression: Minute, hour, day of the month, month, day of the week; or `@daily` and its like.
        missed: Of due times that passed while nothing ran: "once" makes up for all with one event, "all" for each,
            "skip" for none.
        name: Of the trigger; None: made of the expression.

    Raises:
        UsageError: The expression cannot be read or is never due, or the time zone is not known.
    """
    zone = () if timezone == "UTC" else (timezone,)
    return TimeTrigger(Cron(expression, timezone), missed, name=name or name_of("cron", expression, *zone))


def every(interval: timedelta | str | float, *, missed: Missed = "once", name: str | None = None) -> TimeTrigger:
    """Be due at equal intervals, counted from 1970 UTC: `@app.on(every("10m"))` at :00, :10, :20 and so on.

    Args:
        missed, name: As for `cron`.

    Raises:
        UsageError: It is no duration, or below 100 ms.
    """
    schedule = Every.of(interval)
    return TimeTrigger(schedule, missed, name=name or name_of("every", span_text(schedule.interval_us)))


def at(moment: datetime, *, missed: Literal["once", "skip"] = "once", name: str | None = None) -> TimeTrigger:
    """Be due once: `@app.on(at(datetime(2027, 1, 1, tzinfo=UTC)))`. A moment that has passed is due at once.

    Args:
        missed: "skip": a moment that passed while nothing ran is not made up for.
        name: As for `cron`.

    Raises:
        UsageError: The moment has no time zone.
    """
    return TimeTrigger(At.of(moment), missed, name=name or name_of("at", moment.isoformat()))


class TimeTrigger(Trigger):
    """A schedule; see `cron`, `every` and `at`."""

    kind = "time"
    event: ClassVar[type] = Due
    time_field = "due"

    def __init__(self, schedule: Schedule, missed: str, *, name: str) -> None:
        super().__init__(name)
        if missed not in MISSED:
            raise SettingsError(f"missed is {missed!r}; give one of {', '.join(map(repr, MISSED))}")
        self.schedule = schedule
        self.missed = missed

    def source(self, log: Log) -> EventSource:
        return TimeSource(log, self)


class TimeSource:
    """Writes the events of one schedule.

    How far it came is kept in the transaction that writes an event: of two processes one commits, the other looks anew.
    A clock that is set back makes nothing due twice.
    """

    def __init__(self, log: Log, trigger: TimeTrigger) -> None:
        self._clock = log.clock
        self._log = log
        self._trigger = trigger
        self._memory: Memory | None = None

    def run(self, stop: threading.Event) -> None:
        while not stop.is_set():
            self._fire()
            stop.wait(self._wait_s())

    def run_now(self, stop: threading.Event) -> int:
        count = 0
        while not stop.is_set() and (fired := self._fire()):
            count += fired
        return count

    def _fire(self) -> int:
        """Write what is due; return how many events."""
        memory, last = self._open()
        now_us = self._clock.now_us()
        due = self._due(last, now_us)
        if due.until == last:
            return 0
        try:
            memory.write(due.events, found={_LAST: b"%d" % last}, kept={_LAST: b"%d" % due.until})
        except CommitConflictError:
            return 0  # another process was faster; the next look sees how far it came
        return len(due.events)

    def _due(self, last: int, now_us: int) -> _Dues:
        """Return the events after `last`, and how far they go."""
        schedule, missed = self._trigger.schedule, self._trigger.missed
        found: list[Due] = []
        until, passed = last, 0
        if missed == "skip":
            until = max(last, schedule.last_at(now_us - LATE_US) or last)
        for due in dues_between(schedule, until, now_us):
            until = due
            if missed == "once" and due <= now_us - LATE_US:
                passed += 1
                continue
            found.append(Due(due=time_from_us(due), missed=passed))
            passed = 0
            if len(found) >= EVENTS_MAX:
                break
        if passed:
            found.append(Due(due=time_from_us(until), missed=passed - 1))
        return _Dues(found, until)

    def _wait_s(self) -> float:
        _, last = self._open()
        due = self._trigger.schedule.next_after(last)
        if due is None:
            return LOOK_S
        return min(LOOK_S, max((due - self._clock.now_us()) / 1e6, 0.001))

    def _open(self) -> tuple[Memory, int]:
        if self._memory is None:
            self._memory = Memory(self._log, self._trigger.name, self._trigger.events(self._log))
        memory = self._memory
        kept = memory.read(_LAST).get(_LAST)
        if kept is None:
            # What was due before anybody asked for it is not made up for; but one moment is meant whenever it was.
            begin = 0 if isinstance(self._trigger.schedule, At) else self._clock.now_us()
            try:
                memory.write([], found={_LAST: None}, kept={_LAST: b"%d" % begin})
            except CommitConflictError:
                pass  # another process began at the same moment
            kept = memory.read(_LAST)[_LAST]
        return memory, int(kept)


class _Dues(NamedTuple):
    events: list[Due]
    until: int
