"""What monitors see of `millstream logs`: over HTTP, and in `millstream top`."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from tests.integration.test_logs import failed, millstream, until

from millstream import App
from millstream.cli.application import run
from millstream.sources.files import FileSource
from millstream.sources.journal import JournalSource
from millstream.sources.listener_info import listener_infos
from millstream.sources.system import follow_system
from millstream.web.operations import serve_operations

TOPIC = "logs"
PATIENCE_S = 30.0


@contextmanager
def logs_at_work(folder: Path, *more: str) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "millstream", "logs", "--config", "c.toml", "--data", "d", *more]
    with (folder / "err").open("wb") as err:
        process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=err)
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def address_in(folder: Path) -> str:
    pattern = re.compile(r"metrics at (http://\S+)/metrics, health at")
    until(lambda: pattern.search((folder / "err").read_text()) is not None, "the address is told")
    found = pattern.search((folder / "err").read_text())
    assert found is not None
    return found[1]


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C is another thing there")
def test_monitors_are_answered_while_logs_are_followed(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_text(f"{failed(1)}\n")
    (tmp_path / "c.toml").write_text('[[source]]\nkind = "files"\npaths = ["a.log"]\n')
    with logs_at_work(tmp_path, "--metrics", "127.0.0.1:0") as process:
        with httpx.Client(base_url=address_in(tmp_path), timeout=PATIENCE_S) as client:
            until(lambda: client.get("/health").status_code == 200, "it is well")
            until(lambda: 'millstream_listener_lines_total{topic="logs"' in client.get("/metrics").text, "it is told")
            labels = f'{{topic="logs",listener="files",process="{process_of(client)}"}}'
            wanted = [
                f"millstream_listener_{what}\n"
                for what in (f"lines_total{labels} 1", f"running{labels} 1", f"behind_bytes{labels} 0")
            ]
            until(lambda: all(line in client.get("/metrics").text for line in wanted), "a line")
            text = client.get("/metrics").text
            assert 'millstream_stream_lag_records{topic="logs",stream="rules"}' in text
            assert "system-follower" not in text
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0


def process_of(client: httpx.Client) -> str:
    [listener] = client.get("/listeners").json()["listeners"]
    return str(listener["process"])


def test_health_says_which_listener_is_broken_and_why(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_text(f"{failed(1)}\n")
    sources = [JournalSource(command="no-such-journalctl"), FileSource([tmp_path / "a.log"])]
    with App(str(tmp_path / "log.db"), durability="relaxed") as app:
        with serve_operations(app.log, [], port=0, listeners=[TOPIC]) as serving:
            with httpx.Client(base_url=serving.url, timeout=PATIENCE_S) as client:
                answer = client.get("/health")
                assert answer.status_code == 503, "it is not ready before it begins"
                assert "no listener of topic logs has told of itself yet" in answer.text
                with follow_system(app, TOPIC, sources=sources):
                    until(lambda: "no-such-journalctl" in client.get("/health").text, "it is told")
                    answer = client.get("/health")
                    assert answer.status_code == 503
                    [problem] = answer.json()["problems"]
                    assert (problem["topic"], problem["listener"]) == ("logs", "journal")
                    assert problem["message"].startswith("listener journal of topic logs is broken for ")
        with serve_operations(app.log, [], port=0) as serving:
            # Of another process: a reason to look, and none to start this one again.
            assert httpx.get(f"{serving.url}/health", timeout=PATIENCE_S).status_code == 200


def test_top_shows_listeners_and_not_what_keeps_their_positions(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.log").write_text(f"{failed(1)}\n")
    with App(str(tmp_path / "millstream.db"), durability="relaxed") as app:
        sources = [FileSource([tmp_path / "a.log"]), JournalSource(command="no-such-journalctl")]
        with follow_system(app, TOPIC, sources=sources):
            until(
                lambda: (
                    {(info.lines, info.why is not None) for info in listener_infos(app.log)} == {(1, False), (0, True)}
                ),
                "it is told of both",
            )
            assert run(["top", "--once", "--data", str(tmp_path), "--json"]) == 0
            found = json.loads(capsys.readouterr().out)
            assert {one["listener"]: (one["state"], one["lines"]) for one in found["listeners"]} == {
                "files": ("running", 1),
                "journal": ("broken", 0),
            }
            assert found["queues"] == []
            assert run(["top", "--once", "--data", str(tmp_path)]) == 0
            shown = capsys.readouterr().out
            assert re.search(r"^logs/journal +broken .* this machine has no no-such-journalctl$", shown, re.MULTILINE)
            assert "system-follower" not in shown
            assert "QUEUE" not in shown
            assert run(["queue", "--data", str(tmp_path)]) == 0
            assert "no queues yet" in capsys.readouterr().out
            assert run(["advise", TOPIC, "--data", str(tmp_path)]) == 0
            assert "system-follower" not in capsys.readouterr().out


@pytest.mark.skipif(sys.platform == "darwin", reason="it is read there")
def test_where_no_source_is_left_it_ends_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text('[[source]]\nkind = "macos"\n')
    done = millstream("logs", "--config", "c.toml", folder=tmp_path)
    assert done.returncode == 1
    assert "this machine has no /usr/bin/log" in done.stderr
    assert "no source is left to be read" in done.stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--metrics", "127.0.0.1:0", "--no-follow"], "leave out --no-follow"),
        (["--metrics-token", "0123456789abcdef"], "--metrics-token is for --metrics"),
        (["--metrics", "127.0.0.1:x"], "127.0.0.1:x"),
    ],
)
def test_options_of_monitors_that_cannot_be_meant_are_errors(tmp_path: Path, options: list[str], said: str) -> None:
    done = millstream("logs", *options, folder=tmp_path)
    assert done.returncode == 2
    assert said in done.stderr
