"""Rules keyed by what attackers choose: a key each, and the memory that this takes."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from millstream import App
from millstream.logs.application import READER, LogsApplication
from millstream.logs.rules import parse_rules
from millstream.parsers.log_event import LogEvent
from millstream.stream.keyed.kept import some_kept
from millstream.stream.manifest import stored_steps

PROCESS_BYTES_MAX = 300 * 1024 * 1024
"""190 MB as measured, of which about a half is Python, Polars and the log itself; 900 MB where a batch is not fitted to
what it changes. What is between is for other allocators."""

EVENTS = 60_000
BEGIN = datetime(2026, 3, 1, tzinfo=UTC)

FILLS = """
import sys
from datetime import datetime, timedelta, UTC
from millstream import App
from millstream.logs.application import LogsApplication
from millstream.parsers.log_event import LogEvent

begin = datetime(2026, 3, 1, tzinfo=UTC)
with App("logs.db") as app:
    events = LogsApplication(app, ()).events
    for start in range(0, int(sys.argv[1]), 10_000):
        events.extend(
            LogEvent(
                time=begin + timedelta(milliseconds=200 * number), source="auth.log", kind="login", success=False,
                user=f"user{number}", source_ip=f"2001:db8::{number:x}", message=f"Failed password for user{number}",
                raw=f"2026-03-01T00:00:00+00:00 web sshd[1]: Failed password for user{number} port 1 ssh2",
            )
            for number in range(start, start + 10_000)
        )
"""
RUNS = """
import json
from pathlib import Path
from millstream import App
from millstream.logs.application import LogsApplication
from millstream.logs.rules import parse_rules

with App("logs.db") as app:
    logs = LogsApplication(app, parse_rules(Path("rules.toml").read_text(), "rules.toml"))
    app.run(until="now")
    alerts = sum(part.end_offset for part in logs.alerts.info().partitions)
status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
print(json.dumps([int(status["VmHWM"].split()[0]), alerts]))  # getrusage tells of the parent, if that was larger
"""
KINDS = {
    "threshold": 'threshold]\ncount = 5\nwithin = "1m"\nby = ["source_ip"]',
    "distinct": 'threshold]\ncount = 5\nwithin = "1m"\nby = ["source_ip"]\ndistinct = "user"',
    "sequence": 'sequence]\nthen = "success"\nwithin = "1m"\nby = ["source_ip"]',
    "together": 'together]\nof = ["NOT success", "success"]\nwithin = "1m"\nby = ["source_ip"]',
    "first-seen": 'first_seen]\nby = ["user"]\nlearn = "1000d"',
    "absence": 'absence]\nwithin = "10d"\nby = ["user"]',
    "rate": 'rate]\nfactor = 3\nwindow = "1m"\nby = ["source_ip"]',
}


def rules_of(kinds: list[str], more: str = "") -> str:
    return "\n".join(f'[[rule]]\nname = "{kind}"\nmessage = "m"\n{more}\n[rule.{KINDS[kind]}' for kind in kinds)


def run(code: str, folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=folder, capture_output=True, text=True, timeout=250, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is told by /proc")
def test_rules_of_every_kind_over_a_key_for_each_event_stay_small(tmp_path: Path) -> None:
    (tmp_path / "rules.toml").write_text(rules_of(list(KINDS)))
    run(FILLS, tmp_path, str(EVENTS))
    peak_kib, alerts = json.loads(run(RUNS, tmp_path))
    assert alerts == 0
    assert peak_kib * 1024 < PROCESS_BYTES_MAX


def event(at: datetime, user: str) -> LogEvent:
    return LogEvent(time=at, source="t", message="m", user=user, source_ip=user, kind="login", success=False)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "first-seen"])
def test_keys_are_forgotten_as_soon_as_a_rule_says(kind: str) -> None:
    """All but the newest are gone when time has gone on; without a word of the rule that takes five weeks."""
    for more, left in (("", 51), ('remember = "2d"', 1)):
        with App("memory://") as app:
            logs = LogsApplication(app, parse_rules(rules_of([kind], more), "t"))
            logs.events.extend(event(BEGIN + timedelta(seconds=number), f"u{number}") for number in range(50))
            app.run(until="now")
            logs.events.append(event(BEGIN + timedelta(days=25), "newest"))
            app.run(until="now")
            assert keys_kept(app, logs) == left


def keys_kept(app: App, logs: LogsApplication) -> int:
    group = app.streams[READER].group
    [prefix] = [prefix for prefix, step in stored_steps(group, 0).items() if step.text.startswith("stateful_map(")]
    return len(some_kept(group, 0, prefix, 1000))
