"""`millstream dead`: records that a queue gave up on; look, send back, change, throw away."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from millstream.cli.errors import EXIT_SET_ASIDE
from millstream.cli.output import count_text, one_line, print_json, print_table, readable
from millstream.cli.shell import DataOption, DebugOption, JsonOption, Shell, TopicArgument, UrlOption
from millstream.errors import UsageError

if TYPE_CHECKING:
    from millstream.queue.dead.letters import DeadLetters, DeadRecord
    from millstream.queue.dead.redrive import Redriven

REFUSALS_SHOWN = 10

MESSAGE_CHARACTERS = 80
"""Of a message in the list; `show` has all of it."""


class Action(StrEnum):
    LIST = "list"
    SHOW = "show"
    REDRIVE = "redrive"
    EDIT = "edit"
    PURGE = "purge"


def dead(
    context: typer.Context,
    topic: TopicArgument,
    action: Annotated[
        Action, typer.Argument(metavar="[list|show|redrive|edit|purge]", help="What to do.")
    ] = Action.LIST,
    places: Annotated[
        list[str] | None, typer.Argument(metavar="[OFFSET]...", help="Only these dead letters, by their offset.")
    ] = None,
    error: Annotated[str | None, typer.Option("--error", metavar="TEXT", help="In the error's type.")] = None,
    text: Annotated[
        str | None, typer.Option("--text", metavar="TEXT", help="In the message, the traceback or the value.")
    ] = None,
    key: Annotated[str | None, typer.Option("--key", metavar="KEY", help="The record's key.")] = None,
    group: Annotated[str | None, typer.Option("--group", metavar="GROUP", help="The queue that gave up.")] = None,
    since: Annotated[
        str | None,
        typer.Option("--since", metavar="TIME", help="Given up on at or after a time, or how long ago (2h)."),
    ] = None,
    until: Annotated[
        str | None, typer.Option("--until", metavar="TIME", help="Given up on before a time, or longer ago than (2h).")
    ] = None,
    number: Annotated[int, typer.Option("--number", "-n", min=1, help="Of list: at most this many.")] = 20,
    oldest: Annotated[bool, typer.Option("--oldest", help="Of list: oldest first.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Of redrive: say what would be sent back; change nothing.")
    ] = False,
    rate: Annotated[
        str | None, typer.Option("--rate", metavar="RATE", help="Of redrive: at most, such as 10/s or 600/m.")
    ] = None,
    max_redrives: Annotated[
        int, typer.Option("--max-redrives", min=0, help="Of redrive: leave what was sent back so often already.")
    ] = 3,
    force: Annotated[bool, typer.Option("--force", help="Of redrive: however often it was sent back.")] = False,
    value: Annotated[
        str | None, typer.Option("--value", metavar="JSON", help="Of edit: the new value; - reads standard input.")
    ] = None,
    confirm: Annotated[
        str | None,
        typer.Option("--confirm", metavar="TOPIC", help="Of purge: the topic's name, instead of being asked."),
    ] = None,
    url: UrlOption = None,
    data: DataOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """List, show, send back, change or throw away the dead letters of a topic.

    A dead letter is a record that a queue gave up on, with its error. redrive sends records back to their topic, each
    exactly once. Without offsets and filters, redrive and purge mean all of them.
    """
    shell = Shell.of(context, url, data, json, debug)
    from millstream.queue.dead.letters import DeadLetters

    now = datetime.now(UTC)
    where: dict[str, Any] = {
        "error": error,
        "text": text,
        "key": key,
        "group": group,
        "since": None if since is None else _moment("--since", since, now),
        "until": None if until is None else _moment("--until", until, now),
        "at": places or None,
    }
    with shell.open() as log:
        letters = DeadLetters(log, topic)
        match action:
            case Action.LIST:
                _list(letters, letters.list(limit=number, newest=not oldest, **where), as_json=shell.json)
            case Action.SHOW:
                for place in _named(action, places):
                    _show(letters, letters.get(place), as_json=shell.json)
            case Action.EDIT:
                _edit(letters, _only(places), value, as_json=shell.json)
            case Action.REDRIVE:
                done = letters.redrive(dry_run=dry_run, rate=rate, redrives_max=max_redrives, force=force, **where)
                _tell(letters, done, as_json=shell.json)
                raise typer.Exit(EXIT_SET_ASIDE if done.refused else 0)
            case Action.PURGE:
                purged = letters.purge(confirm=confirm if confirm is not None else _ask(letters), **where)
                if shell.json:
                    print_json({"topic": topic, "purged": purged, "open": letters.count()})
                else:
                    print(f"threw away {count_text(purged, 'dead letter')} of {topic}; {letters.count():,} are left")


def _moment(option: str, text: str, now: datetime) -> datetime:
    from millstream.cli.tail import place_of

    place = place_of(text, now=now)
    if not isinstance(place, datetime):
        raise UsageError(f"{option} {text}: give a time such as 2026-01-31T12:00Z, or how long ago, such as 2h")
    return place


def _named(action: Action, places: list[str] | None) -> list[str]:
    if not places:
        raise UsageError(f"say which dead letter to {action}, by the offset that `millstream dead TOPIC` lists")
    return places


def _only(places: list[str] | None) -> str:
    named = _named(Action.EDIT, places)
    if len(named) > 1:
        raise UsageError("edit changes one dead letter at a time")
    return named[0]


def _list(letters: DeadLetters, found: list[DeadRecord], *, as_json: bool) -> None:
    if as_json:
        for one in found:
            print_json(_object(letters, one, whole=False))
        return
    if found:
        rows = [
            [
                one.place,
                one.letter.failed_at.astimezone().isoformat(sep=" ", timespec="seconds"),
                one.letter.group,
                one.letter.attempts,
                one.redrives,
                one.letter.key,
                _short_error(one),
            ]
            for one in found
        ]
        print_table(["OFFSET", "FAILED", "QUEUE", "ATTEMPTS", "REDRIVES", "KEY", "ERROR"], rows)
    else:
        print("no such dead letters")
    print(f"{count_text(letters.count(), 'dead letter')} of {letters.topic_name} in all", file=sys.stderr)


def _short_error(one: DeadRecord) -> str:
    name = one.letter.error_type.rpartition(".")[2]
    text = one_line(f"{name}: {one.letter.message}" if one.letter.message else name)
    return text if len(text) <= MESSAGE_CHARACTERS else f"{text[: MESSAGE_CHARACTERS - 1]}…"


def _object(letters: DeadLetters, one: DeadRecord, *, whole: bool) -> dict[str, Any]:
    letter = one.letter
    shown: dict[str, Any] = {
        "place": one.place,
        "topic": letter.topic,
        "partition": letter.partition,
        "offset": letter.offset,
        "queue": letter.group,
        "key": letter.key,
        "headers": one.headers,
        "error_type": letter.error_type,
        "message": letter.message,
        "attempts": letter.attempts,
        "redrives": one.redrives,
        "worker": letter.worker,
        "failed_at": letter.failed_at,
        "state": one.settled.how if one.settled else "open",
    }
    if whole:
        shown["traceback"] = letter.traceback
    shown["value"] = _value(letters, one)
    return shown


def _value(letters: DeadLetters, one: DeadRecord) -> object:
    import msgspec

    if one.letter.value_coding == "json":
        return msgspec.json.decode(one.letter.value)
    return readable(one.letter.value) if one.letter.value else None


def _show(letters: DeadLetters, one: DeadRecord, *, as_json: bool) -> None:
    import msgspec

    if as_json:
        print_json(_object(letters, one, whole=True))
        return
    shown = _object(letters, one, whole=False)
    value = shown.pop("value")
    for name, field in shown.items():
        if field is not None and field != {}:
            text = field if isinstance(field, str) else msgspec.json.encode(readable(field), enc_hook=str).decode()
            print(f"{name:<11} {one_line(text.strip(chr(34)))}")
    text = value if isinstance(value, str) else msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
    print("\nvalue")
    print("\n".join(f"  {one_line(line)}" for line in text.splitlines()) if text else "  (too large: see its topic)")
    if one.letter.traceback:
        print("\ntraceback")
        print("\n".join(f"  {one_line(line)}" for line in one.letter.traceback.splitlines()))


def _edit(letters: DeadLetters, place: str, value: str | None, *, as_json: bool) -> None:
    if value is None:
        raise UsageError("say what the new value is: --value JSON, or --value - to read it from standard input")
    new = sys.stdin.buffer.read() if value == "-" else value.encode()
    position = letters.edit(place, new)
    new_place = f"{position.partition}/{position.offset}" if position.partition else str(position.offset)
    if as_json:
        print_json({"topic": letters.topic_name, "place": place, "new_place": new_place})
    else:
        print(
            f"changed dead letter {place} of {letters.topic_name}; it is dead letter {new_place} now, "
            f"and `millstream dead {letters.topic_name} redrive {new_place}` sends it back"
        )


def _tell(letters: DeadLetters, done: Redriven, *, as_json: bool) -> None:
    refusals = [{"place": f"{r.position.partition}/{r.position.offset}", "reason": r.reason} for r in done.refusals]
    if as_json:
        print_json(
            {
                "topic": letters.topic_name,
                "dry_run": done.dry_run,
                "redriven": done.redriven,
                "refused": done.refused,
                "open": letters.count(),
                "refusals": refusals,
            }
        )
        return
    verb = "would send" if done.dry_run else "sent"
    print(f"{verb} {count_text(done.redriven, 'record')} back to {letters.topic_name}")
    if done.refused:
        left = f"{count_text(done.refused, 'dead letter')} {'would be' if done.dry_run else 'were'} left"
        print(f"{left} as they are:", file=sys.stderr)
        for refusal in refusals[:REFUSALS_SHOWN]:
            print(f"  {refusal['place']}: {refusal['reason']}", file=sys.stderr)


def _ask(letters: DeadLetters) -> str:
    """Let a person type the topic's name; without a terminal to ask, say which option answers."""
    if not sys.stdin.isatty():
        raise UsageError(f"purge throws dead letters away for good; say so with --confirm {letters.topic_name}")
    return input(f"Type {letters.topic_name} to throw its dead letters away for good: ").strip()
