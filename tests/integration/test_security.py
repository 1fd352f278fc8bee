"""What the guard lets in, and what it does not. Its application answers with the body's size."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from millstream.errors import SettingsError
from millstream.serving.access import Access, host_name
from millstream.serving.answers import json_response
from millstream.serving.guard import Guard
from millstream.serving.rates import Rate, RateLimit, client_name
from millstream.testing import FakeClock

TOKEN = "sixteen-letters-or-more"
HOST = "127.0.0.1:8765"


async def echo(request: Request) -> Response:
    return json_response({"bytes": len(await request.body()), "query": str(request.query_params)})


def guarded(*, access: Access | None = None, clock: FakeClock | None = None, **limits: Any) -> Guard:
    app = Starlette(routes=[Route("/", echo, methods=["GET", "POST"]), Route("/in/here", echo)])
    return Guard(app, access=access or Access.on("127.0.0.1"), clock=clock or FakeClock(), port=8765, **limits)


Ask = Callable[..., httpx.Response]


@pytest.fixture
def ask() -> Ask:
    def send(
        guard: Guard,
        method: str = "GET",
        path: str = "/",
        *,
        host: str = HOST,
        client: tuple[str, int] = ("127.0.0.1", 50_000),
        **request: Any,
    ) -> httpx.Response:
        async def once() -> httpx.Response:
            transport = httpx.ASGITransport(guard, client=client)
            async with httpx.AsyncClient(transport=transport, base_url=f"http://{host}") as http:
                return await http.request(method, path, **request)

        return asyncio.run(once())

    return send


def error_of(response: httpx.Response) -> dict[str, str]:
    body = response.json()
    assert set(body) == {"error"}
    assert set(body["error"]) == {"code", "message", "where"}
    error: dict[str, str] = body["error"]
    return error


# --- names ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1:8765", "localhost:8765", "LOCALHOST", "[::1]:8765", "localhost:9000"])
def test_a_loopback_server_answers_to_the_names_of_loopback(ask: Ask, host: str) -> None:
    assert ask(guarded(), headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example:8765", "127.0.0.1.evil.example", "192.168.1.7:8765", "", "localhost:x", "[::1", "a@localhost"],
)
def test_a_loopback_server_refuses_every_other_name(ask: Ask, host: str) -> None:
    response = ask(guarded(), headers={"host": host})
    assert response.status_code == 403
    assert error_of(response)["code"] == "wrong_host"


def test_two_host_headers_are_refused(ask: Ask) -> None:
    assert ask(guarded(), headers=[("host", HOST), ("host", "evil.example")]).status_code == 403


def test_a_public_server_answers_to_any_address_but_not_to_any_name(ask: Ask) -> None:
    guard = guarded(access=Access.on("0.0.0.0", TOKEN))
    bearer = {"authorization": f"Bearer {TOKEN}"}
    assert ask(guard, headers={"host": "192.168.1.7:8765", **bearer}).status_code == 200
    assert ask(guard, headers={"host": "evil.example:8765", **bearer}).status_code == 403


@pytest.mark.parametrize(
    ("header", "name"),
    [("a.b:80", "a.b"), ("A.b.", "a.b"), ("[::1]:80", "::1"), ("::1", None), (":80", None), ("[::1]x", None)],
)
def test_a_host_header_is_taken_apart_strictly(header: str, name: str | None) -> None:
    assert host_name(header) == name


# --- other sites ----------------------------------------------------------------------------------------------------


def test_a_post_of_the_own_page_passes(ask: Ask) -> None:
    response = ask(
        guarded(), "POST", headers={"origin": f"http://{HOST}", "sec-fetch-site": "same-origin"}, content="x"
    )
    assert response.json()["bytes"] == 1


@pytest.mark.parametrize(
    "origin",
    ["http://evil.example", "null", "http://localhost:8766", f"file://{HOST}", "", f"http://{HOST}.evil.example"],
)
def test_a_post_of_another_origin_is_refused(ask: Ask, origin: str) -> None:
    response = ask(guarded(), "POST", headers={"origin": origin})
    assert response.status_code == 403
    assert error_of(response) == {
        "code": "wrong_origin",
        "message": "requests of other sites are not answered",
        "where": "Origin",
    }


def test_a_program_that_is_no_browser_may_post(ask: Ask) -> None:
    assert ask(guarded(), "POST", content="x").status_code == 200


def test_another_site_may_link_here_but_not_fetch(ask: Ask) -> None:
    cross = {"sec-fetch-site": "cross-site"}
    assert ask(guarded(), headers={**cross, "sec-fetch-mode": "navigate"}).status_code == 200
    assert ask(guarded(), headers={**cross, "sec-fetch-mode": "no-cors"}).status_code == 403
    assert ask(guarded(), "POST", headers={**cross, "sec-fetch-mode": "navigate"}).status_code == 403


def test_every_answer_has_the_security_headers_also_a_refusal(ask: Ask) -> None:
    for response in (ask(guarded()), ask(guarded(), headers={"host": "evil.example"}), ask(guarded(), path="/none")):
        policy = response.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self'" in policy
        assert "unsafe" not in policy
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["referrer-policy"] == "no-referrer"
        assert "server" not in response.headers


# --- token ----------------------------------------------------------------------------------------------------------


def test_loopback_needs_no_token_and_everything_else_gets_one() -> None:
    assert Access.on("127.0.0.1").token is None
    assert Access.on("localhost").token is None
    assert Access.on("::1").token is None
    made_up = {Access.on(host).token for host in ("0.0.0.0", "::", "192.168.1.7", "myhost")}
    assert len(made_up) == 4
    assert all(token and len(token) >= 32 for token in made_up)


@pytest.mark.parametrize(
    "token", ["", "short", "with space in the middle", "snowman-☃-snowman-☃", "semi;colon-semi;colon"]
)
def test_a_weak_or_unsendable_token_is_refused_at_the_start(token: str) -> None:
    with pytest.raises(SettingsError, match="token"):
        Access.on("0.0.0.0", token)


def test_without_the_token_nothing_is_answered(ask: Ask) -> None:
    guard = guarded(access=Access.on("127.0.0.1", TOKEN))
    for headers in ({}, {"authorization": "Bearer wrong-wrong-wrong-wrong"}, {"cookie": "millstream_8765=wrong"}):
        response = ask(guard, headers=headers)
        assert response.status_code == 401
        assert error_of(response)["code"] == "token_needed"
        assert response.headers["www-authenticate"] == "Bearer"
        assert TOKEN not in response.text
    assert ask(guard, "POST", params={"token": TOKEN}).status_code == 401


def test_the_token_passes_as_bearer(ask: Ask) -> None:
    guard = guarded(access=Access.on("127.0.0.1", TOKEN))
    assert ask(guard, headers={"authorization": f"Bearer {TOKEN}"}).status_code == 200


def test_the_token_in_the_address_becomes_a_cookie_once(ask: Ask) -> None:
    guard = guarded(access=Access.on("127.0.0.1", TOKEN))
    response = ask(guard, path=f"/in/here?a=1&token={TOKEN}&b=2")
    assert response.status_code == 303
    assert response.headers["location"] == "/in/here?a=1&b=2"
    cookie = response.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "samesite=strict" in cookie.lower()
    assert ask(guard, headers={"cookie": cookie.partition(";")[0]}).status_code == 200


def test_the_redirect_cannot_lead_to_another_server(ask: Ask) -> None:
    guard = guarded(access=Access.on("127.0.0.1", TOKEN))
    for path in ("//evil.example/", "/%5C%5Cevil.example/"):
        response = ask(guard, path=f"http://{HOST}{path}?token={TOKEN}")
        assert response.status_code == 303
        assert response.headers["location"] == "/evil.example/"


def test_guessing_tokens_is_slowed_down(ask: Ask) -> None:
    clock = FakeClock()
    guard = guarded(access=Access.on("127.0.0.1", TOKEN), clock=clock)
    guesses = [ask(guard, headers={"authorization": f"Bearer guess-{n}"}).status_code for n in range(21)]
    assert guesses == [401] * 20 + [429]
    assert ask(guard, headers={"authorization": f"Bearer {TOKEN}"}).status_code == 200
    clock.advance("5s")
    assert ask(guard, headers={"authorization": "Bearer guess-21"}).status_code == 401


# --- size and rate --------------------------------------------------------------------------------------------------


def test_a_body_over_the_limit_is_refused_by_its_stated_length(ask: Ask) -> None:
    guard = guarded(body_bytes_max=100)
    assert ask(guard, "POST", content=b"x" * 100).json()["bytes"] == 100
    response = ask(guard, "POST", content=b"x" * 101)
    assert response.status_code == 413
    assert error_of(response) == {"code": "too_large", "message": "the body is larger than 100 bytes", "where": "body"}


def test_a_body_over_the_limit_is_refused_without_a_stated_length(ask: Ask) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(11):
            yield b"x" * 10

    assert ask(guarded(body_bytes_max=100), "POST", content=chunks()).status_code == 413


def test_a_body_that_does_not_come_is_not_waited_for(ask: Ask) -> None:
    async def never() -> AsyncIterator[bytes]:
        yield b"x"
        await asyncio.Event().wait()

    response = ask(guarded(body_seconds_max=0.05), "POST", content=never())
    assert response.status_code == 408
    assert error_of(response)["code"] == "too_slow"


def test_more_requests_than_the_rate_are_told_when_to_come_back(ask: Ask) -> None:
    clock = FakeClock()
    guard = guarded(clock=clock, write_rate=Rate(per_second=2, burst=3))
    assert [ask(guard, "POST").status_code for _ in range(4)] == [200, 200, 200, 429]
    refused = ask(guard, "POST")
    assert error_of(refused)["code"] == "too_many_requests"
    assert refused.headers["retry-after"] == "1"
    assert ask(guard).status_code == 200  # reading has a rate of its own
    assert ask(guard, "POST", client=("127.0.0.2", 1)).status_code == 200  # and so has everybody else
    clock.advance("500ms")
    assert [ask(guard, "POST").status_code for _ in range(2)] == [200, 429]


def test_the_table_of_clients_is_bounded_and_forgets_the_quietest() -> None:
    limit = RateLimit(Rate(per_second=1, burst=1), clock=FakeClock(), clients_max=3)
    for client in ("a", "b", "c"):
        limit.take(client)
    assert limit.take("a") > 0
    limit.take("d")
    assert len(limit) == 3
    assert limit.take("a") > 0  # was active: still known
    assert limit.take("b") == 0  # was the quietest: forgotten


def test_a_whole_ipv6_network_is_one_client() -> None:
    assert client_name("2001:db8:1:2:3::4") == client_name("2001:db8:1:2:ffff::1%eth0") == "2001:db8:1:2::/64"
    assert client_name("2001:db8:1:3::4") != client_name("2001:db8:1:2::4")
    assert client_name("::ffff:192.0.2.1") == client_name("192.0.2.1") == "192.0.2.1"
