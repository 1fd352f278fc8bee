"""Records that the topic's type refuses, in a stream: stop there, or pass over them to the dead letters."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pytest

from millstream import App, Topic, count, tumbling
from millstream.errors import SchemaError
from millstream.log.dead_letter import ValueCoding


class Loose(msgspec.Struct):
    page: str
    load_ms: int


class Strict(msgspec.Struct):
    page: str
    load_ms: int

    def __post_init__(self) -> None:
        if self.load_ms < 0:
            raise ValueError("time does not run backwards")


@pytest.fixture(params=["memory", "sqlite"])
def app(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[App]:
    url = "memory://" if request.param == "memory" else str(tmp_path / "log.db")
    with App(url, durability="relaxed") as app:
        yield app


@pytest.fixture(params=["rows", "columns"])
def clicks(request: pytest.FixtureRequest, app: App) -> Topic[Strict]:
    """Four records, of which the second and the last are refused by the type that reads them."""
    loose = app.topic("clicks", Loose, key="page")
    values = [Loose("/a", 1), Loose("/b", -1), Loose("/c", 3), Loose("/d", -4)]
    if request.param == "rows":
        for value in values:
            loose.append(value)
    else:
        loose.extend(pl.DataFrame({"page": [v.page for v in values], "load_ms": [v.load_ms for v in values]}))
    return app.topic("clicks", Strict, key="page")


def longer(click: Strict) -> dict[str, Any]:
    return {"page": click.page, "load_ms": click.load_ms + 1}


def test_a_stream_stops_at_the_first_record_that_its_topic_refuses(app: App, clicks: Topic[Strict]) -> None:
    stream = app.stream(clicks, name="s")(lambda s: s.map(longer).to("out"))
    with pytest.raises(SchemaError, match="backwards") as found:
        app.run(until="now")
    assert "offset 1 of clicks/0" in "".join(found.value.__notes__)
    assert stream.info().committed == {0: 0}


def test_records_that_are_refused_are_passed_over_and_kept(app: App, clicks: Topic[Strict]) -> None:
    stream = app.stream(clicks, name="s", on_error="skip")(lambda s: s.map(longer).to("out"))
    app.run(until="now")
    assert app.topic("out").frame().collect()["page"].to_list() == ["/a", "/c"]
    assert stream.info().committed == {0: 4}
    letters = sorted((dead.letter for dead in app.dead("clicks").list()), key=lambda letter: letter.offset)
    assert [(letter.offset, letter.key, letter.group) for letter in letters] == [(1, b"/b", "s"), (3, b"/d", "s")]
    assert all("backwards" in letter.message and letter.step == "topic 'clicks'" for letter in letters)
    assert {letter.value_coding for letter in letters} == {ValueCoding.RAW}
    app.run(until="now")
    assert len(app.dead("clicks").list()) == 2


def test_columns_and_values_pass_over_the_same_records(app: App, clicks: Topic[Strict]) -> None:
    def describe(s: Any) -> None:
        s.filter(pl.col("load_ms") < 100).map(longer).to("mapped")
        s.window(tumbling("1h"), by="page").agg(n=count()).to("counted")

    app.stream(clicks, name="s", on_error="skip")(describe)
    app.run(until="now")
    assert app.topic("mapped").frame().collect()["load_ms"].to_list() == [2, 4]


def test_a_stream_of_columns_alone_does_not_mind(app: App, clicks: Topic[Strict]) -> None:
    app.stream(clicks, name="s")(lambda s: s.filter(pl.col("load_ms") < 0).select("load_ms").to("out"))
    app.run(until="now")
    assert app.topic("out").frame().collect()["load_ms"].to_list() == [-1, -4]
