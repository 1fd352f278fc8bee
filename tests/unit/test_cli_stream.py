"""`millstream stream`, as people and scripts meet it; on a real file."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pytest
from tests.command_line import Command, command_line

from millstream import App, count, tumbling
from millstream.cli import run_progress
from millstream.log.topic import Topic

PATIENCE_S = 60.0
BEGIN = datetime(2026, 1, 31, 12, tzinfo=UTC)

PROGRAM = """
import msgspec
from millstream import App, count, tumbling

app = App()


class Click(msgspec.Struct):
    page: str


clicks = app.topic("clicks", Click)


@app.stream(clicks)
def per_minute(s):
    s.window(tumbling(minutes=1), by="page").agg(views=count()).to("page_views")


@app.stream(clicks)
def pages(s):
    s.map(lambda click: click.page).each(print)
"""


class Click(msgspec.Struct, frozen=True):
    page: str
    load_ms: int


@pytest.fixture
def millstream(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run a command line in this process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MILLSTREAM_URL", raising=False)
    return command_line(capsys)


@pytest.fixture
def app(tmp_path: Path) -> Iterator[App]:
    with App(str(tmp_path / "millstream.db"), durability="relaxed") as app:
        yield app


@pytest.fixture
def clicks(app: App) -> Topic[Click]:
    """A topic that two streams have read, with a record that they have not."""
    clicks = app.topic("clicks", Click)

    @app.stream(clicks)
    def per_minute(s: Any) -> None:
        s.filter(pl.col("load_ms") > 0).window(tumbling(minutes=1), by="page").agg(views=count()).to("page_views")

    @app.stream(clicks)
    def visits(s: Any) -> None:
        def add(loads: list[int], click: Click, context: Any) -> tuple[list[int], None]:
            context.set_timer(BEGIN + timedelta(hours=1), "quiet")
            return [*loads, click.load_ms], None

        s.key_by("page").stateful_map(add, list, on_timer=lambda loads, context: (loads, None), name="loads").to("out")

    for second, page, load in [(1, "/", 120), (2, "/tea", 1500), (3, "/", 80), (70, "/", 90)]:
        clicks.append(Click(page, load), time=BEGIN + timedelta(seconds=second))
    app.run(until="now")
    clicks.append(Click("/tea", 60), time=BEGIN + timedelta(seconds=75))
    return clicks


# --- looking ----------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("clicks")
def test_stream_lists_lag_rates_and_state(millstream: Command) -> None:
    head, *rows = millstream("stream").lines
    assert head.split() == (
        ["STREAM", "LAG", "OLDEST", "WATERMARK", "IN/S", "OUT/S", "LATE", "OPEN", "MEMORY", "PROCESSES", "STATE"]
    )
    assert [row.split()[:2] for row in rows] == [["clicks/per_minute", "1"], ["clicks/visits", "1"]]
    assert all(row.endswith("no process") for row in rows)
    [_, row] = millstream("stream", "list", "visits").lines
    assert row.split()[:2] == ["clicks/visits", "1"]


@pytest.mark.usefixtures("clicks")
def test_stream_as_json_has_every_number(millstream: Command) -> None:
    per_minute, visits = millstream("stream", "--json").objects
    assert (per_minute["name"], per_minute["topics"], per_minute["outputs"]) == (
        "per_minute",
        ["clicks"],
        ["page_views"],
    )
    assert (per_minute["lag"], per_minute["state"], per_minute["open_windows"]) == (1, "no process", 1)
    assert (per_minute["progress"]["records_in"], per_minute["progress"]["records_out"]) == (4, 2)
    assert millstream("stream", "show", "visits", "--json").objects[0]["committed"] == visits["committed"] == {"0": 4}


@pytest.mark.usefixtures("clicks")
def test_show_says_all_there_is_of_one(millstream: Command) -> None:
    lines = millstream("stream", "show", "per_minute").lines
    said = dict(line.split(maxsplit=1) for line in lines[: lines.index("")])
    assert (said["stream"], said["state"], said["writes"]) == ("clicks/per_minute", "no process", "page_views")
    assert said["lag"].startswith("1 record, the oldest appended ")
    assert said["watermark"].startswith("2026-01-31 12:01:10.000+00:00, ")
    assert said["in"].startswith("4 records, ")
    head, first, second = lines[lines.index("") + 1 :]
    assert head.split() == ["STEP", "BUSY", "LATE", "OPEN", "ROWS", "MEMORY"]
    assert first.startswith("1 filter(")
    assert second.startswith("2 window(")


@pytest.mark.usefixtures("clicks")
def test_explain_needs_no_program(millstream: Command, app: App) -> None:
    assert millstream("stream", "explain", "per_minute").out == app.streams["per_minute"].explain() + "\n"
    drawing = millstream("stream", "explain", "clicks/per_minute", "--mermaid").out
    assert drawing.startswith("flowchart TD")
    assert millstream("stream", "explain", "per_minute", "--json").objects[0]["stream"] == "per_minute"


def test_explain_of_a_program_that_never_ran(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(PROGRAM)

    def explain(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "millstream", "stream", "explain", *arguments]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE_S, check=False)

    one = explain("app.py:per_minute")
    assert one.stdout.startswith("stream 'per_minute'\n  0  topic 'clicks' -> 1\n"), one.stderr
    assert "stream 'pages'" not in one.stdout
    both = explain("app.py").stdout
    assert "stream 'per_minute'" in both
    assert "stream 'pages'" in both
    wrong = explain("app.py:nothing")
    assert wrong.returncode == 2
    assert "app.py declares no stream 'nothing'; there are: pages, per_minute" in wrong.stderr


@pytest.mark.usefixtures("clicks")
def test_queue_lists_no_streams_and_top_shows_them(millstream: Command) -> None:
    assert "per_minute" not in millstream("queue").out
    look = millstream("top", "--once", "--json").objects[0]
    assert look["queues"] == []
    assert [stream["name"] for stream in look["streams"]] == ["per_minute", "visits"]
    assert "clicks/per_minute" in millstream("top", "--once").out


def test_a_log_without_streams_says_so(millstream: Command, app: App) -> None:
    app.topic("clicks", Click)
    assert millstream("stream").out.startswith("no streams yet; ")
    assert millstream("stream", "--json").out == ""


# --- state ------------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("clicks")
def test_state_of_a_key_is_shown_with_its_timers(millstream: Command) -> None:
    [found] = millstream("stream", "state", "visits", "/", "--json").objects
    assert found == {
        "step": "stateful_map(loads)",
        "partition": 0,
        "key": "/",
        "state": [120, 80, 90],
        "touched": None,
        "timers": {"quiet": "2026-01-31T13:00:00+00:00"},
        "clock_timers": {},
    }
    head, row = millstream("stream", "state", "visits", "/tea").lines
    assert head.split() == ["STEP", "PARTITION", "KEY", "STATE", "TIMERS"]
    assert "[1500]" in row


@pytest.mark.usefixtures("clicks")
def test_state_without_a_key_lists_some(millstream: Command) -> None:
    assert [found["key"] for found in millstream("stream", "state", "visits", "--json").objects] == ["/", "/tea"]
    assert len(millstream("stream", "state", "visits", "-n", "1", "--json").objects) == 1
    assert "keeps anything by key" in millstream("stream", "state", "per_minute").out


def test_a_key_of_several_columns_is_a_json_array(millstream: Command, app: App) -> None:
    clicks = app.topic("clicks", Click)

    @app.stream(clicks)
    def seen(s: Any) -> None:
        s.key_by("page", "load_ms").stateful_map(lambda state, click: (state + 1, None), 0).to("nothing")

    clicks.extend([Click("/", 1), Click("/", 1)])
    app.run(until="now")
    assert millstream("stream", "state", "seen", '["/", 1]', "--json").objects[0]["state"] == 2


@pytest.mark.usefixtures("clicks")
def test_state_of_an_unknown_key_is_an_error(millstream: Command) -> None:
    result = millstream("stream", "state", "visits", "/coffee")
    assert (result.code, result.out) == (2, "")
    assert result.err == "millstream: no step of clicks/visits keeps anything of key '/coffee'\n"


# --- steering ---------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("clicks")
def test_pause_holds_until_resume(millstream: Command, app: App) -> None:
    assert millstream("stream", "pause", "per_minute").out.startswith("clicks/per_minute: paused")
    assert millstream("stream", "list", "per_minute", "--json").objects[0]["state"] == "paused"
    app.run(until="now")
    assert app.streams["per_minute"].info().lag == 1
    assert millstream("stream", "resume", "per_minute", "--json").objects == [
        {"topic": "clicks", "stream": "per_minute", "paused": False}
    ]
    app.run(until="now")
    assert app.streams["per_minute"].info().lag == 0


@pytest.mark.usefixtures("clicks")
def test_drop_wants_the_name(millstream: Command) -> None:
    unasked = millstream("stream", "drop", "visits")
    assert (unasked.code, unasked.out) == (2, "")
    assert "--confirm visits" in unasked.err
    assert millstream("stream", "drop", "visits", "--confirm", "per_minute").code == 2
    assert len(millstream("stream", "--json").objects) == 2
    dropped = millstream("stream", "drop", "visits", "--confirm", "visits")
    assert dropped.out.startswith("dropped clicks/visits and ")
    assert dropped.out.endswith("; what it put out stays: out\n")
    assert [found["name"] for found in millstream("stream", "--json").objects] == ["per_minute"]


@pytest.mark.usefixtures("clicks")
def test_a_name_that_several_topics_have_needs_the_topic(millstream: Command, app: App) -> None:
    with App(app.log.engine.url, durability="relaxed") as other:

        @other.stream(other.topic("orders", Click), name="visits")
        def describe(s: Any) -> None:
            s.filter(pl.col("load_ms") > 0).to("large")

        other.run(until="now")
    both = millstream("stream", "pause", "visits")
    assert both.code == 2
    assert "give one of clicks/visits, orders/visits" in both.err
    assert millstream("stream", "pause", "orders/visits").code == 0


@pytest.mark.usefixtures("clicks")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("pause",), "say which stream to pause: millstream stream pause STREAM"),
        (("show", "nothing"), "there is no stream 'nothing'; `millstream stream` lists those there are"),
        (("show", "visits", "--mermaid"), "--mermaid is for explain"),
        (("show", "visits", "/"), "KEY is for state"),
        (("pause", "visits", "--confirm", "visits"), "--confirm is for drop"),
    ],
)
def test_what_makes_no_sense_is_said(millstream: Command, arguments: tuple[str, ...], said: str) -> None:
    result = millstream("stream", *arguments)
    assert (result.code, result.out, result.err) == (2, "", f"millstream: {said}\n")


@pytest.mark.usefixtures("clicks")
def test_until_now_says_how_far_it_is(
    app: App, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_progress, "LINES_EVERY_S", 0.01)
    told = ""
    deadline = time.monotonic() + PATIENCE_S
    with run_progress.telling(app):
        app.run(until="now")
        while "stream per_minute: 100%, 1 record, " not in told:
            assert time.monotonic() < deadline, told
            told += capsys.readouterr().err
    assert "stream visits: " in told


@pytest.mark.usefixtures("clicks")
def test_a_short_run_until_now_says_nothing_of_how_far_it_is(app: App, capsys: pytest.CaptureFixture[str]) -> None:
    with run_progress.telling(app):
        pass
    assert capsys.readouterr().err == ""
