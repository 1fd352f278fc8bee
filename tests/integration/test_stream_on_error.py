"""What happens to a record for which a function of a stream raises."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pytest

from millstream import App, Context, Retry
from millstream.errors import Reject, UsageError
from millstream.stream import Stream
from millstream.testing import StreamTest

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


class Click(msgspec.Struct, frozen=True):
    page: str
    load_ms: int


CLICKS = [Click("/a", 1), Click("/bad", 2), Click("/b", 3)]


@pytest.fixture(params=["memory", "sqlite"])
def app(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[App]:
    url = "memory://" if request.param == "memory" else str(tmp_path / "log.db")
    with App(url, durability="relaxed") as app:
        yield app


def refuse(click: Click) -> Click:
    if click.page == "/bad":
        raise ValueError("no such page")
    return click


def refuse_batch(frame: pl.DataFrame) -> pl.DataFrame:
    if "/bad" in frame["page"]:
        raise ValueError("no such page")
    return frame


def refuse_keyed(state: int, click: Click) -> tuple[int, Click]:
    return state + 1, refuse(click)


STEPS: dict[str, Any] = {
    "map": lambda s: s.map(refuse),
    "flat_map": lambda s: s.flat_map(lambda click: [refuse(click)]),
    "filter": lambda s: s.filter(lambda click: bool(refuse(click))),
    "map_batches": lambda s: s.map_batches(refuse_batch),
    "stateful_map": lambda s: s.key_by("page").stateful_map(refuse_keyed, 0),
}


@pytest.mark.parametrize("step", STEPS)
def test_a_record_that_is_skipped_is_a_dead_letter(app: App, step: str) -> None:
    clicks = app.topic("clicks", Click, key="page")
    clicks.extend(CLICKS)
    app.stream(clicks, name="s", on_error="skip")(lambda s: STEPS[step](s).to(app.topic("out", Click)))
    app.run(until="now")
    assert [record.value for record in app.topic("out", Click).read()] == [CLICKS[0], CLICKS[2]]
    [letter] = [dead.letter for dead in app.dead("clicks").list()]
    assert (letter.group, letter.offset, letter.error_type, letter.message) == ("s", 1, "ValueError", "no such page")
    assert letter.step.startswith(step)
    assert msgspec.json.decode(letter.value, type=Click) == CLICKS[1]


def test_a_function_that_is_only_called_may_fail_too(app: App) -> None:
    seen: list[str] = []

    def call(click: Click) -> None:
        seen.append(refuse(click).page)

    clicks = app.topic("clicks", Click)
    clicks.extend(CLICKS)
    app.stream(clicks, name="s", on_error="skip")(lambda s: s.each(call))
    app.run(until="now")
    assert seen == ["/a", "/b"]
    assert [dead.letter.step for dead in app.dead("clicks").list()] == ["each(call)"]


def test_an_error_that_stops_names_step_and_record(app: App) -> None:
    clicks = app.topic("clicks", Click)
    clicks.extend(CLICKS)
    app.stream(clicks, name="s")(lambda s: s.map(refuse).to("out"))
    with pytest.raises(ValueError, match="no such page") as caught:
        app.run(until="now")
    [note] = caught.value.__notes__
    assert "map(refuse), written at test_stream_on_error.py:" in note
    assert "partition 0, offset 1" in note
    assert app.topic("out", Click).end_offsets() == {0: 0}


def test_a_function_is_tried_again_before_its_record_is_skipped(app: App) -> None:
    tries: list[str] = []

    def sometimes(click: Click) -> Click:
        tries.append(click.page)
        if click.page == "/bad" or (click.page == "/b" and tries.count("/b") < 2):
            raise OSError("not now")
        return click

    clicks = app.topic("clicks", Click)
    clicks.extend(CLICKS)
    retry = Retry(attempts=3, delay="1ms")
    app.stream(clicks, name="s", on_error=retry)(lambda s: s.map(sometimes).to(app.topic("out", Click)))
    app.run(until="now")
    assert [record.value.page for record in app.topic("out", Click).read()] == ["/a", "/b"]
    assert tries == ["/a", "/bad", "/bad", "/bad", "/b", "/b"]
    [letter] = [dead.letter for dead in app.dead("clicks").list()]
    assert letter.attempts == 3


def test_a_rejected_record_is_set_aside_whatever_the_policy(app: App) -> None:
    def reject(click: Click) -> Click:
        if click.page == "/bad":
            raise Reject("not ours")
        return click

    clicks = app.topic("clicks", Click)
    clicks.extend(CLICKS)
    app.stream(clicks, name="s")(lambda s: s.map(reject).to("out"))
    app.run(until="now")
    assert len(app.dead("clicks").list()) == 1


def test_an_unknown_policy_is_refused(app: App) -> None:
    with pytest.raises(UsageError, match="on_error='ignore'"):
        app.stream("clicks", name="s", on_error="ignore")(lambda s: s.to("out"))  # type: ignore[arg-type]


def test_state_by_key_is_kept_across_runs(app: App) -> None:
    clicks = app.topic("clicks", Click, key="page")

    def numbered(state: int, click: Click) -> tuple[int, dict[str, Any]]:
        return state + 1, {"page": click.page, "n": state + 1}

    app.stream(clicks, name="s")(lambda s: s.key_by("page").stateful_map(numbered, 0).to("out"))
    for _ in range(3):
        clicks.extend([Click("/a", 1), Click("/b", 2)])
        app.run(until="now")
    found = [(record.value["page"], record.value["n"]) for record in app.topic("out").read()]
    assert found == [("/a", 1), ("/b", 1), ("/a", 2), ("/b", 2), ("/a", 3), ("/b", 3)]


# --- timers -----------------------------------------------------------------------------------------------------------


def wake(state: list[int], click: Click, context: Context) -> tuple[list[int], None]:
    context.set_timer("1s", "wake")
    return [*state, click.load_ms], None


def test_a_timer_that_is_skipped_is_a_dead_letter_and_leaves_the_state(app: App) -> None:
    def woken(state: list[int], context: Context) -> tuple[list[int], dict[str, Any]]:
        if context.key == b"/bad":
            state.clear()
            context.set_timer("1s", "left over")
            raise ValueError("no such page")
        return state, {"page": context.key.decode() if context.key else None, "loads": state}

    def look(state: list[int], click: Click, context: Context) -> tuple[list[int], dict[str, Any] | None]:
        if click.load_ms == 99:
            return state, {"page": click.page, "loads": state}
        return wake(state, click, context)

    clicks = app.topic("clicks", Click, key="page")

    @app.stream(clicks, on_error="skip")
    def waking(s: Stream) -> None:
        s.key_by("page").stateful_map(look, list, on_timer=woken).to("out")

    with StreamTest(waking) as test:
        test.push(*CLICKS)
        test.advance("5s")
        assert [row["page"] for row in test.outputs("out")] == ["/a", "/b"]
        [letter] = test.outputs("clicks.dead")
        assert (letter["key"], letter["error_type"], letter["message"]) == (b"/bad", "ValueError", "no such page")
        assert msgspec.json.decode(letter["value"])["timer"] == "wake"
        assert "stateful_map" in letter["step"]
        assert letter["topic"] == "clicks"
        test.restart()
        test.push(Click("/bad", 99))
        assert test.outputs("out")[-1] == {"page": "/bad", "loads": [2]}


class Timed(msgspec.Struct, frozen=True):
    page: str
    at: datetime


def test_a_timer_that_fires_before_a_record_is_skipped_alone(app: App) -> None:
    """It fires while records are handled, and is none of them."""

    def wake(state: int, click: Timed, context: Context) -> tuple[int, Timed]:
        context.set_timer("1s", f"{click.at.second}")
        return state + 1, click

    def woken(state: int, context: Context) -> tuple[int, None]:
        raise ValueError("never")

    clicks = app.topic("clicks", Timed, key="page", time="at")

    @app.stream(clicks, on_error="skip")
    def waking(s: Stream) -> None:
        s.key_by("page").stateful_map(wake, 0, on_timer=woken).to("out")

    times = [NOON + timedelta(seconds=second) for second in (0, 5, 10)]
    with StreamTest(waking) as test:
        test.push(*[Timed("/", at) for at in times])
        assert [row["at"] for row in test.outputs("out")] == times
        assert [msgspec.json.decode(letter["value"])["at"] for letter in test.outputs("clicks.dead")] == [
            "2026-01-31T12:00:01Z",
            "2026-01-31T12:00:06Z",
        ]


def test_a_timer_is_tried_again_before_it_is_skipped(app: App) -> None:
    tried: list[str | None] = []

    def woken(state: list[int], context: Context) -> tuple[list[int], str]:
        tried.append(context.timer)
        if len(tried) < 3:
            raise ValueError("not yet")
        return state, "woken"

    clicks = app.topic("clicks", Click, key="page")

    @app.stream(clicks, on_error=Retry(attempts=3, delay="1ms"))
    def waking(s: Stream) -> None:
        s.key_by("page").stateful_map(wake, list, on_timer=woken).map(lambda word: {"word": word}).to("out")

    with StreamTest(waking) as test:
        test.push(Click("/", 1))
        test.advance("5s")
        assert tried == ["wake", "wake", "wake"]
        assert test.outputs("out") == [{"word": "woken"}]
        assert test.outputs("clicks.dead") == []


@pytest.mark.parametrize("clock", [True, False])
def test_a_timer_that_stops_the_stream_names_its_step(app: App, clock: bool) -> None:
    def wake(state: int, click: Click, context: Context) -> tuple[int, None]:
        context.set_timer("1s", clock=clock)
        return state + 1, None

    def woken(state: int, context: Context) -> tuple[int, None]:
        raise ValueError("no such page")

    clicks = app.topic("clicks", Click, key="page")

    @app.stream(clicks)
    def waking(s: Stream) -> None:
        s.key_by("page").stateful_map(wake, 0, on_timer=woken).to("out")

    with StreamTest(waking) as test:
        test.push(Click("/", 1))
        with pytest.raises(ValueError, match="no such page") as caught:
            test.advance("5s")
        assert "in stateful_map" in caught.value.__notes__[0]
        assert "of the record" not in caught.value.__notes__[0]
