"""`millstream queue`: how long the queues are, and whether they keep up; pause, resume, drain."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Final

import typer

from millstream.cli.output import count_text, print_json, print_table
from millstream.cli.queue_text import QUEUE_COLUMNS, queue_row
from millstream.cli.shell import DataOption, DebugOption, JsonOption, Shell, UrlOption
from millstream.errors import UsageError

if TYPE_CHECKING:
    from millstream.log.log import Log

EXIT_TIMEOUT: Final = 1


class Action(StrEnum):
    LIST = "list"
    PAUSE = "pause"
    RESUME = "resume"
    DRAIN = "drain"


def queue(
    context: typer.Context,
    action: Annotated[Action, typer.Argument(metavar="[list|pause|resume|drain]", help="What to do.")] = Action.LIST,
    group: Annotated[
        str | None, typer.Argument(metavar="GROUP", help="A queue's name, or TOPIC/GROUP where several have it.")
    ] = None,
    timeout: Annotated[
        str | None, typer.Option("--timeout", metavar="TIME", help="Of drain: give up after, such as 10m. [never]")
    ] = None,
    url: UrlOption = None,
    data: DataOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """List the queues: how long, how old, how fast; pause, resume or drain one.

    pause hands over nothing more, in any process, until resume. drain does the same and waits until no worker has
    anything of it in hand, so that programs can be replaced. The numbers are counters: nothing is scanned.
    """
    shell = Shell.of(context, url, data, json, debug)
    if action is not Action.LIST and group is None:
        raise UsageError(f"say which queue to {action}: millstream queue {action} GROUP")
    if timeout is not None and action is not Action.DRAIN:
        raise UsageError("--timeout is for drain")
    from millstream.queue.control import drain
    from millstream.queue.stats import find_queue

    with shell.open() as log:
        name = None if group is None else find_queue(log, group)
        if action is Action.LIST or name is None:
            _list(log, name, as_json=shell.json)
            return
        found = log.topic(name[0]).group(name[1])
        if action is Action.DRAIN:
            drain(found, timeout)
        else:
            found.pause(paused=action is Action.PAUSE)
        leased = found.info().ledger.leased
    if shell.json:
        print_json({"topic": name[0], "group": name[1], "paused": action is not Action.RESUME, "leased": leased})
    else:
        print(f"{'/'.join(name)}: {_outcome(action, leased)}")
    raise typer.Exit(EXIT_TIMEOUT if action is Action.DRAIN and leased else 0)


def _list(log: Log, name: tuple[str, str] | None, *, as_json: bool) -> None:
    from millstream.batch.info import batch_groups
    from millstream.queue.stats import QueueWatch
    from millstream.sources.listener_signs import GROUP
    from millstream.stream.info import reader_groups

    queues = QueueWatch(log).look(None if name is None else [name])
    if name is None:
        others = {*reader_groups(log), *batch_groups(log)}
        queues = [queue for queue in queues if (queue.topic, queue.group) not in others and queue.group != GROUP]
    if as_json:
        for one in queues:
            print_json(one.to_object())
    elif not queues:
        print("no queues yet; `millstream run app.py` with an @app.queue in it makes one")
    else:
        print_table(QUEUE_COLUMNS, [queue_row(one) for one in queues])


def _outcome(action: Action, leased: int) -> str:
    out = f"{count_text(leased, 'record is', 'records are')} still with a worker"
    match action:
        case Action.PAUSE:
            return f"paused; {out if leased else 'nothing of it is with a worker'}"
        case Action.DRAIN:
            return f"paused, and {out}" if leased else "drained: paused, and nothing of it is with a worker"
        case _:
            return "resumed"
