"""`millstream backup`: a copy of the log while it is in use."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from millstream.cli.output import bytes_text, count_text, print_json
from millstream.cli.progress import progress
from millstream.cli.shell import DataOption, DebugOption, JsonOption, Shell, UrlOption
from millstream.errors import SettingsError


def backup(
    context: typer.Context,
    path: Annotated[Path, typer.Argument(metavar="PATH", help="A new file for the copy.")],
    url: UrlOption = None,
    data: DataOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Copy the log to a new file while others read and write it.

    The copy holds the log as it was at one moment, and is a log itself: give it to --url. Cold files beside the log are
    copied to the folder PATH.cold; those in other folders and object stores are not, the copy refers to them.
    """
    from millstream.log.cold.copying import backup as copy_log

    shell = Shell.of(context, url, data, json, debug)
    if path.exists():
        raise SettingsError(f"{path} exists already; a backup never replaces a file")
    with shell.open() as log:
        with progress(f"copying to {path}") as advance:
            elsewhere = copy_log(log.engine, str(path), lambda done, total: advance(done, total, ""))
    size = path.stat().st_size
    if elsewhere:
        count = count_text(len(elsewhere), "cold file")
        print(f"{count} elsewhere not copied, the copy refers to them: {elsewhere[0]} ...", file=sys.stderr)
    if shell.json:
        print_json({"path": str(path), "size_bytes": size})
    else:
        print(f"copied the log to {path} ({bytes_text(size)})")
