"""Takes the port, serves until a signal, drains."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Final

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.auto import AutoHTTPProtocol

from millstream.errors import SettingsError

CONNECTIONS_MAX: Final = 256
"""Above this, a connection is answered 503: each costs a file descriptor of the usual 1,024."""

IDLE_SECONDS_MAX: Final = 15.0
"""A connection without a whole request for this long is closed; a request's head is a packet or two."""

GRACE_SECONDS: Final = 10
"""For requests that are under way when the server stops."""

HEAD_BYTES_MAX: Final = 64 * 1024
"""Of a request without its body; browsers send a few hundred. The fast parser has no limit of its own."""

READ_BYTES_MAX: Final = 256 * 1024
"""What asyncio and uvloop read from a connection at once, at most."""

SIGNALS: Final = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGBREAK") if hasattr(signal, name)
)  # SIGBREAK is Windows's Ctrl-Break


def listen(host: str, port: int) -> socket.socket:
    """Take an address, so that it is known to be ours before anything else starts. Port 0 takes any free one.

    Raises:
        SettingsError: In use, not ours, not allowed; says what to do.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except socket.gaierror as error:
        raise SettingsError(f"{host!r} is no address of this machine; give one with --host") from error
    listener = socket.socket(family, kind, protocol)
    try:
        if os.name == "posix":
            # A stopped server's old connections may linger; they do not make the port taken.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        elif sys.platform == "win32":
            # There, "reuse" would share the port with a running server.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        listener.bind(address)
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise SettingsError(_explain(error, host, port)) from error
    return listener


def _explain(error: OSError, host: str, port: int) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return f"port {port} of {host} is in use; stop what uses it, or take another with --port"
        case errno.EACCES:
            return f"port {port} of {host} may not be used by this user; take one above 1023 with --port"
        case errno.EADDRNOTAVAIL:
            return f"{host} is no address of this machine; give one with --host"
        case _:
            return f"cannot listen on port {port} of {host}: {error.strerror}"


class _Protocol(AutoHTTPProtocol):  # type: ignore[valid-type, misc]
    """HTTP as uvicorn speaks it, with a limit on the head of a request."""

    _head_bytes = 0

    def data_received(self, data: bytes) -> None:
        if self.cycle is None or self.cycle.response_complete:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES_MAX + READ_BYTES_MAX:  # a head and its body may come in one piece
                self.transport.abort()
                return
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._head_bytes = 0


class Server(uvicorn.Server):
    """A server that closes live pages before it waits for them, and leaves what a signal means to its caller."""

    def __init__(
        self, app: ASGIApp, *, stopping: Callable[[], None], idle_seconds_max: float = IDLE_SECONDS_MAX
    ) -> None:
        """Args:
        stopping: Called once in the event loop when the server begins to stop.
        """
        super().__init__(
            uvicorn.Config(
                app,
                http=_Protocol,
                ws="none",
                lifespan="on",
                log_config=None,
                log_level="error",
                access_log=False,
                server_header=False,
                proxy_headers=False,
                limit_concurrency=CONNECTIONS_MAX,
                timeout_graceful_shutdown=GRACE_SECONDS,
            )
        )
        self._stopping = stopping
        self._idle_seconds_max = idle_seconds_max
        self._loop: asyncio.AbstractEventLoop | None = None
        self._idle_since: dict[object, float] = {}

    def stop(self, *, now: bool = False) -> None:
        """Stop soon; safe from signal handlers and other threads. `now`: do not wait for slow clients."""
        self.should_exit = True
        if now and self._loop is not None:
            self._loop.call_soon_threadsafe(self._cut_off)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._stopping()
        await super().shutdown(sockets)
        self._loop = None

    def _cut_off(self) -> None:
        for connection in list(self.server_state.connections):
            connection.transport.abort()

    async def on_tick(self, counter: int) -> bool:
        if counter % 10 == 0:
            self._close_idle(time.monotonic())
        return await super().on_tick(counter)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave them alone: whoever started the server decides, and its process goes on after it."""
        yield

    def _close_idle(self, now: float) -> None:
        """Close connections that send no whole request head, or do not take the end of an answer."""
        idle: dict[object, float] = {}
        for connection in list(self.server_state.connections):
            cycle, transport = connection.cycle, connection.transport  # type: ignore[union-attr]
            if cycle is not None and not cycle.response_complete and not transport.is_closing():
                continue
            idle[connection] = self._idle_since.get(connection, now)
            if now - idle[connection] > self._idle_seconds_max:
                transport.abort()
        self._idle_since = idle


@contextlib.contextmanager
def signals_handled(handler: Callable[[int], None]) -> Iterator[None]:
    """Give Ctrl-C and friends to a handler for a while. Only in the main thread."""

    def handle(number: int, frame: FrameType | None) -> None:
        handler(number)

    before = {number: signal.signal(number, handle) for number in SIGNALS}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)
