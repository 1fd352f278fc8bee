"""`millstream batch`, as it is typed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from millstream import App
from millstream.batch.registry import declare
from millstream.cli.application import run


class Sale(msgspec.Struct):
    item: str
    price: float


PROGRAM = """
from datetime import UTC, datetime

import msgspec
import polars as pl

from millstream import App, BatchRun

app = App()


class Sale(msgspec.Struct):
    item: str
    price: float


sales = app.topic("sales", Sale)


@app.batch(sales, cron="5 0 * * *", timezone="Europe/Berlin", fresh="26h")
def income(frame: pl.LazyFrame, run: BatchRun) -> None:
    run.progress(0.5, "half")
    run.log(f"{frame.collect().height} sales")
    if "fail" in frame.collect()["item"]:
        raise ValueError("no such item")
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MILLSTREAM_URL", raising=False)
    monkeypatch.setenv("MILLSTREAM_URL", str(tmp_path / "millstream.db"))
    (tmp_path / "app.py").write_text(PROGRAM)
    with App(str(tmp_path / "millstream.db")) as app:
        sales = app.topic("sales", Sale)
        sales.append(Sale("tea", 4.5))
    return tmp_path


def objects(capsys: pytest.CaptureFixture[str]) -> list[Any]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_a_batch_is_run_listed_and_shown(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["batch", "run", "income", "--app", "app.py"]) == 0
    assert "1 record," in capsys.readouterr().out
    assert run(["batch"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:3] == ["batch", "topics", "starts"]
    assert "5 0 * * * (Europe/Berlin)" in lines[1]
    assert lines[1].endswith("waiting")
    assert run(["batch", "show", "income", "--json"]) == 0
    [shown] = objects(capsys)
    assert shown["batch"]["new_records"] == 0
    assert shown["batch"]["fresh_s"] == 26 * 3600
    run_id = shown["runs"][0]["id"]
    assert run(["batch", "show", "income", run_id]) == 0
    assert "| 1 sales" in capsys.readouterr().out
    assert run(["batch", "show", "income"]) == 0
    assert run_id in capsys.readouterr().out
    assert run(["batch", "rerun", "income", run_id, "--app", "app.py", "--json"]) == 0
    assert objects(capsys)[0]["rerun_of"] == run_id


def test_a_failed_run_is_told(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with App(str(place / "millstream.db")) as app:
        app.topic("sales", Sale).append(Sale("fail", 1.0))
    assert run(["batch", "run", "income", "--app", "app.py"]) == 1
    assert capsys.readouterr().err.endswith("ValueError: no such item\n")
    assert run(["batch", "--json"]) == 0
    [info] = objects(capsys)
    assert (info["state"], info["new_records"]) == ("failing", 2)
    assert info["last_run"]["error"] == "ValueError: no such item"


def test_a_backfill_is_run_by_window(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--app", "app.py", "--from", "2026-01-01", "--until", "2026-01-03", "--json"]
    assert run(["batch", "backfill", "income", *arguments]) == 0
    windows = objects(capsys)
    assert [one["window_start"][:10] for one in windows] == ["2026-01-01", "2026-01-02"]
    assert {one["trigger"] for one in windows} == {"backfill"}


def test_coming_due_times_are_listed(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["batch", "run", "income", "--app", "app.py"]) == 0
    capsys.readouterr()
    assert run(["batch", "schedule", "-n", "3", "--json"]) == 0
    dues = objects(capsys)
    assert len(dues) == 3
    assert {due["batch"] for due in dues} == {"income"}
    assert run(["batch", "schedule", "income", "-n", "2"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_a_run_is_cancelled_and_a_batch_paused(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with App(str(place / "millstream.db")) as app:
        report = app.batch(app.topic("sales", Sale), name="report", every="1h")(lambda frame: None)
        claim = report.take("every")
        assert run(["batch", "--json"]) == 0
        assert objects(capsys)[0]["running"]["run"] == claim.run_id
        assert run(["batch", "cancel", "report", "--json"]) == 0
        assert objects(capsys) == [{"batch": "report", "cancelled": claim.run_id}]
        assert report.group.state(0)[b"cancel"].endswith(claim.run_id.encode())
        assert run(["batch", "pause", "report"]) == 0
        assert report.info().paused
        assert run(["batch", "resume", "report"]) == 0
        assert not report.info().paused


def test_a_late_batch_is_told(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with App(str(place / "millstream.db")) as app:
        report = app.batch(app.topic("sales", Sale), name="report", every="1h", fresh="1us")(lambda frame: None)
        declare(report)
    assert run(["batch", "--json"]) == 0
    [info] = objects(capsys)
    assert (info["late"], info["state"], info["last_success"]) == (True, "late", None)
    assert run(["batch", "show", "report"]) == 0
    assert "LATE" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["run", "income"], "needs the program"),
        (["run", "other", "--app", "app.py"], "declares no batch 'other'; it has income"),
        (["show", "other"], "there is no batch 'other'"),
        (["show"], "show needs a batch"),
        (["cancel", "income"], "there is no batch"),
        (["rerun", "income", "--app", "app.py"], "rerun needs a run"),
        (["backfill", "income", "--app", "app.py", "--from", "soon", "--until", "2026-01-01"], "is no time"),
        (["backfill", "income", "--app", "app.py"], "needs --from"),
    ],
)
def test_mistakes_say_what_to_do(
    place: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    assert run(["batch", *arguments]) == 2
    assert says in capsys.readouterr().err


def test_top_shows_batches_and_they_are_no_queues(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["batch", "run", "income", "--app", "app.py"]) == 0
    capsys.readouterr()
    assert run(["top", "--once", "--json"]) == 0
    [look] = objects(capsys)
    assert [one["name"] for one in look["batches"]] == ["income"]
    assert look["queues"] == []
    assert run(["top", "--once"]) == 0
    assert "income" in capsys.readouterr().out
    assert run(["queue"]) == 0
    assert "no queues yet" in capsys.readouterr().out
