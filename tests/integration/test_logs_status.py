"""What `millstream logs` says of its own work: status, progress, outputs that do not answer."""

from __future__ import annotations

import gzip
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.integration.test_logs import NOW, at, failed, millstream, until
from tests.integration.test_logs_outputs import stored

from millstream import App
from millstream.cli.application import run
from millstream.cli.logs_telling import Teller
from millstream.logs.application import EVENTS
from millstream.parsers.log_event import LogEvent
from millstream.sources.files import FileSource
from millstream.sources.standing import standings
from millstream.sources.system import GROUP, follow_system

CONFIG = """
[[source]]
kind = "files"
paths = ["a.log", "b.log"]

[[output]]
name = "kept"
kind = "table"
url = "kept.db"
table = "events"

[[output]]
name = "away"
kind = "webhook"
url = "http://127.0.0.1:1/hook"
"""


def said(folder: Path, capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    assert run(["logs", "status", "--json", "--data", str(folder / "millstream-logs")]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def readers(folder: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, dict[str, object]]:
    return {str(one["reader"]): one for one in said(folder, capsys) if "reader" in one}


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C is another thing there")
def test_status_says_how_far_sources_rules_and_outputs_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.log").write_text(f"{failed(1)}\n{failed(2)}\n")
    (tmp_path / "b.log").write_text(f"{failed(3)}\n")
    (tmp_path / "c.toml").write_text(CONFIG)
    command = [sys.executable, "-m", "millstream", "logs", "--config", "c.toml"]
    with (tmp_path / "err").open("w") as err:
        process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=err)
        try:
            until(lambda: (tmp_path / "millstream-logs" / "millstream.db").exists(), "the log is there")
            until(
                lambda: any(one.get("error") for one in said(tmp_path, capsys)),
                "the output that is away is told of",
                200,
            )
            until(
                lambda: stored(tmp_path / "kept.db") == 3 and readers(tmp_path, capsys)["logs/kept"]["behind"] == 0,
                "the output that is there has all",
            )
            away = readers(tmp_path, capsys)["logs/away"]
            assert away["state"] == "failing"
            assert "does not answer" in str(away["error"])
            until(lambda: "away: " in (tmp_path / "err").read_text(), "it is told of in one line")
            assert "Traceback" not in (tmp_path / "err").read_text()
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == 0
        finally:
            process.kill()
            process.wait()
    line = f"{at(9, 'more')}\n"
    with (tmp_path / "b.log").open("a") as file:
        file.write(line)
    sources = {one["source"]: one for one in said(tmp_path, capsys) if "source" in one}
    assert {name: (one["last_hour"], one["behind_bytes"]) for name, one in sources.items()} == {
        "a.log": (2, 0),
        "b.log": (1, len(line)),
    }
    done = millstream("logs", "status", folder=tmp_path)
    for words in ("3 events, 0 alerts", "no process is at it now", "NEWEST EVENT", "away", "3 records"):
        assert words in done.stdout


def test_status_of_a_log_that_is_missing_names_the_option(tmp_path: Path) -> None:
    done = millstream("logs", "status", "--data", "none", folder=tmp_path)
    assert done.returncode != 0
    assert "`millstream logs` makes one" in done.stderr
    assert "--data names another" in done.stderr


def test_status_of_a_log_without_events_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with App(str(tmp_path / "millstream.db")) as app:
        app.topic("other", LogEvent, time="time")
    assert run(["logs", "status", "--data", str(tmp_path)]) == 0
    assert "0 events, 0 alerts" in capsys.readouterr().out


def test_status_of_events_that_a_program_stored_has_their_sources(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with App(str(tmp_path / "millstream.db")) as app:
        [event] = FileSource([]).parser("put").events([failed(1).encode()], now=NOW)
        app.topic(EVENTS, LogEvent, time="time").extend([event, event])
    assert run(["logs", "status", "--data", str(tmp_path), "--json"]) == 0
    [line] = capsys.readouterr().out.splitlines()
    assert (json.loads(line)["source"], json.loads(line)["last_hour"]) == ("put", 2)


def test_how_far_files_are_read_is_known_while_they_are_what_they_were(tmp_path: Path) -> None:
    plain, packed, rotated, gone = (tmp_path / name for name in ("plain", "packed.gz", "rotated", "gone"))
    for path in (plain, rotated, gone):
        path.write_text(f"{failed(1)}\n")
    with gzip.open(packed, "wt") as file:
        file.write(f"{failed(1)}\n")
    with App(str(tmp_path / "own.db")) as app:
        source = FileSource([plain, packed, rotated, gone], lines_first=None, follow=False)
        with follow_system(app, EVENTS, sources=[source]) as follower:
            follower.join()
        plain.write_text(plain.read_text() + "x" * 10)
        rotated.rename(tmp_path / "rotated.1")
        rotated.write_text("new\n")
        gone.unlink()
        found = {Path(one.path).name: one.behind_bytes for one in standings(follower.topic, GROUP)}
    assert found == {"plain": 10, "packed.gz": None, "rotated": None, "gone": None}


def test_an_output_that_stays_away_is_told_of_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    teller = Teller()
    teller.troubles(["away: 3 rows", "other: 1 row"])
    teller.troubles(["away: 4 rows", "other: 1 row"])
    now += 61
    teller.troubles(["away: 5 rows", "other: 1 row"])
    teller.note(["a file is missing", "a file is missing"])
    teller.note(["a file is missing"])
    assert capsys.readouterr().err.splitlines() == ["away: 3 rows", "other: 1 row", "away: 5 rows", "a file is missing"]
