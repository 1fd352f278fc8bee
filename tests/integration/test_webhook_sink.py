"""Rows to a web hook: a real server that takes them, refuses them, is slow, or sends elsewhere."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import socket
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec
import pytest

from millstream import App, Request, UsageError, http, sinks
from millstream.errors import SinkError
from millstream.sinks import Patience

Answer = Callable[[int], tuple[int, dict[str, str]]]
QUICK = Patience(attempts=6, first_s=0.01, most_s=2.0)


class Receiver(ThreadingHTTPServer):
    """Keeps what was posted; `answer` says how to respond to which request."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests: list[tuple[dict[str, str], bytes, float]] = []
        self.answer: Answer = lambda number: (200, {})

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/hook?x=1"

    @property
    def rows(self) -> list[int]:
        return [row["n"] for _, body, _ in self.requests for row in msgspec.json.decode(body)]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.requests.append((dict(self.headers), body, time.monotonic()))
        status, headers = self.server.answer(len(self.server.requests))
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        text = b"no room" if status != 200 else b""
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format: str, *values: Any) -> None:
        pass


class Row(msgspec.Struct):
    n: int


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    server = Receiver()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join(60)


@pytest.fixture
def app(tmp_path: Path) -> Iterator[App]:
    with App(tmp_path / "log.db", durability="relaxed") as app:
        yield app


def post(app: App, sink: sinks.Sink, count: int) -> None:
    topic = app.topic("rows", Row)
    if "s" not in app.streams:
        app.stream(topic, name="s")(lambda s: s.to(sink))
    topic.extend([Row(n) for n in range(count)])
    app.run(until="now")


def test_rows_are_posted_in_order_and_signed(app: App, receiver: Receiver) -> None:
    sink = sinks.webhook(receiver.url, secret="It's a Secret", headers={"Authorization": "Bearer t"}, rows=3)
    post(app, sink, 7)
    assert receiver.rows == list(range(7))
    assert [len(msgspec.json.decode(body)) for _, body, _ in receiver.requests] == [3, 3, 1]
    keys = set()
    for headers, body, _ in receiver.requests:
        signature = hmac.new(b"It's a Secret", body, hashlib.sha256).hexdigest()
        assert headers["X-Hub-Signature-256"] == f"sha256={signature}"
        assert (headers["Authorization"], headers["Content-Type"]) == ("Bearer t", "application/json")
        keys.add(headers["Idempotency-Key"])
    assert len(keys) == 3


@pytest.mark.parametrize("status", [408, 425, 429, 500, 503])
def test_refusal_that_passes_is_tried_again_with_the_same_key(app: App, receiver: Receiver, status: int) -> None:
    receiver.answer = lambda number: (status if number in (2, 3) else 200, {})
    post(app, sinks.webhook(receiver.url, rows=2, patience=QUICK), 6)
    keys = [headers["Idempotency-Key"] for headers, _, _ in receiver.requests]
    assert keys[1] == keys[2] == keys[3]
    assert len(set(keys)) == 3
    assert list(dict.fromkeys(receiver.rows)) == list(range(6))


def test_retry_after_is_waited_for(app: App, receiver: Receiver) -> None:
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True)
    answers = {1: {"Retry-After": "1"}, 2: {"Retry-After": soon}}
    receiver.answer = lambda number: (503, answers[number]) if number in answers else (200, {})
    post(app, sinks.webhook(receiver.url, patience=QUICK), 1)
    times = [at for _, _, at in receiver.requests]
    assert times[1] - times[0] >= 0.99
    assert len(times) == 3


@pytest.mark.parametrize(
    ("status", "headers", "words"),
    [
        (400, {}, ["400", "no room"]),
        (401, {}, ["401"]),
        (302, {"Location": "http://127.0.0.1:1/other"}, ["302", "/other"]),
    ],
)
def test_refusal_for_good_stops_the_stream_at_once_and_loses_nothing(
    app: App, receiver: Receiver, status: int, headers: dict[str, str], words: list[str]
) -> None:
    receiver.answer = lambda number: (status, headers)
    with pytest.raises(SinkError) as raised:
        post(app, sinks.webhook(receiver.url, secret="hunter2", patience=QUICK), 2)
    for word in words:
        assert word in str(raised.value)
    assert "hunter2" not in str(raised.value)
    assert len(receiver.requests) == 1
    receiver.answer = lambda number: (200, {})
    app.run(until="now")
    assert receiver.rows == [0, 1, 0, 1]


def test_receiver_that_is_away_is_waited_for(app: App, receiver: Receiver) -> None:
    url = receiver.url
    receiver.answer = lambda number: (200, {"Connection": "close"})
    post(app, sinks.webhook(url, patience=QUICK), 1)
    assert receiver.rows == [0]
    unknown = sinks.webhook("http://127.0.0.1:1/", patience=Patience(attempts=2, first_s=0.01))
    with App("memory://") as other, pytest.raises(SinkError, match=r"2 attempts.*does not answer"):
        post(other, unknown, 1)


def test_receiver_that_answers_a_byte_at_a_time_is_given_up_when_the_time_is_over(app: App) -> None:
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def drip() -> None:
            connection, _ = server.accept()
            with connection, contextlib.suppress(OSError):
                connection.recv(1 << 16)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
                while not over.wait(0.05):
                    connection.sendall(b"x")

        thread = threading.Thread(target=drip, daemon=True)
        thread.start()
        sink = sinks.webhook(f"http://127.0.0.1:{server.getsockname()[1]}/", timeout=1, patience=Patience(attempts=1))
        try:
            with pytest.raises(SinkError, match="no whole answer within 1 s"):
                post(app, sink, 1)
        finally:
            over.set()
            thread.join(60)


def test_path_of_an_address_is_in_no_message_as_it_may_be_a_secret() -> None:
    one, other = sinks.webhook("https://hooks.example.com/T/hunter2"), sinks.webhook("https://hooks.example.com/T/x")
    assert "hunter2" not in f"{one} {one!r}"
    assert "hooks.example.com" in str(one)
    assert str(one) != str(other), "two addresses are two sinks"


@pytest.mark.parametrize(
    ("url", "word"), [("ftp://x/", "https://"), ("example.com", "https://"), ("https://ann:pw@x/", "headers=")]
)
def test_address_that_is_none_is_said(url: str, word: str) -> None:
    with pytest.raises(UsageError, match=word):
        sinks.webhook(url)


@pytest.mark.parametrize("signature", ["github", "stripe"])
def test_our_own_http_trigger_takes_what_is_signed(app: App, tmp_path: Path, signature: str) -> None:
    bodies: list[list[dict[str, int]]] = []
    with App(str(tmp_path / "receiver.db"), port=0) as receiving:

        @receiving.on(http.post("/hook", secret="It's a Secret", signature=signature))
        def hook(request: Request) -> None:
            bodies.append(request.json())

        with receiving.start():
            url = f"{receiving.http_url}/hook"
            post(app, sinks.webhook(url, secret="It's a Secret", signature=signature, rows=3), 7)
            assert [row["n"] for body in bodies for row in body] == list(range(7))
            with App("memory://") as other, pytest.raises(SinkError, match="401"):
                post(other, sinks.webhook(url, secret="another", signature=signature), 1)


def test_time_is_signed_with_the_body(app: App, receiver: Receiver) -> None:
    post(app, sinks.webhook(receiver.url, secret="It's a Secret", signature="stripe"), 1)
    [(headers, body, _)] = receiver.requests
    assert "X-Hub-Signature-256" not in headers
    at, _, given = headers["Stripe-Signature"].removeprefix("t=").partition(",v1=")
    assert abs(time.time() - int(at)) < 600
    assert given == hmac.new(b"It's a Secret", at.encode() + b"." + body, hashlib.sha256).hexdigest()


def test_signature_that_is_none_is_said() -> None:
    with pytest.raises(UsageError, match="'github', 'stripe'"):
        sinks.webhook("https://example.com/", secret="s", signature="md5")
    with pytest.raises(UsageError, match="'array', 'lines'"):
        sinks.webhook("https://example.com/", body="form")
