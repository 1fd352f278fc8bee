"""`millstream run` with triggers: where they are answered, which of them run."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from millstream import App, SettingsError, UsageError, every, http
from millstream.settings import Settings

APPLICATION = """
from millstream import App, every, http
app = App()

@app.on(http.post("/hook"))
def hook(request):
    return "answered"

@app.on(every("100ms"))
def tick():
    with open("ticks", "a") as ticks:
        ticks.write(".")

pages = http.get("/page")

@app.queue(pages)
def page(request): ...
"""

Start = Callable[..., tuple[dict[str, list[str]], str, list[str]]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start `millstream run app.py`; return what it announces, where it answers, and its log so far."""
    processes: list[subprocess.Popen[str]] = []
    (tmp_path / "app.py").write_text(APPLICATION)

    def started(*options: str) -> tuple[dict[str, list[str]], str, list[str]]:
        command = [sys.executable, "-m", "millstream", "run", "app.py", "--json", *options]
        process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        processes.append(process)
        watchdog = threading.Timer(50, process.kill)
        watchdog.start()
        assert process.stdout is not None
        assert process.stderr is not None
        announced, lines, url = json.loads(process.stdout.readline()), [], ""
        for line in process.stderr:
            lines.append(line)
            found = re.search(r"answering at (\S+):", line)
            if found is not None:
                url = found[1]
                break
        watchdog.cancel()
        return announced, url, lines

    yield started
    for process in processes:
        process.terminate()
        process.communicate(timeout=50)


def test_it_answers_where_it_is_told_to_and_asks_for_the_token(start: Start, tmp_path: Path) -> None:
    announced, url, _ = start("--port", "0", "--token", "a-long-enough-token")
    assert announced["triggers"] == ["post-hook", "every-100ms", "get-page"]
    assert httpx.post(f"{url}/hook").status_code == 401
    headers = {"Authorization": "Bearer a-long-enough-token"}
    assert httpx.post(f"{url}/hook", headers=headers).text == "answered"
    assert httpx.get(f"{url}/page", headers=headers).status_code == 202


def test_only_keeps_the_triggers_that_are_followed(start: Start, tmp_path: Path) -> None:
    announced, url, _ = start("--port", "0", "--only", "page")
    assert (announced["queues"], announced["triggers"]) == (["page"], ["get-page"])
    assert httpx.get(f"{url}/page").status_code == 202
    assert httpx.post(f"{url}/hook").status_code == 404
    assert not (tmp_path / "ticks").exists()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("8000", ("127.0.0.1", 8000)),
        ("0.0.0.0:80", ("0.0.0.0", 80)),
        ("[::1]:8080", ("::1", 8080)),
        (":1", ("127.0.0.1", 1)),
    ],
)
def test_the_environment_says_where(text: str, expected: tuple[str, int]) -> None:
    settings = Settings.from_environment({"MILLSTREAM_HTTP": text, "MILLSTREAM_HTTP_TOKEN": "t"})
    assert (settings.http_host, settings.http_port, settings.http_token) == (*expected, "t")


def test_an_address_that_is_none_says_so() -> None:
    with pytest.raises(SettingsError, match="MILLSTREAM_HTTP is 'localhost'"):
        Settings.from_environment({"MILLSTREAM_HTTP": "localhost"})


def test_a_trigger_is_no_topic_of_another_kind(tmp_path: Path) -> None:
    with App(str(tmp_path / "a.db")) as app:
        with pytest.raises(UsageError, match="is no trigger"):
            app.on("clicks")(lambda event: None)  # type: ignore[arg-type]
        with pytest.raises(UsageError, match="answers nobody"):
            app.on(http.post("/x"), coalesce="1s", name="x")(lambda events: None)
        app.on(every("1h"), name="hourly")(lambda due: None)
        with pytest.raises(UsageError, match="has the name 'hourly' already"):
            app.on(every("2h"), name="hourly")(lambda due: None)
