"""Login records, followed: rotation, restarts, utmp; and what last(1) and utmpdump(1) say of the same files."""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from millstream import App
from millstream.parsers.formats import FORMATS
from millstream.parsers.log_event import Kind, LogEvent
from millstream.sources.login_records import LAYOUTS, LoginRecord, encode
from millstream.sources.logins import LoginSource
from millstream.sources.system import follow_system

NARROW = LAYOUTS["narrow"]
START = datetime(2026, 3, 1, 10, 0, tzinfo=UTC)


def needs(program: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(program) is None, reason=f"there is no {program} on this machine")


def record(kind: int, second: int, line: str = "pts/0", user: str = "", **fields: Any) -> bytes:
    moment = int((START + timedelta(seconds=second)).timestamp())
    one = LoginRecord(type=kind, line=line.encode(), user=user.encode(), seconds=moment, **{"pid": 7, **fields})
    return encode(one, NARROW)


def login(second: int, user: str, line: str = "pts/0", **fields: Any) -> bytes:
    return record(7, second, line, user, **fields)


def logout(second: int, line: str = "pts/0", **fields: Any) -> bytes:
    return record(8, second, line, **fields)


def add(path: Path, *records: bytes) -> None:
    with path.open("ab") as file:
        file.write(b"".join(records))


class Machine:
    """A directory with its files, read as often as one likes, with the positions of the time before."""

    def __init__(self, directory: Path, **options: Any) -> None:
        self.directory = directory
        self.options = options
        self.positions: dict[bytes, bytes] = {}
        self.notes: list[str] = []

    def path(self, name: str) -> Path:
        return self.directory / name

    def source(self, *, follow: bool = False) -> LoginSource:
        return LoginSource(
            wtmp=[self.path("wtmp")],
            btmp=[self.path("btmp")],
            utmp=self.path("utmp"),
            follow=follow,
            **self.options,
        )

    def read(self) -> list[LogEvent]:
        """Return what a process would store that starts now and reads what there is."""
        events: list[LogEvent] = []
        for reading in self.source().read(dict(self.positions), threading.Event(), self.notes.append):
            events += [event for line in reading.lines for event in parse(line.origin, line.data)]
            self.take(reading.positions)
        return events

    def take(self, positions: Mapping[bytes, bytes | None]) -> None:
        self.positions |= {key: value for key, value in positions.items() if value is not None}


def parse(origin: str, line: bytes) -> list[LogEvent]:
    return FORMATS["logins"].parser(origin).events([line], now=datetime.now(UTC))


def told(events: list[LogEvent]) -> list[tuple[str | None, str | None]]:
    return [(event.action, event.user) for event in events]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_records_are_read_once_and_a_logout_has_the_name_of_its_login(machine: Machine) -> None:
    add(machine.path("wtmp"), login(0, "ann", host=b"203.0.113.9"), login(1, "bob", "pts/1"))
    assert told(machine.read()) == [("session_opened", "ann"), ("session_opened", "bob")]
    assert machine.read() == []
    add(machine.path("wtmp"), logout(9))  # in another process than the login was read by
    [gone] = machine.read()
    assert (gone.kind, gone.user, gone.terminal, gone.source_ip) == (Kind.LOGOUT, "ann", "pts/0", "203.0.113.9")
    add(machine.path("wtmp"), logout(10), record(2, 11, "~", "reboot"), logout(12, "pts/1"))
    assert told(machine.read()) == [("session_closed", None), ("boot", None), ("session_closed", None)]


def test_a_record_that_is_not_complete_is_waited_for(machine: Machine) -> None:
    whole = login(1, "bob")
    add(machine.path("wtmp"), login(0, "ann"), whole[:100])
    assert told(machine.read()) == [("session_opened", "ann")]
    add(machine.path("wtmp"), whole[100:])
    assert told(machine.read()) == [("session_opened", "bob")]


def test_a_record_that_was_cut_off_is_written_over(machine: Machine) -> None:
    # glibc cuts a file to whole records before it adds one.
    add(machine.path("wtmp"), login(0, "ann"), login(1, "bob")[:100])
    assert told(machine.read()) == [("session_opened", "ann")]
    os.truncate(machine.path("wtmp"), 384)
    add(machine.path("wtmp"), login(2, "eve"))
    assert told(machine.read()) == [("session_opened", "eve")]


def test_a_rotated_file_is_read_to_its_end_and_its_last_part_kept(machine: Machine) -> None:
    wtmp = machine.path("wtmp")
    add(wtmp, login(0, "ann"))
    assert told(machine.read()) == [("session_opened", "ann")]
    add(wtmp, login(1, "bob", "pts/1"), b"\x07\x00\x01")
    wtmp.rename(machine.path("wtmp.1"))
    add(wtmp, logout(2), logout(3, "pts/1"))
    stop = threading.Event()
    events: list[LogEvent] = []
    readings = machine.source(follow=True).read(dict(machine.positions), stop, machine.notes.append)
    for reading in readings:
        events += [event for line in reading.lines for event in parse(line.origin, line.data)]
        machine.take(reading.positions)
        if len(events) >= 4:
            stop.set()
    assert told(events) == [
        ("session_opened", "bob"), (None, None), ("session_closed", "ann"), ("session_closed", "bob"),
    ]  # fmt: skip
    assert events[1].fields == {"login_file": "wtmp", "bytes": {"hex": "070001"}}


def test_the_first_start_begins_with_the_last_records_and_knows_who_came_before(tmp_path: Path) -> None:
    machine = Machine(tmp_path, records_first=2)
    add(machine.path("wtmp"), login(0, "ann"), login(1, "bob", "pts/1"), login(2, "eve", "pts/2"), logout(3))
    assert told(machine.read()) == [("session_opened", "eve"), ("session_closed", "ann")]
    add(machine.path("wtmp"), logout(4, "pts/1"))
    assert told(machine.read()) == [("session_closed", "bob")]


def test_garbage_between_records_is_kept_and_passed_over(machine: Machine) -> None:
    add(machine.path("wtmp"), login(0, "ann"), b"\xff" * 384, bytes(384), logout(1))
    assert told(machine.read()) == [("session_opened", "ann"), (None, None), ("session_closed", "ann")]


def test_utmp_tells_of_those_that_wtmp_does_not_know_once(machine: Machine) -> None:
    add(machine.path("wtmp"), login(0, "ann"))
    add(machine.path("utmp"), login(0, "ann"), login(1, "bob", "pts/1", pid=8), record(6, 2, "tty1", "LOGIN"))
    events = machine.read()
    assert told(events) == [("session_opened", "ann"), ("session_opened", "bob")]
    assert [event.program for event in events] == ["wtmp", "utmp"]
    assert machine.read() == []


def test_without_wtmp_utmp_tells_who_comes_and_goes(machine: Machine) -> None:
    utmp = machine.path("utmp")
    utmp.write_bytes(login(0, "ann", host=b"web") + login(1, "bob", "pts/1", pid=8))
    assert told(machine.read()) == [("session_opened", "ann"), ("session_opened", "bob")]
    utmp.write_bytes(logout(5) + login(6, "eve", "pts/1", pid=9))
    gone, other, come = machine.read()
    assert told([gone, other, come]) == [
        ("session_closed", "ann"),
        ("session_closed", "bob"),
        ("session_opened", "eve"),
    ]
    assert (gone.terminal, gone.source_name, gone.session) == ("pts/0", "web", "7")
    assert machine.read() == []


def test_failed_logins_decide_only_where_no_other_log_does(tmp_path: Path) -> None:
    for decides, success in ((True, False), (False, None)):
        machine = Machine(tmp_path / str(decides), decides=decides)
        machine.directory.mkdir()
        add(machine.path("btmp"), record(6, 0, "ssh:notty", "eve", host=b"203.0.113.9"))
        [event] = machine.read()
        assert (event.kind, event.action, event.success) == (Kind.LOGIN, "login_failed", success)


def test_what_is_added_is_followed_into_the_topic(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    add(machine.path("wtmp"), login(0, "ann"))
    for user in ("bob", "eve"):
        with App(f"sqlite:///{tmp_path / 'log.db'}") as app:
            with follow_system(app, sources=[machine.source(follow=True)]) as follower:
                assert wait(lambda: str(machine.path("wtmp")) in follower.following)
                add(machine.path("wtmp"), login(1, user, "pts/1"))
                add(machine.path("btmp"), record(6, 1, "ssh:notty", user))
                wanted = {("login_failed", user), ("session_opened", user)}
                assert wait(functools.partial(has_stored, app, wanted))
    with App(f"sqlite:///{tmp_path / 'log.db'}") as app:
        assert sorted(stored(app)) == [
            ("login_failed", "bob"), ("login_failed", "eve"),
            ("session_opened", "ann"), ("session_opened", "bob"), ("session_opened", "eve"),
        ]  # fmt: skip


def stored(app: App) -> list[tuple[str | None, str | None]]:
    records = app.topic("system", LogEvent, time="time").read(0, records_max=1000)
    return told([one.value for one in records])


def has_stored(app: App, wanted: set[tuple[str | None, str | None]]) -> bool:
    return wanted <= set(stored(app))


def wait(condition: Any, seconds: float = 60.0) -> bool:
    pause, deadline = threading.Event(), datetime.now(UTC) + timedelta(seconds=seconds)
    while not condition():
        if datetime.now(UTC) > deadline:
            return False
        pause.wait(0.01)
    return True


DUMP = """\
[2] [00000] [~~  ] [reboot  ] [~           ] [6.1.0-13-amd64      ] [0.0.0.0        ] [2026-03-01T08:00:00,000000+00:00]
[1] [00053] [~~  ] [runlevel] [~           ] [6.1.0-13-amd64      ] [0.0.0.0        ] [2026-03-01T08:00:09,000000+00:00]
[7] [00101] [ts/0] [ann     ] [pts/0       ] [203.0.113.9         ] [203.0.113.9    ] [2026-03-01T10:00:00,123456+00:00]
[7] [00102] [ts/1] [bob     ] [pts/1       ] [web.example         ] [198.51.100.7   ] [2026-03-01T10:05:00,000000+00:00]
[7] [00103] [tty1] [root    ] [tty1        ] [                    ] [0.0.0.0        ] [2026-03-01T10:06:00,000000+00:00]
[8] [00101] [    ] [        ] [pts/0       ] [                    ] [0.0.0.0        ] [2026-03-01T11:30:00,000000+00:00]
[7] [00104] [ts/0] [eve     ] [pts/0       ] [2001:db8::7         ] [2001:db8::7    ] [2026-03-01T12:00:00,000000+00:00]
[8] [00103] [tty1] [        ] [tty1        ] [                    ] [0.0.0.0        ] [2026-03-01T12:30:00,000000+00:00]
[8] [00104] [    ] [        ] [pts/0       ] [                    ] [0.0.0.0        ] [2026-03-01T13:00:00,000000+00:00]
"""


@pytest.fixture
def made(machine: Machine) -> Machine:
    """A wtmp and a btmp written by utmpdump."""
    for name in ("wtmp", "btmp"):
        text = "".join(line + "\n" for line in DUMP.splitlines() if name == "wtmp" or line.startswith("[7]"))
        out = subprocess.run(["utmpdump", "-r"], input=text.encode(), stdout=subprocess.PIPE, check=True)
        machine.path(name).write_bytes(out.stdout)
    return machine


@needs("utmpdump")
def test_utmpdump_and_we_say_the_same_of_each_record(made: Machine) -> None:
    dumped = subprocess.run(["utmpdump", made.path("wtmp")], capture_output=True, text=True, check=True).stdout
    theirs = [[part.strip() for part in re.findall(r"\[([^\]]*)\]", line)] for line in dumped.splitlines()]
    ours = [event for event in made.read() if event.program == "wtmp"]
    assert len(ours) == len(theirs) == 9
    for event, (kind, pid, name, user, line, host, address, at) in zip(ours, theirs, strict=True):
        fields = event.fields
        assert fields is not None
        number = {"run_level": 1, "boot_time": 2, "user_process": 7, "dead_process": 8}[fields["type"]]
        assert [number, fields.get("pid", 0), fields.get("id", "").strip(), fields.get("user", "")] == [
            int(kind), int(pid), name, user,
        ]  # fmt: skip
        assert (fields.get("line", ""), fields.get("host", ""), fields.get("address", "0.0.0.0")) == (
            line, host, address,
        )  # fmt: skip
        assert event.time == datetime.fromisoformat(at.replace(",", "."))


@needs("utmpdump")
@needs("last")
def test_last_and_we_say_the_same_of_each_login(made: Machine) -> None:
    events = made.read()
    opened = [event for event in events if event.program == "wtmp" and event.kind is Kind.LOGIN]
    closed = {event.session: event for event in events if event.kind is Kind.LOGOUT}
    ours = {
        (event.user, event.terminal, whole(event.time), whole(closed[event.session].time))
        for event in opened
        if event.session in closed
    }
    assert ours == {one for one in last("last", made.path("wtmp")) if one[3] is not None}
    assert {one[:3] for one in ours} | {("bob", "pts/1", START + timedelta(minutes=5))} == {
        one[:3] for one in last("last", made.path("wtmp"))
    }


@needs("utmpdump")
@needs("lastb")
def test_lastb_and_we_say_the_same_of_each_failed_login(made: Machine) -> None:
    ours = {(event.user, event.terminal, whole(event.time)) for event in made.read() if event.program == "btmp"}
    assert ours == {one[:3] for one in last("lastb", made.path("btmp"))}
    assert len(ours) == 4


def whole(moment: datetime) -> datetime:
    return moment.replace(microsecond=0)


def last(program: str, path: Path) -> set[tuple[str, str, datetime, datetime | None]]:
    """Return user, terminal, login and logout of each line of users."""
    command = [program, "--time-format", "iso", "--fullnames", "-f", str(path)]
    out = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, "TZ": "UTC"}).stdout
    found = set()
    for line in out.splitlines():
        times = [datetime.fromisoformat(text) for text in re.findall(r"\d{4}-\d\d-\d\dT[\d:]+\+00:00", line)]
        if times and line[:1].isalpha() and not line.startswith(("reboot", "runlevel", "shutdown", path.name)):
            user, terminal, *_ = line.split()
            found.add((user, terminal, times[0], times[1] if len(times) > 1 else None))
    return found
