"""`millstream logs`: reads, stores, runs rules and outputs, and prints meanwhile."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from millstream.errors import StorageError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import polars as pl

    from millstream.cli.logs_printer import Printer
    from millstream.cli.logs_reload import Reload
    from millstream.cli.logs_telling import Teller
    from millstream.cli.monitoring import Monitoring
    from millstream.logs.application import LogsApplication
    from millstream.logs.config import Config
    from millstream.run.signals import Told
    from millstream.sources.source import Source
    from millstream.sources.system import SystemFollower

EXIT_NOT_ALL: Final = 1
"""Something was not read, or an output did not take what there is: a script that runs us wants to know."""
DATA_FILE: Final = "millstream.db"
QUIET_S: Final = 0.5
"""When no source had anything for so long, what was there at the start is read."""
STUCK_S: Final = 15.0
"""After the log has not answered for so long, systemd gets no signs of life any more."""
BEGIN_S: Final = 5.0
"""For so long at most what is there at the start is waited for, to show it in the order of time."""


def shown_events(only: str | None, where: str | None, *, everything: bool) -> pl.Expr:
    """Return which events are shown.

    Raises:
        UsageError: There is no such kind, or the condition is wrong.
    """
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


@dataclass(frozen=True)
class Showing:
    """What was asked for on the command line, beside the configuration."""

    data: Path
    since: datetime
    shown: pl.Expr
    monitoring: Monitoring
    as_json: bool


def show(showing: Showing, config: Config, sources: Sequence[Source], reload: Reload, told: Told | None) -> int:
    """Do all of it, until Ctrl-C or until there is nothing more; return the exit code.

    Args:
        reload: Asked when SIGHUP comes, and ends it where there is another configuration.
        told: By signals; None: what there is is shown, and that ends by itself.
    """
    from millstream.app import App
    from millstream.cli.logs_printer import JOURNAL_NOTE, Printer, is_journal
    from millstream.cli.logs_telling import Teller
    from millstream.cli.monitoring import monitored
    from millstream.log.seals.key import key_from
    from millstream.log.seals.seal import seals_of
    from millstream.logs.application import EVENTS, LogsApplication
    from millstream.logs.listeners import StdinListener
    from millstream.logs.steps.chain import Chain

    # A pipe has an end, and so have we then; what was piped in before is not asked for.
    piped = all(isinstance(listener, StdinListener) for listener in config.sources)
    _make(showing.data)
    with App(str(showing.data / DATA_FILE)) as app:
        key = key_from(os.environ) if config.sealed or seals_of(EVENTS) in app.log.topics() else None
        steps = Chain(config.steps, os.environ) if config.steps else None
        logs = LogsApplication(
            app,
            config.rules,
            config.outputs,
            sealed=config.sealed,
            seal_key=key,
            steps=steps,
            retention=config.retention,
        )
        silent = is_journal(1, os.environ)
        is_first = not reload.count
        printer = Printer(
            logs,
            showing.since,
            showing.shown,
            from_now=piped or not is_first,
            as_json=showing.as_json,
            silent=silent,
        )
        teller = Teller()
        teller.note([JOURNAL_NOTE] * (silent and is_first))
        teller.note(config.unusable)
        if told is not None:
            monitors = monitored(
                app.log,
                showing.monitoring,
                streams=logs.reader_names,
                listeners=[EVENTS],
                as_json=showing.as_json,
                told=sys.stderr,
            )
            with monitors:
                return _follow(logs, printer, teller, sources, reload, told, ends=piped)
        follower = _catch_up(logs, sources)
        printer.print_all(threading.Event())
        teller.note(follower.notes)
        printer.print_counts(follower.dropped, follower.routed)
        printer.print_unseen()
        return EXIT_NOT_ALL if follower.failed else 0


def _make(data: Path) -> None:
    try:
        data.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(
            f"the log cannot be kept in {data}: {error.strerror}; --data DIR names another place"
        ) from error


def _catch_up(logs: LogsApplication, sources: Sequence[Source]) -> SystemFollower:
    """Read and handle what there is, and tell on stderr how far that is where it takes long."""
    from millstream.cli.progress import progress
    from millstream.cli.run_progress import telling
    from millstream.sources.standing import standings
    from millstream.sources.system import GROUP

    with progress("reading") as advance:

        def tell(follower: SystemFollower) -> None:
            files = standings(logs.events, GROUP)
            known = [(one.read_bytes, one.size_bytes) for one in files if one.size_bytes is not None]
            # Without all of them there is no share to tell.
            total = sum(size for _, size in known) if len(known) == len(files) else 0
            advance(sum(done for done, _ in known), total, f"{follower.records:,} events")

        follower = logs.read_all(sources, meanwhile=tell)
    with telling(logs.app):
        logs.handle_all(follower)
    return follower


def _follow(
    logs: LogsApplication,
    printer: Printer,
    teller: Teller,
    sources: Sequence[Source],
    reload: Reload,
    told: Told,
    *,
    ends: bool,
) -> int:
    """Show what comes until Ctrl-C, or until there is no source left; return the exit code.

    Args:
        ends: Whether the sources have an end, which is ours as well.
    """
    from millstream.run.service_manager import ServiceManager

    stop = told.stop
    manager = ServiceManager(os.environ)
    is_taken = False
    with logs.following(sources) as follower:
        with manager.told(lambda: not follower.is_stuck(STUCK_S)), _but_urgent(told):
            _wait_for_begin(follower, stop)
            printer.print_all(stop)
            if not ends and not stop.is_set():
                printer.print_unseen(follows=True)
            while not (stop.is_set() or follower.ended or is_taken):
                printer.print_events()
                printer.print_alerts()
                teller.note(follower.notes)
                teller.troubles(logs.troubles())
                printer.wait(stop)
                if told.hangup is not None and told.hangup.is_set() and not stop.is_set():
                    told.hangup.clear()
                    manager.reloading()
                    is_taken = reload.ask()
                    if not is_taken:
                        manager.reloaded()
    if ends and follower.ended:
        logs.catch_up([])  # what rules and outputs have not seen yet
    printer.print_events()
    printer.print_alerts()
    printer.print_counts(follower.dropped, follower.routed)
    if ends:
        printer.print_unseen()
    if stop.is_set() or is_taken:
        return 0
    teller.note(follower.notes)
    if not ends:
        teller.note(["no source is left to be read: it ends"])
    return EXIT_NOT_ALL if follower.failed or not ends else 0


@contextmanager
def _but_urgent(told: Told) -> Iterator[None]:
    """Let Ctrl-C pass as what `told` has made of it already, but for a second one."""
    try:
        yield
    except KeyboardInterrupt:
        # Polars has an own look at Ctrl-C, and raises it where a query runs.
        if told.is_urgent:
            raise


def _wait_for_begin(follower: SystemFollower, stop: threading.Event) -> None:
    """Wait until what was there at the start is read, or for `BEGIN_S`: it comes in pieces of several sources."""
    deadline = time.monotonic() + BEGIN_S
    seen = -1
    while seen != follower.records and not follower.ended and time.monotonic() < deadline:
        seen = follower.records
        if stop.wait(QUIET_S):
            return
