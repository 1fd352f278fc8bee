"""`millstream logs`: this machine's own event log, understood, with alerts."""

from __future__ import annotations

import os
import sys
import tempfile
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer
from msgspec.structs import replace

from millstream.cli.monitoring import Monitoring
from millstream.cli.shell import DebugOption, JsonOption
from millstream.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from millstream.logs.config import Config
    from millstream.logs.listeners import Listener
    from millstream.run.signals import Told

NEW_TOPIC: Final = "logs.reparsed"
STDIN: Final = "-"
"""In place of a file: what is piped in."""
SINCE: Final = "1h"
"""Of this machine's own log, unless told."""


class Action(StrEnum):
    SHOW = "show"
    CHECK = "check"
    REPARSE = "reparse"
    STATUS = "status"


def logs(
    context: typer.Context,
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="FILE|show|check|reparse|status",
            help="Files to show, as with --read. check FILE: run the examples of a configuration. reparse: read stored "
            "lines again. status: how far sources, rules and outputs are.",
        ),
    ] = None,
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
        list[str] | None,
        typer.Option(
            "--read", metavar="FILE", help="These files, from their first line, instead of this machine; also a folder."
        ),
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
    multiline: Annotated[
        str | None,
        typer.Option(
            "--multiline", metavar="PRESET", help="Of --read, --stdin: what lines are one event: traces, java, python."
        ),
    ] = None,
    pattern: Annotated[
        str | None, typer.Option("--pattern", metavar="PATTERN", help="Of reparse: all lines by a pattern.")
    ] = None,
    data: Annotated[
        Path, typer.Option("--data", metavar="DIR", help="Where its log is kept; a second start goes on there.")
    ] = Path("millstream-logs"),
    metrics: Annotated[
        str | None,
        typer.Option("--metrics", metavar="ADDRESS", help="Answer monitors there, such as 127.0.0.1:9464."),
    ] = None,
    metrics_token: Annotated[
        str | None,
        typer.Option("--metrics-token", metavar="TOKEN", help="Monitors need it; made up where others reach them."),
    ] = None,
    stall: Annotated[
        str,
        typer.Option("--stall", metavar="TIME", help="Rules and outputs that do not move for so long are unhealthy."),
    ] = "10m",
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Show this machine's own event log: logins, sudo, USB, services, accounts; alerts on top.

    Reads the systemd journal and the files below /var/log, or what a configuration names; keeps each line once in its
    own log, and says what it means.
    """
    as_json = json or bool(getattr(context.obj, "json", False))
    action, files = _action(words or [])
    if action is Action.CHECK:
        from millstream.cli.logs_check import check

        if len(files) > 1 or not (files or sigma):
            raise UsageError("say which file to check: millstream logs check FILE")
        raise typer.Exit(check(Path(files[0]) if files else None, sigma, as_json=as_json))
    if action is Action.REPARSE:
        from millstream.cli.logs_reparse import reparse

        _refuse(files, action)
        # To follow is what showing does by itself, reading again only when told.
        goes_on = follow and _is_given(context, "follow")
        raise typer.Exit(reparse(data, start, to, format, pattern, follow=goes_on, as_json=as_json))
    if action is Action.STATUS:
        from millstream.cli.logs_status import status

        _refuse(files, action)
        raise typer.Exit(status(data, as_json=as_json))
    given = [*(read or []), *files]
    stdin, read = stdin or STDIN in given, [word for word in given if word != STDIN]
    if listen and not follow:
        raise UsageError("--listen waits for what is sent; leave out --no-follow")
    monitoring = Monitoring(metrics, metrics_token, stall)
    monitoring.check()
    if metrics is not None and not follow:
        raise UsageError("--metrics is for what goes on until Ctrl-C; leave out --no-follow")
    from millstream.cli.logs_reload import Reload, has_terminal
    from millstream.cli.logs_show import Showing, show, shown_events
    from millstream.cli.logs_telling import told_in_lines

    shown, begin = shown_events(only, where, everything=everything), _since(since, everything=bool(read) or stdin)

    def configure() -> Config:
        return _configured(config, rules, sigma, listen or [], sealed=sealed)

    found = configure()
    reloads = follow and bool(config or rules or sigma) and not (read or stdin or has_terminal())
    if read or stdin:
        found = _instead(found, read, format, multiline, stdin=stdin, follow=follow)

    from millstream.logs.listeners import opened

    is_look = read and not stdin and not found.outputs and not found.sealed and not _is_given(context, "data")
    in_detail = debug or bool(getattr(context.obj, "debug", False))
    reload = Reload(configure)
    with told_in_lines(debug=in_detail), _place(None if is_look else data) as place, _signals(follow, reloads) as told:
        showing = Showing(place, begin, shown, monitoring, as_json=as_json)

        def once(found: Config) -> int:
            with opened(found.sources, found.origin or "millstream logs", follow=follow) as sources:
                return show(showing, found, sources, reload, told)

        code = reload.run(found, once)
    raise typer.Exit(code)


def _action(words: Sequence[str]) -> tuple[Action, Sequence[str]]:
    """Return what is to be done, and the files that follow; files alone are to be shown."""
    if not words:
        return Action.SHOW, ()
    if words[0] in list(Action):
        return Action(words[0]), words[1:]
    if "/" not in words[0] and "." not in words[0] and words[0] != STDIN and not Path(words[0]).exists():
        raise UsageError(f"{words[0]!r} is no file, and nothing that is done here; that is {', '.join(Action)}")
    return Action.SHOW, words


def _refuse(files: Sequence[str], action: Action) -> None:
    if files:
        raise UsageError(
            f"{action} is about what is stored, and takes no file: {files[0]}; --data DIR says where it is"
        )


def _is_given(context: typer.Context, name: str) -> bool:
    """Return whether an option is on the command line."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


@contextmanager
def _place(data: Path | None) -> Iterator[Path]:
    """Give where the log is kept; None: nowhere, once the look at some files is over."""
    if data is not None:
        yield data
        return
    with tempfile.TemporaryDirectory(prefix="millstream-logs-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def _signals(follow: bool, reloads: bool) -> AbstractContextManager[Told | None]:
    """Have signals told; None where nothing is followed, and each of them does what it always does.

    Args:
        reloads: Whether SIGHUP is about the configuration; else it ends it, as the terminal is closed.
    """
    if not follow:
        return nullcontext()
    import threading

    from millstream.run.signals import stopped_by_signals

    stop = threading.Event()
    return stopped_by_signals(stop, threading.Event() if reloads else stop)


@contextmanager
def _named(option: str) -> Iterator[None]:
    """Have what is wrong with an option be told with its name."""
    try:
        yield
    except UsageError as error:
        raise UsageError(f"{option}: {error}") from error


def _instead(
    config: Config, read: Sequence[str], format: str | None, multiline: str | None, *, stdin: bool, follow: bool
) -> Config:
    """Return a configuration that reads some files, and what is piped in, instead of its own sources."""
    from millstream.cli.logs_given import given_files
    from millstream.logs.listeners import StdinListener
    from millstream.sources.multiline import multiline as multiline_of
    from millstream.sources.sampled import AUTO, parser_of

    with _named("--format"):
        parser_of(format or AUTO)
    with _named("--multiline"):
        multiline_of(multiline)
    listeners, notes = given_files(read, format, multiline, follow=follow) if read else ((), ())
    for note in notes:
        print(note, file=sys.stderr)
    piped = (StdinListener(format=format or AUTO, multiline=multiline),) if stdin else ()
    return replace(config, sources=(*listeners, *piped))


def _since(text: str | None, *, everything: bool) -> datetime:
    """Return where to begin; what is read in place of this machine's log may be old, and was meant."""
    from millstream.cli.tail import place_of

    if text is None:
        if everything:
            return datetime.min.replace(tzinfo=UTC)
        text = SINCE
    place: object = None
    with suppress(UsageError):  # which speaks of another option
        place = place_of(text, now=datetime.now(UTC))
    if not isinstance(place, datetime):
        raise UsageError(f"--since is {text!r}; give how long ago (15m, 2d) or a time (2026-01-31T12:00Z)")
    return place


def _configured(
    config: Path | None, rules: Path | None, sigma: Path | None, listen: Sequence[str], *, sealed: bool
) -> Config:
    """Return what is configured: this machine's own log and the rules that come along, unless told."""
    from millstream.logs.config import Config, read_config, with_sigma
    from millstream.logs.listeners import SystemListener
    from millstream.logs.rules import DEFAULT

    found = Config() if config is None else read_config(config, os.environ)
    if rules is not None or not found.rules:
        found = replace(found, rules=read_config(rules or DEFAULT).rules)
    sources = (*(found.sources or (SystemListener(),)), *map(_listener, listen))
    found = replace(found, sources=sources, sealed=found.sealed or sealed)
    return found if sigma is None else with_sigma(found, sigma)


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
