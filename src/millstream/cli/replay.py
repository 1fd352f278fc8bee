"""`millstream replay`: old records again, to one queue or into another topic."""

from __future__ import annotations

import sys
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from millstream.cli.errors import EXIT_INTERRUPTED, EXIT_SET_ASIDE
from millstream.cli.output import count_text, print_json
from millstream.cli.shell import DataOption, DebugOption, JsonOption, Shell, TopicArgument, UrlOption
from millstream.errors import UsageError

if TYPE_CHECKING:
    from millstream.queue.replay import Replay, Replayed

REFUSALS_SHOWN = 10


def replay(
    context: typer.Context,
    topic: TopicArgument,
    start: Annotated[
        str | None,
        typer.Option("--from", metavar="PLACE", help="start, an offset, an append time, or how long ago (2h)."),
    ] = None,
    until: Annotated[
        str | None,
        typer.Option("--until", metavar="PLACE", help="The first that is not in it, as --from. [all there are now]"),
    ] = None,
    group: Annotated[
        str | None, typer.Option("--group", metavar="GROUP", help="The queue that gets them; no other reader does.")
    ] = None,
    into: Annotated[
        str | None, typer.Option("--into", metavar="TOPIC", help="Instead, another topic; made where there is none.")
    ] = None,
    partition: Annotated[int | None, typer.Option("--partition", min=0, help="Only this partition.")] = None,
    key: Annotated[str | None, typer.Option("--key", metavar="KEY", help="Only records with this key.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be replayed; change nothing.")] = False,
    rate: Annotated[str | None, typer.Option("--rate", metavar="RATE", help="At most, such as 10/s or 600/m.")] = None,
    max_replays: Annotated[
        int, typer.Option("--max-replays", min=1, help="Leave what was replayed or sent back so often already.")
    ] = 1,
    force: Annotated[bool, typer.Option("--force", help="However often it was.")] = False,
    confirm: Annotated[
        str | None,
        typer.Option("--confirm", metavar="NAME", help="The queue's or other topic's name, instead of being asked."),
    ] = None,
    url: UrlOption = None,
    data: DataOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Run old records again: append them once more, for one queue or into another topic.

    Handlers get them again, whatever was done with them before. The records stay where they are, and so do all offsets.
    """
    shell = Shell.of(context, url, data, json, debug)
    if start is None:
        raise UsageError("say from where: --from start, an offset, a time, or how long ago, such as --from 2h")
    from millstream.queue.rate import rate_per_s
    from millstream.queue.replay import Replay
    from millstream.run.signals import stopped_by_signals

    rate_per_s(rate)  # a wrong one is told before anybody is asked
    with shell.open() as log:
        wanted = Replay(
            log,
            topic,
            to=group,
            into=into,
            start=_place("--from", start),
            end=None if until is None else _place("--until", until),
            partition=partition,
            key=key,
            replays_max=max_replays,
            force=force,
        )
        where = _Where(topic, group, into)
        if dry_run:
            _tell(wanted.rehearse(), where, as_json=shell.json)
            return
        _ask(wanted, where, confirm)
        stop = threading.Event()
        with stopped_by_signals(stop):
            wanted.run(rate=rate, stop=stop)
        _tell(wanted.done, where, as_json=shell.json)
        if stop.is_set():
            _tell_how_to_go_on(wanted.done)
            raise typer.Exit(EXIT_INTERRUPTED)
        raise typer.Exit(EXIT_SET_ASIDE if wanted.done.refused else 0)


class _Where:
    """Where records come from and go, in words."""

    def __init__(self, topic: str, group: str | None, into: str | None) -> None:
        self.topic = topic
        self.name = group if group is not None else str(into)
        self.target = f"queue {group}" if group is not None else f"topic {into}"
        self.readers = f"{group}'s handlers get them again" if group is not None else f"all readers of {into} get them"


def _place(option: str, text: str) -> int | datetime:
    from millstream.cli.tail import place_of

    place = place_of(text, now=datetime.now(UTC))
    if place == "start":
        return 0
    if place == "end":
        raise UsageError(f"{option} end: leave --until out to replay all there are now")
    return place


def _ask(wanted: Replay, where: _Where, confirm: str | None) -> None:
    """Go on when the target's name was given or is typed.

    Raises:
        UsageError: It was not.
    """
    if confirm is None:
        if not sys.stdin.isatty():
            raise UsageError(f"replay has work done again; say so with --confirm {where.name}, or look with --dry-run")
        count = count_text(wanted.rehearse().replayed, "record")
        confirm = input(f"Type {where.name} to replay {count} of {where.topic}; {where.readers}: ").strip()
    if confirm != where.name:
        raise UsageError(f"confirm the replay with {where.name!r}, not {confirm!r}; nothing was replayed")


def _tell(done: Replayed, where: _Where, *, as_json: bool) -> None:
    refusals = [{"place": f"{r.position.partition}/{r.position.offset}", "reason": r.reason} for r in done.refusals]
    if as_json:
        print_json(
            {
                "topic": where.topic,
                "to": where.name,
                "dry_run": done.dry_run,
                "replayed": done.replayed,
                "copies": done.copies,
                "refused": done.refused,
                "ranges": [{"partition": r.partition, "start": r.start, "end": r.end} for r in done.ranges],
                "refusals": refusals,
            }
        )
        return
    verb = "would replay" if done.dry_run else "replayed"
    ranges = ", ".join(
        f"[{r.start}, {r.end})" + (f" of partition {r.partition}" if len(done.ranges) > 1 else "") for r in done.ranges
    )
    count = count_text(done.replayed, "record")
    print(f"{verb} {count} of {where.topic}, offsets {ranges}, to {where.target}; {where.readers}")
    verb = "would be" if done.dry_run else "were"
    if done.copies:
        print(
            f"{count_text(done.copies, 'record')} {verb} left out: replayed or sent back before, or for another queue",
            file=sys.stderr,
        )
    if done.refused:
        print(f"{count_text(done.refused, 'record')} {verb} left out:", file=sys.stderr)
        for refusal in refusals[:REFUSALS_SHOWN]:
            print(f"  {refusal['place']}: {refusal['reason']}", file=sys.stderr)


def _tell_how_to_go_on(done: Replayed) -> None:
    for range_ in done.ranges:
        print(f"interrupted; --partition {range_.partition} --from {range_.end} goes on there", file=sys.stderr)
