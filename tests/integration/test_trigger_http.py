"""Requests as triggers: durable before they are answered, signed, each once."""

from __future__ import annotations

import hashlib
import hmac
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from millstream import App, File, Reject, Request, Response, Retry, SettingsError, UsageError, files, http

GITHUB_SECRET = "It's a Secret to Everybody"
GITHUB_PAYLOAD = b"Hello, World!"
GITHUB_SIGNATURE = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
"""The published example of docs.github.com, "Validating webhook deliveries"."""

STRIPE_SECRET = "whsec_test_secret"


class Signup(msgspec.Struct):
    email: str
    age: int = 0


@pytest.fixture
def app(tmp_path: Path) -> Iterator[App]:
    with App(str(tmp_path / "app.db"), port=0) as app:
        yield app


def client_of(app: App, **settings: Any) -> httpx.Client:
    assert app.http_url is not None
    return httpx.Client(base_url=app.http_url, timeout=60, **settings)


def events(app: App, name: str) -> list[Request]:
    return [record.value for record in app.topic(f"{name}.events", Request).read()]


def stripe_signature(body: bytes, at: int, secret: str = STRIPE_SECRET) -> str:
    signed = hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={at},v1={'0' * 64},v1={signed},v0=abc"


# --- the answer -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("returned", "status", "content_type", "body"),
    [
        (None, 204, None, b""),
        ("text", 200, "text/plain; charset=utf-8", b"text"),
        (b"bytes", 200, "application/octet-stream", b"bytes"),
        ({"a": 1}, 200, "application/json", b'{"a":1}'),
        ([1, 2], 200, "application/json", b"[1,2]"),
        (Signup("a@b", 3), 200, "application/json", b'{"email":"a@b","age":3}'),
        (Response("made", 201, {"Location": "/x"}), 201, "text/plain; charset=utf-8", b"made"),
        (Response({"no": True}, 404), 404, "application/json", b'{"no":true}'),
        (Response("<p>", headers={"Content-Type": "text/html"}), 200, "text/html", b"<p>"),
    ],
)
def test_what_the_handler_returns_is_the_answer(
    app: App, returned: Any, status: int, content_type: str | None, body: bytes
) -> None:
    @app.on(http.post("/hook"))
    def hook(request: Request) -> Any:
        return returned

    with app.start(), client_of(app) as client:
        answer = client.post("/hook", content=b"x")
    assert (answer.status_code, answer.headers.get("content-type"), answer.content) == (status, content_type, body)


def test_the_request_is_in_the_log_when_it_is_handled_and_secrets_are_not(app: App) -> None:
    @app.on(http.any("/orders/{order}"))
    async def order(request: Request) -> dict[str, str]:
        [kept] = events(app, "any-orders-order")
        assert kept == request
        return request.params

    with app.start(), client_of(app) as client:
        answer = client.put(
            "/orders/7%20a?page=2&token=abcdefghijklmnop",
            content=b"\x00\xff",
            headers={"Authorization": "Bearer x", "Cookie": "a=b", "X-Note": "yes"},
        )
    assert answer.json() == {"order": "7 a"}
    [kept] = events(app, "any-orders-order")
    assert (kept.method, kept.path, kept.query, kept.body) == ("PUT", "/orders/7 a", "page=2", b"\x00\xff")
    assert kept.headers["x-note"] == "yes"
    assert not {"authorization", "cookie"} & kept.headers.keys()
    assert kept.client == "127.0.0.1"
    assert kept.arguments() == {"page": "2"}


def test_a_handler_without_parameters_is_called(app: App) -> None:
    calls: list[int] = []

    @app.on(http.post("/bell"))
    def bell() -> None:
        calls.append(1)

    with app.start(), client_of(app) as client:
        assert client.post("/bell").status_code == 204
    assert calls == [1]


def test_a_handler_that_raises_answers_500_with_the_place_and_is_tried_again(app: App) -> None:
    attempts: list[str] = []
    done = threading.Event()

    @app.on(http.post("/flaky"), retry=Retry(attempts=3, delay="10ms"))
    def flaky(request: Request) -> str:
        attempts.append(request.text())
        if len(attempts) < 3:
            raise ConnectionError("the password is hunter2")
        done.set()
        return "late"

    with app.start(), client_of(app) as client:
        answer = client.post("/flaky", content="once")
        assert answer.status_code == 500
        error = answer.json()["error"]
        assert (error["code"], error["where"]) == ("handler_failed", "post-flaky.events:0:0")
        assert "hunter2" not in answer.text
        assert done.wait(60)
    assert attempts == ["once"] * 3


def test_what_is_given_up_on_is_in_the_dead_letters(app: App) -> None:
    @app.on(http.post("/no"))
    def no(request: Request) -> None:
        raise Reject("never")

    with app.start(), client_of(app) as client:
        answer = client.post("/no", content="x")
    assert answer.status_code == 500
    assert "dead letters" in answer.json()["error"]["message"]
    assert app.dead("post-no.events").count() == 1


def test_a_slow_handler_is_answered_202_and_goes_on(app: App) -> None:
    begun, go, done = threading.Event(), threading.Event(), threading.Event()

    @app.on(http.post("/slow", wait="50ms"))
    def slow(request: Request) -> None:
        begun.set()
        go.wait(60)
        done.set()

    with app.start(), client_of(app) as client:
        answer = client.post("/slow")
        assert (answer.status_code, answer.json()) == (202, {"accepted": ["post-slow.events:0:0"]})
        assert begun.wait(60)
        go.set()
        assert done.wait(60)


def test_a_request_that_is_under_way_is_answered_when_the_app_stops(app: App) -> None:
    begun, go = threading.Event(), threading.Event()
    answers: list[tuple[int, str]] = []

    @app.on(http.post("/slow"))
    def slow(request: Request) -> str:
        begun.set()
        go.wait(60)
        return "done"

    running = app.start()

    def send() -> None:
        with client_of(app) as client:
            answer = client.post("/slow")
            answers.append((answer.status_code, answer.text))

    request, stop = threading.Thread(target=send), threading.Thread(target=running.stop)
    request.start()
    assert begun.wait(60)
    stop.start()
    go.set()
    request.join(60)
    stop.join(60)
    assert answers == [(200, "done")]
    assert not stop.is_alive()


def test_accepted_answers_before_the_handler_begins(app: App) -> None:
    begun, go = threading.Event(), threading.Event()

    @app.on(http.post("/later", reply="accepted"))
    def later(request: Request) -> None:
        begun.set()
        go.wait(60)

    with app.start(), client_of(app) as client:
        assert [client.post("/later").status_code for _ in range(3)] == [202] * 3
        assert begun.wait(60)
        go.set()


def test_a_queue_and_a_stream_follow_a_trigger_without_a_handler(app: App) -> None:
    signups = http.post("/signup", body=Signup)
    got: list[str] = []
    both = threading.Event()

    @app.queue(signups)
    def welcome(request: Request) -> None:
        got.append(request.json(Signup).email)
        both.set()

    @app.stream(signups)
    def paths(s: Any) -> Any:
        return s.select("path", "method").to("paths")

    with app.start(), client_of(app) as client:
        assert client.post("/signup", json={"email": "a@b"}).status_code == 202
        assert both.wait(60)
        until = time.monotonic() + 60
        while "paths" not in app.log.topics() or not sum(app.topic("paths").end_offsets().values()):
            assert time.monotonic() < until
            time.sleep(0.02)
    assert got == ["a@b"]


# --- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "settings", "status", "code"),
    [
        ("POST", "/nowhere", {}, 404, "not_found"),
        ("GET", "/signup", {}, 405, "method_not_allowed"),
        ("POST", "/signup", {"content": b"{"}, 400, "bad_json"),
        ("POST", "/signup", {"content": b'{"email": 7}'}, 400, "bad_body"),
        ("POST", "/signup", {"content": b"x" * 1001}, 413, "too_large"),
        ("POST", "/signup", {"content": b"{}", "headers": {"Host": "evil.example"}}, 403, "wrong_host"),
        ("POST", "/signup", {"content": b"{}", "headers": {"Origin": "https://evil.example"}}, 403, "wrong_origin"),
    ],
)
def test_a_request_that_is_refused_says_why_and_leaves_nothing(
    app: App, method: str, path: str, settings: dict[str, Any], status: int, code: str
) -> None:
    @app.on(http.post("/signup", body=Signup, size_max=1000))
    def signup(request: Request) -> None: ...

    with app.start(), client_of(app) as client:
        answer = client.request(method, path, **settings)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert events(app, "post-signup") == []


def test_a_public_path_is_open_to_other_names_and_pages(app: App) -> None:
    @app.on(http.post("/form", public=True, rate=2))
    def form(request: Request) -> dict[str, str]:
        return request.form()

    with app.start(), client_of(app, headers={"Host": "shop.example", "Origin": "https://shop.example"}) as client:
        answers = [client.post("/form", data={"name": "Zoë"}) for _ in range(30)]
    assert answers[0].json() == {"name": "Zoë"}
    limited = [answer for answer in answers if answer.status_code == 429]
    assert limited
    assert "retry-after" in limited[0].headers


def test_a_token_is_asked_for_where_one_is_given(tmp_path: Path) -> None:
    with App(str(tmp_path / "app.db"), port=0, token="a-long-enough-token") as app:

        @app.on(http.post("/hook"))
        def hook(request: Request) -> str:
            return "in"

        @app.on(http.post("/signed", secret=GITHUB_SECRET, signature="github"))
        def signed(request: Request) -> str:
            return "signed"

        with app.start(), client_of(app) as client:
            assert client.post("/hook").status_code == 401
            answer = client.post("/hook", headers={"Authorization": "Bearer a-long-enough-token"})
            assert answer.text == "in"
            answer = client.post("/signed", content=GITHUB_PAYLOAD, headers={"X-Hub-Signature-256": GITHUB_SIGNATURE})
            assert answer.text == "signed"


def test_a_token_is_made_up_beyond_loopback(tmp_path: Path) -> None:
    with App(str(tmp_path / "app.db"), host="0.0.0.0", port=0) as app:

        @app.on(http.post("/hook"))
        def hook(request: Request) -> str:
            return "in"

        with app.start():
            assert app.http_url is not None
            url = app.http_url.replace("0.0.0.0", "127.0.0.1")
            assert httpx.post(f"{url}/hook").status_code == 401
            assert httpx.post(f"{url}/hook", headers={"Authorization": f"Bearer {app.http_token}"}).text == "in"


def test_a_port_in_use_is_told_where_the_app_is_started(tmp_path: Path) -> None:
    with App(str(tmp_path / "a.db"), port=0) as first, App(str(tmp_path / "b.db")) as second:
        for app in (first, second):
            app.on(http.post("/hook"), name="hook")(lambda request: None)
        with first.start():
            assert first.http_url is not None
            second.serve_at(port=int(first.http_url.rpartition(":")[2]))
            with pytest.raises(SettingsError, match="in use"):
                second.start()


# --- signatures -----------------------------------------------------------------------------------------------------


def test_githubs_published_example_is_accepted_and_its_neighbours_are_not(app: App) -> None:
    @app.on(http.post("/github", secret=["old", GITHUB_SECRET], signature="github"))
    def github(request: Request) -> str:
        return request.text()

    header = "X-Hub-Signature-256"
    with app.start(), client_of(app, headers={"Host": "hooks.example"}) as client:
        assert (
            client.post("/github", content=GITHUB_PAYLOAD, headers={header: GITHUB_SIGNATURE}).text == "Hello, World!"
        )
        bad = [
            (b"Hello, World?", {header: GITHUB_SIGNATURE}, "bad_signature"),
            (GITHUB_PAYLOAD, {header: GITHUB_SIGNATURE[:-1] + "8"}, "bad_signature"),
            (GITHUB_PAYLOAD, {header: ""}, "bad_signature"),
            (GITHUB_PAYLOAD, {header: "sha256=ü".encode()}, "bad_signature"),
            (GITHUB_PAYLOAD, {}, "no_signature"),
        ]
        for body, headers, code in bad:
            answer = client.post("/github", content=body, headers=headers)  # type: ignore[arg-type]
            assert (answer.status_code, answer.json()["error"]["code"]) == (401, code)
    assert len(events(app, "post-github")) == 1


def test_stripes_signature_holds_for_five_minutes(app: App) -> None:
    @app.on(http.post("/stripe", secret=STRIPE_SECRET, signature="stripe"))
    def stripe(request: Request) -> str:
        return "paid"

    body = b'{"id": "evt_1"}'

    def now() -> int:
        return int(time.time())

    with app.start(), client_of(app) as client:

        def send(signature: str) -> tuple[int, str]:
            answer = client.post("/stripe", content=body, headers={"Stripe-Signature": signature})
            return answer.status_code, answer.text if answer.status_code == 200 else answer.json()["error"]["code"]

        # A request may be on its way for a while: those that have to come in time have some left.
        assert send(stripe_signature(body, now())) == (200, "paid")
        assert send(stripe_signature(body, now() - 240)) == (200, "paid")
        assert send(stripe_signature(body, now() - 310)) == (401, "stale_signature")
        assert send(stripe_signature(body, now() + 400)) == (401, "stale_signature")
        assert send(stripe_signature(body, now(), "another")) == (401, "bad_signature")
        # The time is signed as well: an old request does not become new.
        old, new = now() - 310, now()
        assert send(stripe_signature(body, old).replace(str(old), str(new))) == (401, "bad_signature")
        assert send("nonsense") == (401, "bad_signature")


def test_a_plain_hmac_takes_its_own_header(app: App) -> None:
    @app.on(http.post("/plain", secret=b"key", signature="sha256:X-Sum"))
    def plain(request: Request) -> str:
        return "ok"

    signed = hmac.new(b"key", b"body", hashlib.sha256).hexdigest()
    with app.start(), client_of(app) as client:
        assert client.post("/plain", content=b"body", headers={"X-Sum": signed.upper()}).text == "ok"


# --- once -----------------------------------------------------------------------------------------------------------


def test_a_repeated_request_gets_the_first_answer_also_after_a_restart(tmp_path: Path) -> None:
    calls: list[str] = []

    def declared() -> App:
        app = App(str(tmp_path / "app.db"), port=0)

        @app.on(http.post("/pay", idempotency="Idempotency-Key"))
        def pay(request: Request) -> dict[str, int]:
            calls.append(request.text())
            return {"payment": len(calls)}

        return app

    def send(app: App, body: str, key: str | None = "k1") -> httpx.Response:
        with client_of(app) as client:
            return client.post("/pay", content=body, headers={} if key is None else {"Idempotency-Key": key})

    with declared() as app, app.start():
        assert [send(app, "10").json() for _ in range(3)] == [{"payment": 1}] * 3
    with declared() as app, app.start():
        assert send(app, "10").json() == {"payment": 1}
        refused = send(app, "99")
        assert (refused.status_code, refused.json()["error"]["code"]) == (422, "key_reused")
        assert send(app, "10", "k2").json() == {"payment": 2}
        assert send(app, "10", None).json() == {"payment": 3}
        assert send(app, "10", "k" * 256).json()["error"]["code"] == "bad_key"
    assert calls == ["10", "10", "10"]


def test_many_at_once_with_one_key_are_handled_once(app: App) -> None:
    calls: list[int] = []

    @app.on(http.post("/pay", idempotency="Idempotency-Key"))
    def pay(request: Request) -> int:
        calls.append(1)
        return len(calls)

    answers: list[str] = []

    def send() -> None:
        with client_of(app) as client:
            answers.append(client.post("/pay", content="x", headers={"Idempotency-Key": "same"}).text)

    with app.start():
        threads = [threading.Thread(target=send) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert (calls, answers) == ([1], ["1"] * 8)


def test_the_answer_of_another_process_reaches_the_request(tmp_path: Path) -> None:
    """Two apps with the same handlers: the event may be handled by either."""
    first, second = (App(str(tmp_path / "app.db"), port=0) for _ in range(2))
    handled: dict[str, int] = {"first": 0, "second": 0}
    for name, app in (("first", first), ("second", second)):

        def hook(request: Request, name: str = name) -> str:
            handled[name] += 1
            time.sleep(0.01)
            return request.text()

        app.on(http.post("/hook"), name="hook", workers=1)(hook)
    answers: list[str] = []

    def send(text: str) -> None:
        with client_of(first) as client:
            answers.append(client.post("/hook", content=text).text)

    with first, second, first.start(), second.start():
        threads = [threading.Thread(target=send, args=(str(at),)) for at in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert sorted(answers, key=int) == [str(at) for at in range(16)]
    assert sum(handled.values()) == 16


PROCESSES = """
import os, sys
from millstream import App, http
app = App(sys.argv[1], port=0)

@app.on(http.post("/hook"), kind="processes", workers=1)
def hook(request):
    return {"handler": os.getpid(), "text": request.text()}

if __name__ == "__main__":
    with app.start():
        print(app.http_url, os.getpid(), flush=True)
        sys.stdin.read()
"""


def test_the_answer_of_a_worker_process_reaches_the_request(tmp_path: Path) -> None:
    script = tmp_path / "app.py"
    script.write_text(PROCESSES)
    command = [sys.executable, str(script), str(tmp_path / "a.db")]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=tmp_path)
    try:
        assert server.stdout is not None
        url, pid = server.stdout.readline().split()
        answers = [httpx.post(f"{url}/hook", content=str(at), timeout=40).json() for at in range(3)]
    finally:
        server.communicate("", timeout=40)
    assert [answer["text"] for answer in answers] == ["0", "1", "2"]
    assert int(pid) not in {answer["handler"] for answer in answers}


def test_calling_a_handler_calls_the_function(app: App, tmp_path: Path) -> None:
    @app.on(http.get("/a"))
    def nothing() -> str:
        return "called"

    @app.on(files(tmp_path / "*.x"))
    def load(file: File) -> str:
        return file.path

    assert nothing() == "called"
    assert load(File(path="/no/such/file", size=1, modified=datetime.now(UTC))) == "/no/such/file"


# --- declarations ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "settings", "says"),
    [
        ("signup", {}, "is no path"),
        ("/a?b", {}, "is no path"),
        ("/{a}/{a}", {}, "braces"),
        ("/{}", {}, "braces"),
        ("/x", {"signature": "github"}, "needs the secret"),
        ("/x", {"secret": ""}, "secret of a web hook is empty"),
        ("/x", {"secret": "s", "signature": "gitlab"}, "give one of"),
        ("/x", {"reply": "never"}, "reply is 'never'"),
        ("/x", {"size_max": "1XB"}, "not a size"),
        ("/x", {"size_max": "1GB"}, "http.upload"),
        ("/x", {"rate": 0}, "rate is 0"),
        ("/x", {"wait": "soon"}, "not a duration"),
        ("/x", {"colour": 1}, "colour"),
    ],
)
def test_a_declaration_that_cannot_work_says_why(path: str, settings: dict[str, Any], says: str) -> None:
    with pytest.raises((UsageError, TypeError), match=says):
        http.post(path, **settings)
    with pytest.raises(UsageError, match=says):
        http.put(path, **settings)


def test_two_handlers_cannot_answer_one_request(app: App) -> None:
    trigger = http.post("/x")
    app.on(trigger, name="one")(lambda request: None)
    with pytest.raises(UsageError, match="has a handler already"):
        app.on(trigger, name="two")(lambda request: None)
    with pytest.raises(UsageError, match="two triggers have the name"):
        app.on(http.post("/x"), name="three")(lambda request: None)
