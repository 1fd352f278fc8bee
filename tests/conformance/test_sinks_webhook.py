"""Posts to a real server keep what sinks promise."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec
import pytest

from millstream import sinks
from millstream.sinks import Sink
from millstream.testing.sink_suite import SinkSuite, Sold

_BODIES: dict[str, list[bytes]] = {}
"""What was posted, by path."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        _BODIES.setdefault(self.path, []).append(body)
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *values: Any) -> None:
        pass


_SERVERS: list[ThreadingHTTPServer] = []


@pytest.fixture(autouse=True, scope="module")
def server() -> Iterator[None]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    _SERVERS.append(server)
    yield
    _SERVERS.clear()
    server.shutdown()
    server.server_close()
    thread.join(60)


class TestWebhook(SinkSuite):
    def sink(self, folder: Path) -> Sink:
        return sinks.webhook(f"http://127.0.0.1:{_SERVERS[0].server_address[1]}{folder}", rows=3)

    def seen(self, folder: Path) -> Sequence[Sold]:
        return [row for body in _BODIES.get(str(folder), []) for row in msgspec.json.decode(body, type=list[Sold])]


class TestWebhookOfLines(SinkSuite):
    def sink(self, folder: Path) -> Sink:
        return sinks.webhook(f"http://127.0.0.1:{_SERVERS[0].server_address[1]}{folder}", rows=3, body="lines")

    def seen(self, folder: Path) -> Sequence[Sold]:
        bodies = _BODIES.get(str(folder), [])
        assert all(body.endswith(b"}\n") for body in bodies)
        return [msgspec.json.decode(line, type=Sold) for body in bodies for line in body.splitlines()]
