"""`millstream stream`: how the streams fare; pause, resume, look into their state, drop."""

from __future__ import annotations

import os
import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from millstream.cli.output import count_text, one_line, print_json, print_table
from millstream.cli.shell import DataOption, DebugOption, JsonOption, Shell, UrlOption
from millstream.cli.stream_text import STEP_COLUMNS, STREAM_COLUMNS, step_rows, stream_lines, stream_row
from millstream.errors import UsageError

if TYPE_CHECKING:
    from millstream.log.log import Log
    from millstream.stream.info import Found


class Action(StrEnum):
    LIST = "list"
    SHOW = "show"
    EXPLAIN = "explain"
    PAUSE = "pause"
    RESUME = "resume"
    STATE = "state"
    DROP = "drop"


def stream(
    context: typer.Context,
    action: Annotated[
        Action, typer.Argument(metavar="[list|show|explain|pause|resume|state|drop]", help="What to do.")
    ] = Action.LIST,
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="STREAM", help="Its name, or TOPIC/NAME where several have it; of explain also app.py:NAME."
        ),
    ] = None,
    key: Annotated[str | None, typer.Argument(metavar="KEY", help="Of state: what is kept of this key.")] = None,
    number: Annotated[
        int, typer.Option("--number", "-n", metavar="N", min=1, help="Of state: so many keys of a step at most.")
    ] = 20,
    mermaid: Annotated[bool, typer.Option("--mermaid", help="Of explain: a drawing in Mermaid's words.")] = False,
    confirm: Annotated[
        str | None, typer.Option("--confirm", metavar="STREAM", help="Of drop: its name, instead of being asked.")
    ] = None,
    url: UrlOption = None,
    data: DataOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """List the streams: how far behind, how fast, what they hold; steer one, look into it, drop it.

    pause holds in every process until resume. state shows what functions keep by key. drop deletes a stream's position
    and state, so that one of this name begins anew; its output topics stay.
    """
    shell = Shell.of(context, url, data, json, debug)
    if action is not Action.LIST and name is None:
        raise UsageError(f"say which stream to {action}: millstream stream {action} STREAM")
    for option, given, of in (("KEY", key, Action.STATE), ("--mermaid", mermaid or None, Action.EXPLAIN)):
        if given is not None and action is not of:
            raise UsageError(f"{option} is for {of}")
    if confirm is not None and action is not Action.DROP:
        raise UsageError("--confirm is for drop")
    if action is Action.EXPLAIN and name is not None and _is_program(name):
        _explain_program(shell, name, mermaid=mermaid)
        return
    from millstream.stream.info import find_stream

    with shell.open() as log:
        if name is None:
            _list(log, None, as_json=shell.json)
            return
        found = find_stream(log, name)
        match action:
            case Action.LIST:
                _list(log, found, as_json=shell.json)
            case Action.SHOW:
                _show(log, found, as_json=shell.json)
            case Action.EXPLAIN:
                _print_graph(found.name, found.outline.mermaid if mermaid else found.outline.text, as_json=shell.json)
            case Action.PAUSE | Action.RESUME:
                _pause(log, found, paused=action is Action.PAUSE, as_json=shell.json)
            case Action.STATE:
                _state(log, found, key, number, as_json=shell.json)
            case Action.DROP:
                _drop(log, found, confirm, as_json=shell.json)


# --- looking ----------------------------------------------------------------------------------------------------------


def _list(log: Log, found: Found | None, *, as_json: bool) -> None:
    from millstream.stream.info import StreamWatch

    streams = StreamWatch(log).look(None if found is None else [found])
    if as_json:
        for one in streams:
            print_json(one.to_object())
    elif not streams:
        print("no streams yet; `millstream run app.py` with an @app.stream in it makes one")
    else:
        print_table(STREAM_COLUMNS, [stream_row(one) for one in streams])


def _show(log: Log, found: Found, *, as_json: bool) -> None:
    from millstream.stream.info import info_of

    info = info_of(log, found.name, found.outline)
    if as_json:
        print_json(info.to_object())
        return
    for name, text in stream_lines(info):
        print(f"{name:<9} {one_line(text)}")
    if steps := list(step_rows(info)):
        print()
        print_table(STEP_COLUMNS, steps)


def _print_graph(name: str, text: str, *, as_json: bool) -> None:
    if as_json:
        print_json({"stream": name, "graph": text})
    else:
        print(text)


def _is_program(name: str) -> bool:
    return name.endswith(".py") or ":" in name


def _explain_program(shell: Shell, place: str, *, mermaid: bool) -> None:
    """Explain the streams of an application, or the one that stands behind the last colon."""
    os.environ["MILLSTREAM_URL"] = shell.place()
    from millstream.run.load import load_app

    target, colon, name = place.rpartition(":")
    with load_app(target if colon else place) as app:
        if colon and name not in app.streams:
            known = ", ".join(sorted(app.streams)) or "none"
            raise UsageError(f"{target} declares no stream {name!r}; there are: {known}")
        for each in [name] if colon else list(app.streams):
            _print_graph(each, app.streams[each].explain("mermaid" if mermaid else "text"), as_json=shell.json)


def _state(log: Log, found: Found, key: str | None, number: int, *, as_json: bool) -> None:
    from millstream.cli.stream_state import print_key, print_steps

    if key is None:
        print_steps(log, found, number, as_json=as_json)
    else:
        print_key(log, found, key, as_json=as_json)


# --- steering ---------------------------------------------------------------------------------------------------------


def _pause(log: Log, found: Found, *, paused: bool, as_json: bool) -> None:
    log.engine.pause(found.topic, found.name, paused=paused)
    if as_json:
        print_json({"topic": found.topic, "stream": found.name, "paused": paused})
    else:
        print(f"{found.full_name}: {'paused; what it has read is committed' if paused else 'resumed'}")


def _drop(log: Log, found: Found, confirm: str | None, *, as_json: bool) -> None:
    from millstream.cli.progress import progress
    from millstream.stream.dropping import drop

    if confirm is None:
        if not sys.stdin.isatty():
            raise UsageError(f"drop deletes position and state of a stream; say so with --confirm {found.name}")
        confirm = input(f"Type {found.name} to delete its position and state; its output topics stay: ").strip()
    if confirm not in (found.name, found.full_name):
        raise UsageError(f"confirm the drop with {found.name!r}, not {confirm!r}; nothing was deleted")
    with progress(f"dropping {found.full_name}") as advance:
        keys = drop(log, found, lambda done: advance(done, 0, f"{count_text(done, 'key')} of state"))
    if as_json:
        print_json({"topic": found.topic, "stream": found.name, "keys": keys})
    else:
        kept = f"; what it put out stays: {', '.join(found.outline.outputs)}" if found.outline.outputs else ""
        print(f"dropped {found.full_name} and {count_text(keys, 'key')} of its state{kept}")
