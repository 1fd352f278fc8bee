"""`millstream import`: files with columns into a topic."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from millstream.cli.output import count_text, print_json
from millstream.cli.progress import progress
from millstream.cli.shell import DataOption, DebugOption, JsonOption, Shell, TopicArgument, UrlOption


def import_(
    context: typer.Context,
    topic: TopicArgument,
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Parquet, CSV or NDJSON files, or folders.")],
    url: UrlOption = None,
    data: DataOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Append the records of files to a topic: of an export, or any with the topic's fields as columns.

    A topic that is not there is made as the export says it was. Keys, headers and event times come along.
    """
    from millstream.log.export.reading import files_of, import_files

    shell = Shell.of(context, url, data, json, debug)
    files = files_of(paths)
    records = 0
    with shell.open(create=True) as log, progress(f"importing {topic}") as advance:
        for count in import_files(log, topic, paths):
            records += count
            advance(records, 0, "")
    if shell.json:
        print_json({"topic": topic, "records": records, "files": len(files)})
    else:
        print(f"{topic}: {count_text(records, 'record')} from {count_text(len(files), 'file')}")


import_.__name__ = "import"  # a word of Python's, so no function can be written with it
