"""Storms are bounded: the last event of one, all of one in a call, so many in a time."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.waiting import until

from millstream import App, File, Request, UsageError, files, http, matching
from millstream.testing import FakeClock
from millstream.triggers.matching import Matched


def app_with(tmp_path: Path, clock: FakeClock, got: list[int]) -> App:
    app = App(str(tmp_path / "a.db"), clock=clock)

    @app.on(matching("clicks", start="start"), debounce="10s")
    def quiet(match: Matched) -> None:
        got.append(match.value["n"])

    return app


def look(app: App) -> None:
    """Have each source look once, as time stands still."""
    stop = threading.Event()
    for name in sorted(app.triggers):
        source: Any = app.triggers[name].source(app.log)
        source.run_now(stop) if hasattr(source, "take") else source._look()
    for queue in app.queues.values():
        queue.run_now(stop)


def test_the_last_event_of_a_storm_goes_on_when_it_is_over_also_after_a_restart(tmp_path: Path) -> None:
    clock, got = FakeClock(), []  # type: tuple[FakeClock, list[int]]
    number = 0
    for wait in (1, 1, 1, 12, 1, 12):
        with app_with(tmp_path, clock, got) as app:
            app.topic("clicks", dict).append({"n": number})
            number += 1
            look(app)
            clock.advance(f"{wait}s")
            look(app)
            look(app)
    assert got == [3, 5]


def test_a_storm_that_does_not_end_is_interrupted(tmp_path: Path) -> None:
    clock, got = FakeClock(), []  # type: tuple[FakeClock, list[int]]
    with app_with(tmp_path, clock, got) as app:
        for number in range(50):
            app.topic("clicks", dict).append({"n": number})
            look(app)
            clock.advance("5s")
    assert len(got) == 2


def test_a_debounced_web_hook_is_answered_at_once(tmp_path: Path) -> None:
    got: list[str] = []
    with App(str(tmp_path / "a.db"), port=0) as app:

        @app.on(http.post("/changed", reply="accepted"), debounce="300ms")
        def rebuild(request: Request) -> None:
            got.append(request.text())

        with app.start():
            for at in range(5):
                assert httpx.post(f"{app.http_url}/changed", content=str(at)).status_code == 202
            until(lambda: got)
    assert got[-1] == "4"
    assert len(got) < 5


def test_what_must_be_answered_or_moved_one_by_one_cannot_be_debounced(tmp_path: Path) -> None:
    with App(str(tmp_path / "a.db")) as app:
        with pytest.raises(UsageError, match="debounce= answers nobody"):
            app.on(http.post("/x"), debounce="1s", name="x")(lambda request: None)
        with pytest.raises(UsageError, match="only one @app"):
            app.on(files(tmp_path / "in" / "*", done="mark"), debounce="1s", name="y")(lambda file: None)
        with pytest.raises(UsageError, match="debounce is 0"):
            app.on(files(tmp_path / "in" / "*.a"), debounce=0, name="z")(lambda file: None)


def test_events_that_come_faster_than_the_rate_wait_in_the_log(tmp_path: Path) -> None:
    handled: list[str] = []
    (tmp_path / "in").mkdir()
    for number in range(6):
        (tmp_path / "in" / f"{number}.txt").write_text("x")
    with App(str(tmp_path / "a.db")) as app:

        @app.on(files(tmp_path / "in" / "*.txt", settle=0), rate="2/100ms")
        def load(file: File) -> None:
            handled.append(file.name)

        with app.start():
            until(lambda: len(handled) == 6)
    assert sorted(handled) == [f"{number}.txt" for number in range(6)]
