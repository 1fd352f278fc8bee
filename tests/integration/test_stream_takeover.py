"""Two runs of one stream: one takes over from the other, and nothing is done twice."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from millstream.app import App
from millstream.errors import CommitConflictError, UsageError
from millstream.records import time_to_us
from millstream.stream import StreamReader, count, tumbling
from millstream.stream.run import STATE_PARTITION
from millstream.stream.standby import Standby
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


def standby_of(app: App, reader: StreamReader) -> Standby:
    return Standby([reader.group], STATE_PARTITION, app.log.clock)


def test_a_standby_takes_over_records_that_nobody_takes_for_a_while(
    app: App, clock: FakeClock, per_minute: StreamReader
) -> None:
    standby = standby_of(app, per_minute)
    run = per_minute.open(records_max=1)
    for second in range(20):
        click(app, second)
        click(app, second)
        run.step()
        assert not standby.look(), "the other one goes on"
        clock.advance("1s")
    assert not standby.look()
    clock.advance("3s")
    assert not standby.look()
    clock.advance("1s")
    assert standby.look()


def test_a_standby_lets_a_stream_be_that_has_nothing_to_do(
    app: App, clock: FakeClock, per_minute: StreamReader
) -> None:
    standby = standby_of(app, per_minute)
    standby.look()
    clock.advance("1h")
    assert not standby.look(), "it never ran"
    click(app, 0)
    per_minute.open().step()
    assert not standby.look()
    clock.advance("29s")
    assert not standby.look()
    clock.advance("1s")
    assert standby.look(), "a window may be due"
    per_minute.open().idle()
    clock.advance("1h")
    standby.look()
    per_minute.open().idle()
    standby.look()
    clock.advance("1h")
    assert not standby.look(), "all windows are closed"


def test_a_standby_waits_while_the_stream_is_paused(app: App, clock: FakeClock, per_minute: StreamReader) -> None:
    standby = standby_of(app, per_minute)
    click(app, 0)
    per_minute.pause()
    standby.look()
    clock.advance("1h")
    assert not standby.look()
    per_minute.resume()
    assert standby.look()


def test_what_a_function_kept_is_not_given_up_silently(app: App) -> None:
    clicks = app.topic("clicks", Click)
    click(app, 0)

    def numbered(state: int, click: Click) -> tuple[int, Click]:
        return state + 1, click

    app.stream(clicks, name="s")(lambda s: s.stateful_map(numbered, 0, by="page").to("out"))
    app.run(until="now")
    for _ in range(2):
        app.streams.clear()
        app.stream(clicks, name="s")(lambda s: s.stateful_map(numbered, 0, by="page", name="else").to("out"))
        with pytest.raises(UsageError, match="numbered"):
            app.run(until="now")
        # It goes on as it was, with nothing in memory.
        app.streams.clear()
        app.stream(clicks, name="s")(lambda s: s.stateful_map(numbered, 0, by="page").to("out"))
        app.run(until="now")
