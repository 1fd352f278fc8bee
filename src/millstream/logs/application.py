"""The program behind `millstream logs`: listeners write events to one topic; the rules are a stream on it."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

from millstream.app import App
from millstream.logs.alert import Alert
from millstream.logs.detect import Detector, Memory
from millstream.logs.rules import Rule, Steps
from millstream.logs.where import condition
from millstream.parsers.log_event import LogEvent
from millstream.records import time_to_us
from millstream.sources.source import Source
from millstream.sources.system import SystemFollower, follow_system, system_sources

if TYPE_CHECKING:
    from millstream.log.topic import Topic
    from millstream.stream import Stream

EVENTS: Final = "logs"
ALERTS: Final = "alerts"
READER: Final = "rules"

OUT_OF_ORDER: Final = "10s"
"""How far apart the listeners of one machine may be: an absence is noticed so much later."""

LINES_FIRST: Final = 10_000
"""Of each file and the journal, at the very first start."""


class LogsApplication:
    """This machine's events in one topic, and what rules say about them in another."""

    def __init__(self, app: App, rules: Sequence[Rule]) -> None:
        """Declare topics and rules; nothing runs yet.

        Raises:
            UsageError: A rule's condition is wrong.
        """
        self.app = app
        self.rules = tuple(rules)
        self.events: Topic[LogEvent] = app.topic(EVENTS, LogEvent, time="time")
        self.alerts: Topic[Alert] = app.topic(ALERTS, Alert, time="time")
        if self.rules:
            begun_us = functools.cache(functools.partial(_begun_us, self.events))

            def describe(stream: Stream) -> None:
                for rule in self.rules:
                    add_rule(stream, rule, self.alerts, begun_us=begun_us)

            # A rule that is taken out of the file takes what it remembers with it.
            app.stream(self.events, name=READER, delay=OUT_OF_ORDER, changed="drop")(describe)

    @contextlib.contextmanager
    def following(
        self, sources: Sequence[Source] | None = None, *, more: Sequence[Source] = ()
    ) -> Iterator[SystemFollower]:
        """Follow the machine and run the rules meanwhile; at the end, what was read is handled.

        Args:
            sources: What to follow; None: what this machine has.
            more: Further sources, such as a `SyslogServer`.
        """
        found = [*(system_sources(lines_first=LINES_FIRST) if sources is None else sources), *more]
        with contextlib.ExitStack() as running:
            if self.rules:
                running.enter_context(self.app.start())
            yield running.enter_context(follow_system(self.app, EVENTS, sources=found))

    def catch_up(self, sources: Sequence[Source] | None = None) -> SystemFollower:
        """Read what there is, run the rules over it, and return."""
        found = system_sources(lines_first=LINES_FIRST, follow=False) if sources is None else sources
        with follow_system(self.app, EVENTS, sources=found) as follower:
            follower.join()
        if self.rules:
            self.app.run(until="now")
        return follower


def add_rule(stream: Stream, rule: Rule, alerts: Topic[Alert], *, begun_us: Callable[[], int]) -> None:
    """Add the steps of one rule to the description of a stream of `LogEvent`."""
    import polars as pl

    one = rule.detection
    found = condition(rule.where)
    if isinstance(one, Steps):
        then = condition(one.then).fill_null(value=False)
        stream = stream.filter(found.fill_null(value=False) | then).with_columns(is_then=then)
    else:
        stream = stream.filter(found)
    detector = Detector(rule, begun_us=begun_us)
    by = one.by
    if not by:
        # One memory for all events: of a field that is the same for all of them.
        stream, by = stream.with_columns(source=pl.lit("")), ["source"]
    stream.stateful_map(
        detector.event,
        init=Memory,
        by=by,
        ttl=detector.ttl_us / 1e6,
        on_timer=detector.timer if detector.has_timer else None,
        name=rule.name,
    ).to(alerts)


def _begun_us(events: Topic[LogEvent]) -> int:
    """Return the event time of the oldest record there is; asked while a record is handled, so there is one."""
    [record] = events.read(events.info().partitions[0].start_offset, records_max=1)
    return time_to_us(record.event_time)
