"""What a server does with connections that are opened and not used as they should be."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from millstream.clock import SystemClock
from millstream.errors import SettingsError
from millstream.serving.access import Access
from millstream.serving.guard import Guard
from millstream.serving.server import Server, listen


async def hello(request: Request) -> Response:
    await request.body()
    return PlainTextResponse("hello")


@pytest.fixture
def address() -> Iterator[tuple[str, int]]:
    app = Starlette(routes=[Route("/", hello, methods=["GET", "POST"])])
    guard = Guard(app, access=Access.on("127.0.0.1"), clock=SystemClock(), port=0, body_seconds_max=0.5)
    listener = listen("127.0.0.1", 0)
    server = Server(guard, stopping=lambda: None, idle_seconds_max=0.5)
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    yield listener.getsockname()
    server.stop()
    thread.join(60)
    listener.close()
    assert not thread.is_alive()


def answer_to(address: tuple[str, int], request: bytes) -> bytes:
    """Send a piece of a request, then wait until the server ends the connection."""
    with socket.create_connection(address, timeout=20) as connection:
        connection.sendall(request)
        pieces = []
        try:
            while piece := connection.recv(65536):
                pieces.append(piece)
        except ConnectionResetError:
            pass
        return b"".join(pieces)


def test_a_connection_that_never_sends_its_head_is_closed(address: tuple[str, int]) -> None:
    assert answer_to(address, b"GET / HTTP/1.1\r\nHost: local") == b""


def test_a_connection_that_sends_nothing_is_closed(address: tuple[str, int]) -> None:
    assert answer_to(address, b"") == b""


def test_a_body_that_never_comes_is_answered_408(address: tuple[str, int]) -> None:
    answer = answer_to(address, b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nabc")
    assert answer.startswith(b"HTTP/1.1 408 ")


def test_a_head_without_end_is_refused(address: tuple[str, int]) -> None:
    with socket.create_connection(address, timeout=20) as connection:
        head = b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 20_000_000
        with pytest.raises(ConnectionError):
            connection.sendall(head)


def test_a_connection_is_used_for_many_requests(address: tuple[str, int]) -> None:
    with httpx.Client(base_url=f"http://127.0.0.1:{address[1]}") as http:
        for _ in range(300):
            response = http.post("/", content=b"x" * 1000, headers={"x": "y" * 1000})
            if response.status_code == 429:
                break
            assert response.text == "hello"
        assert response.status_code == 429
        assert http.get("/").text == "hello"


def test_the_port_is_free_again_right_after_a_stop() -> None:
    first = listen("127.0.0.1", 0)
    port = first.getsockname()[1]
    with pytest.raises(SettingsError, match=f"port {port} of 127.0.0.1 is in use"):
        listen("127.0.0.1", port)
    with socket.create_connection(("127.0.0.1", port)) as connection:
        served, _ = first.accept()
        served.close()
        first.close()
        connection.recv(1)
    listen("127.0.0.1", port).close()


@pytest.mark.parametrize("host", ["", "no such host", "127.0.0.1.evil.example.invalid"])
def test_a_host_that_is_none_is_said(host: str) -> None:
    with pytest.raises(SettingsError, match="no address of this machine"):
        listen(host, 0)
