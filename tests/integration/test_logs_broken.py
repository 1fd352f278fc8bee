"""`millstream logs` as a program, and what breaks readers of logs: files that are not as they should be."""

from __future__ import annotations

import gzip
import json
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from datetime import datetime
from pathlib import Path

import apsw
import msgspec
import polars as pl
import pytest
from tests.integration.test_logs import millstream, until
from tests.integration.test_logs_outputs import receiving

from millstream import App
from millstream.engines.sqlite.driver import as_ours
from millstream.errors import MillstreamError, StorageError
from millstream.parsers.event_parser import EventParser, LogEventParser, event_columns
from millstream.parsers.log_event import LogEvent
from millstream.sources.files import FileSource
from millstream.sources.line_split import split
from millstream.sources.stream_lines import StreamLines
from millstream.sources.system import follow_system

NO_FOLLOW = ("--no-follow", "--all", "--json")


def shown(stdout: str) -> list[str]:
    """Return the messages of the events that were shown."""
    lines = [json.loads(line) for line in stdout.splitlines()]
    return [line["event"]["message"] for line in lines if "event" in line]


def test_the_last_line_of_a_file_that_was_sent_needs_no_end(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_bytes(b"first\nlast")
    (tmp_path / "b.log.gz").write_bytes(gzip.compress(b"packed\nits last"))
    done = millstream("logs", "--read", "a.log", "--read", "b.log.gz", *NO_FOLLOW, folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(shown(done.stdout)) == ["first", "its last", "last", "packed"]
    done = millstream("logs", "--read", "a.log", "--read", "b.log.gz", *NO_FOLLOW, folder=tmp_path)
    assert sorted(shown(done.stdout)) == ["first", "its last", "last", "packed"]


def messages(app: App) -> list[str]:
    return [record.value.message for record in app.topic("logs", LogEvent).read(0, records_max=10_000)]


def test_a_last_line_without_an_end_waits_for_it_unless_told(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_bytes(b"first\nla")
    (tmp_path / "b.log.gz").write_bytes(gzip.compress(b"packed\nits last"))
    with App("memory://") as app:
        with follow_system(app, "logs", sources=[FileSource([path], lines_first=None, follow=False)]) as follower:
            follower.join()
        assert messages(app) == ["first"]
        with follow_system(app, "logs", sources=[FileSource([path], end_after="10ms")]) as follower:
            until(lambda: follower.records == 1, "its last line was taken")
            with path.open("ab") as file:
                file.write(b"st\nnext\n")
            until(lambda: follower.records == 3, "the rest was read")
        assert messages(app) == ["first", "la", "st", "next"]
    with pytest.raises(MillstreamError, match="soon"):
        FileSource([path], end_after="soon")


def test_a_byte_order_mark_is_no_part_of_a_line(tmp_path: Path) -> None:
    text = b'\xef\xbb\xbf{"ts":"2026-03-01T10:00:00Z","msg":"first"}\n{"ts":"2026-03-01T10:00:01Z","msg":"second"}\n'
    (tmp_path / "a.log").write_bytes(text)
    done = millstream("logs", "--read", "a.log", *NO_FOLLOW, folder=tmp_path)
    events = [json.loads(line)["event"] for line in done.stdout.splitlines()]
    assert [(event["message"], event["time"]) for event in events] == [
        ("first", "2026-03-01T10:00:00Z"),
        ("second", "2026-03-01T10:00:01Z"),
    ]
    lines = StreamLines("stdin", split, quiet_us=None, now_us=lambda: 0)
    assert [line.data for line in lines.add(text[:40]) + lines.add(text[40:])] == text[3:].splitlines()


class OddParser(EventParser):
    """Fails on some lines, and makes of others what no log can store."""

    def __init__(self) -> None:
        super().__init__("odd.log", lambda text, now: {"message": text, "fields": {"number": 2**70}}, format="syslog")

    def events(self, lines: Sequence[bytes], *, now: datetime) -> list[LogEvent]:  # type: ignore[override]
        assert b"defect" not in lines
        made = super().events(lines, now=now)
        return [event if event.raw == "large" else msgspec.structs.replace(event, fields=None) for event in made]

    def columns(self, lines: Sequence[bytes], *, now: datetime) -> pl.DataFrame:
        return event_columns(self.events(lines, now=now))


class OddFile(FileSource):
    def parser(self, origin: str) -> LogEventParser:
        return OddParser()


@pytest.mark.parametrize("count", [3, 3000])
def test_a_line_that_a_parser_fails_on_is_kept_and_holds_up_no_other(tmp_path: Path, count: int) -> None:
    lines = ["first", "large", "defect", *(f"line {n}" for n in range(count))]
    (tmp_path / "odd.log").write_text("".join(f"{line}\n" for line in lines))
    with App("memory://") as app:
        source = OddFile([tmp_path / "odd.log"], lines_first=None, follow=False)
        with follow_system(app, "logs", sources=[source]) as follower:
            follower.join()
        assert messages(app) == lines
        assert len(follower.notes) == 2
        assert all("odd.log is kept as it is" in note for note in follower.notes)


def test_small_readings_of_many_files_are_stored_together(tmp_path: Path) -> None:
    count = 700
    for n in range(count):
        (tmp_path / f"{n}.log").write_text(f"first {n}\n")
    with App(tmp_path / "log.db", durability="relaxed") as app:
        topic = app.topic("logs", LogEvent, time="time")
        for word in ("first", "next"):
            source = FileSource([str(tmp_path / "*.log")], follow=False)
            with follow_system(app, "logs", sources=[source]) as follower:
                follower.join()
            assert follower.records == count
            # What is stored together has one time of append.
            appended = {record.append_time for record in topic.read(0, records_max=3 * count)}
            assert len(appended) <= 4
            for n in range(count):
                with (tmp_path / f"{n}.log").open("a") as file:
                    file.write(f"{word} {n}\n")
        assert sorted(messages(app)) == sorted(f"first {n}" for n in range(count) for _ in range(2))


def test_an_output_that_did_not_take_all_is_an_exit_code(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_text("0001-01-01T00:00:00Z web app[1]: the zero of Go\n")
    with receiving() as server:
        server.status = 404
        (tmp_path / "c.toml").write_text(
            '[[output]]\nname = "beside"\nkind = "files"\nfolder = "beside"\n'
            f'[[output]]\nname = "gone"\nkind = "webhook"\nurl = "{server.url}"\n'
        )
        done = millstream("logs", "--config", "c.toml", "--read", "a.log", *NO_FOLLOW, folder=tmp_path)
    assert done.returncode == 1
    assert shown(done.stdout) == ["the zero of Go"]
    assert "output gone" in done.stderr
    assert "answers 404" in done.stderr
    assert "Traceback" not in done.stderr
    assert len(list((tmp_path / "beside").glob("*.ndjson"))) == 1


def test_ctrl_c_while_the_program_begins_says_nothing(tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "class Pressed:\n"
        "    def find_spec(self, name, *rest):\n"
        "        if name == 'millstream.cli.application':\n"
        "            raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Pressed())\n"
        "from millstream.cli import main\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_ctrl_c_ends_the_wait_for_a_receiver_that_does_not_answer(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_text("2026-03-01T10:00:00Z web app[1]: something\n")
    with receiving() as server:
        server.answers.clear()
        (tmp_path / "c.toml").write_text(
            f'[[output]]\nname = "slow"\nkind = "webhook"\nurl = "{server.url}"\ntimeout = "10m"\n'
        )
        command = [sys.executable, "-m", "millstream", "logs", "--config", "c.toml", "--read", "a.log", "--no-follow"]
        process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            until(lambda: server.asked > 0, "the receiver was asked")
            process.send_signal(signal.SIGINT)
            assert process.wait(50) == 130
        finally:
            process.kill()
            process.communicate()
            server.answers.set()


def test_a_file_that_two_sources_name_is_read_once(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_text("first\n")
    with App("memory://") as app:
        sources = [FileSource([path], lines_first=None), FileSource([str(tmp_path / "*.log")], lines_first=None)]
        with follow_system(app, "logs", sources=sources) as follower:
            written = 1
            # Both have read on when one of them was heard of twice.
            while not any("is read by two sources" in note for note in follower.notes):
                assert written < 500
                with path.open("a") as file:
                    file.write(f"line {written}\n")
                written += 1
                until(lambda written=written: follower.records >= written, "it was stored")  # type: ignore[misc]
        assert sorted(set(messages(app))) == sorted(messages(app))
        assert len(messages(app)) == written


def test_a_log_that_is_removed_while_it_is_in_use_is_told_in_a_sentence(tmp_path: Path) -> None:
    # A connection that is opened after that sees an empty file.
    with pytest.raises(apsw.SQLError) as raised, closing(apsw.Connection(str(tmp_path / "log.db"))) as connection:
        connection.execute("SELECT * FROM topic")
    error = as_ours(raised.value, "log.db")
    assert isinstance(error, StorageError)
    assert str(error) == "log.db was removed, or replaced, while it was in use; start again"
