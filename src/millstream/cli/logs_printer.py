"""Prints events and alerts of `millstream logs`: what there is in the order of time, then what comes as it comes."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Final

from msgspec.structs import asdict

from millstream.cli.output import print_json

if TYPE_CHECKING:
    import polars as pl

    from millstream.logs.alert import Alert
    from millstream.logs.application import LogsApplication
    from millstream.logs.in_time import Row

READ_RECORDS: Final = 5000
WAIT_S: Final = 0.5
"""Of one wait for news, which end it at once."""

JOURNAL_NOTE: Final = (
    "standard output is the systemd journal, where what is shown would be read again: nothing is shown; "
    "events and alerts are in the log, and go to the outputs"
)


def is_journal(descriptor: int, environment: Mapping[str, str]) -> bool:
    """Return whether what is printed goes to the systemd journal: read from there, it would be printed again, for ever.

    Source: systemd.exec(5), JOURNAL_STREAM.
    """
    stream = environment.get("JOURNAL_STREAM")
    if not stream:
        return False
    status = os.fstat(descriptor)
    return stream == f"{status.st_dev}:{status.st_ino}"


class Printer:
    """Prints what is new in the two topics."""

    def __init__(
        self,
        logs: LogsApplication,
        since: datetime,
        shown: pl.Expr,
        *,
        from_now: bool = False,
        as_json: bool,
        silent: bool = False,
    ) -> None:
        """Begin with what happened since a time; or with what is stored from now on.

        Args:
            silent: Print no events and no alerts; see `is_journal`.
        """
        import polars as pl

        self._logs = logs
        self._since = pl.col("time") >= since
        self._shown = self._since & shown
        self._as_json = as_json
        self._silent = silent
        self._color = not as_json and sys.stdout.isatty()
        # What happened since then was appended since then: the years before are not looked through.
        self._events = logs.events.end_offsets()[0] if from_now else logs.events.offsets_at(since)[0]
        self._alerts = logs.alerts.end_offsets()[0] if from_now else logs.alerts.offsets_at(since)[0]
        self._looked_at = 0
        self._printed = 0

    def print_all(self, stop: threading.Event) -> None:
        """Print what there is until told to stop: alerts, then events, both in the order of their time."""
        from millstream.logs.alert import alert_of
        from millstream.logs.in_time import in_order_of_time

        if self._silent:
            return
        end = self._logs.alerts.end_offsets()[0]
        for row in in_order_of_time(self._logs.alerts, self._alerts, end, self._since):
            if stop.is_set():
                return
            self._print_alert(alert_of(row))
        self._alerts = end
        end = self._logs.events.end_offsets()[0]
        for row in self._sorted_events(end):
            if stop.is_set():
                return
            self._print_event(row)
        self._looked_at += end - self._events
        self._events = end
        sys.stdout.flush()

    def _sorted_events(self, end: int) -> Iterator[Row]:
        """Yield the events to show, in the order of time; tell how far that is where it takes long."""
        from millstream.cli.progress import progress
        from millstream.logs.in_time import in_order_of_time

        start = self._events
        with progress("sorting") as advance:
            rows = in_order_of_time(
                self._logs.events,
                start,
                end,
                self._shown,
                looked=lambda offset: advance(offset - start, end - start, ""),
            )
            # Before the first row all is looked at; behind it the rows themselves show that it moves.
            first = next(rows, None)
        if first is not None:
            yield first
            yield from rows

    def print_events(self) -> None:
        """Print the events that came since, as they came."""
        if self._silent:
            return
        end = self._logs.events.end_offsets()[0]
        while self._events < end:
            upto = min(end, self._events + READ_RECORDS)
            frame = self._logs.events.frame(self._events, upto)
            self._looked_at += upto - self._events
            for row in frame.filter(self._shown).collect().iter_rows(named=True):
                self._print_event(row)
            self._events = upto
        sys.stdout.flush()

    def print_alerts(self) -> None:
        """Print the alerts that came since, as they came."""
        from millstream.logs.alert import alert_of

        if self._silent:
            return
        end = self._logs.alerts.end_offsets()[0]
        if self._alerts < end:
            for row in self._logs.alerts.frame(self._alerts, end).filter(self._since).collect().iter_rows(named=True):
                self._print_alert(alert_of(row))
            self._alerts = end
        sys.stdout.flush()

    def print_counts(self, dropped: Mapping[str, int], routed: Mapping[str, int]) -> None:
        """Say at the end what is not among the events, and why."""
        if self._as_json and (dropped or routed):
            print_json({"dropped": dict(dropped), "routed": dict(routed)})
            return
        for step, count in dropped.items():
            print(f"{step} left out {count:,} events", file=sys.stderr)
        for topic, count in routed.items():
            print(f"{count:,} events went to topic {topic}", file=sys.stderr)

    def print_unseen(self, *, follows: bool = False) -> None:
        """Say that nothing was shown, and that there are others: silence would look like a failure.

        Args:
            follows: Whether it goes on.
        """
        if self._silent or self._printed or not (self._looked_at or follows):
            return
        there = f"none of {self._looked_at:,} events is shown here; --all and --since show more"
        said = [there] if self._looked_at else []
        said += ["what happens is shown as it comes, until Ctrl-C"] if follows else []
        print("; ".join(said), file=sys.stderr)

    def wait(self, stop: threading.Event) -> None:
        self._logs.events.wait({0: self._events}, WAIT_S, until=stop.is_set)

    def _print_event(self, row: Row) -> None:
        from millstream.logs.show import event_line
        from millstream.parsers.log_event import event_of

        event = event_of(row)
        self._printed += 1
        print_json({"event": asdict(event)}) if self._as_json else print(event_line(event, color=self._color))

    def _print_alert(self, alert: Alert) -> None:
        from millstream.logs.show import alert_line

        print_json({"alert": asdict(alert)}) if self._as_json else print(alert_line(alert, color=self._color))
