"""The list of commands, and the one place where a command line ends: its exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Annotated, Final

import typer
from typer.exceptions import TyperException

from millstream.cli.advise import advise
from millstream.cli.backup import backup
from millstream.cli.batch import batch
from millstream.cli.compact import compact
from millstream.cli.dead import dead
from millstream.cli.demo import demo
from millstream.cli.doctor import doctor
from millstream.cli.errors import print_error, print_own_error
from millstream.cli.export import export
from millstream.cli.import_ import import_
from millstream.cli.logs import logs
from millstream.cli.put import put
from millstream.cli.queue import queue
from millstream.cli.replay import replay
from millstream.cli.run import run as run_command
from millstream.cli.shell import DataOption, DebugOption, JsonOption, Shell, UrlOption
from millstream.cli.sql import sql
from millstream.cli.stream import stream
from millstream.cli.tail import tail
from millstream.cli.templates import templates
from millstream.cli.top import top
from millstream.cli.topics import topics
from millstream.errors import MillstreamError
from millstream.version import __version__

COMMANDS: Final = (
    demo,
    logs,
    topics,
    put,
    tail,
    sql,
    templates,
    run_command,
    queue,
    stream,
    batch,
    dead,
    replay,
    advise,
    export,
    import_,
    compact,
    top,
    doctor,
    backup,
)
"""In the order a newcomer needs them; `--help` and docs/command-line.md keep it."""

application: Final = typer.Typer(
    name="millstream",
    help="Events in, work out. One durable log, read as a queue, as a stream, as a batch.",
    epilog="Start with `millstream demo`, or `millstream COMMAND --help`.",
    no_args_is_help=True,
    # Plain help needs no rich, which alone would take as long to import as everything else.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for _command in COMMANDS:
    application.command()(_command)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"millstream {__version__}")
        raise typer.Exit


@application.callback()
def options(
    context: typer.Context,
    url: UrlOption = None,
    data: DataOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    context.obj = Shell(url=url, data=data, json=json, debug=debug)


def run(arguments: Sequence[str]) -> int:
    """Run one command line; return its exit code.

    Errors become one line on stderr (or one JSON object, with `--json`); a traceback needs `--debug`. What the code of
    an application raises is told with its traceback, from its own first line on.
    """
    options_given = arguments[: arguments.index("--")] if "--" in arguments else arguments
    as_json = "--json" in options_given
    debug = "--debug" in options_given
    try:
        code = application(list(arguments), prog_name="millstream", standalone_mode=False)
        sys.stdout.flush()
    except SystemExit as ended:
        # `millstream tail | head`: the reader has what it wanted, which Typer takes for a failure.
        if isinstance(ended.__context__, BrokenPipeError):
            return 0
        raise
    except BrokenPipeError:
        # The same, at the last flush. Without this, Python complains again at its exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130
    except typer.Abort:
        return 1
    except (MillstreamError, TyperException, OSError) as error:
        if debug:
            raise
        return print_error(error, as_json=as_json)
    except Exception as error:  # code of an application that `run` and `batch run` call; an error of ours goes on
        if debug or not print_own_error(error, as_json=as_json):
            raise
        return 1
    return code if isinstance(code, int) else 0
