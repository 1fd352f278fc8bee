"""`millstream logs`: this machine's own event log, understood, with alerts."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer
from msgspec.structs import replace

from millstream.cli.shell import DebugOption, JsonOption
from millstream.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import polars as pl

    from millstream.logs.config import Config
    from millstream.logs.listeners import Listener
    from millstream.sources.source import Source


NEW_TOPIC: Final = "logs.reparsed"


SINCE: Final = "1h"
"""Of this machine's own log, unless told."""


class Action(StrEnum):
    SHOW = "show"
    CHECK = "check"
    REPARSE = "reparse"


def logs(
    context: typer.Context,
    action: Annotated[
        Action,
        typer.Argument(
            metavar="[show|check|reparse]",
            help="check: run the examples of a configuration. reparse: read stored lines again.",
        ),
    ] = Action.SHOW,
    file: Annotated[Path | None, typer.Argument(metavar="FILE", help="Of check: the configuration, or rules.")] = None,
    since: Annotated[
        str | None,
        typer.Option(
            "--since",
            metavar="TIME",
            help="Begin with events so long ago (15m, 2d), or of a time. [1h; all of --read and --stdin]",
        ),
    ] = None,
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
    config: Annotated[
        Path | None, typer.Option("--config", metavar="FILE", help="Sources, rules and outputs; see logs check FILE.")
    ] = None,
    rules: Annotated[
        Path | None, typer.Option("--rules", metavar="FILE", help="Alerts by these rules. [those that come along]")
    ] = None,
    sigma: Annotated[
        Path | None, typer.Option("--sigma", metavar="DIR", help="Also alerts by Sigma rules: a file, or a folder.")
    ] = None,
    sealed: Annotated[
        bool, typer.Option("--sealed", help="Seal events as they are stored: doctor --verify names what was changed.")
    ] = False,
    follow: Annotated[bool, typer.Option("--follow/--no-follow", help="Go on until Ctrl-C.")] = True,
    listen: Annotated[
        list[str] | None,
        typer.Option(
            "--listen", metavar="ADDRESS", help="Also from the network: udp:5514, tcp:0.0.0.0:601, otlp:4318."
        ),
    ] = None,
    read: Annotated[
        list[Path] | None,
        typer.Option("--read", metavar="FILE", help="These files, from their first line, instead of this machine."),
    ] = None,
    stdin: Annotated[
        bool, typer.Option("--stdin", help="What is piped in, to its end, instead of this machine.")
    ] = False,
    start: Annotated[
        str, typer.Option("--from", metavar="PLACE", help="Of reparse: start, an offset, a time, how long ago.")
    ] = "start",
    to: Annotated[str, typer.Option("--to", metavar="TOPIC", help="Of reparse: where the new events go.")] = NEW_TOPIC,
    format: Annotated[
        str | None, typer.Option("--format", metavar="FORMAT", help="Of --read, --stdin, reparse: what lines are.")
    ] = None,
    pattern: Annotated[
        str | None, typer.Option("--pattern", metavar="PATTERN", help="Of reparse: all lines by a pattern.")
    ] = None,
    data: Annotated[
        Path, typer.Option("--data", metavar="DIR", help="Where its log is kept; a second start goes on there.")
    ] = Path("millstream-logs"),
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Show this machine's own event log: logins, sudo, USB, services, accounts; alerts on top.

    Reads the systemd journal and the files below /var/log, or what a configuration names; keeps each line once in its
    own log, and says what it means.
    """
    as_json = json or bool(getattr(context.obj, "json", False))
    if action is Action.CHECK:
        from millstream.cli.logs_check import check

        if file is None and sigma is None:
            raise UsageError("say which file to check: millstream logs check FILE")
        raise typer.Exit(check(file, sigma, as_json=as_json))
    if action is Action.REPARSE:
        from millstream.cli.logs_reparse import reparse

        # To follow is what showing does by itself, reading again only when told.
        given = context.get_parameter_source("follow")
        goes_on = follow and given is not None and given.name == "COMMANDLINE"
        raise typer.Exit(reparse(data, start, to, format, pattern, follow=goes_on, as_json=as_json))
    if file is not None:
        raise UsageError("FILE is for check; give a configuration with --config FILE, rules with --rules FILE")
    shown, begin = _filter(only, where, everything=everything), _since(since, everything=bool(read) or stdin)
    found = _configured(config, rules, listen or [])
    if read or stdin:
        found = replace(found, sources=_given(read or [], format, stdin=stdin))
    if sigma is not None:
        from millstream.logs.config import with_sigma

        found = with_sigma(found, sigma)
    if sealed:
        found = replace(found, sealed=True)
    if listen and not follow:
        raise UsageError("--listen waits for what is sent; leave out --no-follow")

    from millstream.logs.listeners import opened

    with opened(found.sources, found.origin or "millstream logs", follow=follow) as sources:
        raise typer.Exit(_show(data, found, begin, shown, sources, follow=follow, json=as_json))


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
    data: Path, config: Config, since: datetime, shown: pl.Expr, sources: Sequence[Source], *, follow: bool, json: bool
) -> int:
    from millstream.app import App
    from millstream.cli.logs_printer import Printer
    from millstream.log.seals.key import key_from
    from millstream.log.seals.seal import seals_of
    from millstream.logs.application import EVENTS, LogsApplication
    from millstream.logs.listeners import StdinListener
    from millstream.logs.steps.chain import Chain
    from millstream.run.signals import stopped_by_signals

    # A pipe has an end, and so have we then.
    ends = all(isinstance(listener, StdinListener) for listener in config.sources)
    data.mkdir(parents=True, exist_ok=True)
    with App(str(data / "millstream.db")) as app:
        key = key_from(os.environ) if config.sealed or seals_of(EVENTS) in app.log.topics() else None
        steps = Chain(config.steps, os.environ) if config.steps else None
        logs = LogsApplication(app, config.rules, config.outputs, sealed=config.sealed, seal_key=key, steps=steps)
        printer = Printer(logs, since, shown, as_json=json)
        printer.print_notes(config.unusable)
        if not follow:
            follower = logs.catch_up(sources)
            printer.print_alerts()
            printer.print_events()
            printer.print_notes(follower.notes)
            printer.print_counts(follower.dropped, follower.routed)
            printer.print_unseen()
            return 0
        stop = threading.Event()
        # Polars has an own look at Ctrl-C, and raises it where a query runs: then the event is set as well.
        with stopped_by_signals(stop), logs.following(sources) as follower, suppress(KeyboardInterrupt):
            printer.print_alerts()
            while not stop.is_set() and not (ends and follower.ended):
                printer.print_events()
                printer.print_alerts()
                printer.print_notes([*follower.notes, *logs.troubles()])
                printer.wait(stop)
        if ends and follower.ended:
            logs.catch_up([])  # what rules and outputs have not seen yet
        printer.print_events()
        printer.print_alerts()
        printer.print_counts(follower.dropped, follower.routed)
        if ends:
            printer.print_unseen()
    return 0


def _given(read: Sequence[Path], format: str | None, *, stdin: bool) -> tuple[Listener, ...]:
    """Return what reads files from their first line, and what is piped in."""
    from millstream.logs.listeners import EvtxListener, FilesListener, StdinListener
    from millstream.sources.sampled import AUTO

    missing = [path for path in read if not path.exists()]
    if missing:
        raise UsageError(f"--read {missing[0]}: there is no such file")
    binary = [str(path) for path in read if path.suffix == ".evtx"]
    text = [str(path) for path in read if path.suffix != ".evtx"]
    found: list[Listener] = []
    if text:
        found.append(FilesListener(paths=text, lines_first=None, format=format or AUTO))
    if binary:
        found.append(EvtxListener(paths=tuple(binary)))
    if stdin:
        found.append(StdinListener(format=format or AUTO))
    return tuple(found)


def _since(text: str | None, *, everything: bool) -> datetime:
    """Return where to begin; what is read in place of this machine's log may be old, and was meant."""
    from millstream.cli.tail import place_of

    if text is None:
        if everything:
            return datetime.fromtimestamp(0, UTC)
        text = SINCE
    place: object = None
    with suppress(UsageError):  # which speaks of another option
        place = place_of(text, now=datetime.now(UTC))
    if not isinstance(place, datetime):
        raise UsageError(f"--since is {text!r}; give how long ago (15m, 2d) or a time (2026-01-31T12:00Z)")
    return place


def _configured(config: Path | None, rules: Path | None, listen: Sequence[str]) -> Config:
    """Return what is configured: this machine's own log and the rules that come along, unless told."""
    import msgspec

    from millstream.logs.config import Config, read_config
    from millstream.logs.listeners import SystemListener
    from millstream.logs.rules import DEFAULT

    found = Config() if config is None else read_config(config, os.environ)
    if rules is not None or not found.rules:
        found = msgspec.structs.replace(found, rules=read_config(rules or DEFAULT).rules)
    sources = (*(found.sources or (SystemListener(),)), *map(_listener, listen))
    return msgspec.structs.replace(found, sources=sources)


def _listener(text: str) -> Listener:
    """Return what listens at `udp:5514`, `tcp:0.0.0.0:601` or `otlp:4318`."""
    from millstream.logs.listeners import OtlpListener, SyslogListener, address_of

    transport, _, address = text.partition(":")
    with suppress(UsageError):
        address_of(address, transport)
        if transport in ("udp", "tcp"):
            return SyslogListener(**{transport: address})
        if transport == "otlp":
            return OtlpListener(listen=address)
    raise UsageError(
        f"--listen is {text!r}; give udp, tcp or otlp and a port, such as udp:5514, tcp:0.0.0.0:601 or otlp:4318"
    )
