"""`millstream run`: an application in the foreground."""

from __future__ import annotations

import os
import re
import sys
import threading
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Annotated, Final

import typer

from millstream.cli.errors import EXIT_INTERRUPTED
from millstream.cli.monitoring import Monitoring, monitored
from millstream.cli.output import print_json
from millstream.cli.shell import DataOption, DebugOption, JsonOption, Shell, UrlOption
from millstream.errors import UsageError

if TYPE_CHECKING:
    from millstream.app import App

LOG_FORMAT: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"


STOP_TOLD_S: Final = 1.0
"""After Ctrl-C: most stops are over by then. Who sees nothing presses it again, which leaves work undone."""


class _Stop(threading.Event):
    """Once it is set, somebody is told what the program still waits for, if it does not end soon."""

    def __init__(self, *, told: bool) -> None:
        super().__init__()
        self._timer = threading.Timer(STOP_TOLD_S, _tell_stopping) if told else None
        self._lock = threading.Lock()

    def set(self) -> None:
        with self._lock:
            first = not self.is_set()
            super().set()
            if first and self._timer is not None:
                self._timer.daemon = True
                self._timer.start()

    def over(self) -> None:
        """The program has stopped: nothing is told any more."""
        if self._timer is not None:
            self._timer.cancel()


def _tell_stopping() -> None:
    print("stopping: what was begun is finished first; Ctrl-C again leaves it", file=sys.stderr, flush=True)


def run(
    context: typer.Context,
    app: Annotated[
        str, typer.Argument(metavar="APP", help="app.py or package.module, with :name where it holds several Apps.")
    ],
    only: Annotated[
        list[str] | None,
        typer.Option("--only", metavar="NAME", help="Only this queue, stream, batch, trigger, source."),
    ] = None,
    until: Annotated[
        str | None, typer.Option("--until", metavar="now", help="now: handle all there is, then stop.")
    ] = None,
    workers: Annotated[
        str | None,
        typer.Option("--workers", metavar="N", help="Of each queue, in place of what it declares; MIN-MAX scales."),
    ] = None,
    grace: Annotated[
        str | None,
        typer.Option("--grace", metavar="TIME", help="When stopped, give back what takes longer, such as 30s. [never]"),
    ] = None,
    host: Annotated[
        str | None, typer.Option("--host", metavar="HOST", help="Where http triggers are answered. [127.0.0.1]")
    ] = None,
    port: Annotated[
        int | None, typer.Option("--port", metavar="PORT", help="The same; 0 takes any free one. [8080]")
    ] = None,
    token: Annotated[
        str | None,
        typer.Option("--token", metavar="TOKEN", help="Requests need it; made up where others reach the host."),
    ] = None,
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
        typer.Option("--stall", metavar="TIME", help="A queue or stream that does not move for so long is unhealthy."),
    ] = "10m",
    url: UrlOption = None,
    data: DataOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Run an application's queues, streams and triggers until Ctrl-C.

    Ctrl-C and SIGTERM finish what was begun. --url and --data are for an App that names no log itself.
    """
    shell = Shell.of(context, url, data, json, debug)
    if until not in (None, "now"):
        raise UsageError(f'--until is {until!r}; give "now", or leave it out to run until stopped')
    monitoring = Monitoring(metrics, metrics_token, stall)
    monitoring.check()
    if until is not None and grace is not None:
        raise UsageError("--grace is for running until stopped; leave it out with --until now")
    import logging

    from millstream.durations import duration

    staff = None if workers is None else _workers_of(workers)
    patience = None if grace is None else duration(grace)
    os.environ["MILLSTREAM_URL"] = shell.place()
    logging.basicConfig(stream=sys.stderr, level=logging.DEBUG if debug else logging.INFO, format=LOG_FORMAT)
    if not debug:
        # It tells of each change in a folder that is watched, in words that say nothing.
        logging.getLogger("watchfiles").setLevel(logging.WARNING)
    from millstream.run.load import load_app

    with load_app(app) as loaded:
        _keep(loaded, only or [])
        loaded.serve_at(host, port, token)
        stop = _Stop(told=not shell.json)
        try:
            _announce(loaded, shell, app)
            with _monitored(loaded, shell, monitoring), _told(loaded, shell, until):
                loaded.run(until="now" if until else None, stop=stop, grace=patience, workers=staff)
        except KeyboardInterrupt:
            # Came before the application listened for it: nothing was begun.
            stop.set()
        finally:
            stop.over()
    # To run until stopped ends well when it is stopped; to handle all there is does not.
    raise typer.Exit(EXIT_INTERRUPTED if until and stop.is_set() else 0)


def _workers_of(text: str) -> int | tuple[int, int]:
    """Return what `--workers` means: "4", or "1-8".

    Raises:
        UsageError: Neither.
    """
    match = re.fullmatch(r"([1-9]\d*)(?:-([1-9]\d*))?", text)
    if match is None:
        raise UsageError(f"--workers is {text!r}; give a number of 1 or more, or a range such as 1-8")
    return int(match[1]) if match[2] is None else (int(match[1]), int(match[2]))


def _monitored(app: App, shell: Shell, monitoring: Monitoring) -> AbstractContextManager[None]:
    return monitored(
        app.log,
        monitoring,
        queues=[(queue.topic.name, queue.name) for queue in app.queues.values()],
        streams=[(stream.topic.name, stream.name) for stream in app.streams.values()],
        batches=[*app.batches],
        as_json=shell.json,
    )


def _told(app: App, shell: Shell, until: str | None) -> AbstractContextManager[None]:
    """Tell people how far it is meanwhile, where it comes to an end."""
    if until is None or shell.json:
        return nullcontext()
    from millstream.cli.run_progress import telling

    return telling(app)


def _keep(app: App, names: list[str]) -> None:
    """Leave only the named readers in an application, and the triggers that are named or that one of them follows."""
    readers = {**app.queues, **app.streams, **app.batches, **app.sources}
    unknown = [name for name in names if name not in readers and name not in app.triggers]
    if unknown:
        known = ", ".join(sorted({*readers, *app.triggers})) or "nothing"
        raise UsageError(f"--only {unknown[0]}: the application declares {known}")
    for kind in (app.queues, app.streams, app.batches, app.sources):
        for name in [name for name in kind if names and name not in names]:
            del kind[name]
    if names:
        app.keep_triggers(names)


def _announce(app: App, shell: Shell, place: str) -> None:
    triggers = [*app.triggers]
    if shell.json:
        kinds = {
            "queues": [*app.queues],
            "streams": [*app.streams],
            "batches": [*app.batches],
            "triggers": triggers,
            "sources": [*app.sources],
        }
        print_json({"app": place, **kinds})
    else:
        declared = (
            ("queue", app.queues),
            ("stream", app.streams),
            ("batch", app.batches),
            ("trigger", triggers),
            ("source", app.sources),
        )
        readers = ", ".join(f"{kind} {name}" for kind, names in declared for name in names)
        print(f"running {place}: {readers or 'nothing'}", flush=True)
    sys.stdout.flush()
