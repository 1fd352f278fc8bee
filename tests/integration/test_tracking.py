"""The tracker and the collector on a site of one's own: by its public name, mounted below a path, without a token."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Mount, Route

from millstream import App
from millstream.errors import SettingsError
from millstream.web.clicks import Click
from millstream.web.tracking import Tracking

SENT = b'{"load": "0123456789abcdef", "clicks": [{"seq": 1, "page": "/", "element": "buy"}]}'


@pytest.fixture
def app(tmp_path: Path) -> Any:
    with App(str(tmp_path / "log.db")) as app:
        yield app


def tracking(app: App, **settings: Any) -> Tracking:
    return Tracking(app.topic("clicks", Click, key="load"), sites=["shop.example.com"], **settings)


async def home(request: Request) -> Response:
    return HTMLResponse("<p>home")


def ask(site: Any, method: str, path: str, *, host: str = "shop.example.com", **request: Any) -> httpx.Response:
    async def asked() -> httpx.Response:
        transport = httpx.ASGITransport(site)
        async with httpx.AsyncClient(transport=transport, base_url=f"https://{host}") as client:
            return await client.request(method, path, **request)

    return asyncio.run(asyncio.wait_for(asked(), 60))


def test_it_is_mounted_beside_the_pages_of_a_site(app: App) -> None:
    site = Starlette(routes=[Route("/", home), Mount("/clicks", tracking(app))])
    tracker = ask(site, "GET", "/clicks/tracker.js")
    assert tracker.status_code == 200
    assert tracker.headers["content-type"].startswith("text/javascript")
    assert "data-collector" in tracker.text
    headers = {"origin": "https://shop.example.com", "content-type": "text/plain"}
    answer = ask(site, "POST", "/clicks/collect", content=SENT, headers=headers)
    assert (answer.status_code, answer.json()["offsets"]) == (200, {"1": 0})
    page = ask(site, "GET", "/")
    assert "content-security-policy" not in page.headers
    assert [record.value.element for record in app.topic("clicks", Click, key="load").read(0)] == ["buy"]


def test_an_answer_comes_back_with_the_click(app: App) -> None:
    async def bought(click: Click, offset: int) -> object:
        return {"order": offset}

    answer = ask(tracking(app, answers={"buy": bought}), "POST", "/collect", content=SENT)
    assert answer.json()["answers"] == {"1": {"order": 0}}


@pytest.mark.parametrize(
    ("request_", "status", "code"),
    [
        ({"content": b"{"}, 400, "bad_json"),
        ({"content": b'{"load": "x"}'}, 400, "bad_click"),
        ({"content": SENT, "headers": {"origin": "https://evil.example"}}, 403, "wrong_origin"),
        ({"content": SENT, "headers": {"content-type": "image/png"}}, 415, "wrong_media_type"),
        ({"content": b" " * 100_000}, 413, "too_large"),
        ({"content": SENT, "host": "evil.example"}, 403, "wrong_host"),
    ],
)
def test_what_is_refused_says_so_in_one_shape(app: App, request_: dict[str, Any], status: int, code: str) -> None:
    answer = ask(tracking(app), "POST", "/collect", **request_)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [("GET", "/collect", 405, "wrong_method"), ("GET", "/", 404, "not_found"), ("GET", "/../x", 404, "not_found")],
)
def test_there_is_nothing_else(app: App, method: str, path: str, status: int, code: str) -> None:
    answer = ask(tracking(app), method, path)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


@pytest.mark.parametrize("site", ["https://shop.example.com", "shop.example.com:8000", "shop.example.com/x", ""])
def test_a_site_is_a_host_name_alone(app: App, site: str) -> None:
    with pytest.raises(SettingsError, match="give the host name alone"):
        Tracking(app.topic("clicks", Click, key="load"), sites=[site])
