"""Apps on every engine of one process, for the tests of queues."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from millstream.app import App
from millstream.testing.fake_clock import FakeClock


@pytest.fixture(params=["memory", "sqlite"])
def make_app(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., App]]:
    apps: list[App] = []

    def make(**settings: Any) -> App:
        url = "memory://" if request.param == "memory" else str(tmp_path / f"log{len(apps)}.db")
        apps.append(App(url, durability="relaxed", **settings))
        return apps[-1]

    yield make
    for app in apps:
        app.close()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def app(make_app: Callable[..., App]) -> App:
    return make_app()
