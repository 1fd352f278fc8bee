"""What happens to a record for which a function of a stream raises."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pytest

from millstream import App, Retry
from millstream.errors import Reject, UsageError


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
