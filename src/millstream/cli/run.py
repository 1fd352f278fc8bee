"""`millstream run`: an application in the foreground."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Annotated, Final

import typer

from millstream.cli.errors import EXIT_INTERRUPTED
from millstream.cli.output import print_json
from millstream.cli.shell import DataOption, DebugOption, JsonOption, Shell, UrlOption
from millstream.errors import UsageError

if TYPE_CHECKING:
    from millstream.app import App

LOG_FORMAT: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def run(
    context: typer.Context,
    app: Annotated[
        str, typer.Argument(metavar="APP", help="app.py or package.module, with :name where it holds several Apps.")
    ],
    only: Annotated[
        list[str] | None, typer.Option("--only", metavar="NAME", help="Only this queue, stream or batch; repeatable.")
    ] = None,
    until: Annotated[
        str | None, typer.Option("--until", metavar="now", help="now: handle all there is, then stop.")
    ] = None,
    url: UrlOption = None,
    data: DataOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Run an application's queues and streams until Ctrl-C.

    Ctrl-C finishes what was begun. --url and --data are for an App that names no log itself.
    """
    shell = Shell.of(context, url, data, json, debug)
    if until not in (None, "now"):
        raise UsageError(f'--until is {until!r}; give "now", or leave it out to run until stopped')
    import logging
    import threading

    os.environ["MILLSTREAM_URL"] = shell.place()
    logging.basicConfig(stream=sys.stderr, level=logging.DEBUG if debug else logging.INFO, format=LOG_FORMAT)
    from millstream.run.load import load_app

    with load_app(app) as loaded:
        _keep(loaded, only or [])
        stop = threading.Event()
        try:
            _announce(loaded, shell, app)
            loaded.run(until="now" if until else None, stop=stop)
        except KeyboardInterrupt:
            # Came before the application listened for it: nothing was begun.
            stop.set()
    # To run until stopped ends well when it is stopped; to handle all there is does not.
    raise typer.Exit(EXIT_INTERRUPTED if until and stop.is_set() else 0)


def _keep(app: App, names: list[str]) -> None:
    """Leave only the named readers in an application."""
    readers = {**app.queues, **app.streams, **app.batches}
    unknown = [name for name in names if name not in readers]
    if unknown:
        known = ", ".join(sorted(readers)) or "nothing"
        raise UsageError(f"--only {unknown[0]}: the application declares {known}")
    for kind in (app.queues, app.streams, app.batches):
        for name in [name for name in kind if names and name not in names]:
            del kind[name]


def _announce(app: App, shell: Shell, place: str) -> None:
    if shell.json:
        print_json({"app": place, "queues": [*app.queues], "streams": [*app.streams], "batches": [*app.batches]})
    else:
        kinds = (("queue", app.queues), ("stream", app.streams), ("batch", app.batches))
        readers = ", ".join(f"{kind} {name}" for kind, names in kinds for name in names)
        print(f"running {place}: {readers or 'nothing'}", flush=True)
    sys.stdout.flush()
