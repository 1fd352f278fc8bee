"""Prints events and alerts of `millstream logs` as they come."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Final

from msgspec.structs import asdict

from millstream.cli.output import print_json

if TYPE_CHECKING:
    import polars as pl

    from millstream.logs.alert import Alert
    from millstream.logs.application import LogsApplication

READ_RECORDS: Final = 5000
WAIT_S: Final = 0.5
"""Of one wait for news, which end it at once."""


class Printer:
    """Prints what is new in the two topics."""

    def __init__(self, logs: LogsApplication, since: datetime, shown: pl.Expr, *, as_json: bool) -> None:
        self._logs = logs
        self._since = since
        self._shown = shown
        self._as_json = as_json
        self._color = not as_json and sys.stdout.isatty()
        # What happened since then was appended since then: the years before are not looked through.
        self._events = logs.events.offsets_at(since)[0]
        self._alerts = logs.alerts.offsets_at(since)[0]
        self._said: set[str] = set()
        self._looked_at = 0
        self._printed = 0

    def print_events(self) -> None:
        import polars as pl

        from millstream.logs.show import event_line
        from millstream.parsers.log_event import event_of

        end = self._logs.events.end_offsets()[0]
        while self._events < end:
            upto = min(end, self._events + READ_RECORDS)
            frame = self._logs.events.frame(self._events, upto)
            self._looked_at += upto - self._events
            for row in frame.filter((pl.col("time") >= self._since) & self._shown).collect().iter_rows(named=True):
                event = event_of(row)
                self._printed += 1
                print_json({"event": asdict(event)}) if self._as_json else print(event_line(event, color=self._color))
            self._events = upto
        sys.stdout.flush()

    def print_alerts(self) -> None:
        from millstream.logs.show import alert_line

        for alert in self._new_alerts():
            if alert.time >= self._since:
                print_json({"alert": asdict(alert)}) if self._as_json else print(alert_line(alert, color=self._color))
        sys.stdout.flush()

    def print_notes(self, notes: Iterable[str]) -> None:
        """Say on stderr what is not read, or not taken, each once."""
        for note in notes:
            if note not in self._said:
                self._said.add(note)
                print(note, file=sys.stderr)

    def print_counts(self, dropped: Mapping[str, int], routed: Mapping[str, int]) -> None:
        """Say at the end what is not among the events, and why."""
        if self._as_json and (dropped or routed):
            print_json({"dropped": dict(dropped), "routed": dict(routed)})
            return
        for step, count in dropped.items():
            print(f"{step} left out {count:,} events", file=sys.stderr)
        for topic, count in routed.items():
            print(f"{count:,} events went to topic {topic}", file=sys.stderr)

    def print_unseen(self) -> None:
        """Say that there were events where none of them was shown: silence would look as if there were nothing."""
        if self._looked_at and not self._printed:
            print(f"none of {self._looked_at:,} events is shown here; --all and --since show more", file=sys.stderr)

    def wait(self, stop: threading.Event) -> None:
        self._logs.events.wait({0: self._events}, WAIT_S, until=stop.is_set)

    def _new_alerts(self) -> Iterator[Alert]:
        while records := self._logs.alerts.read(self._alerts, records_max=READ_RECORDS):
            self._alerts = records[-1].offset + 1
            yield from (record.value for record in records)
