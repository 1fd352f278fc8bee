"""wtmpdb, lastlog2 and lastlog, with the tables and records that their own programs make."""

from __future__ import annotations

import pwd
import shutil
import sqlite3
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from millstream import App
from millstream.parsers.formats import FORMATS
from millstream.parsers.log_event import Kind, LogEvent
from millstream.sources.login_databases import LoginDatabaseSource
from millstream.sources.system import follow_system

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="files of Linux systems")

START = int(datetime(2026, 3, 1, 10, tzinfo=UTC).timestamp())
WTMPDB = (
    "CREATE TABLE IF NOT EXISTS wtmp(ID INTEGER PRIMARY KEY, Type INTEGER, User TEXT NOT NULL, Login INTEGER, "
    "Logout INTEGER, TTY TEXT, RemoteHost TEXT, Service TEXT) STRICT"
)
LASTLOG2 = (
    "CREATE TABLE IF NOT EXISTS Lastlog2(Name TEXT PRIMARY KEY, Time INTEGER, TTY TEXT, RemoteHost TEXT, Service TEXT)"
)


def change(path: Path, *statements: str | tuple[str, tuple[Any, ...]]) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        for statement in statements:
            database.execute(*((statement,) if isinstance(statement, str) else statement))


def login(second: int, user: str, *, kind: int = 3, logout: int | None = None) -> tuple[str, tuple[Any, ...]]:
    ends = None if logout is None else (START + logout) * 1_000_000
    values = (kind, user, (START + second) * 1_000_000 + 5, ends, "pts/0", "203.0.113.9", "sshd")
    return "INSERT INTO wtmp (Type,User,Login,Logout,TTY,RemoteHost,Service) VALUES(?,?,?,?,?,?,?)", values


def reader(path: Path, **options: Any) -> Callable[[], list[LogEvent]]:
    """Return what reads as a process would that starts now, with the positions of the one before."""
    positions: dict[bytes, bytes] = {}

    def read() -> list[LogEvent]:
        found: list[LogEvent] = []
        source = LoginDatabaseSource(path, follow=False, **options)
        for reading in source.read(dict(positions), threading.Event(), pytest.fail):
            for line in reading.lines:
                found += FORMATS["logins"].parser(line.origin).events([line.data], now=datetime.now(UTC))
            positions.update({key: value for key, value in reading.positions.items() if value is not None})
        return found

    return read


def told(events: list[LogEvent]) -> list[tuple[str | None, str | None]]:
    return [(event.action, event.user) for event in events]


def test_sessions_of_wtmpdb_begin_and_end_once(tmp_path: Path) -> None:
    path = tmp_path / "wtmp.db"
    read = reader(path)
    assert read() == []
    boot = ("INSERT INTO wtmp (Type,User,Login,TTY,RemoteHost) VALUES(1,'reboot',?,'~','6.12')", (START * 1_000_000,))
    change(path, WTMPDB, boot, login(1, "ann"), login(2, "bob", logout=3))
    events = read()
    assert told(events) == [
        ("boot", None),
        ("session_opened", "ann"),
        ("session_opened", "bob"),
        ("session_closed", "bob"),
    ]
    assert events[0].message == "the system was started, kernel 6.12"
    assert (events[1].kind, events[1].success, events[1].source_ip) == (Kind.LOGIN, True, "203.0.113.9")
    assert (events[1].terminal, events[1].service, events[1].session) == ("pts/0", "sshd", "2")
    assert events[1].time == datetime.fromtimestamp(START + 1, UTC).replace(microsecond=5)
    assert read() == []
    change(path, ("UPDATE wtmp SET Logout = ? WHERE User = 'ann'", ((START + 9) * 1_000_000,)))
    [end] = read()
    assert (end.action, end.user, end.source_ip, end.session) == ("session_closed", "ann", "203.0.113.9", "2")
    change(path, ("UPDATE wtmp SET Logout = ? WHERE User = 'reboot'", ((START + 10) * 1_000_000,)))
    assert told(read()) == [("shutdown", None)]
    assert read() == []


def test_wtmpdb_that_is_rotated_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "wtmp.db"
    change(path, WTMPDB, login(1, "ann"), login(2, "bob", logout=3))
    read = reader(path)
    assert len(read()) == 3
    change(path, "DELETE FROM wtmp", login(4, "eve"))  # row 1 again
    assert told(read()) == [("session_opened", "eve")]
    assert read() == []


def test_the_first_start_begins_with_the_last_rows(tmp_path: Path) -> None:
    path = tmp_path / "wtmp.db"
    change(path, WTMPDB, *(login(second, f"user{second}") for second in range(5)))
    assert told(reader(path, records_first=2)()) == [("session_opened", "user3"), ("session_opened", "user4")]
    other = tmp_path / "lastlog2.db"
    rows = [("INSERT INTO Lastlog2 VALUES(?,?,?,?,?)", (f"user{n}", START + n, "", "", "")) for n in range(5)]
    change(other, LASTLOG2, *rows)
    assert told(reader(other, records_first=2)()) == [("session_opened", "user3"), ("session_opened", "user4")]


def test_last_logins_of_lastlog2_are_told_once(tmp_path: Path) -> None:
    path = tmp_path / "lastlog2.db"
    put = "REPLACE INTO Lastlog2 VALUES(?,?,?,?,?)"
    change(
        path,
        LASTLOG2,
        (put, ("ann", START, "pts/0", "web.example", "sshd")),
        (put, ("bob", START + 5, "tty1", None, "login")),
    )
    read = reader(path, decides=False)
    events = read()
    assert told(events) == [("session_opened", "ann"), ("session_opened", "bob")]
    assert (events[0].source_name, events[0].service, events[0].success) == ("web.example", "sshd", None)
    assert read() == []
    # Written later than one with a later time; and again.
    change(path, (put, ("eve", START + 4, "pts/1", "", "sshd")), (put, ("ann", START + 5, "pts/0", "", "sshd")))
    assert told(read()) == [("session_opened", "eve"), ("session_opened", "ann")]
    assert read() == []


@pytest.mark.parametrize("form", ["=i32s256s", "=q32s256s"])
def test_last_logins_of_a_sparse_lastlog(tmp_path: Path, form: str) -> None:
    path = tmp_path / "lastlog"
    record = struct.Struct(form)

    def put(uid: int, second: int, line: bytes, host: bytes) -> None:
        with path.open("r+b" if path.exists() else "w+b") as file:
            file.seek(uid * record.size)
            file.write(record.pack(START + second, line, host))

    put(0, 0, b"tty1", b"")
    put(4_000_000, 5, b"pts/0", b"203.0.113.9")  # a gigabyte away
    read = reader(path)
    events = read()
    assert told(events) == [("session_opened", pwd.getpwuid(0).pw_name), ("session_opened", "4000000")]
    assert (events[1].source_ip, events[1].terminal) == ("203.0.113.9", "pts/0")
    assert read() == []
    put(0, 9, b"tty2", b"")
    assert [(event.action, event.terminal) for event in read()] == [("session_opened", "tty2")]


@pytest.mark.skipif(shutil.which("lastlog") is None, reason="there is no lastlog on this machine")
def test_lastlog_and_we_say_the_same(tmp_path: Path) -> None:
    path = tmp_path / "lastlog"
    path.write_bytes(struct.pack("=i32s256s", START, b"pts/7", b"web.example"))
    command = ["lastlog", "--root", str(tmp_path), "--user", "0"]
    (tmp_path / "var/log").mkdir(parents=True)
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\n")
    shutil.copy(path, tmp_path / "var/log/lastlog")
    shown = subprocess.run(command, capture_output=True, text=True, check=False)
    if shown.returncode:
        pytest.skip(f"lastlog cannot read another root here: {shown.stderr.strip()}")
    [event] = reader(path)()
    _, line = shown.stdout.splitlines()
    assert {"root", "pts/7", "web.example"} <= set(line.split())
    assert (event.user, event.terminal, event.source_name) == ("root", "pts/7", "web.example")


def test_what_is_added_is_followed(tmp_path: Path) -> None:
    path = tmp_path / "wtmp.db"
    pause = threading.Event()
    with App("memory://") as app, follow_system(app, sources=[LoginDatabaseSource(path)]) as follower:
        change(path, "PRAGMA journal_mode=WAL", WTMPDB, login(1, "ann"))
        for count in (1, 2):
            for _ in range(3000):
                if follower.records >= count:
                    break
                pause.wait(0.01)
            change(path, ("UPDATE wtmp SET Logout = ?", ((START + 9) * 1_000_000,)))
        records = app.topic("system", LogEvent, time="time").read(0, records_max=10)
    assert told([one.value for one in records]) == [("session_opened", "ann"), ("session_closed", "ann")]


def test_a_file_that_is_no_database_is_said(tmp_path: Path) -> None:
    path = tmp_path / "wtmp.db"
    path.write_bytes(b"no database" * 100)
    notes: list[str] = []
    assert list(LoginDatabaseSource(path, follow=False).read({}, threading.Event(), notes.append)) == []
    assert notes == [f"{path} cannot be read: file is not a database"]
