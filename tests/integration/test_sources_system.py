"""This machine's event log into a topic, each line once."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.waiting import until

from millstream import App
from millstream.errors import CommitConflictError
from millstream.parsers.log_event import Kind
from millstream.parsers.log_lines import LogParser
from millstream.sources.files import FileSource
from millstream.sources.source import Line, Note, Reading
from millstream.sources.system import COLUMNS_FROM, LogEvent, Severity, follow_system
from millstream.sources.writer import OnceWriter

PROCESS = Path(__file__).with_name("following_process.py")


@pytest.fixture(params=["memory", "sqlite"])
def app(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[App]:
    with App("memory://" if request.param == "memory" else f"sqlite:///{tmp_path / 'log.db'}") as app:
        yield app


def events(app: App, name: str = "system") -> list[LogEvent]:
    """Everything in the topic but our own first event."""
    topic = app.topic(name, LogEvent, time="time")
    found: list[LogEvent] = []
    offset = 0
    while records := topic.read(offset, records_max=100_000):
        found += [record.value for record in records]
        offset = records[-1].offset + 1
    return [event for event in found if event.source != "millstream"]


def add(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


def test_lines_become_events_with_their_own_times(app: App, tmp_path: Path) -> None:
    path = tmp_path / "auth.log"
    add(path, "2026-02-12T00:20:42+01:00 web1 sshd[77]: error: no\nplain\n")
    with follow_system(app, sources=[FileSource([path])]) as follower:
        until(lambda: follower.records == 2, "both lines were stored")
        assert follower.following == (str(path),)
    first, second = events(app)
    assert (first.source, first.host, first.program, first.pid) == (str(path), "web1", "sshd", 77)
    assert (first.severity, first.message) == (Severity.ERR, "error: no")
    assert first.raw == "2026-02-12T00:20:42+01:00 web1 sshd[77]: error: no"
    assert (second.time, second.message) == (first.time, "plain")
    record = app.topic("system", LogEvent, time="time").read(1)[0]
    assert record.event_time == first.time


def test_many_lines_are_stored_as_columns_and_say_the_same(app: App, tmp_path: Path) -> None:
    path = tmp_path / "auth.log"
    lines = [
        f"2026-02-12T00:{n // 60:02}:{n % 60:02}+01:00 web1 sshd[{n}]: "
        f"Failed password for ann from 10.0.0.{n % 250} port {n} ssh2"
        for n in range(1, 2 * COLUMNS_FROM)
    ] + ["plain", "caf\xe9"]
    path.write_bytes("\n".join([*lines, ""]).encode("latin-1"))
    with follow_system(app, sources=[FileSource([path], lines_first=10_000)]) as follower:
        until(lambda: follower.records == len(lines), "all lines were stored")
    stored = events(app)
    now = datetime.now(UTC)
    assert stored == LogParser(str(path)).events([line.encode("latin-1") for line in lines], now=now)
    assert (stored[0].kind, stored[0].user, stored[0].source_ip) == (Kind.LOGIN, "ann", "10.0.0.1")


def test_bytes_that_are_no_text_arrive_exactly(app: App, tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_bytes(b"caf\xe9 \xff\nfine\n")
    with follow_system(app, sources=[FileSource([path])]) as follower:
        until(lambda: follower.records == 2, "both lines were stored")
    assert [event.raw_bytes for event in events(app)] == [b"caf\xe9 \xff", None]


def test_nothing_but_lines_is_stored(app: App, tmp_path: Path) -> None:
    for _ in range(2):
        follow_system(app, sources=[FileSource([tmp_path / "a.log"])]).stop()
    assert app.topic("system", LogEvent, time="time").read() == []


def test_two_that_begin_at_the_same_moment_exclude_each_other_from_the_first_line_on(app: App) -> None:
    topic = app.topic("system", LogEvent, time="time")
    one, two = OnceWriter(topic, "g"), OnceWriter(topic, "g")
    line = LogEvent(time=_now(), source="x", message="the first")
    one.store([line], {b"x": b"1"}, one.positions()[0])
    with pytest.raises(CommitConflictError):
        two.store([line], {b"x": b"1"}, two.positions()[0])
    assert [record.value for record in topic.read()] == [line]


def test_a_restart_goes_on_where_the_stop_ended(app: App, tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    for round_number in range(5):
        add(path, f"before {round_number}\n")
        with follow_system(app, sources=[FileSource([path])]) as follower:
            until(lambda follower=follower: follower.records == 1, "the line was stored")  # type: ignore[misc]
            add(path, f"while {round_number}\n")
    assert [event.message for event in events(app)] == [f"{w} {i}" for i in range(5) for w in ("before", "while")]


def test_the_stop_can_be_repeated_and_says_that_all_is_stored(app: App, tmp_path: Path) -> None:
    follower = follow_system(app, sources=[FileSource([tmp_path / "a.log"])])
    assert follower.stop()
    assert follower.stop()


def test_the_records_of_others_in_the_topic_do_not_disturb(app: App, tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.touch()
    topic = app.topic("system", LogEvent, time="time")
    mine = LogEvent(time=_now(), source="me", message="m")
    topic.append(mine)
    with follow_system(app, sources=[FileSource([path])]) as follower:
        for i in range(5):
            add(path, f"{i}\n")
            topic.append(mine)
            until(lambda i=i: follower.records == i + 1, "the line was stored")  # type: ignore[misc]
    assert [event.message for event in events(app) if event.source != "me"] == ["0", "1", "2", "3", "4"]
    assert follower.notes == ()


def test_the_ledger_of_the_group_balances_and_its_lag_is_the_last_piece(app: App, tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    with follow_system(app, sources=[FileSource([path])]) as follower:
        for i in range(5):
            add(path, f"{i}\n")
            until(lambda i=i: follower.records == i + 1, "the line was stored")  # type: ignore[misc]
    info = app.topic("system", LogEvent, time="time").group("system-follower").info()
    assert info.ledger.balanced
    assert info.lag == 1


def test_without_anything_to_follow_it_says_so_and_stops(app: App) -> None:
    with follow_system(app, sources=[]) as follower:
        assert follower.following == ()
    assert follower.records == 0


class Broken:
    """A source with a defect."""

    name = "broken"

    def following(self) -> Sequence[str]:
        return ()

    def parser(self, origin: str) -> LogParser:
        return LogParser(origin)

    def read(
        self, positions: Mapping[bytes, bytes], stop: threading.Event, note: Note
    ) -> Generator[Reading, None, None]:
        yield Reading([Line("broken", b"one line")], {b"broken": b"1"})
        raise ZeroDivisionError


def test_a_source_with_a_defect_is_said_and_the_others_go_on(app: App, tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    with follow_system(app, sources=[Broken(), FileSource([path])]) as follower:
        until(lambda: len(follower.notes) == 2, "it was said")
        add(path, "fine\n")
        until(lambda: follower.records == 2, "the line was stored")
    assert any("broken is no longer followed" in note for note in follower.notes)


def test_two_writers_exclude_each_other_and_the_slower_loses_nothing(app: App) -> None:
    topic = app.topic("system", LogEvent, time="time")
    topic.append(LogEvent(time=_now(), source="millstream", message="began"))
    one, two = OnceWriter(topic, "g"), OnceWriter(topic, "g")
    epoch, positions = two.positions()
    assert positions == {}
    one.store([LogEvent(time=_now(), source="x", message="1")], {b"x": b"1"}, one.positions()[0])
    with pytest.raises(CommitConflictError):
        two.store([LogEvent(time=_now(), source="x", message="1")], {b"x": b"1"}, epoch)
    two.reload()
    epoch, positions = two.positions()
    assert positions == {b"x": b"1"}
    two.store([LogEvent(time=_now(), source="x", message="2")], {b"x": b"2"}, epoch)
    assert [event.message for event in events(app)] == ["1", "2"]


def test_positions_read_before_a_reload_are_refused_also_in_the_same_writer(app: App) -> None:
    topic = app.topic("system", LogEvent, time="time")
    writer = OnceWriter(topic, "g")
    epoch, _ = writer.positions()
    writer.reload()
    with pytest.raises(CommitConflictError):
        writer.store([LogEvent(time=_now(), source="x", message="1")], {b"x": b"1"}, epoch)
    assert events(app) == []


def test_nothing_is_lost_or_doubled_when_the_process_is_killed(tmp_path: Path) -> None:
    """kill -9 at random moments while the file grows and rotates; then one clean run."""
    choose = random.Random(5)
    url, path = f"sqlite:///{tmp_path / 'log.db'}", tmp_path / "a.log"
    add(path, "line 0\n")
    written = 1
    with App(url) as app, follow_system(app, sources=[FileSource([path])]) as follower:
        until(lambda: follower.records == 1, "there is a position to go on from")
    for kill in range(6):
        process = _start(url, path)
        deadline = time.monotonic() + choose.uniform(0.05, 0.5)
        while time.monotonic() < deadline:
            add(path, "".join(f"line {i}\n" for i in range(written, written + 20)))
            written += 20
            time.sleep(0.002)  # a writer's pace, so that some lines are read before the kill and some are not
        process.kill()
        process.communicate()
        if kill % 2 and written:
            for number in range(kill, 0, -1):
                older = path.with_name(f"a.log.{number}")
                if older.exists():
                    older.rename(path.with_name(f"a.log.{number + 1}"))
            path.rename(path.with_name("a.log.1"))
            add(path, f"line {written}\n")
            written += 1
    with App(url) as app:
        process = _start(url, path)
        until(lambda: len(events(app)) >= written, "all lines were stored")
        process.communicate("", timeout=60)
        assert [event.message for event in events(app)] == [f"line {i}" for i in range(written)]


def test_two_processes_store_each_line_once(tmp_path: Path) -> None:
    url, path = f"sqlite:///{tmp_path / 'log.db'}", tmp_path / "a.log"
    add(path, "line 0\n")
    processes = [_start(url, path) for _ in range(2)]
    with App(url) as app:
        for i in range(1, 200):
            add(path, f"line {i}\n")
            time.sleep(0.01)  # many small readings instead of one
        until(lambda: len(events(app)) >= 200, "all lines were stored")
        said = [process.communicate("", timeout=60)[0] for process in processes]
        assert [event.message for event in events(app)] == [f"line {i}" for i in range(200)]
    assert any("another process" in text for text in said)


def test_this_machine_can_be_followed(tmp_path: Path) -> None:
    """Whatever it has: nothing is raised, and what is missing is said in sentences."""
    with App(f"sqlite:///{tmp_path / 'log.db'}") as app, follow_system(app, lines_first=3) as follower:
        until(lambda: bool(follower.notes or follower.records), "there is something to say")
        assert follower.stop()
        assert len(set(follower.notes)) == len(follower.notes)
        assert len(events(app)) == follower.records


def _now() -> datetime:
    return datetime.now(UTC)


def _start(url: str, path: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, str(PROCESS), url, "1000000", str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "started\n"
    return process
