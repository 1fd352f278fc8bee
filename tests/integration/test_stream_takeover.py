"""Two runs of one stream: one takes over from the other, and nothing is done twice."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from millstream.app import App
from millstream.errors import CommitConflictError
from millstream.records import time_to_us
from millstream.stream import StreamReader, count, tumbling
from millstream.testing.fake_clock import FakeClock

BEGIN = datetime(2024, 5, 1, 12, 0, tzinfo=UTC)


class Click(msgspec.Struct, frozen=True):
    page: str


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(time_to_us(BEGIN))


@pytest.fixture(params=["memory", "sqlite"])
def app(request: pytest.FixtureRequest, tmp_path: Path, clock: FakeClock) -> Iterator[App]:
    url = "memory://" if request.param == "memory" else str(tmp_path / "log.db")
    with App(url, durability="relaxed", clock=clock) as app:
        yield app


@pytest.fixture
def per_minute(app: App) -> StreamReader:
    @app.stream(app.topic("clicks", Click))
    def per_minute(s: Any) -> None:
        s.window(tumbling("1m"), by="page").agg(n=count()).to("counts")

    return per_minute


def click(app: App, second: float, page: str = "/") -> None:
    app.topic("clicks", Click).append(Click(page), time=BEGIN + timedelta(seconds=second))


def counts(app: App) -> list[int]:
    return [record.value["n"] for record in app.topic("counts").read()]


def test_a_run_that_loaded_state_which_another_changed_since_closes_no_windows(
    app: App, clock: FakeClock, per_minute: StreamReader
) -> None:
    first = per_minute.open()
    click(app, 1)
    first.step()
    second = per_minute.open()
    click(app, 2)
    first.step()
    clock.advance("5m")
    with pytest.raises(CommitConflictError):
        second.idle()
    first.idle()
    assert counts(app) == [2]


def test_a_run_that_closed_windows_is_the_only_one_from_then_on(
    app: App, clock: FakeClock, per_minute: StreamReader
) -> None:
    first = per_minute.open()
    click(app, 1)
    first.step()
    second = per_minute.open()
    clock.advance("5m")
    second.idle()
    with pytest.raises(CommitConflictError):
        first.idle()
    click(app, 400)
    with pytest.raises(CommitConflictError):
        first.step()
    second.step()
    assert counts(app) == [1]
    assert per_minute.info().lag == 0
