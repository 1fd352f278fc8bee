"""`millstream demo` as a process: how it starts, what it answers, how it ends."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from millstream import App

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="sends POSIX signals to the demo")

LOAD = "0123456789abcdef"
PATIENCE_S = 100.0
StartDemo = Callable[..., Any]


def click(number: int, element: str = "button", page: str = "/bread") -> dict[str, Any]:
    return {"load": LOAD, "clicks": [{"seq": number, "page": page, "element": element, "label": f"click {number}"}]}


def get(url: str | httpx.URL) -> httpx.Response:
    return httpx.get(url, timeout=PATIENCE_S)


def post(url: str, json: object, headers: dict[str, str] | None = None) -> httpx.Response:
    return httpx.post(url, json=json, headers=headers, timeout=PATIENCE_S)


def events_until(address: str, wanted: Callable[[str, Any], bool]) -> list[tuple[str, Any]]:
    """Read the live events up to the first that is wanted."""
    events: list[tuple[str, Any]] = []
    with httpx.stream("GET", f"{address}events", timeout=PATIENCE_S) as response:
        name = ""
        for line in response.iter_lines():
            if line.startswith("event: "):
                name = line[7:]
            elif line.startswith("data: "):
                events.append((name, json.loads(line[6:])))
                if wanted(*events[-1]):
                    return events
    raise AssertionError(f"the stream ended without it: {events}")


def sequences(log: Path) -> list[int]:
    with App(str(log)) as app:
        return [record.value["seq"] for record in app.topic("clicks").read(0)]


def test_it_prints_its_address_and_ctrl_c_drains_and_exits_0(start_demo: StartDemo) -> None:
    demo = start_demo()
    address = demo.address()
    assert get(address).status_code == 200
    code, out, err = demo.interrupt()
    assert (code, err) == (0, "")
    assert str(demo.log) in out
    assert out.splitlines()[-1].startswith("Stopped.")


def test_sigterm_ends_it_as_ctrl_c_does_also_with_a_live_page_open(start_demo: StartDemo) -> None:
    demo = start_demo()
    address = demo.address()
    with httpx.stream("GET", f"{address}events", timeout=PATIENCE_S) as response:
        lines = response.iter_lines()
        assert next(lines).startswith("retry:")
        demo.process.send_signal(signal.SIGTERM)
        assert "event: bye" in list(lines)
    code, _, err = demo.finish()
    assert (code, err) == (0, "")


PATIENT = """
from millstream.cli import main
from millstream.serving import guard, server

server.GRACE_SECONDS = 3600
guard.Guard.__init__.__kwdefaults__["body_seconds_max"] = 3600
server.Server.__init__.__kwdefaults__["idle_seconds_max"] = 3600
main()
"""
"""The program, where clients are waited for longer than for any test."""


def test_a_second_ctrl_c_does_not_wait_for_a_client_that_takes_its_time(start_demo: StartDemo) -> None:
    demo = start_demo(program=("-c", PATIENT))
    url = httpx.URL(demo.address())
    head = f"POST /collect HTTP/1.1\r\nHost: {url.netloc.decode()}\r\nContent-Length: 100\r\n\r\n"
    with socket.create_connection((url.host, url.port or 80)) as slow:
        slow.sendall(head.encode() + b"x")
        get(url)  # the server has read what came before
        demo.process.send_signal(signal.SIGINT)
        with contextlib.suppress(ConnectionRefusedError, ConnectionResetError):  # it is stopping
            while True:
                socket.create_connection((url.host, url.port or 80)).close()
        demo.process.send_signal(signal.SIGINT)
        code, _, err = demo.finish()
        assert (code, err) == (0, "")


def test_a_port_in_use_is_one_line_and_exit_code_1(start_demo: StartDemo) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, out, err = start_demo("--port", str(port)).finish()
    assert code == 1
    assert out == ""
    assert err == f"millstream: port {port} of 127.0.0.1 is in use; stop what uses it, or take another with --port\n"


def test_an_address_of_another_machine_is_one_line_and_exit_code_1(start_demo: StartDemo) -> None:
    code, _, err = start_demo("--host", "192.0.2.1").finish()
    assert code == 1
    assert err == "millstream: 192.0.2.1 is no address of this machine; give one with --host\n"


def test_a_second_start_goes_on_where_the_first_ended(start_demo: StartDemo) -> None:
    first = start_demo()
    address = first.address()
    receipt = post(f"{address}collect", json=click(1)).json()
    assert receipt["offsets"] == {"1": 0}
    assert first.interrupt()[0] == 0

    second = start_demo()
    address = second.address()
    again = post(f"{address}collect", json=click(1)).json()
    assert (again["accepted"], again["offsets"]) == (0, {"1": 0})
    assert post(f"{address}collect", json=click(2)).json()["offsets"] == {"2": 1}
    ((name, _), *_) = events_until(address, lambda name, value: name == "snapshot")
    assert name == "snapshot"
    events_until(
        address,
        lambda name, value: (
            [c["seq"] for c in (value["clicks"] if name == "snapshot" else [])] == [1, 2]
            or (name == "clicks" and value[-1]["seq"] == 2)
        ),
    )
    assert second.interrupt()[0] == 0
    assert sequences(second.log) == [1, 2]


def test_jobs_that_were_not_done_at_the_end_are_done_after_the_next_start(start_demo: StartDemo) -> None:
    first = start_demo()
    receipt = post(f"{first.address()}collect", json=click(1, "ten-jobs", "/")).json()
    assert receipt["answers"] == {"1": {"jobs": {"first": 0, "last": 9}}}
    assert first.interrupt()[0] == 0
    second = start_demo()

    def settled(name: str, value: Any) -> bool:
        status = value["status"] if name == "snapshot" else value if name == "status" else None
        return status is not None and status["queue"]["done"] + status["queue"]["dead"] == 10

    (_, last) = events_until(second.address(), settled)[-1]
    queue = last.get("status", last)["queue"]
    assert (queue["accepted"], queue["done"], queue["dead"]) == (10, 9, 1)
    assert second.interrupt()[0] == 0


def test_killed_between_two_clicks_it_has_every_answered_click(start_demo: StartDemo) -> None:
    demo = start_demo()
    address = demo.address()
    for number in range(1, 31):
        assert post(f"{address}collect", json=click(number)).status_code == 200
    demo.process.kill()
    demo.finish()
    assert sequences(demo.log) == list(range(1, 31))


def test_a_report_is_numbered_and_covers_every_click_so_far(start_demo: StartDemo) -> None:
    demo = start_demo()
    address = demo.address()
    for number in range(1, 6):
        post(f"{address}collect", json=click(number, page="/bread" if number % 2 else "/rolls"))
    receipt = post(f"{address}collect", json=click(6, "report", "/")).json()
    assert receipt["answers"] == {"6": {"report": 1}}
    report = next(
        value["report"] if name == "snapshot" else value
        for name, value in reversed(
            events_until(address, lambda name, value: name == "report" or (name == "snapshot" and value["report"]))
        )
        if name in ("snapshot", "report")
    )
    assert (report["number"], report["start"], report["end"], report["clicks"]) == (1, 0, 6, 6)
    assert [(row["page"], row["clicks"]) for row in report["rows"]] == [("/bread", 3), ("/rolls", 2), ("/", 1)]


def test_another_address_than_loopback_needs_the_token_it_prints(start_demo: StartDemo) -> None:
    demo = start_demo("--host", "0.0.0.0")
    printed = httpx.URL(demo.address())
    token = printed.params["token"]
    plain = f"http://127.0.0.1:{printed.port}/"
    assert len(token) >= 32
    for path in ("", "events", "static/tracker.js", "collect"):
        assert get(plain + path).status_code == 401
    assert post(f"{plain}collect", json=click(1)).status_code == 401
    with httpx.Client(follow_redirects=True, timeout=PATIENCE_S) as browser:
        page = browser.get(plain, params={"token": token})
        assert (page.status_code, page.url) == (200, plain)
        assert browser.post(f"{plain}collect", json=click(1)).status_code == 200
    bearer = {"authorization": f"Bearer {token}"}
    assert post(f"{plain}collect", json=click(2), headers=bearer).status_code == 200
    code, _, err = demo.interrupt()
    assert (code, err) == (0, "")


def test_a_token_that_is_too_short_is_refused_before_anything_starts(start_demo: StartDemo) -> None:
    code, out, err = start_demo("--host", "0.0.0.0", "--token", "short").finish()
    assert code == 2
    assert out == ""
    assert "at least 16" in err
    assert len(err.splitlines()) == 1


def test_a_data_folder_that_is_a_file_is_one_line(start_demo: StartDemo, tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    code, _, err = start_demo().finish()
    assert code == 2
    assert "give a folder with --data" in err
    assert len(err.splitlines()) == 1


def ask_raw(address: str, request: bytes) -> tuple[int, bytes]:
    """Send bytes as they are; return status and body of what comes back."""
    url = httpx.URL(address)
    with socket.create_connection((url.host, url.port or 80), timeout=PATIENCE_S) as connection:
        connection.sendall(request)
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split(b" ")[1]), body


def test_what_is_refused_is_refused_in_one_shape(start_demo: StartDemo) -> None:
    demo = start_demo()
    address = demo.address()
    host = f"Host: {httpx.URL(address).netloc.decode()}\r\n"
    close = "Connection: close\r\n"
    refusals = {
        f"GET /nothing HTTP/1.1\r\n{host}{close}\r\n": (404, "not_found"),
        f"GET /../../etc/passwd HTTP/1.1\r\n{host}{close}\r\n": (404, "not_found"),
        f"GET /static/..%2f..%2fwork.py HTTP/1.1\r\n{host}{close}\r\n": (404, "not_found"),
        f"GET /static/%2e%2e/guard.py HTTP/1.1\r\n{host}{close}\r\n": (404, "not_found"),
        f"GET /pieces/999999999999999999999999 HTTP/1.1\r\n{host}{close}\r\n": (404, "not_found"),
        f"GET /pieces/5 HTTP/1.1\r\n{host}{close}\r\n": (404, "not_found"),
        f"DELETE / HTTP/1.1\r\n{host}{close}\r\n": (405, "wrong_method"),
        f"GET /collect HTTP/1.1\r\n{host}{close}\r\n": (405, "wrong_method"),
        f"GET / HTTP/1.1\r\nHost: evil.example\r\n{close}\r\n": (403, "wrong_host"),
        f"POST /collect HTTP/1.1\r\n{host}{close}Content-Length: 1\r\n\r\n{{": (400, "bad_json"),
        f"POST /collect HTTP/1.1\r\n{host}{close}Content-Length: 99999999\r\n\r\n": (413, "too_large"),
        f"POST /collect HTTP/1.1\r\n{host}{close}Origin: http://evil.example\r\nContent-Length: 0\r\n\r\n": (
            403,
            "wrong_origin",
        ),
    }
    for request, (status, code) in refusals.items():
        got, body = ask_raw(address, request.encode())
        assert (got, json.loads(body)["error"]["code"]) == (status, code), request
    code, _, err = demo.interrupt()
    assert (code, err) == (0, "")


def test_too_many_requests_are_told_when_to_come_back(start_demo: StartDemo) -> None:
    url = httpx.URL(start_demo().address())
    head = f"POST /collect HTTP/1.1\r\nHost: {url.netloc.decode()}\r\nContent-Length: 1\r\n"
    # One behind the other without waiting for an answer: also a slow machine takes more of them than it may.
    requests = f"{head}\r\n{{" * 1000 + f"{head}Connection: close\r\n\r\n{{"
    with socket.create_connection((url.host, url.port or 80), timeout=PATIENCE_S) as connection:
        connection.sendall(requests.encode())
        answers = b"".join(iter(lambda: connection.recv(65536), b"")).split(b"HTTP/1.1 ")[1:]
    refused = next(answer for answer in answers if not answer.startswith(b"400 "))
    assert refused.startswith(b"429 ")
    head, _, body = refused.decode().partition("\r\n\r\n")
    assert json.loads(body)["error"]["code"] == "too_many_requests"
    headers = dict(line.lower().split(": ", 1) for line in head.splitlines()[1:])
    assert int(headers["retry-after"]) >= 1


def test_it_does_not_listen_beyond_loopback(start_demo: StartDemo) -> None:
    address = start_demo().address()
    others = {info[4][0] for info in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)}
    for other in others - {"127.0.0.1"}:
        if not other.startswith("127."):
            with pytest.raises(OSError):
                socket.create_connection((other, httpx.URL(address).port or 0), timeout=2).close()
