"""The unified log of macOS, through a stand-in for `log` that says what a test tells it."""

from __future__ import annotations

import json
import os
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.waiting import until

import millstream.sources.macos as macos_module
from millstream import App
from millstream.parsers.log_event import LogEvent
from millstream.sources.macos import PREDICATE, RECENT_MAX, MacosSource
from millstream.sources.source import Reading
from millstream.sources.system import follow_system, system_sources

START = datetime(2026, 3, 1, 10, 0, tzinfo=UTC).timestamp()


STAND_IN = '''
import json, os, sys, time
folder = {folder!r}
with open(folder + "/runs", "a") as file:
    file.write(json.dumps(sys.argv[1:]) + "\\n")
run = len(open(folder + "/runs").readlines())

def entries():
    """What the log has kept: (time, message), one a line."""
    return [json.loads(line) for line in open(folder + "/log")]

def line(at, message):
    return json.dumps({{
        "timestamp": time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(at + 3600)) + f".{{round(at % 1 * 1e6):06}}+0100",
        "machTimestamp": round(at * 1000), "threadID": 7, "eventType": "logEvent", "messageType": "Default",
        "eventMessage": message, "processImagePath": "/usr/bin/sudo", "processID": 9,
    }})

def show():
    start = float(sys.argv[sys.argv.index("--start") + 1][1:]) if "--start" in sys.argv else 0
    found = [one for one in entries() if one[0] >= start]
    for at, message in found:
        print(line(at, message))
    print(json.dumps({{"count": len(found), "finished": 1}}))

def stream(upto=None):
    print('Filtering the log data using "x"', flush=True)
    place = len(entries())
    open(folder + "/streaming", "a").write("x")
    while upto is None or place < upto:
        for at, message in entries()[place:upto]:
            print(line(at, message), flush=True)
            place += 1
        time.sleep(0.01)
'''


class Mac:
    """A machine whose log is what a test writes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.program = folder / "log-program"
        self.count = 0
        (folder / "log").touch()
        self.behaves("show() if sys.argv[1] == 'show' else stream()")

    def behaves(self, body: str) -> None:
        text = STAND_IN.format(folder=str(self.folder)) + textwrap.dedent(body) + "\n"
        new = self.program.with_suffix(".new")
        new.write_text(f"#!{sys.executable}\n{text}")
        new.chmod(0o755)
        new.replace(self.program)  # one that runs keeps what it is

    def write(self, count: int = 1, *, step: float = 1.0) -> None:
        with (self.folder / "log").open("a") as file:
            for _ in range(count):
                self.count += 1
                file.write(json.dumps([START + self.count * step, f"entry {self.count}"]) + "\n")

    @property
    def runs(self) -> list[list[str]]:
        return [json.loads(line) for line in (self.folder / "runs").read_text().splitlines()]

    @property
    def streams(self) -> int:
        """How often it began to stream."""
        place = self.folder / "streaming"
        return len(place.read_text()) if place.exists() else 0


class Follower:
    """Follows a source on a thread, as the real follower does; remembers lines and position."""

    def __init__(self, mac: Mac, position: bytes | None = None, **options: Any) -> None:
        self.source = MacosSource(command=str(mac.program), **options)
        self.position = position
        self.notes: list[str] = []
        self.messages: list[str] = []
        self._stop = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        positions = {} if self.position is None else {macos_module.POSITION: self.position}
        readings: Iterator[Reading] = self.source.read(positions, self._stop, self.notes.append)
        for reading in readings:
            self.messages += [json.loads(line.data)["eventMessage"] for line in reading.lines]
            self.position = reading.positions[macos_module.POSITION]

    def stop(self) -> None:
        self._stop.set()
        self.thread.join(60)
        assert not self.thread.is_alive()


@pytest.fixture
def mac(tmp_path: Path) -> Mac:
    return Mac(tmp_path)


@pytest.fixture
def follow(mac: Mac, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Follower]]:
    monkeypatch.setattr(macos_module, "RESTART_S_MIN", 0.01)
    followers: list[Follower] = []

    def start(position: bytes | None = None, **options: Any) -> Follower:
        followers.append(Follower(mac, position, **options))
        return followers[-1]

    yield start
    for follower in followers:
        follower.stop()


def wanted(first: int, last: int) -> list[str]:
    return [f"entry {number}" for number in range(first, last + 1)]


def test_entries_are_read_once_over_restarts_also_those_of_the_time_between(
    mac: Mac, follow: Callable[..., Follower]
) -> None:
    mac.write(10)
    first = follow(lines_first=4)
    until(lambda: first.source.following() == ("unified log",), "it streams")
    mac.write(3)
    until(lambda: len(first.messages) >= 7, "new entries came")
    first.stop()
    assert first.messages == wanted(7, 13)
    mac.write(20)
    second = follow(first.position)
    until(lambda: len(second.messages) >= 20, "what was missed came")
    mac.write(2)
    until(lambda: len(second.messages) >= 22, "new entries came")
    second.stop()
    assert second.messages == wanted(14, 35)
    assert first.notes == second.notes == []
    shows = [run for run in mac.runs if run[0] == "show"]
    assert "--last" in shows[0]
    assert all("--start" in run for run in shows[1:])
    assert all(run[run.index("--predicate") + 1] == PREDICATE for run in mac.runs)
    assert all(run[1:3] == ["--style", "ndjson"] for run in mac.runs)


def test_a_log_that_dies_is_started_again_and_nothing_is_lost_or_doubled(
    mac: Mac, follow: Callable[..., Follower]
) -> None:
    mac.behaves(
        """
        if sys.argv[1] == "show":
            show()
        else:
            stream(upto=len(entries()) + 2)
            sys.stdout.write('{"timestamp":"cut in two')
            sys.exit("it broke")
        """
    )
    follower = follow()
    for _ in range(4):
        until(lambda: mac.streams > 0, "it streams")
        mac.write(5)
        until(lambda: len(follower.messages) >= mac.count, "all came")
    follower.stop()
    assert follower.messages == wanted(1, 20)
    assert "log ended (it broke); it is started again, at most once in 60 seconds" in follower.notes


def test_entries_out_of_order_and_in_one_moment_are_told_apart(mac: Mac, follow: Callable[..., Follower]) -> None:
    mac.write(50, step=0.0001)
    first = follow(lines_first=1000)
    until(lambda: len(first.messages) == 50, "all came")
    first.stop()
    entries = [[START + 0.005, "late"], [START + 0.0051, "later"], [START + 0.0049, "as late"]]
    with (mac.folder / "log").open("a") as file:
        file.writelines(json.dumps(entry) + "\n" for entry in entries)
    second = follow(first.position)
    until(lambda: len(second.messages) >= 3, "the new ones came")
    second.stop()
    assert sorted(second.messages) == ["as late", "late", "later"]


def test_position_is_bounded_whatever_happens_in_a_second(mac: Mac, follow: Callable[..., Follower]) -> None:
    mac.write(RECENT_MAX * 2, step=0.0001)
    first = follow(lines_first=100_000)
    until(lambda: len(first.messages) == mac.count, "all came")
    first.stop()
    assert first.position is not None
    assert len(first.position) < RECENT_MAX * 20
    mac.write(10, step=0.0001)
    second = follow(first.position)
    until(lambda: len(second.messages) >= 10, "the new ones came")
    second.stop()
    assert second.messages == wanted(mac.count - 9, mac.count)


def test_without_following_it_ends_with_what_there_is(mac: Mac, follow: Callable[..., Follower]) -> None:
    mac.write(5)
    follower = follow(follow=False)
    follower.thread.join(60)
    assert not follower.thread.is_alive()
    assert follower.messages == wanted(1, 5)
    assert [run[0] for run in mac.runs] == ["show"]


def test_a_log_that_stalls_is_waited_for_and_stopping_ends_it(mac: Mac, follow: Callable[..., Follower]) -> None:
    mac.behaves(
        """
        if sys.argv[1] == "show":
            show()
        else:
            print(line(1772359205.5, str(os.getpid())), flush=True)
            time.sleep(600)
        """
    )
    follower = follow()
    until(lambda: len(follower.messages) == 1, "the entry came")
    child = int(follower.messages[0])
    os.kill(child, 0)
    follower.stop()
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)


@pytest.mark.parametrize("which", ["show", "stream"])
def test_a_log_that_may_not_be_read_is_said_and_left_alone(
    which: str, mac: Mac, follow: Callable[..., Follower]
) -> None:
    mac.behaves(f"sys.exit(\"log: Must be admin to run '{which}' command\") if sys.argv[1] == '{which}' else show()")
    follower = follow()
    follower.thread.join(60)
    assert not follower.thread.is_alive()
    assert follower.notes == [
        f"the unified log may not be read by this user (log: Must be admin to run '{which}' command); "
        "an administrator may read it"
    ]


def test_entries_that_the_system_lost_are_said(mac: Mac, follow: Callable[..., Follower]) -> None:
    mac.behaves(
        """
        if sys.argv[1] == "show":
            show()
        else:
            print(line(1772359205.5, "").replace("logEvent", "lossEvent"), flush=True)
            time.sleep(600)
        """
    )
    follower = follow()
    until(lambda: bool(follower.notes), "it was said")
    assert follower.notes == ["macOS wrote more into the unified log than it could hand out; entries were lost"]


def test_another_system_says_so_in_one_line() -> None:
    notes: list[str] = []
    source = MacosSource(command="/no/such/log")
    assert list(source.read({}, threading.Event(), notes.append)) == []
    assert notes == ["the unified log of macOS is not read: this machine has no /no/such/log"]
    assert source.following() == ()


def test_entries_become_events_once_also_in_a_second_process(mac: Mac, tmp_path: Path) -> None:
    mac.behaves("show()")
    message = "ann : TTY=ttys001 ; PWD=/ ; USER=root ; COMMAND=/bin/ls"
    for count in (1, 2):
        with (mac.folder / "log").open("a") as file:
            file.write(json.dumps([START + count, message]) + "\n")
        with App(str(tmp_path / "log.db")) as app:
            with follow_system(app, "logs", sources=[MacosSource(command=str(mac.program), follow=False)]) as follower:
                follower.join()
            events = [record.value for record in app.topic("logs", LogEvent).read(0, records_max=100)]
        assert [(event.action, event.user, event.source) for event in events] == [
            ("sudo", "ann", "unified log")
        ] * count
        assert events[-1].time == datetime.fromtimestamp(START + count, UTC)


def test_it_is_what_is_read_on_that_system_unless_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as other:
        other.setattr(sys, "platform", "darwin")
        found = system_sources()
    assert [source.name for source in found] == ["unified log", "files"]
