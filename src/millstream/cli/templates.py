"""`millstream templates`: what kinds of lines a topic holds."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from millstream.cli.output import count_text, print_json, print_table
from millstream.cli.shell import DataOption, DebugOption, JsonOption, Shell, TopicArgument, UrlOption
from millstream.errors import UsageError

if TYPE_CHECKING:
    import polars as pl

    from millstream.log import Topic

_BATCH_RECORDS: Final = 50_000
_FIRST_COLUMNS: Final = ("message", "raw")


def templates(
    context: typer.Context,
    topic: TopicArgument,
    field: Annotated[
        str | None, typer.Option("--field", metavar="NAME", help="The field with the text. [message, else raw]")
    ] = None,
    new: Annotated[
        str | None,
        typer.Option("--new", metavar="TIME", help="Only templates first seen since then, or so long ago (2h)."),
    ] = None,
    number: Annotated[int, typer.Option("--number", "-n", min=1, help="At most this many.")] = 20,
    url: UrlOption = None,
    data: DataOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Show what kinds of lines a topic holds, the most frequent first: their words, with <*> for what differs."""
    shell = Shell.of(context, url, data, json, debug)
    since = None if new is None else _moment(new)
    with shell.open() as log:
        log.engine.describe_topic(topic)
        found, records = _mined(log.topic(topic), field)
    if since is not None:
        found = found.filter(found["first_time"] >= since)
    shown = found.head(number)
    if shell.json:
        for row in shown.iter_rows(named=True):
            print_json(row)
        return
    rows = [
        (row["count"], f"{row['first_time']:%Y-%m-%d %H:%M}", row["template"]) for row in shown.iter_rows(named=True)
    ]
    print_table(("count", "first seen", "template"), rows)
    hidden = f"; {len(found) - len(shown):,} more with -n" if len(found) > len(shown) else ""
    print(f"{count_text(len(found), 'template')} of {count_text(records, 'record')}{hidden}")


def _mined(topic: Topic[Any], field: str | None) -> tuple[pl.DataFrame, int]:
    """Return the templates of a topic with their counts and first times, and how many records were looked at."""
    import polars as pl

    from millstream.parsers.templates import TemplateMiner

    frame = topic.frame()
    column = _column(topic, field, frame.collect_schema())
    miner = TemplateMiner()
    firsts: dict[int, tuple[datetime, str]] = {}
    records = 0
    for batch in frame.select(column, "_event_time").collect_batches(chunk_size=_BATCH_RECORDS, maintain_order=True):
        records += len(batch)
        ids = miner.add(batch[column])
        first = batch.with_columns(ids).group_by("template", maintain_order=True).first()
        for text, time, number in first.select(column, "_event_time", "template").iter_rows():
            firsts.setdefault(number, (time, text))
    known = [(one.id, one.text, one.count, *firsts[one.id]) for one in miner.templates()]
    schema = pl.Schema(
        {
            "id": pl.Int64(),
            "template": pl.String(),
            "count": pl.Int64(),
            "first_time": pl.Datetime("us", "UTC"),
            "example": pl.String(),
        }
    )
    return pl.DataFrame(known, schema=schema, orient="row"), records


def _column(topic: Topic[Any], field: str | None, schema: pl.Schema) -> str:
    import polars as pl

    names = [name for name, kind in schema.items() if kind == pl.String() and not name.startswith("_")]
    if field is None:
        field = next((name for name in _FIRST_COLUMNS if name in names), None)
        if field is None:
            raise UsageError(f"the topic {topic.name} has neither message nor raw; say with --field where its text is")
    if field not in names:
        there = f"; it has {', '.join(names)}" if names else ""
        raise UsageError(f"the topic {topic.name} has no field {field!r} of text{there}")
    return field


def _moment(text: str) -> datetime:
    from millstream.cli.tail import place_of

    place = place_of(text, now=datetime.now(UTC))
    if not isinstance(place, datetime):
        raise UsageError(f"--new {text}: give a time such as 2026-01-31T12:00Z, or how long ago, such as 2h")
    return place
