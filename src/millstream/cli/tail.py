"""`millstream tail`: the records of a topic as text, old and new."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from millstream.cli.output import one_line, print_json, readable
from millstream.cli.shell import DataOption, DebugOption, JsonOption, Shell, TopicArgument, UrlOption
from millstream.errors import TopicNotFoundError, UsageError

if TYPE_CHECKING:
    from millstream.log.topic import Topic
    from millstream.records import Record

LAST = 10
"""Records without --from and -n, as `tail` of Unix has it."""

READ_RECORDS = 10_000
"""Records of one read: enough to be fast, few enough to hold."""

FOLLOW_WAIT_S = 0.5
"""Of one wait for new records, which end it at once."""


def tail(
    context: typer.Context,
    topic: TopicArgument,
    start: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="PLACE",
            help="start, end, an offset, a time (2026-01-31, 2026-01-31T12:00Z) or how long ago (15m). "
            "[the last 10 records]",
        ),
    ] = None,
    number: Annotated[
        int | None, typer.Option("--number", "-n", min=0, help="At most this many; without --from: the last ones.")
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with new records until Ctrl-C.")] = False,
    values: Annotated[bool, typer.Option("--values", help="Write the values alone, as they would go in.")] = False,
    url: UrlOption = None,
    data: DataOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Print the records of a topic, old and new.

    The last ones, or those from some place on, or new ones as they come. One line a record: its place, its time, its
    key, its value.
    """
    shell = Shell.of(context, url, data, json, debug)
    with shell.open() as log:
        if topic not in log.topics():
            raise TopicNotFoundError(topic, shell.place())
        found = log.topic(topic)
        records = _records(found, start, number, follow)
        try:
            for record in records:
                _print(record, as_json=shell.json, values=values)
                if follow:
                    sys.stdout.flush()
        except KeyboardInterrupt:
            # The way to end --follow; anything else that was cut short says so by its exit code.
            if not follow:
                raise


def _records(topic: Topic[Any], start: str | None, number: int | None, follow: bool) -> Iterator[Record[Any]]:
    ends = topic.end_offsets()
    if start is None:
        yield from _last(topic, ends, LAST if number is None else number)
        if follow:
            yield from _follow(topic, ends)
        return
    place = place_of(start, now=datetime.now(UTC))
    stream = topic.tail(place, wait=None if follow else 0)
    yield from stream if number is None else islice(stream, number)


def _last(topic: Topic[Any], ends: dict[int, int], number: int) -> list[Record[Any]]:
    """Return the newest records of all partitions, oldest first."""
    starts = {info.partition: info.start_offset for info in topic.info().partitions}
    found: list[Record[Any]] = []
    for partition, end in ends.items():
        offset = max(starts[partition], end - number)
        while offset < end:
            records = topic.read(offset, partition=partition, records_max=min(end - offset, READ_RECORDS))
            if not records:
                break
            found += records
            offset = records[-1].offset + 1
    found.sort(key=lambda record: (record.append_time_us, record.partition, record.offset))
    return found[-number:] if number else []


def _follow(topic: Topic[Any], seen: dict[int, int]) -> Iterator[Record[Any]]:
    """Yield what comes after the given ends, for ever."""
    while True:
        for partition, offset in seen.items():
            records = topic.read(offset, partition=partition, records_max=READ_RECORDS)
            if records:
                seen[partition] = records[-1].offset + 1
                yield from records
        topic.wait(seen, FOLLOW_WAIT_S)


def place_of(text: str, *, now: datetime) -> Literal["start", "end"] | int | datetime:
    """Return what `--from` means: "start", "end", an offset, or a time.

    Raises:
        UsageError: None of these.
    """
    from millstream.durations import duration

    if text == "start":
        return "start"
    if text == "end":
        return "end"
    if re.fullmatch(r"\d+", text):
        return int(text)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        try:
            return now - duration(text)
        except UsageError:
            raise UsageError(
                f"--from {text!r} is no place in a topic; give start, end, an offset such as 120, "
                "a time such as 2026-01-31T12:00Z, or how long ago, such as 15m"
            ) from None
    # A time without a zone is one of the person's own clock.
    return moment.astimezone() if moment.tzinfo is None else moment


def _print(record: Record[Any], *, as_json: bool, values: bool) -> None:
    if values:
        if isinstance(record.value, bytes):
            sys.stdout.buffer.write(record.value + b"\n")
            sys.stdout.buffer.flush()
        else:
            print_json(record.value)
    elif as_json:
        print_json(
            {
                "topic": record.topic,
                "partition": record.partition,
                "offset": record.offset,
                "key": record.key,
                "event_time": record.event_time,
                "append_time": record.append_time,
                "headers": dict(record.headers),
                "value": record.value,
            }
        )
    else:
        print(_line(record))


def _line(record: Record[Any]) -> str:
    import msgspec

    value = readable(record.value)
    text = value if isinstance(value, str) else msgspec.json.encode(value, enc_hook=str).decode()
    place = f"{record.partition}/{record.offset}" if record.partition else str(record.offset)
    time = record.event_time.astimezone().isoformat(sep=" ", timespec="milliseconds")
    key = "" if record.key is None else f"  [{one_line(str(readable(record.key)))}]"
    return f"{place}  {time}{key}  {one_line(text)}"
