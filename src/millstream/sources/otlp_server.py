"""OpenTelemetry logs from the network: OTLP/HTTP.

A request is answered when its records are stored: for its sender, an answer means that they are on disk. Where an
answer is lost the sender sends the same again, which is noticed (see `otlp_inbox`): each record is stored once, unless
the answer went out and got lost on its way.
"""

from __future__ import annotations

import logging
import ssl
import threading
from collections.abc import Generator, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from millstream.clock import Clock, SystemClock
from millstream.errors import SettingsError
from millstream.parsers.event_parser import EventParser, LogEventParser
from millstream.parsers.otlp import NAME, otlp_reader
from millstream.sources.otlp_inbox import Inbox, Post
from millstream.sources.source import Line, Note, Reading

if TYPE_CHECKING:
    import socket

    from millstream.serving.server import Server

PORT: Final = 4318
"""Where exporters send to unless told otherwise."""
READING_LINES: Final = 10_000
"""Of one reading, which is stored as one; a request with more is not divided."""
KEEP_ALIVE_S: Final = 75
"""Exporters send every few seconds, over the same connection."""
_STOP_CHECK_S: Final = 0.5
_STOP_S: Final = 15.0

_log = logging.getLogger(__name__)


class OtlpServer:
    """Takes OTLP/HTTP logs in; a `Source`."""

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = PORT,
        *,
        token: str | None = None,
        tls_context: ssl.SSLContext | None = None,
        clock: Clock | None = None,
    ) -> None:
        """Take the port at once; requests are answered from `read` on.

        Args:
            port: 0 takes any free one.
            token: What senders have to send as `Authorization: Bearer ...`; needed beyond loopback.
            tls_context: With the server's certificate; None: plain HTTP.

        Raises:
            SettingsError: The address cannot be listened on; a token is needed, or too short.
        """
        from millstream.serving.access import Access, is_loopback

        if token is None and not is_loopback(host):
            raise SettingsError(
                f"OTLP on {host} takes in what any machine sends; give a token that senders have to know, or listen on "
                "127.0.0.1"
            )
        access = Access.on(host, token)
        self._access = access if access.token is None else access.by_any_name()
        self._host = host
        self._context = tls_context
        self._inbox = Inbox(clock or SystemClock())
        self._listener: socket.socket | None = self._listen(port)
        self.port: int = self._listener.getsockname()[1]
        """Where it listens."""
        self._server: Server | None = None
        self._thread: threading.Thread | None = None
        self._reading = False

    @property
    def name(self) -> str:
        return "OTLP server"

    def following(self) -> Sequence[str]:
        return (f"OTLP port {self.port}",) if self._reading else ()

    def troubles(self) -> Sequence[str]:
        thread = self._thread
        if not self._reading or thread is None or thread.is_alive():
            return ()
        return (f"the server at port {self.port} has ended, because of a defect; see the program's log",)

    def parser(self, origin: str) -> LogEventParser:
        return EventParser(origin, otlp_reader(), format=NAME)

    def read(
        self, positions: Mapping[bytes, bytes], stop: threading.Event, note: Note
    ) -> Generator[Reading, None, None]:
        self._inbox.load(positions)
        self._start()
        self._reading = True
        in_hand: Sequence[Post] = ()
        try:
            while True:
                ending = stop.is_set()
                if ending:
                    self._inbox.close()
                in_hand = self._inbox.take(READING_LINES, 0.0 if ending else _STOP_CHECK_S)
                if in_hand:
                    lines = [Line(f"otlp://{post.client}", line) for post in in_hand for line in post.lines]
                    yield Reading(lines, self._inbox.positions(in_hand))
                    # Asked for the next one: this one is stored.
                    self._inbox.settle(in_hand)
                    in_hand = ()
                elif ending:
                    break
        finally:
            self._reading = False
            self._inbox.give_back(in_hand)
            if stop.is_set():
                self.close()

    def close(self) -> None:
        """Answer what is under way, and stop listening."""
        self._inbox.close()
        if self._server is not None and self._thread is not None:
            self._server.stop()
            self._thread.join(_STOP_S)
        self._server = self._thread = None
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    def _listen(self, port: int) -> socket.socket:
        from millstream.serving.server import listen

        return listen(self._host, port)

    def _start(self) -> None:
        """Serve in a thread of its own, if it does not already: also while what was read cannot be stored."""
        if self._thread is not None and self._thread.is_alive():
            return
        from millstream.serving.server import Server
        from millstream.sources.otlp_site import Site

        if self._listener is None:
            self._listener = self._listen(self.port)
        listener, self._listener = self._listener, None
        server = Server(
            Site(self._inbox, self._access), stopping=self._inbox.close, idle_seconds_max=float(KEEP_ALIVE_S)
        )
        server.config.timeout_keep_alive = KEEP_ALIVE_S
        server.config.load()
        server.config.ssl = self._context

        def serve() -> None:
            try:
                server.run(sockets=[listener])
            except Exception:  # noqa: BLE001 - the thread's end is noticed at the next reading; this says why
                _log.exception("the OTLP server failed")
            finally:
                listener.close()

        self._server = server
        self._thread = threading.Thread(target=serve, name="millstream-otlp", daemon=True)
        self._thread.start()
