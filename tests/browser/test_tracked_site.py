"""A site with the tracker on it, in a real browser: its clicks are in the log, and its page gets answers."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Mount, Route

from millstream import App
from millstream.web.clicks import Click
from millstream.web.tracking import Tracking

pytestmark = pytest.mark.browser

PAGE = """<!doctype html><title>Shop</title><link rel="icon" href="data:,">
<script src="/clicks/tracker.js" data-collector="/clicks/collect" defer></script>
<style>button { color: green }</style>
<button data-click="buy">Buy</button> <button data-click="order" data-answer>Order</button> <a href="/next">Next</a>
<output></output>
<script>
addEventListener("millstream:answer", (event) => {
  document.querySelector("output").value = event.detail.answer.order;
}, true);
</script>"""


async def page(request: Request) -> Response:
    return HTMLResponse(PAGE)


async def order(click: Click, offset: int) -> object:
    return {"order": f"number {offset}"}


@pytest.fixture
def app(tmp_path: Path) -> Iterator[App]:
    with App(str(tmp_path / "log.db")) as app:
        yield app


@pytest.fixture
def address(app: App) -> Iterator[str]:
    tracking = Tracking(app.topic("clicks", Click, key="load"), sites=["shop.example.com"], answers={"order": order})
    site = Starlette(routes=[Route("/", page), Route("/next", page), Mount("/clicks", tracking)])
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(site, log_level="warning"))
        serving = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        serving.start()
        yield f"http://localhost:{listener.getsockname()[1]}/"
        server.should_exit = True
        serving.join(60)


def test_clicks_on_a_site_of_ones_own_are_in_the_log_and_answered(app: App, address: str, tab: Any) -> None:
    page = tab.page
    page.goto(address)
    page.click('[data-click="buy"]')
    page.click('[data-click="order"]')
    page.wait_for_function("document.querySelector('output').value === 'number 1'")
    page.click("a")
    page.wait_for_url("**/next")
    page.click('[data-click="buy"]')
    topic = app.topic("clicks", Click, key="load")
    for _ in range(200):
        if topic.end_offsets()[0] >= 4:
            break
        topic.wait(topic.end_offsets(), 0.5)
    clicks = [record.value for record in topic.read(0)]
    assert [(click.element, click.page) for click in clicks] == [
        ("buy", "/"),
        ("order", "/"),
        ("a", "/"),
        ("buy", "/next"),
    ]
    # A beacon that outlives its page is "aborted" for the tools of the browser.
    assert [line for line in tab.red if "ERR_ABORTED" not in line] == []
