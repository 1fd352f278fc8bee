"""Stored lines, read again with the parsers of today: each once, in order, whatever happens in between."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from millstream import App, UsageError
from millstream.cli.application import run
from millstream.engines.connect import connect
from millstream.errors import CommitConflictError
from millstream.log.log import Log
from millstream.logs.application import LogsApplication
from millstream.logs.reparse import Reparser, Reparsing
from millstream.logs.rules import parse_rules
from millstream.parsers.formats import FORMATS
from millstream.parsers.log_event import Kind, LogEvent, event_of

TEN = datetime(2026, 3, 1, 10, tzinfo=UTC)


def stale(line: str, second: float = 0, *, source: str = "auth.log", format: str | None = "syslog") -> LogEvent:
    """Return what an older version made of a line: the message, whole."""
    return LogEvent(time=TEN + timedelta(seconds=second), source=source, message=line, raw=line, format=format)


def failed(second: int) -> str:
    moment = TEN + timedelta(seconds=second)
    return f"{moment.isoformat()} web sshd[1]: Failed password for u{second} from 203.0.113.9 port 4000 ssh2"


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    with closing(Log(connect(str(tmp_path / "log.db")), housekeeping=False)) as opened:
        yield opened


def filled(log: Log, events: Sequence[LogEvent]) -> None:
    log.topic("logs", LogEvent, time="time").extend(events)


def again(log: Log, to: str = "new", **what: object) -> list[LogEvent]:
    Reparser(log, "logs", Reparsing(to=to, **what)).run()  # type: ignore[arg-type]
    return stored(log, to)


def stored(log: Log, topic: str) -> list[LogEvent]:
    frame = log.topic(topic, LogEvent, time="time").frame().collect()
    return [event_of(row) for row in frame.iter_rows(named=True)]


def test_lines_get_the_meaning_that_they_have_today_in_their_order(log: Log) -> None:
    filled(log, [stale(failed(second), second) for second in range(250)])
    found = again(log)
    assert [event.user for event in found] == [f"u{second}" for second in range(250)]
    assert {(event.kind, event.success, event.source) for event in found} == {(Kind.LOGIN, False, "auth.log")}
    assert [event.time for event in found] == [TEN + timedelta(seconds=second) for second in range(250)]
    assert [event.raw for event in found] == [failed(second) for second in range(250)]
    assert all(event.kind is None for event in stored(log, "logs"))


def test_time_stays_that_of_the_first_reading(log: Log) -> None:
    filled(log, [stale("no time at all", 5), stale("Mar  1 09:00:00 web sshd[1]: x", 7)])
    assert [event.time for event in again(log)] == [TEN + timedelta(seconds=5), TEN + timedelta(seconds=7)]


def test_lines_of_many_formats_keep_their_order_and_what_nobody_knows_stays_as_it_is(log: Log) -> None:
    exact = LogEvent(time=TEN, source="x", message="m", raw="caf\\xe9 x", raw_bytes=b"caf\xe9 x", format="syslog")
    events = [
        stale(failed(1), 1),
        stale('{"msg": "it works", "level": "warn", "n": 1}', 2, source="app.log", format="json"),
        stale("line one\n  at line two", 3, format="application"),
        stale("odd", 4, format="of a newer version"),
        stale('{"MESSAGE": "hello", "SYSLOG_IDENTIFIER": "me", "PRIORITY": "4"}', 5, source="journal", format=None),
        stale(failed(6), 6, format=None),
        LogEvent(time=TEN, source="millstream", message="began to follow", program="millstream"),
        exact,
    ]
    filled(log, events)
    reparser = Reparser(log, "logs", Reparsing(to="new"))
    assert (reparser.run(), reparser.copied) == (8, 2)
    found = stored(log, "new")
    assert [event.raw for event in found] == [event.raw for event in events]
    assert (found[1].message, found[1].severity, found[1].fields) == ("it works", "warning", {"n": 1})
    assert found[3] == events[3]
    assert (found[4].message, found[4].program) == ("hello", "me")
    assert found[5].user == "u6"
    assert found[6] == events[6]
    assert found[7].raw_bytes == b"caf\xe9 x"


def test_what_is_read_again_is_what_reading_it_today_gives(log: Log) -> None:
    lines = [failed(second).encode() for second in range(120)]
    now = datetime.now(UTC)
    fresh = [event_of(row) for row in FORMATS["syslog"].parser("f").columns(lines, now=now).iter_rows(named=True)]
    filled(log, fresh)
    assert again(log) == fresh


@pytest.mark.parametrize("start", [3, TEN])
def test_it_begins_where_it_is_told(log: Log, start: int | datetime) -> None:
    filled(log, [stale(failed(second)) for second in range(5)])
    wanted = 5 if isinstance(start, datetime) else 2  # all were appended after that time
    assert len(again(log, start=start)) == wanted


def test_second_run_goes_on_and_another_name_begins_anew(log: Log) -> None:
    filled(log, [stale(failed(1))])
    assert len(again(log)) == 1
    assert len(again(log)) == 1
    filled(log, [stale(failed(2))])
    assert [event.user for event in again(log)] == ["u1", "u2"]
    assert [event.user for event in again(log, "newer")] == ["u1", "u2"]


def test_all_lines_can_be_read_by_one_format_or_pattern(log: Log) -> None:
    filled(log, [stale("took=5 user=ann"), stale("took=6 user=bob")])
    assert [event.fields for event in again(log, format="logfmt")] == [{"took": "5"}, {"took": "6"}]
    found = again(log, "other", pattern="took=%{INT:took:int} user=%{USER:user}")
    assert [(event.user, event.fields) for event in found] == [("ann", {"took": 5}), ("bob", {"took": 6})]
    with pytest.raises(UsageError, match="was made with format 'logfmt'"):
        again(log, format="json")


def test_format_with_a_head_is_read_on_in_the_middle(log: Log) -> None:
    head = "#Fields: date time cs-method cs-uri-stem c-ip"
    lines = [head, *(f"2026-03-01 10:00:0{n} GET /{n} 203.0.113.9" for n in range(4))]
    events = [stale(line, format="w3c", source="iis.log") for line in lines]
    filled(log, events[:3])
    again(log)
    filled(log, events[3:])
    assert [event.source_ip for event in again(log)] == [None, *["203.0.113.9"] * 4]


def test_two_that_do_the_same_write_each_line_once(log: Log) -> None:
    filled(log, [stale(failed(second)) for second in range(10)])
    one, other = (Reparser(log, "logs", Reparsing(to="new")) for _ in range(2))
    one._store(0, 5)
    with pytest.raises(CommitConflictError):
        other._store(0, 5)
    one._store(5, 10)
    assert len(stored(log, "new")) == 10


def test_rules_run_over_the_new_topic(log: Log, tmp_path: Path) -> None:
    filled(log, [stale(failed(second), second) for second in range(5)])
    again(log)
    log.close()
    text = "[[rule]]\nname = 'r'\nwhere = 'NOT success'\nmessage = ''\n[rule.threshold]\ncount = 5\nwithin = '1m'\n"
    with App(str(tmp_path / "log.db")) as app:
        logs = LogsApplication(app, parse_rules(text, "test"), events="new", alerts="new.alerts")
        app.run(until="now")
        assert [record.value.count for record in logs.alerts.read()] == [5]


@pytest.mark.parametrize(
    ("what", "words"),
    [
        (Reparsing(to="logs"), "into itself"),
        (Reparsing(to="new", format="nonsense"), "no format 'nonsense'"),
        (Reparsing(to="new", format="access"), "do not become events"),
        (Reparsing(to="new", format="json", pattern="x"), "not both"),
    ],
)
def test_what_cannot_be_meant_is_an_error(log: Log, what: Reparsing, words: str) -> None:
    filled(log, [stale("x")])
    with pytest.raises(UsageError, match=words):
        Reparser(log, "logs", what)


def test_topic_that_is_not_there_is_an_error(log: Log) -> None:
    with pytest.raises(UsageError, match="no topic 'logs'"):
        Reparser(log, "logs", Reparsing(to="new"))


# --- killed ---------------------------------------------------------------------------------------------------------

_RUNS = """
from millstream.engines.connect import connect
from millstream.log.log import Log
from millstream.logs import reparse
reparse.RECORDS_AT_ONCE = 20
log = Log(connect({path!r}), housekeeping=False)
print("begun", flush=True)
reparse.Reparser(log, "logs", reparse.Reparsing(to="new")).run()
"""


def test_each_line_is_there_once_after_kills_at_any_moment(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    count = 8000
    with closing(Log(connect(str(path)), housekeeping=False)) as log:
        filled(log, [stale(failed(second), second) for second in range(count)])
    code = _RUNS.format(path=str(path))
    chosen = random.Random(3)
    killed = 0
    for _ in range(6):
        process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(chosen.random())  # at a random moment of its commits
        killed += process.poll() is None
        process.kill()
        process.wait()
        process.stdout.close()
    assert killed
    with closing(Log(connect(str(path)), housekeeping=False)) as log:
        found = again(log)
    assert [event.user for event in found] == [f"u{second}" for second in range(count)]


# --- the command ----------------------------------------------------------------------------------------------------


def test_command_reads_again_and_says_how_many(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with closing(Log(connect(str(tmp_path / "millstream.db")), housekeeping=False)) as log:
        filled(log, [stale(failed(second)) for second in range(5)])
    command = ["logs", "reparse", "--data", str(tmp_path)]
    assert run([*command, "--from", "2", "--to", "new"]) == 0
    assert capsys.readouterr().out == "3 events of logs from 2 to 5 read again into new\n"
    assert run([*command, "--from", "2", "--to", "new", "--json"]) == 0
    assert '"records":0' in capsys.readouterr().out.replace(" ", "")
    assert run([*command, "--from", "end"]) == 2
    assert run(["logs", "reparse", "--data", str(tmp_path / "none")]) != 0
    assert "there is no log at" in capsys.readouterr().err
