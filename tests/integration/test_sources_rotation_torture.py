"""The real logrotate, in each of its modes, while lines are written and the follower is killed at random: each once.

`MILLSTREAM_TORTURE_LINES=100000` is the full size.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from millstream import App
from millstream.parsers.log_event import LogEvent

LOGROTATE = shutil.which("logrotate") or shutil.which("logrotate", path="/usr/sbin:/sbin")
FOLLOW = Path(__file__).with_name("following_process.py")
WRITE = Path(__file__).with_name("writing_log_process.py")
LINES_MIN = 5000
LINES = int(os.environ.get("MILLSTREAM_TORTURE_LINES", LINES_MIN))
RATE = 4000
PAUSE_S = 0.3
MODES = {
    "create": "create",
    "create and compress": "create\n compress",
    "create, compress later": "create\n compress\n delaycompress",
    "create and compress, by date": "create\n compress\n dateext\n dateformat -%Y%m%d-%s",
    "copytruncate": "copytruncate",
    "copytruncate and compress": "copytruncate\n compress",
}

pytestmark = pytest.mark.skipif(LOGROTATE is None, reason="logrotate is not installed")


@pytest.mark.parametrize("mode", MODES)
def test_each_line_comes_once_while_logrotate_rotates_and_the_follower_is_killed(mode: str, tmp_path: Path) -> None:
    choose = random.Random(mode)
    directory = tmp_path / "log"
    directory.mkdir(mode=0o755)
    path = directory / "app.log"
    path.write_bytes(b"the first line, from which on there is a position\n")
    url = f"sqlite:///{tmp_path / 'log.db'}"
    follower = _follow(url, path)
    with App(url) as app:
        _until(lambda: len(_messages(app)) == 1, follower, 60)
        writer = subprocess.Popen(
            [sys.executable, str(WRITE), str(path), str(LINES), str(RATE)], stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout is not None
        assert writer.stdout.readline() == "started\n"
        kills = rotations = 0
        try:
            while writer.poll() is None:
                time.sleep(choose.uniform(0.5, 1.5) * PAUSE_S)
                if not kills or choose.random() < 0.5:
                    follower.kill()
                    follower.communicate()
                    kills += 1
                    if choose.random() < 0.7:
                        rotations += _rotate(tmp_path, path, mode, writer)
                    follower = _follow(url, path)
                rotations += _rotate(tmp_path, path, mode, writer)
            _until(lambda: len(_messages(app)) >= LINES + 1, follower, 60 + 3 * rotations)
        finally:
            writer.kill()
            writer.communicate()
            follower.communicate("", timeout=60)
        found = _messages(app)[1:]
    assert kills
    assert rotations
    wanted = [f"line {number} of a log that is rotated" for number in range(LINES)]
    counts = Counter(found)
    assert {line: count for line, count in counts.items() if count > 1} == {}
    assert [line for line in wanted if line not in counts] == []
    assert found == wanted


def _rotate(tmp_path: Path, path: Path, mode: str, writer: subprocess.Popen[str]) -> int:
    """Run logrotate once. What it would lose by nature, between copying and truncating, is not written."""
    pause, paused = Path(f"{path}.pause"), Path(f"{path}.paused")
    is_copy = "copytruncate" in MODES[mode]
    if not path.exists() or not path.stat().st_size:
        return 0
    if is_copy:
        pause.touch()
        while not paused.exists() and writer.poll() is None:
            time.sleep(0.001)
    config = tmp_path / "logrotate.conf"
    signal = "" if is_copy else f"\n postrotate\n  kill -HUP {writer.pid} 2>/dev/null || true\n endscript"
    config.write_text(f"{path} {{\n rotate 1000\n {MODES[mode]}{signal}\n}}\n")
    config.chmod(0o644)
    assert LOGROTATE is not None
    done = subprocess.run(
        [LOGROTATE, "--force", "--state", str(tmp_path / "state"), str(config)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    for file in (pause, paused):
        file.unlink(missing_ok=True)
    assert done.returncode == 0 or "already exists" in done.stderr, done.stderr
    return 1


def _follow(url: str, path: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(FOLLOW), url, "1000000", str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def _messages(app: App) -> list[str]:
    topic = app.topic("system", LogEvent, time="time")
    found: list[str] = []
    offset = 0
    while len(frame := topic.read(offset, records_max=100_000)):
        found += [record.value.message for record in frame if record.value.source != "millstream"]
        offset = frame[-1].offset + 1
    return found


def _until(condition: Callable[[], bool], follower: subprocess.Popen[str], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert follower.poll() is None, "the follower ended"
        assert time.monotonic() < deadline, "waited in vain for all lines"
        time.sleep(0.2)
