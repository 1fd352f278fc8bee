"""`millstream export`: a topic's records as files for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from millstream.cli.output import bytes_text, count_text, print_json
from millstream.cli.shell import DataOption, DebugOption, JsonOption, Shell, TopicArgument, UrlOption


def export(
    context: typer.Context,
    topic: TopicArgument,
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A new folder for the files.")],
    format: Annotated[str, typer.Option("--format", metavar="FORMAT", help="parquet, csv or ndjson.")] = "parquet",
    by: Annotated[
        list[str] | None,
        typer.Option("--by", metavar="KEY", help="A folder for each: a column, or day(event_time). Repeat for more."),
    ] = None,
    url: UrlOption = None,
    data: DataOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Write all records of a topic to a new folder, which appears when it is complete; `import` takes it back."""
    shell = Shell.of(context, url, data, json, debug)
    with shell.open() as log:
        log.engine.describe_topic(topic)
        source = log.topic(topic)
        records = source.info().records
        files = source.export(folder, format=format, by=by or ())
    size_bytes = sum(file.stat().st_size for file in files)
    if shell.json:
        print_json({"topic": topic, "records": records, "files": list(map(str, files)), "size_bytes": size_bytes})
    else:
        counts = f"{count_text(records, 'record')} in {count_text(len(files), 'file')}"
        print(f"{topic}: {counts} in {folder} ({bytes_text(size_bytes)})")
