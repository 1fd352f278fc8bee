"""The reader that serves the endpoints of an app."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import msgspec

from millstream.log.log import Log
from millstream.triggers.http.endpoint import HttpTrigger

if TYPE_CHECKING:
    import socket

_log = logging.getLogger("millstream.triggers")

STOP_S: Final = 15.0
"""The server ends within this time after a stop; it gives requests that are under way 10 seconds."""


class Address(msgspec.Struct, frozen=True):
    """Where an app answers. Beyond loopback a token is needed, and made up where none is given."""

    host: str = "127.0.0.1"
    port: int = 8080
    """0 takes any free one."""
    token: str | None = None


class HttpServer:
    """Serves the http triggers of one app, in a thread with an event loop of its own."""

    kind = "trigger"
    name = "http"

    def __init__(self, log: Log, triggers: Sequence[HttpTrigger], address: Address) -> None:
        self._log = log
        self._triggers = list(triggers)
        self._address = address
        self._listener: socket.socket | None = None
        self.token = address.token
        self.url = ""
        self._made_up = False
        """Nobody knows the token yet: it has to be told."""

    def __repr__(self) -> str:
        return f"<http {self.url or self._address.host}>"

    def open(self) -> None:
        """Take the port, so that a mistake is told where the app is started.

        Raises:
            SettingsError: It is in use, or not ours; the token is too short.
        """
        from millstream.serving.access import Access
        from millstream.serving.server import listen

        self.token = Access.on(self._address.host, self._address.token).token
        self._made_up = self._made_up or self.token != self._address.token
        self._listener = listen(self._address.host, self._address.port)
        taken: int = self._listener.getsockname()[1]
        # Started again after a failure, it is where it was.
        self._address = Address(self._address.host, taken, self.token)
        shown = f"[{self._address.host}]" if ":" in self._address.host else self._address.host
        self.url = f"http://{shown}:{taken}"

    def run(self, stop: threading.Event) -> None:
        """Serve until `stop` is set, then answer what is under way."""
        from millstream.serving.access import Access
        from millstream.serving.server import Server
        from millstream.triggers.http.site import Site

        if self._listener is None:
            self.open()
        assert self._listener is not None
        listener, self._listener = self._listener, None
        access = Access.on(self._address.host, self.token)
        site = Site(self._log, self._triggers, access=access, port=self._address.port)
        server = Server(site, stopping=site.stop)
        failures: list[BaseException] = []

        def serve() -> None:
            try:
                server.run(sockets=[listener])
            except BaseException as error:  # noqa: BLE001 - raised by `run`, in the thread that the supervisor watches
                failures.append(error)

        thread = threading.Thread(target=serve, name="http-server", daemon=True)
        thread.start()
        _log.info("answering at %s: %s", self.url, ", ".join(trigger.path for trigger in self._triggers))
        if self._made_up:
            _log.info("requests need the header Authorization: Bearer %s", self.token)
        try:
            while thread.is_alive() and not stop.wait(0.2):
                pass
        finally:
            server.stop()
            thread.join(STOP_S)
            listener.close()
        if failures:
            raise failures[0]

    def run_now(self, stop: threading.Event) -> int:
        """Serve nothing: whoever handles all there is does not wait for requests."""
        return 0
