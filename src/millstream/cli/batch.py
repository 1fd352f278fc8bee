"""`millstream batch`: how the batches fare; their runs; run, run again, run over old records, cancel."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from millstream.cli.batch_text import BATCH_COLUMNS, RUN_COLUMNS, batch_lines, batch_row, run_lines, run_row
from millstream.cli.output import count_text, print_json, print_table
from millstream.cli.shell import DataOption, DebugOption, JsonOption, Shell, UrlOption
from millstream.errors import UsageError

if TYPE_CHECKING:
    from millstream.batch import Batch, RunResult
    from millstream.log.log import Log

LOOK_S: Final = 0.2
"""Between two looks at a run in progress."""


class Action(StrEnum):
    LIST = "list"
    SHOW = "show"
    SCHEDULE = "schedule"
    RUN = "run"
    RERUN = "rerun"
    BACKFILL = "backfill"
    CANCEL = "cancel"
    PAUSE = "pause"
    RESUME = "resume"


def batch(
    context: typer.Context,
    action: Annotated[
        Action,
        typer.Argument(metavar="[list|show|schedule|run|rerun|backfill|cancel|pause|resume]", help="What to do."),
    ] = Action.LIST,
    name: Annotated[str | None, typer.Argument(metavar="BATCH", help="Its name.")] = None,
    run: Annotated[str | None, typer.Argument(metavar="RUN", help="Of show, rerun, cancel: the id of a run.")] = None,
    app: Annotated[
        str | None, typer.Option("--app", metavar="APP", help="Of run, rerun, backfill: app.py, as for `run`.")
    ] = None,
    start: Annotated[
        str | None, typer.Option("--from", metavar="TIME", help="Of backfill: event time, such as 2026-01-01.")
    ] = None,
    until: Annotated[
        str | None, typer.Option("--until", metavar="TIME", help="Of backfill: the first that is not in it.")
    ] = None,
    by: Annotated[str, typer.Option("--by", metavar="TIME", help="Of backfill: how long a window is.")] = "1d",
    append: Annotated[
        bool, typer.Option("--append", help="Of rerun, backfill: append to topics again what the handler gives them.")
    ] = False,
    number: Annotated[int, typer.Option("--number", "-n", metavar="N", min=1, help="Of show, schedule: so many.")] = 10,
    url: UrlOption = None,
    data: DataOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """List the batches: when they run, what is new, how the last run went; run one, run one again, cancel a run.

    show has a batch's last runs, or one run with its log. backfill runs over old records, a window of event time after
    the other. run, rerun and backfill need the program, --app.
    """
    shell = Shell.of(context, url, data, json, debug)
    if action in (Action.RUN, Action.RERUN, Action.BACKFILL):
        if app is None or name is None:
            raise UsageError(f"{action} needs the program and the batch: millstream batch {action} BATCH --app app.py")
        os.environ["MILLSTREAM_URL"] = shell.place()
        _work(shell, app, name, action, run, start, until, by, append=append)
        return
    with shell.open() as log:
        if action == Action.LIST:
            _list(log, shell)
        elif action == Action.SCHEDULE:
            _schedule(log, shell, name, number)
        elif name is None:
            raise UsageError(f"{action} needs a batch: millstream batch {action} BATCH")
        elif action == Action.SHOW:
            _show(log, shell, name, run, number)
        else:
            _steer(log, shell, name, run, action)


def _list(log: Log, shell: Shell) -> None:
    from millstream.batch.info import batch_infos

    infos = batch_infos(log)
    if shell.json:
        for info in infos:
            print_json(info.to_object())
        return
    print_table(BATCH_COLUMNS, [batch_row(info) for info in infos])


def _show(log: Log, shell: Shell, name: str, run_id: str | None, number: int) -> None:
    from millstream.batch.info import batch_infos, find_batch, last_runs
    from millstream.batch.runs import Run, find_run, runs_topic_name

    find_batch(log, name)
    if run_id is not None:
        run = find_run(log.topic(runs_topic_name(name), Run), run_id)
        if shell.json:
            print_json(_builtins(run))
        else:
            print("\n".join(run_lines(run)))
        return
    runs = last_runs(log, name, number)
    info = next((one for one in batch_infos(log) if one.name == name), None)
    if shell.json:
        print_json({"batch": None if info is None else info.to_object(), "runs": [_builtins(run) for run in runs]})
        return
    if info is not None:
        print("\n".join(batch_lines(info)))
        print()
    print_table(RUN_COLUMNS, [run_row(run) for run in runs])


def _schedule(log: Log, shell: Shell, name: str | None, number: int) -> None:
    """Write the coming due times, of one batch or of all."""
    from millstream.batch.info import find_batch, next_dues
    from millstream.batch.registry import declared

    chosen = declared(log) if name is None else [find_batch(log, name)]
    now_us = log.clock.now_us()
    dues = sorted((due, one.name) for one in chosen for due in itertools.islice(next_dues(one, now_us), number))[
        :number
    ]
    if shell.json:
        for due, batch_name in dues:
            print_json({"due": due, "batch": batch_name})
        return
    print_table(("due (UTC)", "batch"), [(f"{due:%Y-%m-%d %H:%M:%S}", batch_name) for due, batch_name in dues])


def _steer(log: Log, shell: Shell, name: str, run_id: str | None, action: Action) -> None:
    from millstream.batch.batch import cancel
    from millstream.batch.info import batch_group

    group = batch_group(log, name)
    if action == Action.CANCEL:
        cancelled = cancel(group, run_id)
        text, told = f"run {cancelled} of {name} will end", {"batch": name, "cancelled": cancelled}
    else:
        group.pause(paused=action == Action.PAUSE)
        text, told = f"{name}: {action}d", {"batch": name, "paused": str(action == Action.PAUSE).lower()}
    print_json(told) if shell.json else print(text)


def _work(
    shell: Shell,
    app: str,
    name: str,
    action: Action,
    run_id: str | None,
    start: str | None,
    until: str | None,
    by: str,
    *,
    append: bool,
) -> None:
    from millstream.run.load import load_app

    with load_app(app) as loaded:
        if name not in loaded.batches:
            raise UsageError(f"{app} declares no batch {name!r}; it has {', '.join(loaded.batches) or 'none'}")
        batch = loaded.batches[name]
        with _progress(batch) as told:
            if action == Action.RUN:
                results = [batch.run()]
            elif action == Action.RERUN:
                if run_id is None:
                    raise UsageError(f"rerun needs a run: millstream batch rerun {name} RUN; `show {name}` lists them")
                results = [batch.rerun(run_id, append=append)]
            else:
                first, past = _time("--from", start), _time("--until", until)
                results = batch.backfill(first, past, by=by, append=append, progress=told)
    _tell(shell, name, results)


def _tell(shell: Shell, name: str, results: list[RunResult]) -> None:
    for result in results:
        if shell.json:
            print_json({field: value for field, value in _builtins(result).items() if field != "result"})
            continue
        window = "" if result.window_start is None else f" of {result.window_start:%Y-%m-%d %H:%M}"
        took_s = result.duration_us / 1_000_000
        print(f"{name}: run {result.id}{window}: {count_text(result.rows, 'record')}, {took_s:.1f} s")


@contextmanager
def _progress(batch: Batch) -> Iterator[Callable[[int, int, str], None]]:
    """Show how far a run is, as its handler says; yield what a backfill calls for each window."""
    from millstream.cli.progress import progress

    ended = threading.Event()
    with progress(f"batch {batch.name}") as advance:

        def look() -> None:
            while not ended.wait(LOOK_S):
                run = batch.current
                if run is not None and run.share is not None:
                    advance(round(run.share * 100), 100, run.text)

        thread = threading.Thread(target=look, name="batch-progress", daemon=True)
        thread.start()
        try:
            yield advance
        finally:
            ended.set()
            thread.join()


def _time(option: str, text: str | None) -> datetime:
    """Return an event time that was given as text; UTC where it names no zone."""
    if text is None:
        raise UsageError(f"backfill needs {option}, a time such as 2026-01-01 or 2026-01-01T06:00+01:00")
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{option} {text!r} is no time; give 2026-01-01 or 2026-01-01T06:00+01:00") from None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _builtins(value: Any) -> Any:
    """Return a Struct as JSON has it."""
    import msgspec

    fields = {name: getattr(value, name) for name in value.__struct_fields__ if name != "result"} if value else None
    return msgspec.to_builtins(fields)
