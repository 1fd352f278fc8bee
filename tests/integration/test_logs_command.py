"""`millstream logs` with a configuration, as a program."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest
from tests.integration.test_logs import THRESHOLD, at, millstream, until

YESTERDAY = time.time() // 60 * 60 - 86_400
LINES = [at(n, f"Failed password for ann from 203.0.113.9 port 4{n} ssh2", start=YESTERDAY) for n in range(3)]
"""What rules remember goes by the newest event: lines of years ago would lead to nothing."""
RULE = f"[[rule]]\nname = 'r'\nwhere = \"kind = 'login'\"\nmessage = '{{count}} of {{source_ip}}'\n{THRESHOLD}\n"


def example(events: str = "", alerts: int = 1) -> str:
    return f"[[example]]\nlines = {json.dumps(LINES)}\n{events}\nalerts = {alerts}\n"


def test_check_runs_the_examples_of_a_configuration(tmp_path: Path) -> None:
    events = "events = [{ user = 'ann', kind = 'login' }, { success = false }, {}]"
    source = "[[source]]\nkind = 'system'\n[[output]]\nname = 'o'\nkind = 'stdout'\n"
    (tmp_path / "right.toml").write_text(source + RULE + example(events))
    done = millstream("logs", "check", "right.toml", folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == ("example 1: 3 events, 1 alerts, right\n1 sources, 1 outputs, 1 rules, 1 examples, 0 wrong\n")


def test_check_says_what_is_not_as_an_example_says(tmp_path: Path) -> None:
    (tmp_path / "wrong.toml").write_text(RULE + example("events = [{ user = 'bob' }]", 2))
    done = millstream("logs", "check", "wrong.toml", folder=tmp_path)
    assert done.returncode == 1
    for words in ("3 events, 1 wanted", "event 1, user is 'ann', 'bob' wanted", "1 alerts, 2 wanted", "1 wrong"):
        assert words in done.stdout
    done = millstream("logs", "check", "wrong.toml", "--json", folder=tmp_path)
    said = json.loads(done.stdout)
    assert (done.returncode, said["right"], len(said["events"])) == (1, False, 3)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[[example]]\nlines = []\nformat = 'nothing'", ["example 1", "'nothing'", "syslog"]),
        ("[[example]]\nlines = []\nformat = 'access'", ["example 1", "'access'"]),
        ("[[example]]\nlines = []\nevents = [{ who = 1 }]", ["example 1", "'who'"]),
        ("[[source]]\nkind = 'syslog'\nudp = 'x'", ["source 1", "udp is 'x'"]),
    ],
)
def test_check_says_which_table_is_wrong(tmp_path: Path, text: str, words: Sequence[str]) -> None:
    (tmp_path / "c.toml").write_text(text)
    done = millstream("logs", "check", "c.toml", folder=tmp_path)
    assert done.returncode == 2
    for word in ["c.toml", *words]:
        assert word in done.stderr


def test_configured_sources_rules_and_outputs_do_their_work(tmp_path: Path) -> None:
    (tmp_path / "auth.log").write_text("\n".join(LINES) + "\n")
    (tmp_path / "c.toml").write_text(
        "[[source]]\nkind = 'files'\npaths = ['auth.log']\n"
        "[[output]]\nname = 'kept'\nkind = 'table'\nurl = 'kept.db'\ntable = 'logins'\nwhere = \"kind = 'login'\"\n"
        + RULE
    )
    options = ("--config", "c.toml", "--no-follow", "--json", "--since", "2020-01-01T00:00Z")
    done = millstream("logs", *options, folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    shown = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["alert"]["message"] for line in shown if "alert" in line] == ["3 of 203.0.113.9"]
    assert [line["event"]["user"] for line in shown if line.get("event", {}).get("kind")] == ["ann"] * 3
    with closing(sqlite3.connect(tmp_path / "kept.db")) as database:
        assert database.execute("SELECT count(*) FROM logins").fetchone() == (3,)


def test_source_that_waits_needs_following(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text("[[source]]\nkind = 'syslog'\nudp = '0'")
    done = millstream("logs", "--config", "c.toml", "--no-follow", folder=tmp_path)
    assert (done.returncode, "source 1" in done.stderr) == (2, True)


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C is another thing there")
def test_output_that_does_not_answer_is_said_and_keeps_nobody_from_ctrl_c(tmp_path: Path) -> None:
    (tmp_path / "auth.log").write_text("\n".join(LINES) + "\n")
    (tmp_path / "c.toml").write_text(
        "[[source]]\nkind = 'files'\npaths = ['auth.log']\n"
        "[[output]]\nname = 'away'\nkind = 'webhook'\nurl = 'http://127.0.0.1:1/hook'\n"
        "[[output]]\nname = 'kept'\nkind = 'table'\nurl = 'kept.db'\ntable = 'events'\n"
    )
    command = [sys.executable, "-m", "millstream", "logs", "--config", "c.toml"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            until(lambda: count(tmp_path / "kept.db") == 3, "the other output has all")
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=60)
            assert process.returncode == 0
        finally:
            process.kill()


def count(path: Path) -> int:
    if not path.exists():
        return 0
    with closing(sqlite3.connect(path)) as database:
        found = database.execute("SELECT name FROM sqlite_master WHERE name = 'events'").fetchall()
        return int(database.execute("SELECT count(*) FROM events").fetchone()[0]) if found else 0


def test_files_and_what_is_piped_in_are_read_instead_of_this_machine(tmp_path: Path) -> None:
    (tmp_path / "old.log").write_text("\n".join(LINES) + "\n")
    options = ("--json",)
    done = millstream("logs", "--read", "old.log", "--no-follow", "--data", "a", *options, folder=tmp_path)
    assert logins(done.stdout) == 3, done.stderr
    command = [sys.executable, "-m", "millstream", "logs", "--stdin", "--data", "b", *options]
    piped = "\n".join(LINES) + "\n"
    done = subprocess.run(command, cwd=tmp_path, input=piped, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, logins(done.stdout)) == (0, 3), done.stderr
    done = millstream("logs", "--read", "none.log", folder=tmp_path)
    assert (done.returncode, "none.log" in done.stderr) == (2, True)


def test_events_that_are_all_left_out_of_what_is_shown_are_told_of(tmp_path: Path) -> None:
    (tmp_path / "plain.log").write_text("it works\nit goes on\n")
    done = millstream("logs", "--read", "plain.log", "--no-follow", "--data", "a", folder=tmp_path)
    assert (done.returncode, done.stdout) == (0, "")
    assert "none of 2 events is shown here; --all" in done.stderr
    done = millstream("logs", "--read", "plain.log", "--no-follow", "--data", "a", "--all", folder=tmp_path)
    assert len(done.stdout.splitlines()) == 2
    assert "shown here" not in done.stderr


def logins(printed: str) -> int:
    return sum(json.loads(line).get("event", {}).get("kind") == "login" for line in printed.splitlines())
