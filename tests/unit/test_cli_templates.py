"""`millstream templates`: what kinds of lines a topic holds."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from millstream import App
from millstream.cli.application import run as run_command

EARLY, LATE = datetime(2026, 3, 1, 10, 0, tzinfo=UTC), datetime(2026, 3, 2, 10, 0, tzinfo=UTC)


class Line(msgspec.Struct):
    time: datetime
    message: str
    size: int = 0


class Plain(msgspec.Struct):
    size: int


@pytest.fixture
def log(tmp_path: Path) -> str:
    with App(tmp_path / "t.db") as app:
        lines = [Line(EARLY, f"job {number} took {number} ms") for number in range(30)]
        app.topic("lines", Line, time="time").extend([*lines, Line(LATE, "disk is nearly full")])
        app.topic("sizes", Plain).extend([Plain(1)])
    return str(tmp_path / "t.db")


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = run_command(arguments)
    out, err = capsys.readouterr()
    return code, out, err


def test_templates_of_a_topic_are_listed_the_most_frequent_first(log: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "templates", "lines", "--url", log)
    assert code == 0
    assert [line.split() for line in out.splitlines()[1:3]] == [
        ["30", "2026-03-01", "10:00", "job", "<*>", "took", "<*>", "ms"],
        ["1", "2026-03-02", "10:00", "disk", "is", "nearly", "full"],
    ]
    assert out.splitlines()[-1] == "2 templates of 31 records"


def test_only_new_templates_are_listed_on_request(log: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "templates", "lines", "--url", log, "--new", "2026-03-02T00:00Z", "--json")
    [row] = map(msgspec.json.decode, out.splitlines())
    assert code == 0
    assert (row["template"], row["count"], row["example"]) == ("disk is nearly full", 1, "disk is nearly full")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["sizes"], "has neither message nor raw; say with --field"),
        (["lines", "--field", "size"], "has no field 'size' of text; it has message"),
        (["lines", "--new", "soon"], "soon"),
        (["nothing"], "nothing"),
    ],
)
def test_what_cannot_be_listed_is_said(
    log: str, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    code, out, err = run(capsys, "templates", *arguments, "--url", log)
    assert code != 0
    assert not out
    assert said in err
