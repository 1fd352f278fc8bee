"""The systemd journal: a journalctl that says what it is told, and a real journald where one may be started."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest
from tests.waiting import until

from millstream.parsers.journal import parse_entry
from millstream.records import time_from_us
from millstream.sources import journal as journal_module
from millstream.sources.journal import ENTRY_BYTES_MAX, POSITION, JournalSource
from millstream.sources.source import Reading

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the systemd journal is Linux's")
NOW = time_from_us(1_800_000_000_000_000)


class Follower:
    """Reads a source in a thread, and stores lines with their positions."""

    def __init__(self, source: JournalSource, position: bytes | None = None) -> None:
        self.source = source
        self.stop_event = threading.Event()
        self.notes: list[str] = []
        self.lines: list[bytes] = []
        self.position = position
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        positions = {} if self.position is None else {POSITION: self.position}
        readings: Generator[Reading, None, None] = self.source.read(positions, self.stop_event, self.note)
        for reading in readings:
            self.lines += [line.data for line in reading.lines]
            self.position = reading.positions.get(POSITION, self.position)

    def note(self, sentence: str) -> None:
        if sentence not in self.notes:
            self.notes.append(sentence)

    @property
    def messages(self) -> list[str]:
        return [parse_entry(line, now=NOW).message for line in self.lines]

    def stop(self) -> None:
        self.stop_event.set()
        self.thread.join(60)
        assert not self.thread.is_alive()


@pytest.fixture
def follow() -> Iterator[Callable[..., Follower]]:
    followers: list[Follower] = []

    def start(source: JournalSource, position: bytes | None = None) -> Follower:
        followers.append(Follower(source, position))
        return followers[-1]

    yield start
    for follower in followers:
        follower.stop()


# --- a journalctl that says what it is told -------------------------------------------------------------------------


@pytest.fixture
def journalctl(tmp_path: Path) -> Callable[[str], JournalSource]:
    """Make a source whose journalctl runs a piece of Python; each run appends its arguments to `runs`."""

    def make(body: str) -> JournalSource:
        program = tmp_path / "journalctl"
        program.write_text(
            f"#!{sys.executable}\n"
            "import json, os, sys, time\n"
            f"runs = {str(tmp_path / 'runs')!r}\n"
            "open(runs, 'a').write(json.dumps(sys.argv[1:]) + '\\n')\n"
            "run = len(open(runs).readlines())\n"
            "def say(number, message):\n"
            "    print(json.dumps({'MESSAGE': message, '__CURSOR': f's=1;i={number}'}), flush=True)\n"
            "def wait():\n"
            "    time.sleep(60)\n" + textwrap.dedent(body)
        )
        program.chmod(0o755)
        return JournalSource(lines_first=7, command=str(program))

    return make


def runs(tmp_path: Path) -> list[list[str]]:
    return [json.loads(line) for line in (tmp_path / "runs").read_text().splitlines()]


def test_the_first_start_asks_for_the_newest_entries_and_a_later_one_for_those_after_the_cursor(
    journalctl: Callable[[str], JournalSource], follow: Callable[..., Follower], tmp_path: Path
) -> None:
    source = journalctl("say(run, f'message {run}')\nwait()")
    first = follow(source)
    until(lambda: len(first.lines) == 1, "the entry came")
    assert source.following() == ("journal",)
    first.stop()
    assert source.following() == ()
    second = follow(source, first.position)
    until(lambda: len(second.lines) == 1, "the entry came")
    assert "--lines=7" in runs(tmp_path)[0]
    assert "--after-cursor=s=1;i=1" in runs(tmp_path)[1]
    assert "--no-tail" in runs(tmp_path)[1]
    assert second.messages == ["message 2"]
    assert first.notes == second.notes == []


def test_a_journalctl_that_dies_is_started_again_behind_the_last_entry_and_that_is_said_once(
    journalctl: Callable[[str], JournalSource],
    follow: Callable[..., Follower],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(journal_module, "RESTART_SECONDS_MIN", 0.01)
    source = journalctl(
        """
        say(run, f"message {run}")
        sys.stdout.write('{"MESSAGE": "cut in two')
        print("it broke", file=sys.stderr)
        sys.exit(3) if run < 4 else wait()
        """
    )
    follower = follow(source)
    until(lambda: len(follower.lines) == 4, "the fourth run gave its entry")
    assert follower.messages == ["message 1", "message 2", "message 3", "message 4"]
    assert [next(a for a in run if "cursor" in a) for run in runs(tmp_path)[1:]] == [
        "--after-cursor=s=1;i=1",
        "--after-cursor=s=1;i=2",
        "--after-cursor=s=1;i=3",
    ]
    assert len(follower.notes) == 1
    assert "it broke" in follower.notes[0]


def test_a_cursor_that_is_no_longer_valid_is_given_up_and_said(
    journalctl: Callable[[str], JournalSource], follow: Callable[..., Follower], tmp_path: Path
) -> None:
    source = journalctl(
        """
        if any("--after-cursor" in a for a in sys.argv):
            sys.exit("Failed to seek to cursor: Invalid argument")
        say(1, "newest")
        wait()
        """
    )
    follower = follow(source, b"s=gone")
    until(lambda: len(follower.lines) == 1, "the newest entry came")
    assert follower.messages == ["newest"]
    assert "no longer valid" in follower.notes[0]


def test_a_journal_that_may_not_be_read_is_said_and_left_alone(
    journalctl: Callable[[str], JournalSource], follow: Callable[..., Follower], tmp_path: Path
) -> None:
    follower = follow(journalctl('sys.exit("No journal files were opened due to insufficient permissions.")'))
    follower.thread.join(60)
    assert not follower.thread.is_alive()
    assert "may not be read by this user" in follower.notes[0]
    assert len(runs(tmp_path)) == 1


def test_a_user_who_sees_only_own_entries_is_told_and_the_entries_come(
    journalctl: Callable[[str], JournalSource], follow: Callable[..., Follower]
) -> None:
    source = journalctl(
        """
        print("Hint: You are currently not seeing messages from other users.", file=sys.stderr, flush=True)
        say(1, "mine")
        wait()
        """
    )
    follower = follow(source)
    until(lambda: bool(follower.lines and follower.notes), "entry and hint came")
    assert "only this user's own entries" in follower.notes[0]


@pytest.mark.parametrize("ending", ["wait()", "sys.exit(1)"])
def test_an_empty_journal_is_said(
    ending: str, journalctl: Callable[[str], JournalSource], follow: Callable[..., Follower]
) -> None:
    follower = follow(journalctl(f"print('No journal files were found.', file=sys.stderr, flush=True)\n{ending}"))
    until(lambda: bool(follower.notes), "it was said")
    assert follower.notes == ["the systemd journal of this machine is empty; its entries are read when there are any"]
    follower.stop()  # at once, also out of the pause before the next run


@pytest.mark.parametrize("follow_it", [True, False])
def test_a_journal_without_a_word_is_said_to_be_empty(
    follow_it: bool, tmp_path: Path, follow: Callable[..., Follower], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "_STOP_CHECK_SECONDS", 0.01)
    program = tmp_path / "journalctl"
    program.write_text(f"#!/bin/sh\n{'sleep 60' if follow_it else 'exit 0'}\n")  # as it does with --output=json
    program.chmod(0o755)
    follower = follow(JournalSource(command=str(program), follow=follow_it))
    until(lambda: bool(follower.notes), "it was said")
    assert follower.notes == ["the systemd journal of this machine is empty; its entries are read when there are any"]
    follower.stop()


def test_a_machine_without_journalctl_is_said(follow: Callable[..., Follower]) -> None:
    follower = follow(JournalSource(command="no-such-journalctl"))
    follower.thread.join(60)
    assert follower.notes == ["the systemd journal is not read: this machine has no no-such-journalctl"]


def test_a_journalctl_that_cannot_be_started_is_said(tmp_path: Path, follow: Callable[..., Follower]) -> None:
    program = tmp_path / "journalctl"
    program.write_bytes(b"\x7fELF not really")
    program.chmod(0o755)
    follower = follow(JournalSource(command=str(program)))
    follower.thread.join(60)
    assert "cannot be started" in follower.notes[0]


def test_an_entry_that_is_too_long_is_cut_and_the_next_one_is_whole(
    journalctl: Callable[[str], JournalSource], follow: Callable[..., Follower]
) -> None:
    source = journalctl(f"say(1, 'before'); say(2, 'x' * {2 * ENTRY_BYTES_MAX}); say(3, 'after'); wait()")
    follower = follow(source)
    until(lambda: len(follower.lines) == 3, "three entries came")
    assert [len(line) for line in follower.lines][1] == ENTRY_BYTES_MAX
    assert follower.messages[::2] == ["before", "after"]
    assert "could not be read" in follower.messages[1]
    assert follower.position == b"s=1;i=3"


def test_remarks_between_entries_and_cursors_inside_messages_are_not_taken_for_entries(
    journalctl: Callable[[str], JournalSource], follow: Callable[..., Follower]
) -> None:
    source = journalctl(
        """
        print("-- No entries --", flush=True)
        print(json.dumps({"__CURSOR": "s=1;i=5", "MESSAGE": '{"__CURSOR":"s=evil"} \\r\\x0b one line'}), flush=True)
        wait()
        """
    )
    follower = follow(source)
    until(lambda: bool(follower.lines), "the entry came")
    assert follower.position == b"s=1;i=5"
    assert follower.messages == ['{"__CURSOR":"s=evil"} \r\x0b one line']


def test_stopping_ends_the_child(
    journalctl: Callable[[str], JournalSource], follow: Callable[..., Follower], tmp_path: Path
) -> None:
    follower = follow(journalctl("say(os.getpid(), 'running')\nwait()"))
    until(lambda: bool(follower.lines), "the entry came")
    assert follower.position is not None
    child = int(follower.position.rpartition(b"=")[2])
    os.kill(child, 0)
    follower.stop()
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)


# --- a real journald ------------------------------------------------------------------------------------------------

JOURNALD = next(
    (p for p in ("/usr/lib/systemd/systemd-journald", "/lib/systemd/systemd-journald") if os.access(p, os.X_OK)), None
)


class Journald:
    """A journald of its own mount namespace, whose files and sockets are in a directory of ours."""

    def __init__(self, directory: Path) -> None:
        self.files = directory / "files"
        self._socket_path = directory / "sockets" / "socket"
        self.files.mkdir(parents=True)
        self._socket_path.parent.mkdir()
        script = f"""
            set -e
            mount -t tmpfs none /run
            mkdir -p /run/log/journal /run/systemd/journal /run/systemd/journald.conf.d
            printf '[Journal]\\nStorage=volatile\\nReadKMsg=no\\nRateLimitIntervalSec=0\\n' \
                > /run/systemd/journald.conf.d/test.conf
            mount --bind {self.files} /run/log/journal
            mount --bind {self._socket_path.parent} /run/systemd/journal
            exec {JOURNALD}
        """
        self._process = subprocess.Popen(
            ["unshare", "--mount", "sh", "-c", script],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        until(lambda: self._socket_path.exists() or self._process.poll() is not None, "journald listens")

    def failure(self) -> str | None:
        if self._process.poll() is None:
            return None
        assert self._process.stderr is not None
        return self._process.stderr.read().decode(errors="replace").strip() or f"exit code {self._process.returncode}"

    def send(self, message: bytes, **fields: str) -> None:
        """One entry, in journald's own protocol; a message of any bytes."""
        data = b"MESSAGE\n" + struct.pack("<Q", len(message)) + message + b"\n"
        for name, value in {"PRIORITY": "6", "SYSLOG_IDENTIFIER": "millstream-test", **fields}.items():
            data += f"{name}={value}\n".encode()
        self._socket.sendto(data, str(self._socket_path))

    def rotate(self) -> None:
        before = len(list(self.files.rglob("*.journal")))
        self._process.send_signal(signal.SIGUSR2)
        until(lambda: len(list(self.files.rglob("*.journal"))) > before, "the journal was rotated")

    def close(self) -> None:
        self._socket.close()
        self._process.terminate()
        self._process.wait(60)
        assert self._process.stderr is not None
        self._process.stderr.close()


@pytest.fixture
def journald(tmp_path: Path) -> Iterator[Journald]:
    if JOURNALD is None or shutil.which("journalctl") is None or shutil.which("unshare") is None:
        pytest.skip("no journald, journalctl or unshare on this machine")
    if os.geteuid() != 0:
        pytest.skip("starting a journald of its own needs the super-user")
    daemon = Journald(tmp_path)
    try:
        if failure := daemon.failure():
            pytest.skip(f"a journald of its own cannot be started here: {failure}")
        yield daemon
    finally:
        daemon.close()


def ours(follower: Follower) -> list[str]:
    events = [parse_entry(line, now=NOW) for line in follower.lines]
    return [event.message for event in events if event.program == "millstream-test"]


def test_a_real_journal_is_read_once_over_restarts_and_rotation(
    journald: Journald, follow: Callable[..., Follower]
) -> None:
    source = JournalSource(directory=journald.files)
    journald.send(b"one")
    first = follow(source)
    until(lambda: ours(first) == ["one"], "the first entry came")
    journald.send(b"two")
    until(lambda: ours(first) == ["one", "two"], "the second entry came")
    first.stop()

    journald.send(b"three")
    journald.rotate()
    journald.send(b"four")
    second = follow(source, first.position)
    until(lambda: ours(second) == ["three", "four"], "what came while nobody read was read")
    journald.send(b"five")
    until(lambda: ours(second) == ["three", "four", "five"], "the entry after it came")


def test_a_real_journal_gives_bytes_large_messages_and_fields_as_they_are(
    journald: Journald, follow: Callable[..., Follower]
) -> None:
    follower = follow(JournalSource(directory=journald.files))
    journald.send(b"caf\xe9 \xff", PRIORITY="3", SYSLOG_PID="42")
    journald.send(b"large " + b"y" * 100_000)
    journald.send("größer\nals eine Zeile".encode(), COREDUMP="z" * 50_000)
    until(lambda: len(ours(follower)) == 3, "three entries came")
    assert ours(follower) == ["caf\\xe9 \\xff", "large " + "y" * 100_000, "größer\nals eine Zeile"]
    event = next(e for e in (parse_entry(line, now=NOW) for line in follower.lines) if e.message.startswith("caf"))
    assert (event.severity, event.pid) == ("err", os.getpid())
    assert event.host == socket.gethostname()
    assert not any(b"COREDUMP" in line for line in follower.lines)
