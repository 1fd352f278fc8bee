"""`millstream sql`: a question to the log, every topic a table."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from millstream.cli.output import count_text, print_json, print_table, readable
from millstream.cli.shell import DataOption, DebugOption, JsonOption, Shell, UrlOption
from millstream.errors import SettingsError

if TYPE_CHECKING:
    import polars as pl

TABLE_ROWS = 1000
"""Rows of a table for people; more are what --json and --csv are for."""


def sql(
    context: typer.Context,
    query: Annotated[
        str, typer.Argument(metavar="QUERY", help="A SELECT over topics, or - to read it from standard input.")
    ],
    csv: Annotated[bool, typer.Option("--csv", help="Write CSV with a line of names.")] = False,
    url: UrlOption = None,
    data: DataOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Ask the log a question in SQL; every topic is a table.

    A topic's fields are its columns, then _partition, _offset, _key, _event_time, _append_time, _headers.
    A topic whose name is not a plain word goes in double quotes: SELECT * FROM "clicks.dead".
    """
    shell = Shell.of(context, url, data, json, debug)
    if csv and shell.json:
        raise SettingsError("--csv and --json are two forms of the same rows; give one of them")
    if query == "-":
        query = sys.stdin.read()
    with shell.open() as log:
        frame = log.sql(query)
    if shell.json:
        for row in frame.iter_rows(named=True):
            print_json(row)
    elif csv:
        _print_csv(frame)
    else:
        _print_frame(frame)


def _print_frame(frame: pl.DataFrame) -> None:
    if not frame.columns:
        return
    print_table(frame.columns, list(frame.head(TABLE_ROWS).iter_rows()))
    if frame.height > TABLE_ROWS:
        hidden = count_text(frame.height - TABLE_ROWS, "more row")
        print(f"... {hidden}: add LIMIT, or write all of them with --csv or --json", file=sys.stderr)


def _print_csv(frame: pl.DataFrame) -> None:
    """Write CSV as RFC 4180 has it; nested values as JSON, bytes as text or base64."""
    import csv

    import msgspec

    def cell(value: object) -> object:
        if isinstance(value, bytes | list | dict):
            value = readable(value)
        return value if not isinstance(value, list | dict) else msgspec.json.encode(value, enc_hook=str).decode()

    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(frame.columns)
    for row in frame.iter_rows():
        writer.writerow([cell(value) for value in row])
