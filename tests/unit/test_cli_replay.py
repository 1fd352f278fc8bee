"""`millstream replay`: what it says, asks and refuses."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from millstream import App
from millstream.cli.application import run

Command = Callable[..., tuple[int, str, str]]
PATIENCE_S = 200.0


@pytest.fixture
def millstream(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run a command line in this process; the log has ten records and the queue `send`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MILLSTREAM_URL", raising=False)
    with App("millstream.db") as app:
        topic = app.topic("orders", dict)
        topic.extend([{"n": n} for n in range(10)])
        topic.group("send")

    def command(*arguments: str) -> tuple[int, str, str]:
        code = run(arguments)
        return (code, *capsys.readouterr())

    return command


def count() -> int:
    with App("millstream.db") as app:
        return app.topic("orders").info().records


def test_a_dry_run_says_what_would_happen(millstream: Command) -> None:
    code, out, err = millstream("replay", "orders", "--from", "4", "--group", "send", "--dry-run")
    assert (code, err) == (0, "")
    assert out == ("would replay 6 records of orders, offsets [4, 10), to queue send; send's handlers get them again\n")
    assert count() == 10


def test_it_wants_the_name_of_the_target(millstream: Command) -> None:
    arguments = ("replay", "orders", "--from", "start", "--group", "send")
    for more in ((), ("--confirm", "orders")):
        code, out, err = millstream(*arguments, *more)
        assert (code, out) == (2, "")
        assert "send" in err
    assert count() == 10
    code, out, _ = millstream(*arguments, "--confirm", "send")
    assert code == 0
    assert out.startswith("replayed 10 records of orders, offsets [0, 10), to queue send")
    assert count() == 20


def test_copies_are_left_out_and_counted(millstream: Command) -> None:
    arguments = ("replay", "orders", "--from", "start", "--group", "send", "--confirm", "send")
    millstream(*arguments)
    code, out, err = millstream(*arguments)
    assert code == 0
    assert out.startswith("replayed 10 records")
    assert err == "10 records were left out: replayed or sent back before, or for another queue\n"


def test_json_has_the_numbers(millstream: Command) -> None:
    code, out, _ = millstream(
        "replay", "orders", "--from", "1h", "--until", "4", "--into", "again", "--dry-run", "--json"
    )
    assert code == 0
    assert json.loads(out) == {
        "topic": "orders",
        "to": "again",
        "dry_run": True,
        "replayed": 4,
        "copies": 0,
        "refused": 0,
        "ranges": [{"partition": 0, "start": 0, "end": 4}],
        "refusals": [],
    }


def test_what_does_not_fit_is_told_and_has_a_code(millstream: Command) -> None:
    millstream("put", "strict", '{"n": "text"}')
    code, _, err = millstream("replay", "orders", "--from", "8", "--into", "strict", "--confirm", "strict")
    assert code == 5
    assert err.startswith("2 records were left out:\n  0/8: ")


@pytest.mark.parametrize(
    "arguments",
    [
        ["--group", "send"],
        ["--from", "start"],
        ["--from", "start", "--group", "nobody"],
        ["--from", "start", "--group", "send", "--into", "again"],
        ["--from", "end", "--group", "send"],
        ["--from", "start", "--group", "send", "--rate", "fast"],
    ],
)
def test_what_cannot_be_meant_is_one_line_and_code_2(millstream: Command, arguments: list[str]) -> None:
    code, out, err = millstream("replay", "orders", *arguments)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1


@pytest.mark.skipif(sys.platform == "win32", reason="SIGINT cannot be sent to one process there")
@pytest.mark.usefixtures("millstream")
def test_ctrl_c_says_how_much_was_replayed_and_where_to_go_on(tmp_path: Path) -> None:
    options = ["--from", "start", "--group", "send", "--confirm", "send", "--rate", "1/h"]
    command = [sys.executable, "-m", "millstream", "replay", "orders", *options]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, cwd=tmp_path, env=os.environ, text=True, **pipes) as process:
        try:
            with App("millstream.db") as app:
                assert app.topic("orders").wait({0: 10}, PATIENCE_S / 2)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=PATIENCE_S)
        finally:
            process.kill()
    assert process.returncode == 130, err
    assert out.startswith("replayed 1 record of orders, offsets [0, 1), to queue send")
    assert err == "interrupted; --partition 0 --from 1 goes on there\n"
