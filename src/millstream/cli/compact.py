"""`millstream compact`: old records into Parquet files, now."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from millstream.cli.output import bytes_text, count_text, print_json
from millstream.cli.progress import progress
from millstream.cli.shell import DataOption, DebugOption, JsonOption, Shell, TopicArgument, UrlOption

if TYPE_CHECKING:
    from millstream.log.cold.compaction import Compacted
    from millstream.log.log import Log


def compact(
    context: typer.Context,
    topic: TopicArgument,
    older: Annotated[
        str | None, typer.Option("--older", metavar="AGE", help="Only records appended longer ago, such as 7d.")
    ] = None,
    to: Annotated[
        str | None,
        typer.Option("--to", metavar="PLACE", help="A folder or s3:// URL. [the folder LOG.cold beside the log]"),
    ] = None,
    url: UrlOption = None,
    data: DataOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Move old records into Parquet files, which any tool can read; the topic reads across both as before.

    Without --older, all records there are. Run again, it goes on where it stopped.
    """
    shell = Shell.of(context, url, data, json, debug)
    with shell.open() as log:
        made = _compact(log, topic, older, to)
    if shell.json:
        print_json(
            {
                "topic": topic,
                "records": made.records,
                "files": made.files,
                "bytes_before": made.bytes_before,
                "bytes_after": made.bytes_after,
            }
        )
    elif not made.files:
        print(f"{topic}: nothing to move")
    else:
        sizes = f"{bytes_text(made.bytes_after)} instead of {bytes_text(made.bytes_before)}"
        print(f"{topic}: {count_text(made.records, 'record')} in {count_text(made.files, 'file')}, {sizes}")


def _compact(log: Log, topic: str, older: str | None, to: str | None) -> Compacted:
    from millstream.durations import duration
    from millstream.log.cold.compaction import ColdRange, Compacted, compact
    from millstream.log.cold.store import ColdStore

    before_us = None
    if older is not None:
        before_us = log.clock.now_us() - duration(older) // timedelta(microseconds=1)
    partitions = log.engine.describe_topic(topic).partitions
    total = sum(part.end_offset - part.start_offset for part in partitions)
    store = ColdStore.of(log.engine, to)
    made, done = Compacted(), 0
    with store.exclusive(wait=True), progress(f"compacting {topic}") as advance:

        def count(records: int) -> None:
            nonlocal done
            done += records
            advance(done, total, "")

        for part in partitions:
            range_ = ColdRange(topic, part.partition, part.end_offset, before_us)
            made += compact(log.engine, store, range_, progress=count)
    return made
