"""`millstream demo`: everything at work on this machine, in the browser."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from millstream.cli.shell import DebugOption, JsonOption


def demo(
    data: Annotated[
        Path, typer.Option("--data", metavar="DIR", help="Where its log is kept; a second start goes on there.")
    ] = Path("millstream-demo"),
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0: any that is free.")] = 8765,
    host: Annotated[
        str, typer.Option("--host", help="Other than loopback: whoever opens the page needs the token.")
    ] = "127.0.0.1",
    token: Annotated[
        str | None, typer.Option("--token", help="16 characters or more; one is made up and printed where needed.")
    ] = None,
    open_page: Annotated[bool, typer.Option("--open", help="Also open the page in the browser.")] = False,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Never open one, even with --open.")] = False,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Show everything at work on this machine, in the browser.

    Serves a small site on this machine only: clicks as they happen, jobs on a queue, a report, and this machine's own
    event log. Ctrl-C finishes what was begun and stops.
    """
    from millstream.web.demo import run_demo

    raise typer.Exit(run_demo(data, host=host, port=port, token=token, open_browser=open_page, browser=not no_browser))
