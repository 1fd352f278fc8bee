"""Outputs of `millstream logs`: each by itself, whatever becomes of the others."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tests.integration.test_logs import THRESHOLD, failed, rule, until

from millstream import App
from millstream.logs.application import LogsApplication
from millstream.logs.config import parse_config
from millstream.logs.outputs import Output
from millstream.parsers.log_lines import LogParser

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
PARSER = LogParser("auth.log", zone=UTC)


def outputs(text: str) -> tuple[Output, ...]:
    return parse_config(text, "test.toml", {}).outputs


def add(logs: LogsApplication, *lines: str) -> None:
    logs.events.extend(PARSER.events([line.encode() for line in lines], now=NOW))


class Receiver(BaseHTTPRequestHandler):
    """Answers as its server says, and keeps what it has taken."""

    def do_POST(self) -> None:
        server = self.server
        assert isinstance(server, ReceivingServer)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        server.asked += 1
        if not server.answers.wait(600) or server.status != 200:
            self.send_response(server.status)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        server.rows += json.loads(body)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        pass


class ReceivingServer(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Receiver)
        self.answers = threading.Event()
        self.answers.set()
        self.status = 200
        self.asked = 0
        self.rows: list[dict[str, object]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/hook"


@contextmanager
def receiving() -> Iterator[ReceivingServer]:
    with ReceivingServer() as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.answers.set()
            server.shutdown()
            thread.join()


def test_events_go_to_files_tables_and_topics_each_once_over_restarts(tmp_path: Path) -> None:
    text = f"""
    [[output]]
    name = "kept"
    kind = "files"
    folder = "{tmp_path / "kept"}"
    format = "parquet"
    every = "day"

    [[output]]
    name = "logins"
    kind = "table"
    url = "{tmp_path / "logins.db"}"
    table = "logins"
    where = "kind = 'login'"

    [[output]]
    name = "copy"
    kind = "topic"
    topic = "failures"
    where = "NOT success"

    [[output]]
    name = "told"
    kind = "files"
    folder = "{tmp_path / "told"}"
    of = "alerts"
    """
    for start in (0, 3):
        with App(tmp_path / "log.db", durability="relaxed") as app:
            logs = LogsApplication(app, [rule(THRESHOLD)], outputs(text))
            add(logs, *(failed(start + n, f"203.0.113.{start}") for n in range(3)))
            follower = logs.catch_up([])
            assert not [note for note in follower.notes if note.startswith("output")]
    import polars as pl

    frame = pl.read_parquet(tmp_path / "kept" / "**" / "*.parquet")
    assert frame.filter(pl.col("kind") == "login").get_column("user").to_list() == ["ann"] * 6
    with closing(sqlite3.connect(tmp_path / "logins.db")) as database:
        found = database.execute("SELECT source_ip, count(*) FROM logins GROUP BY 1 ORDER BY 1").fetchall()
    assert found == [("203.0.113.0", 3), ("203.0.113.3", 3)]
    told = [json.loads(line) for path in (tmp_path / "told").glob("*.ndjson") for line in path.read_text().splitlines()]
    assert sorted(alert["by"]["source_ip"] for alert in told) == ["203.0.113.0", "203.0.113.3"]
    with App(tmp_path / "log.db") as app:
        assert len(app.topic("failures").read(0, records_max=100)) == 6


def test_output_that_fails_and_one_that_hangs_hold_up_no_other_and_get_what_they_missed(tmp_path: Path) -> None:
    with receiving() as failing, receiving() as hanging:
        failing.status = 503
        hanging.answers.clear()
        text = f"""
        [[output]]
        name = "failing"
        kind = "webhook"
        url = "{failing.url}"
        timeout = "10m"

        [[output]]
        name = "hanging"
        kind = "webhook"
        url = "{hanging.url}"
        timeout = "10m"

        [[output]]
        name = "quick"
        kind = "table"
        url = "{tmp_path / "quick.db"}"
        table = "events"
        """
        with App(tmp_path / "log.db", durability="relaxed") as app:
            logs = LogsApplication(app, [], outputs(text))
            with logs.following([]):
                add(logs, failed(1), failed(2))
                until(lambda: failing.asked > 1 and hanging.asked > 0, "both were asked")
                until(lambda: stored(tmp_path / "quick.db") == 2, "the quick one has all")
                add(logs, failed(3))
                until(lambda: stored(tmp_path / "quick.db") == 3, "the quick one has what came later as well")
                assert (failing.rows, hanging.rows) == ([], [])
                failing.status = 200
                until(lambda: len(failing.rows) >= 3, "the one that failed has what it missed")
                hanging.answers.set()
                until(lambda: len(hanging.rows) >= 3, "the one that hung has what it missed")
                add(logs, failed(4))
                until(lambda: len(failing.rows) >= 4 and len(hanging.rows) >= 4, "both go on")
        assert len(failing.rows) == 4
        assert [row["user"] for row in hanging.rows if row["kind"]] == ["ann"] * 4


def test_output_that_hangs_does_not_keep_the_program_from_ending(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("millstream.logs.application.GRACE", "1s")
    with receiving() as hanging:
        hanging.answers.clear()
        text = f"[[output]]\nname = 'hanging'\nkind = 'webhook'\nurl = '{hanging.url}'"
        with App(tmp_path / "log.db", durability="relaxed") as app:
            logs = LogsApplication(app, [], outputs(text))
            with logs.following([]):
                add(logs, failed(1))
                until(lambda: hanging.asked > 0, "it was asked")
        assert hanging.rows == []


def test_output_that_refuses_is_named_and_the_others_have_all(tmp_path: Path) -> None:
    with receiving() as refusing:
        refusing.status = 400
        text = f"""
        [[output]]
        name = "refusing"
        kind = "webhook"
        url = "{refusing.url}"

        [[output]]
        name = "taking"
        kind = "table"
        url = "{tmp_path / "taking.db"}"
        table = "events"
        """
        with App(tmp_path / "log.db", durability="relaxed") as app:
            logs = LogsApplication(app, [], outputs(text))
            add(logs, failed(1))
            notes = logs.catch_up([]).notes
        assert [note for note in notes if "output refusing" in note and "400" in note]
        assert stored(tmp_path / "taking.db") == 1


def test_output_that_begins_at_the_end_gets_only_what_comes_later(tmp_path: Path) -> None:
    text = f"""
    [[output]]
    name = "late"
    kind = "table"
    url = "{tmp_path / "late.db"}"
    table = "events"
    begin = "end"
    """
    with App(tmp_path / "log.db", durability="relaxed") as app:
        add(LogsApplication(app, []), failed(1), failed(2))
    with App(tmp_path / "log.db", durability="relaxed") as app:
        logs = LogsApplication(app, [], outputs(text))
        logs.catch_up([])
        add(logs, failed(3))
        logs.catch_up([])
    assert stored(tmp_path / "late.db") == 1


def stored(path: Path) -> int:
    if not path.exists():
        return 0
    with closing(sqlite3.connect(path)) as database:
        found = database.execute("SELECT name FROM sqlite_master WHERE name = 'events'").fetchall()
        return int(database.execute("SELECT count(*) FROM events").fetchone()[0]) if found else 0
