"""`millstream put --format`: lines of a known format become typed records."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tests.evtx_writer import chunk_bytes, security_event, write_evtx

from millstream import App
from millstream.cli.application import run
from millstream.cli.lines import Block
from millstream.cli.load_format import FormatLoader
from millstream.errors import TopicNotFoundError
from millstream.parsers.access import AccessEvent, AccessParser
from millstream.parsers.log_event import LogEvent

LINE = '10.0.0.{} - - [10/Oct/2026:13:55:36 +0200] "GET /{} HTTP/1.1" 200 5\n'


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MILLSTREAM_URL", raising=False)
    return tmp_path


def test_every_line_becomes_a_record_and_empty_ones_are_counted(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = "".join(LINE.format(n, n) for n in range(3))
    (folder / "access.log").write_text(text + "\n" + text.replace("\n", "\r\n") + "no access log")
    assert run(["put", "access", "--file", "access.log", "--format", "access", "--json"]) == 0
    assert '"lines":8,"stored":7,"bad":0,"blank":1' in capsys.readouterr().out
    with App("millstream.db") as app:
        events = [record.value for record in app.topic("access", AccessEvent, time="time").read()]
    assert [event.url for event in events] == ["/0", "/1", "/2", "/0", "/1", "/2", None]
    assert events[-1].raw == "no access log"
    assert not events[-1].parsed


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le"])
def test_a_file_in_utf16_is_read(folder: Path, encoding: str) -> None:
    text = "2026-03-01 10:00:00 INFO größer\r\n2026-03-01 10:00:01 INFO 😀"
    (folder / "app.log").write_bytes(text.encode(encoding))
    assert run(["put", "app", "--file", "app.log", "--format", "auto"]) == 0
    with App("millstream.db") as app:
        events = [record.value for record in app.topic("app", LogEvent, time="time").read()]
    assert [event.message for event in events] == ["größer", "😀"]
    assert events[0].raw == "2026-03-01 10:00:00 INFO größer"


@pytest.mark.parametrize("format", ["auto", "mysql_slow"])
def test_entries_of_a_slow_query_log_are_put_together(folder: Path, format: str) -> None:
    (folder / "slow.log").write_text("# User@Host: ann[ann] @ web []\n# Query_time: 2.5\nSELECT 1\nFROM orders;\n" * 2)
    assert run(["put", "slow", "--file", "slow.log", "--format", format]) == 0
    with App("millstream.db") as app:
        events = [record.value for record in app.topic("slow", LogEvent, time="time").read()]
    assert [event.message for event in events] == ["SELECT 1\nFROM orders"] * 2


def test_format_of_a_file_is_seen(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "app.log").write_text('ts=2026-03-01T10:00:00Z level=warn msg="late"\n')
    assert run(["put", "app", "--file", "app.log", "--format", "auto"]) == 0
    said = capsys.readouterr()
    assert (said.out, said.err) == ("stored 1 record in app\n", "app.log is read as logfmt\nmade the topic app\n")


def test_syslog_is_read_from_standard_input(folder: Path) -> None:
    line = "2026-03-01T10:00:00+00:00 web sshd[1]: Accepted password for ann from 203.0.113.9 port 4000 ssh2\n"
    command = [sys.executable, "-m", "millstream", "put", "auth", "--format", "syslog", "--key", "user"]
    done = subprocess.run(command, input=line, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (0, "stored 1 record in auth\n"), done.stderr
    with App("millstream.db") as app:
        [record] = app.topic("auth").read()
    assert (record.key, record.value["kind"], record.value["source_ip"]) == (b"ann", "login", "203.0.113.9")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--format", "morse"], "access"),
        (["--format", "auto"], "--file"),
        (["--format", "access", "--raw"], "--format"),
        (["--format", "access", '{"a": 1}'], "--format"),
        (["--format", "access", "--strict"], "--format"),
    ],
)
def test_what_does_not_go_together_is_said(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    assert run(["put", "t", *arguments]) == 2
    assert words in capsys.readouterr().err
    assert not (folder / "millstream.db").exists()


def test_file_that_is_missing_leaves_nothing_behind(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["put", "t", "--file", "none.log", "--format", "access"]) != 0
    assert "none.log" in capsys.readouterr().err
    assert not (folder / "millstream.db").exists()


def test_what_cannot_be_stored_is_raised_and_not_counted() -> None:
    with App("memory://") as app:
        topic = app.topic("access", AccessEvent, time="time")
        loader = FormatLoader(topic, AccessParser())
        app.log.engine.delete_topic("access")
        loader.store(Block(1, LINE.format(1, 1).encode()))
        with pytest.raises(TopicNotFoundError, match="access"):
            loader.close()
        assert loader.totals.lines == loader.totals.stored == 0


def test_file_of_the_windows_event_log_is_read_as_its_records(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("evtx", reason='pip install "millstream[evtx]"')
    chunks = [chunk_bytes(1, [security_event(number) for number in range(1, 8)]), b"broken".ljust(65536, b"!")]
    write_evtx(folder / "Security.evtx", chunks)
    assert run(["put", "named", "--file", "Security.evtx", "--format", "evtx"]) == 0
    said = capsys.readouterr()
    assert said.out == "stored 7 records in named\n"
    left_out = "Security.evtx: at byte 69,632 there is no chunk of an event log; it is left out\n"
    assert said.err == left_out + "made the topic named\n"
    assert run(["put", "chosen", "--file", "Security.evtx", "--format", "auto", "--skip", "5"]) == 0
    assert "Security.evtx is read as windows" in capsys.readouterr().err
    with App("millstream.db") as app:
        events = [record.value for record in app.topic("named", LogEvent, time="time").read()]
        assert [event.action for event in events] == ["login_failed"] * 7
        assert [event.format for event in events] == ["windows"] * 7
        assert len(app.topic("chosen", LogEvent, time="time").read()) == 2


def test_package_that_a_file_needs_is_named_before_anything_is_made(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_evtx(folder / "Security.evtx", [])
    monkeypatch.setitem(sys.modules, "evtx", None)
    assert run(["put", "named", "--file", "Security.evtx", "--format", "evtx"]) != 0
    assert "pip install 'millstream[evtx]'" in capsys.readouterr().err
    assert not (folder / "millstream.db").exists()


@pytest.mark.parametrize("way", ["file", "standard input"])
def test_lines_that_belong_together_become_one_record(folder: Path, way: str) -> None:
    one = "2026-03-01 10:00:00 ERROR no\nTraceback (most recent call last):\n  File 'x'\nValueError: {}\n"
    text = "".join(one.format(n) for n in range(5000))
    (folder / "app.log").write_text(text.rstrip("\n"))
    command = [sys.executable, "-m", "millstream", "put", "app", "--format", "application", "--multiline", "python"]
    command += ["--file", "app.log" if way == "file" else "-"]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout[:24]) == (0, "stored 5,000 records in "[:24]), done.stderr
    with App("millstream.db") as app:
        events = [record.value for record in app.topic("app", LogEvent, time="time").read(0, records_max=10_000)]
    assert [event.raw + "\n" for event in events] == [one.format(n) for n in range(5000)]


def test_what_puts_lines_together_needs_a_format(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["put", "app", "--multiline", "java", '{"a": 1}']) == 2
    assert run(["put", "app", "--format", "json", "--multiline", "cobol", "--file", "-"]) == 2
    said = capsys.readouterr().err
    assert "--multiline goes with --format or --pattern" in said
    assert "no multiline preset 'cobol'" in said
