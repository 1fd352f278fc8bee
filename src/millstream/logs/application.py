"""The program behind `millstream logs`: listeners write events to one topic; the rules are a stream on it."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from millstream.app import App
from millstream.errors import SchemaError
from millstream.log.retention import Retention
from millstream.logs.alert import Alert
from millstream.logs.delivery import add_output, hand_over
from millstream.logs.detect import Detector
from millstream.logs.ignore import ignored
from millstream.logs.memory import Memory
from millstream.logs.outputs import Output
from millstream.logs.parts import with_parts
from millstream.logs.rules import Rule, Steps, Together
from millstream.logs.where import column_of, condition
from millstream.parsers.log_event import LogEvent
from millstream.records import time_to_us
from millstream.run.supervisor import Running
from millstream.sources.handling import Handling
from millstream.sources.source import Source
from millstream.sources.system import SystemFollower, follow_system, system_sources

if TYPE_CHECKING:
    import polars as pl

    from millstream.log.topic import Topic
    from millstream.stream import Stream, StreamReader

EVENTS: Final = "logs"
ALERTS: Final = "alerts"
READER: Final = "rules"

NO_SCOPE: Final = "true"
OUT_OF_ORDER: Final = "10s"
"""How far apart the listeners of one machine may be: an absence is noticed so much later."""

FUTURE: Final = OUT_OF_ORDER
"""Nothing has happened later than now: a machine whose clock is ahead must not make an absence of what others send."""

MEMORY_BYTES: Final = 32 * 1024 * 1024
"""What all rules hold of their keys: a monitor must not take more than what it watches."""

GRACE: Final = "10s"
"""At the end, for an output that does not take what it is given."""

AT_ONCE: Final = "1ms"

CATCH_UP: Final = "5m"
"""The same where nothing is followed: so long after the events were read."""

MEANWHILE_S: Final = 0.25
"""Between two looks at how far the reading is."""

LINES_FIRST: Final = 10_000
"""Of each file and the journal, at the very first start."""


class LogsApplication:
    """This machine's events in one topic, and what rules say about them in another."""

    def __init__(
        self,
        app: App,
        rules: Sequence[Rule],
        outputs: Sequence[Output] = (),
        *,
        sealed: bool = False,
        seal_key: bytes | None = None,
        events: str = EVENTS,
        alerts: str = ALERTS,
        steps: Handling | None = None,
        retention: Retention | None = None,
    ) -> None:
        """Declare topics, rules and outputs; nothing runs yet.

        Args:
            sealed: Seal events as they are stored, with `seal_key` where there is one; see `follow_system`.
            events: The topic of the events: another one for what was read again.
            alerts: The topic of the alerts.
            steps: What is done with events before they are stored: a `Chain` of `logs.steps.chain`.
            retention: What is kept of events, and of those that steps send to other topics; None: as it was. Alerts
                are kept.

        Raises:
            UsageError: A condition is wrong, or an output cannot write what it is given.
        """
        self.app = app
        self._follow = functools.partial(follow_system, app, events, sealed=sealed, seal_key=seal_key, handling=steps)
        self.rules = tuple(rule for rule in rules if rule.enabled)
        self.events: Topic[LogEvent] = app.topic(events, LogEvent, time="time", retention=retention)
        self.alerts: Topic[Alert] = app.topic(alerts, Alert, time="time")
        if steps is not None and retention is not None:
            _keep(app, [name for name in steps.topics if name != events], retention)
        self._readers: list[StreamReader] = []
        self._running: Running | None = None
        if self.rules:
            self._readers.append(self._add_rules())
        self._outputs = [add_output(app, output, self.events, self.alerts) for output in outputs]

    @contextlib.contextmanager
    def following(
        self, sources: Sequence[Source] | None = None, *, more: Sequence[Source] = ()
    ) -> Iterator[SystemFollower]:
        """Follow the machine, and run rules and outputs meanwhile; at the end, what was read is handled.

        An output that does not take what it is given is left after `GRACE`, and gets the rest at the next start; at
        once where a KeyboardInterrupt ends it.

        Args:
            sources: What to follow; None: what this machine has.
            more: Further sources, such as a `SyslogServer`.
        """
        found = [*(system_sources(lines_first=LINES_FIRST) if sources is None else sources), *more]
        running = self.app.start() if self._readers or self._outputs else None
        self._running = running
        is_urgent = False
        try:
            with self._follow(sources=found) as follower:
                yield follower
        except KeyboardInterrupt:
            is_urgent = True
            raise
        finally:
            if running is not None and not running.stop(AT_ONCE if is_urgent else GRACE) and not is_urgent:
                running.abort()

    def catch_up(self, sources: Sequence[Source] | None = None) -> SystemFollower:
        """Read what there is, run the rules over it, hand it to the outputs, and return."""
        follower = self.read_all(sources)
        self.handle_all(follower)
        return follower

    def read_all(
        self, sources: Sequence[Source] | None = None, *, meanwhile: Callable[[SystemFollower], None] | None = None
    ) -> SystemFollower:
        """Read what there is, and return.

        Args:
            sources: As of `following`.
            meanwhile: Called now and then.
        """
        found = system_sources(lines_first=LINES_FIRST, follow=False) if sources is None else sources
        with self._follow(sources=found) as follower:
            while meanwhile is not None and not follower.ended:
                follower.join(MEANWHILE_S)
                meanwhile(follower)
            follower.join()
        return follower

    def handle_all(self, follower: SystemFollower) -> None:
        """Run the rules over all there is, hand it to the outputs, and return; what did not work is a note."""
        if self.rules and not self._outputs:
            self.app.run(until="now")
        elif self._outputs:
            stop = threading.Event()
            for reader in self._readers:
                while reader.run_now(stop):
                    pass
            for sentence in hand_over(self._outputs, CATCH_UP):
                follower.note(sentence, failed=True)

    @property
    def reader_names(self) -> list[tuple[str, str]]:
        """Topic and name of the streams of the rules and of each output."""
        return [(reader.topic.name, reader.name) for reader in (*self._readers, *self._outputs)]

    def troubles(self) -> list[str]:
        """Return what rules and outputs could not do so far, a sentence each; they are tried again."""
        if self._running is None:
            return []
        names = {reader.name for reader in (*self._readers, *self._outputs)}
        return [
            f"{state.name}: {state.error}" for state in self._running.readers() if state.error and state.name in names
        ]

    def _add_rules(self) -> StreamReader:
        begun_us = functools.cache(functools.partial(_begun_us, self.events))

        def describe(stream: Stream) -> None:
            add_rules(stream, self.rules, self.alerts, begun_us=begun_us)

        # A rule that is taken out of the file takes what it remembers with it.
        return self.app.stream(
            self.events, name=READER, delay=OUT_OF_ORDER, future=FUTURE, changed="drop", memory_bytes=MEMORY_BYTES
        )(describe)


def _keep(app: App, topics: Sequence[str], retention: Retention) -> None:
    for name in topics:
        with contextlib.suppress(SchemaError):  # of other records; that is said when the sources are followed
            app.topic(name, LogEvent, time="time", retention=retention)


def add_rules(stream: Stream, rules: Sequence[Rule], alerts: Topic[Alert], *, begun_us: Callable[[], int]) -> None:
    """Add the steps of rules to the description of a stream of `LogEvent`.

    Rules of one scope share the filter for it, and those that speak up at each event are asked together: what many of
    them look at (a text in small letters, a part of `fields`) is made once.
    """
    scopes: dict[str, list[Rule]] = {}
    for rule in rules:
        if rule.enabled:
            scopes.setdefault(rule.scope, []).append(rule)
    for scope, some in scopes.items():
        within = stream if scope == NO_SCOPE else stream.filter(condition(scope))
        single = [rule for rule in some if rule.each is not None]
        if single:
            add_single(within, single, alerts, begun_us=begun_us)
        for rule in some:
            if rule.each is None:
                add_rule(within, rule, alerts, begun_us=begun_us)


def add_single(stream: Stream, rules: Sequence[Rule], alerts: Topic[Alert], *, begun_us: Callable[[], int]) -> None:
    """Add the steps of rules for which one event is enough."""
    import polars as pl

    detectors = [Detector(rule, begun_us=begun_us) for rule in rules]
    met = [pl.when(wanted(rule).fill_null(value=False)).then(pl.lit(f"{place} ")) for place, rule in enumerate(rules)]

    def alerts_of(value: Any) -> list[Alert]:
        return [detectors[int(place)].alert_of(value) for place in value.met.split()]

    asked = stream.with_columns(met=pl.concat_str(met, ignore_nulls=True)).filter(pl.col("met") != "")
    asked.select("met", *sorted(set().union(*(rule.used for rule in rules)))).flat_map(alerts_of).to(alerts)


def wanted(rule: Rule) -> pl.Expr:
    """Return which events a rule is about, those of its scope."""
    left_out = ignored(rule.ignore)
    found = condition(rule.where)
    return found if left_out is None else found & ~left_out


def add_rule(stream: Stream, rule: Rule, alerts: Topic[Alert], *, begun_us: Callable[[], int]) -> None:
    """Add the steps of one rule to the description of a stream of `LogEvent`."""
    import polars as pl

    one = rule.detection
    found = wanted(rule)
    if isinstance(one, Steps):
        then = condition(one.then).fill_null(value=False)
        left_out = ignored(rule.ignore)
        then = then if left_out is None else then & ~left_out
        stream = stream.filter(found.fill_null(value=False) | then).with_columns(is_then=then)
    elif isinstance(one, Together):
        stream = with_parts(stream.filter(found), one, rule.used)
    else:
        stream = stream.filter(found)
    detector = Detector(rule, begun_us=begun_us)
    parts = {column: column_of(name) for name, column in rule.columns.items() if column != name}
    if parts and not isinstance(one, Together):
        stream = stream.with_columns(**parts)
    by = [rule.columns[name] for name in rule.by]
    if not by:
        # One memory for all events: of a field that is the same for all of them.
        stream, by = stream.with_columns(all_of_them=pl.lit("")), ["all_of_them"]
    # Only these become Python values, and only of the events that the rule is about.
    kept = {*rule.used, *by, *(["is_then"] if isinstance(one, Steps) else [])}
    kept |= {"met"} if isinstance(one, Together) else set()
    stream.select(*sorted(kept)).stateful_map(
        detector.event,
        init=Memory,
        by=by,
        on_timer=detector.timer,
        name=f"{rule.name} {rule.kind}",
    ).to(alerts)


def _begun_us(events: Topic[LogEvent]) -> int:
    """Return when the oldest record happened that there is; asked while a record is handled, so there is one."""
    [record] = events.read(events.info().partitions[0].start_offset, records_max=1)
    # Not later than it was stored: a clock that ran ahead at first must not let everything count as learned.
    return min(time_to_us(record.event_time), time_to_us(record.append_time))
