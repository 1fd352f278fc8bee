"""Starts the demo, serves it until Ctrl-C, drains."""

from __future__ import annotations

import contextlib
import shlex
import socket
import sys
import threading
import webbrowser
from pathlib import Path
from typing import Final, TextIO

from millstream.app import App
from millstream.clock import SystemClock
from millstream.errors import SettingsError, StorageReadOnlyError
from millstream.serving.access import Access
from millstream.serving.guard import Guard
from millstream.serving.server import Server, listen, signals_handled
from millstream.sources.system import follow_system
from millstream.web.demo.board import Board
from millstream.web.demo.picture import COLUMNS, PIECES, ROWS
from millstream.web.demo.site import DemoSite
from millstream.web.demo.work import FAILING_PIECE, RETRY, WORKERS, DemoWork, Status

LOG_NAME: Final = "millstream.db"
"""The default name, so that `millstream topics` in the data folder looks at the demo's log."""

DRAIN_SECONDS: Final = 15
"""For jobs that are being drawn (a second each) and clicks that are being counted."""

SYSTEM_LINES_FIRST: Final = 40
"""Lines of each log shown at the first start: what happened just before."""


def run_demo(
    data: Path,
    *,
    host: str = "127.0.0.1",
    port: int = 8765,
    token: str | None = None,
    open_browser: bool = False,
    browser: bool = True,
    durability: str | None = None,
    out: TextIO | None = None,
) -> int:
    """Serve the demo from a data folder until Ctrl-C or SIGTERM; return the exit code.

    Prints its address as soon as the port is taken. A second start on the same folder goes on where the first ended.
    Call it from the main thread.

    Args:
        data: Created where missing; holds one file, the log.
        port: 0 takes any free one.
        token: What others must know; one is made up for an address that is not loopback.
        open_browser: Open the page too, unless `browser` is False.

    Returns:
        0 after draining; 1 when the address cannot be listened on, said in one line on stderr.

    Raises:
        SettingsError: The token is too short or the port no port.
        StorageError: The log cannot be opened.
    """
    out = out or sys.stdout
    if not 0 <= port <= 65535:
        raise SettingsError(f"the port is {port}; give 1 to 65535, or 0 for any free one")
    access = Access.on(host, token)
    try:
        listener = listen(host, port)
    except SettingsError as error:
        print(f"millstream: {error}", file=sys.stderr)  # noqa: T201 - a command's words
        return 1
    stop = _Stop()
    with contextlib.closing(listener), signals_handled(stop):
        addresses = _addresses(host, listener.getsockname()[1], access.token)
        _say(out, *(f"Millstream demo: {address}" for address in addresses))
        path = _log_path(data)
        with App(str(path), durability=durability) as app:
            _say(out, f"Its log is {path}. Ctrl-C stops it.")
            if open_browser and browser:
                _open(addresses[0], out)
            _serve(app, listener, access, path=path, stop=stop, out=out)
    _say(out, "Stopped. The same command goes on from here.")
    return 0


class _Stop:
    """What Ctrl-C means, from the first line printed to the last: finish; the second time, do not wait for requests."""

    def __init__(self) -> None:
        self._signals = 0
        self._server: Server | None = None

    def __call__(self, number: int) -> None:
        self._signals += 1
        if self._server is not None:
            self._server.stop(now=self._signals > 1)

    def applies_to(self, server: Server) -> None:
        """From now on stop this server; at once where a signal came before it was made."""
        self._server = server
        if self._signals:
            server.stop()


def _serve(app: App, listener: socket.socket, access: Access, *, path: Path, stop: _Stop, out: TextIO) -> None:
    clock = SystemClock()
    work = DemoWork(app)
    with follow_system(app, lines_first=SYSTEM_LINES_FIRST) as system:

        def status() -> Status:
            return work.status(system)

        board = Board(clock=clock, status=status, about=_about(path))
        site = DemoSite(work, system, board, clock=clock)
        port: int = listener.getsockname()[1]
        server = Server(Guard(site.app(), access=access, clock=clock, port=port), stopping=board.live.close)
        running = app.start()
        try:
            stop.applies_to(server)
            server.run(sockets=[listener])
            _say(out, "Stopping: finishing what was begun ...")
        finally:
            if not running.stop(grace=f"{DRAIN_SECONDS}s"):
                _say(out, f"Some work took longer than {DRAIN_SECONDS} s; it is tried again at the next start.")


def _log_path(data: Path) -> Path:
    try:
        data.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise SettingsError(f"{data} is a file; give a folder with --data") from error
    except OSError as error:
        raise StorageReadOnlyError(f"the folder {data} cannot be made: {error.strerror}") from error
    return (data / LOG_NAME).resolve()


def _addresses(host: str, port: int, token: str | None) -> list[str]:
    """Return where to open the page; for "all addresses", this machine's names."""
    if host in ("0.0.0.0", "::", ""):
        hosts = ["localhost", socket.gethostname()]
    else:
        hosts = [f"[{host}]" if ":" in host else host]
    query = f"?token={token}" if token else ""
    return [f"http://{name}:{port}/{query}" for name in hosts]


def _about(path: Path) -> dict[str, object]:
    url = shlex.quote(str(path))
    count_by_page = '"select page, count(*) as clicks from clicks group by page"'
    return {
        "log": str(path),
        "commands": [
            f"millstream topics --url {url}",
            f"millstream tail clicks --url {url}",
            f"millstream sql {count_by_page} --url {url}",
        ],
        "workers": WORKERS,
        "attempts": RETRY.attempts,
        "pieces": PIECES,
        "columns": COLUMNS,
        "rows": ROWS,
        "failing_piece": FAILING_PIECE,
    }


def _open(address: str, out: TextIO) -> None:
    """Open the page, in a thread: a text browser would take the terminal until it is closed."""

    def open_page() -> None:
        try:
            opened = webbrowser.open(address)
        except webbrowser.Error:
            opened = False
        if not opened:
            _say(out, "No browser could be opened; use the address above.")

    threading.Thread(target=open_page, name="open-browser", daemon=True).start()


def _say(out: TextIO, *lines: str) -> None:
    print(*lines, sep="\n", file=out, flush=True)
