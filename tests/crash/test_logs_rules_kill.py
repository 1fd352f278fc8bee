"""`kill -9` of a process that follows a log and runs rules of every kind: each alert is there, once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any, Final

import pytest

from millstream.app import App
from millstream.errors import MillstreamError
from millstream.log.topic import Topic
from millstream.logs.alert import Alert
from millstream.logs.application import LogsApplication
from millstream.logs.rules import read_rules
from millstream.sources.files import FileSource

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")

SCRIPT: Final = Path(__file__).with_name("rules_process.py")
SEED: Final = int(os.environ.get("MILLSTREAM_SEED", "1"))
KILLS: Final = 30 if os.environ.get("MILLSTREAM_FULL") == "1" else 3
PATIENCE_S: Final = 120.0
LINES: Final = 6000

RULES: Final = """
[[rule]]
name = "guessing"
where = "kind = 'login' AND NOT success"
message = "{count} {source_ip} {first} {last}"
quiet = "30s"
threshold = { count = 5, within = "20s", by = ["source_ip"] }

[[rule]]
name = "spraying"
where = "kind = 'login' AND NOT success"
message = "{values}"
quiet = "1m"
threshold = { count = 4, within = "20s", by = ["source_ip"], distinct = "user" }

[[rule]]
name = "guessed"
where = "kind = 'login' AND NOT success"
message = "{user}"
sequence = { then = "kind = 'login' AND success", count = 2, within = "1m", by = ["source_ip"] }

[[rule]]
name = "new"
where = "kind = 'login' AND success"
message = "{user}"
first_seen = { by = ["user", "source_ip"], forget = "5m" }

[[rule]]
name = "silent"
message = "{source_ip} {last}"
absence = { within = "1m", by = ["source_ip"] }

[[rule]]
name = "more"
message = "{source_ip}"
rate = { factor = 1.5, window = "30s", before = 4, count = 10, by = ["source_ip"] }

[[rule]]
name = "each"
where = "success"
message = "{user} {time}"
each = {}
"""


def lines(chosen: Random) -> list[str]:
    """Return lines of sshd a second apart, a few of them late by up to a minute."""
    made: list[str] = []
    moment = datetime.now(UTC) - timedelta(seconds=LINES + 3600)
    for number in range(LINES):
        late = chosen.randrange(60) if chosen.random() < 0.05 else 0
        at = moment + timedelta(seconds=number - late)
        word = "Accepted" if chosen.random() < 0.2 else "Failed"
        user, address = chosen.choice("abcdefgh"), f"203.0.113.{int(chosen.expovariate(0.3))}"
        made.append(
            f"{at.isoformat()} web sshd[7]: {word} password for {user} from {address} port {1024 + number} ssh2\n"
        )
    return made


def values(topic: Topic[Any]) -> list[Any]:
    found: list[Any] = []
    while some := topic.read(len(found), records_max=100_000):
        found += [record.value for record in some]
    return found


def said(topic: Topic[Alert]) -> list[tuple[str, str, str]]:
    found = values(topic)
    return sorted((alert.rule, alert.time.isoformat(), alert.message) for alert in found)


def wait_for_alerts(database: Path, more_than: int, process: subprocess.Popen[bytes]) -> int:
    """Return how many there are, once these are more."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        assert process.poll() is None, "the process ended by itself"
        assert time.monotonic() < deadline, f"there were no more than {more_than} alerts"
        try:
            with App(database) as app:
                found = app.topic("alerts", Alert, time="time").info().records
        except MillstreamError:
            found = 0  # not yet there
        if found > more_than:
            return found
        time.sleep(0.02)


def test_every_alert_is_there_once_after_kills(tmp_path: Path) -> None:
    chosen = Random(SEED)
    database, log, rules = tmp_path / "log.db", tmp_path / "auth.log", tmp_path / "rules.toml"
    rules.write_text(RULES)
    written = lines(chosen)
    log.write_text("")
    there = 0
    for number in range(KILLS):
        process = subprocess.Popen([sys.executable, str(SCRIPT), str(database), str(log), str(rules)])
        try:
            with log.open("a") as file:
                file.writelines(written[number * LINES // KILLS : (number + 1) * LINES // KILLS])
            there = wait_for_alerts(database, there, process)
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
    with App(database, durability="relaxed") as app:
        logs = LogsApplication(app, read_rules(rules))
        logs.catch_up([FileSource([log], follow=False, lines_first=None)])
        found = said(logs.alerts)
        events = values(logs.events)
    assert len(events) == LINES
    with App("memory://") as app:
        logs = LogsApplication(app, read_rules(rules))
        logs.events.extend(events)
        app.run(until="now")
        wanted = said(logs.alerts)
    assert found == wanted
    assert {rule for rule, _, _ in found} == {"guessing", "spraying", "guessed", "new", "silent", "more", "each"}
