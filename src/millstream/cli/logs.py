"""`millstream logs`: this machine's own event log, understood, with alerts."""

from __future__ import annotations

import contextlib
import sys
import threading
from contextlib import suppress
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer
from msgspec.structs import asdict

from millstream.cli.output import print_json
from millstream.cli.shell import DebugOption, JsonOption
from millstream.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import polars as pl

    from millstream.logs.alert import Alert
    from millstream.logs.application import LogsApplication
    from millstream.logs.rules import Rule
    from millstream.sources.syslog_server import SyslogServer

READ_RECORDS: Final = 5000
WAIT_S: Final = 0.5
"""Of one wait for news, which end it at once."""

EXIT_EXAMPLES: Final = 1


class Action(StrEnum):
    SHOW = "show"
    CHECK = "check"


def logs(
    context: typer.Context,
    action: Annotated[
        Action, typer.Argument(metavar="[show|check]", help="check: run a rules file's examples.")
    ] = Action.SHOW,
    file: Annotated[Path | None, typer.Argument(metavar="FILE", help="Of check: the rules file.")] = None,
    since: Annotated[
        str, typer.Option("--since", metavar="TIME", help="Begin with events so long ago (15m, 2d), or of a time.")
    ] = "1h",
    only: Annotated[
        str | None,
        typer.Option(
            "--only", metavar="KINDS", help="login, logout, privilege, device, service, account, log_cleared."
        ),
    ] = None,
    where: Annotated[
        str | None, typer.Option("--where", metavar="SQL", help="""Such as "user = 'root' AND NOT success".""")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Also lines of no known kind.")] = False,
    rules: Annotated[
        Path | None, typer.Option("--rules", metavar="FILE", help="Alerts by these rules. [those that come along]")
    ] = None,
    follow: Annotated[bool, typer.Option("--follow/--no-follow", help="Go on until Ctrl-C.")] = True,
    listen: Annotated[
        list[str] | None,
        typer.Option("--listen", metavar="ADDRESS", help="Also syslog from the network: udp:5514, tcp:0.0.0.0:601."),
    ] = None,
    data: Annotated[
        Path, typer.Option("--data", metavar="DIR", help="Where its log is kept; a second start goes on there.")
    ] = Path("millstream-logs"),
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Show this machine's own event log: logins, sudo, USB, services, accounts; alerts on top.

    Reads the systemd journal and the files below /var/log, keeps each line once in its own log, and says what it means.
    """
    from millstream.logs.rules import DEFAULT, read_rules

    as_json = json or bool(getattr(context.obj, "json", False))
    if action is Action.CHECK:
        if file is None:
            raise UsageError("say which file to check: millstream logs check FILE")
        raise typer.Exit(_check(read_rules(file), as_json=as_json))
    if file is not None:
        raise UsageError("FILE is for check; give rules with --rules FILE")
    shown = _filter(only, where, everything=everything)
    found = read_rules(rules or DEFAULT)
    if listen and not follow:
        raise UsageError("--listen waits for what is sent; leave out --no-follow")
    with _listening(listen or []) as servers:
        raise typer.Exit(_show(data, found, since, shown, servers, follow=follow, as_json=as_json))


@contextlib.contextmanager
def _listening(addresses: Sequence[str]) -> Iterator[list[SyslogServer]]:
    """Listen for syslog at addresses such as `udp:5514` or `tcp:0.0.0.0:601`."""
    from millstream.sources.syslog_server import SyslogServer

    with contextlib.ExitStack() as opened:
        servers: list[SyslogServer] = []
        for text in addresses:
            transport, _, address = text.partition(":")
            host, _, port = address.rpartition(":")
            if transport not in ("udp", "tcp") or not port.isdecimal() or not 0 <= int(port) <= 65535:
                raise UsageError(
                    f"--listen is {text!r}; give udp or tcp and a port, such as udp:5514 or tcp:0.0.0.0:601"
                )
            place = (host.strip("[]") or "127.0.0.1", int(port))
            server = SyslogServer(udp=place) if transport == "udp" else SyslogServer(tcp=place)
            opened.callback(server.close)
            servers.append(server)
        yield servers


def _check(rules: Sequence[Rule], *, as_json: bool) -> int:
    from millstream.logs.check import check_examples

    outcomes = check_examples(rules)
    wrong = [one for one in outcomes if not one.is_right]
    if as_json:
        for one in outcomes:
            print_json({**asdict(one), "right": one.is_right})
    else:
        for one in outcomes:
            said = "; ".join(alert.message for alert in one.alerts) or "no alert"
            state = "right" if one.is_right else f"WRONG, {one.wanted} wanted"
            print(f"{one.rule}, example {one.example}: {len(one.alerts)} alerts, {state}: {said}")
        print(f"{len(rules)} rules, {len(outcomes)} examples, {len(wrong)} wrong")
    return EXIT_EXAMPLES if wrong else 0


def _filter(only: str | None, where: str | None, *, everything: bool) -> pl.Expr:
    """Return which events are shown."""
    import polars as pl

    from millstream.logs.where import condition
    from millstream.parsers.log_event import Kind
    from millstream.parsers.system_event import Severity

    found = pl.lit(value=True)
    if only is not None:
        kinds = [name.strip() for name in only.split(",") if name.strip()]
        for name in kinds:
            if name not in list(Kind):
                raise UsageError(f"--only: there is no kind {name!r}; the kinds are {', '.join(Kind)}")
        found = pl.col("kind").is_in(kinds)
    elif where is None and not everything:
        # What is understood, and what is bad.
        bad = [Severity.EMERG.value, Severity.ALERT.value, Severity.CRIT.value, Severity.ERR.value]
        found = pl.col("kind").is_not_null() | pl.col("severity").is_in(bad)
    if where is not None:
        found = found & condition(where, what="--where")
    return found.fill_null(value=False)


def _show(
    data: Path,
    rules: Sequence[Rule],
    since: str,
    shown: pl.Expr,
    servers: Sequence[SyslogServer],
    *,
    follow: bool,
    as_json: bool,
) -> int:
    from millstream.app import App
    from millstream.cli.tail import place_of
    from millstream.logs.application import LogsApplication
    from millstream.run.signals import stopped_by_signals

    place = place_of(since, now=datetime.now(UTC))
    if not isinstance(place, datetime):
        raise UsageError(f"--since is {since!r}; give how long ago (15m, 2d) or a time (2026-01-31T12:00Z)")
    data.mkdir(parents=True, exist_ok=True)
    with App(str(data / "millstream.db")) as app:
        logs = LogsApplication(app, rules)
        printer = _Printer(logs, place, shown, as_json=as_json)
        if not follow:
            follower = logs.catch_up()
            printer.print_alerts()
            printer.print_events()
            _note(follower.notes, as_json=as_json)
            return 0
        stop = threading.Event()
        # Polars has an own look at Ctrl-C, and raises it where a query runs: then the event is set as well.
        with stopped_by_signals(stop), logs.following(more=servers) as follower, suppress(KeyboardInterrupt):
            printer.print_alerts()
            while not stop.is_set():
                printer.print_events()
                printer.print_alerts()
                _note(follower.notes, as_json=as_json, seen=printer.notes)
                printer.wait(stop)
    return 0


class _Printer:
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
        self.notes: set[str] = set()

    def print_events(self) -> None:
        import polars as pl

        from millstream.logs.show import event_line
        from millstream.parsers.log_event import event_of

        end = self._logs.events.end_offsets()[0]
        while self._events < end:
            upto = min(end, self._events + READ_RECORDS)
            frame = self._logs.events.frame(self._events, upto)
            for row in frame.filter((pl.col("time") >= self._since) & self._shown).collect().iter_rows(named=True):
                event = event_of(row)
                print_json({"event": asdict(event)}) if self._as_json else print(event_line(event, color=self._color))
            self._events = upto
        sys.stdout.flush()

    def print_alerts(self) -> None:
        from millstream.logs.show import alert_line

        for alert in self._new_alerts():
            if alert.time >= self._since:
                print_json({"alert": asdict(alert)}) if self._as_json else print(alert_line(alert, color=self._color))
        sys.stdout.flush()

    def wait(self, stop: threading.Event) -> None:
        self._logs.events.wait({0: self._events}, WAIT_S, until=stop.is_set)

    def _new_alerts(self) -> Iterator[Alert]:
        while records := self._logs.alerts.read(self._alerts, records_max=READ_RECORDS):
            self._alerts = records[-1].offset + 1
            yield from (record.value for record in records)


def _note(notes: Sequence[str], *, as_json: bool, seen: set[str] | None = None) -> None:
    """Say on stderr what is not read, each once."""
    for note in notes:
        if seen is None or note not in seen:
            print(note, file=sys.stderr)
        if seen is not None:
            seen.add(note)
