"""A real Chromium; without one, these tests are skipped and say so."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
ARGUMENTS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """Start it for one module: Playwright keeps an event loop running in this thread, and others need their own."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    executable = next(filter(None, map(shutil.which, NAMES)), None)
    if executable is None:
        pytest.skip(f"no Chromium on this machine: none of {', '.join(NAMES)}")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=list(ARGUMENTS))
        yield browser
        browser.close()


class Tab:
    """A page, and everything red that its console, scripts and requests show."""

    def __init__(self, context: Any) -> None:
        self.page = context.new_page()
        self.red: list[str] = []
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.red.append(f"error: {error}"))
        self.page.on("requestfailed", self._failed)
        self.page.on("response", self._response)

    def _console(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.red.append(f"console {message.type}: {message.text}")

    def _failed(self, request: Any) -> None:
        # A page that is left ends its live events; that is no failure.
        if not request.url.endswith("/events"):
            self.red.append(f"failed: {request.method} {request.url} {request.failure}")

    def _response(self, response: Any) -> None:
        if response.status >= 400:
            self.red.append(f"{response.status}: {response.request.method} {response.url}")

    def open(self, address: str) -> Any:
        self.page.goto(address)
        self.page.wait_for_selector("#line[data-state=live]")
        return self.page


@pytest.fixture
def context(chromium: Any) -> Iterator[Any]:
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(100_000)
    yield context
    context.close()


@pytest.fixture
def tab(context: Any) -> Tab:
    return Tab(context)
