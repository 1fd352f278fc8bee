"""`millstream queue`, `dead` and `top`, as people and scripts meet them; on a real file."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from tests.command_line import Command, command_line

from millstream import App
from millstream.engines.protocol import Lease, Outcome, Settlement
from millstream.log.dead_letter import DeadLetter, Failure, Origin, dead_letter_append
from millstream.log.group import Group
from millstream.queue.events import WorkerState, WorkerStatus
from millstream.queue.presence import Presence
from millstream.records import Position
from millstream.testing.fake_clock import FakeClock

PATIENCE_S = 60.0


class Mail(msgspec.Struct, frozen=True):
    to: str
    size: int = 0


@pytest.fixture
def millstream(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run a command line in this process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MILLSTREAM_URL", raising=False)
    return command_line(capsys)


@pytest.fixture
def app(tmp_path: Path) -> Iterator[App]:
    with App(str(tmp_path / "millstream.db"), durability="relaxed") as app:
        yield app


@pytest.fixture
def group(app: App) -> Group[Mail]:
    mails = app.topic("mails", Mail)
    mails.extend([Mail(f"{n}@example.org", n) for n in range(10)], keys=[f"k{n}" for n in range(10)])
    return mails.group("send")


def take(group: Group[Mail], count: int) -> list[Lease]:
    return group.lease(worker="w", records_max=count, duration="1h")


def give_up(group: Group[Mail], count: int) -> None:
    """Let the group give up on records; on every second one with another error."""
    dead = group.topic.log.topic("mails.dead", DeadLetter)
    for lease in take(group, count):
        appends = []
        for record in group.records(lease):
            failure = Failure(
                ("smtplib.SMTPException", "ValueError")[record.position.offset % 2],  # type: ignore[union-attr]
                "it broke\nbadly",
                "Traceback (most recent call last)\n  \x1b[31mred",
            )
            appends += dead_letter_append(dead, record, failure, Origin("send", "send-1", 5, datetime.now(UTC)))
        group.settle([Settlement(lease, lease.start, lease.end, Outcome.REJECT)], appends=appends)


# --- queue ------------------------------------------------------------------------------------------------------------


def test_queue_lists_depth_age_and_state(millstream: Command, group: Group[Mail]) -> None:
    give_up(group, 3)
    take(group, 2)
    head, row = millstream("queue").rows
    assert head[:6] == ["QUEUE", "READY", "LEASED", "WAITING", "DEAD", "OLDEST"]
    assert row[:5] == ["mails/send", "5", "2", "0", "3"]
    assert row[-2:] == ["no", "workers"]


def test_queue_as_json_has_every_number(millstream: Command, group: Group[Mail]) -> None:
    take(group, 2)
    (found,) = millstream("queue", "--json").objects
    assert (found["topic"], found["group"], found["ready"], found["leased"], found["unsettled"]) == (
        "mails",
        "send",
        8,
        2,
        10,
    )
    assert found["oldest"] == [0, 0]
    assert found["oldest_age_s"] >= 0


def test_queue_of_one_shows_that_one(millstream: Command, app: App, group: Group[Mail]) -> None:
    app.topic("other", Mail).group("send")
    assert len(millstream("queue", "--json").objects) == 2
    assert [one["topic"] for one in millstream("queue", "list", "other/send", "--json").objects] == ["other"]


def test_queue_of_an_empty_log_says_what_makes_one(millstream: Command, app: App) -> None:
    app.topic("mails", Mail)
    assert "no queues yet" in millstream("queue").out


def test_pause_and_resume_hold_in_every_process(millstream: Command, group: Group[Mail]) -> None:
    assert millstream("queue", "pause", "send").out == "mails/send: paused; nothing of it is with a worker\n"
    assert take(group, 1) == []
    assert millstream("queue").rows[1][-1] == "paused"
    assert millstream("queue", "resume", "mails/send").out == "mails/send: resumed\n"
    assert len(take(group, 1)) == 1


def test_drain_waits_until_no_worker_has_anything(millstream: Command, group: Group[Mail]) -> None:
    (lease,) = take(group, 2)
    timer = threading.Timer(0.3, lambda: group.settle([Settlement(lease, lease.start, lease.end, Outcome.ACK)]))
    timer.start()
    result = millstream("queue", "drain", "send")
    assert result == (0, "mails/send: drained: paused, and nothing of it is with a worker\n", "")
    assert take(group, 1) == []
    timer.join()


def test_drain_gives_up_after_its_time_with_code_1(millstream: Command, group: Group[Mail]) -> None:
    take(group, 2)
    result = millstream("queue", "drain", "send", "--timeout", "100ms", "--json")
    assert result.code == 1
    assert result.objects == [{"topic": "mails", "group": "send", "paused": True, "leased": 2}]


@pytest.mark.parametrize(
    "arguments",
    [["pause"], ["pause", "nothing"], ["stop", "send"], ["pause", "send", "--timeout", "1s"], ["drain", "mails/x"]],
)
def test_queue_refuses_what_makes_no_sense_in_one_line(
    millstream: Command, group: Group[Mail], arguments: list[str]
) -> None:
    result = millstream("queue", *arguments)
    assert (result.code, result.out, result.err.count("\n")) == (2, "", 1)
    assert not group.info().paused


# --- dead -------------------------------------------------------------------------------------------------------------


def test_dead_lists_the_newest_first_one_line_each(millstream: Command, group: Group[Mail]) -> None:
    give_up(group, 3)
    result = millstream("dead", "mails")
    assert [row[0] for row in result.rows] == ["OFFSET", "2", "1", "0"]
    assert "SMTPException: it broke\\nbadly" in result.out
    assert result.err == "3 dead letters of mails in all\n"
    assert [row[0] for row in millstream("dead", "mails", "--oldest", "-n", "2").rows] == ["OFFSET", "0", "1"]


def test_dead_lists_what_the_filter_means(millstream: Command, group: Group[Mail]) -> None:
    give_up(group, 10)
    for options, offsets in [
        (["--error", "valueerror"], [9, 7, 5, 3, 1]),
        (["--key", "k4"], [4]),
        (["--text", "7@example"], [7]),
        (["--group", "other"], []),
        (["--since", "1h", "-n", "1"], [9]),
        (["--until", "2020-01-01"], []),
    ]:
        assert [one["offset"] for one in millstream("dead", "mails", "list", "--json", *options).objects] == offsets
    assert [one["offset"] for one in millstream("dead", "mails", "list", "2", "0/3", "--json").objects] == [3, 2]


def test_dead_show_has_error_traceback_and_value(millstream: Command, group: Group[Mail]) -> None:
    give_up(group, 3)
    out = millstream("dead", "mails", "show", "1").out
    for part in ("ValueError", "it broke\\nbadly", '"to": "1@example.org"', "Traceback", "attempts    5", "k1", "open"):
        assert part in out
    assert "\x1b" not in out, "a record must not steer a terminal"
    shown = millstream("dead", "mails", "show", "1", "2", "--json").objects
    assert [one["value"]["size"] for one in shown] == [1, 2]
    assert shown[0]["traceback"].startswith("Traceback")


def test_dead_redrive_sends_back_and_says_how_many(millstream: Command, app: App, group: Group[Mail]) -> None:
    give_up(group, 10)
    dry = millstream("dead", "mails", "redrive", "--error", "ValueError", "--dry-run")
    assert dry == (0, "would send 5 records back to mails\n", "")
    assert app.topic("mails").end_offsets() == {0: 10}
    assert millstream("dead", "mails", "redrive", "--error", "ValueError").out == "sent 5 records back to mails\n"
    assert millstream("dead", "mails", "redrive", "0", "2", "--json").objects == [
        {"topic": "mails", "dry_run": False, "redriven": 2, "refused": 0, "open": 3, "refusals": []}
    ]
    assert app.topic("mails").end_offsets() == {0: 17}


def test_dead_redrive_that_leaves_some_ends_with_code_5(millstream: Command, group: Group[Mail]) -> None:
    give_up(group, 3)
    result = millstream("dead", "mails", "redrive", "--max-redrives", "0")
    assert result.code == 5
    assert result.out == "sent 0 records back to mails\n"
    assert "3 dead letters were left as they are:\n  0/0: sent back 0 times already\n" in result.err
    assert millstream("dead", "mails", "redrive", "--max-redrives", "0", "--force").code == 0


def test_dead_edit_puts_a_new_letter_in_the_place_of_one(
    millstream: Command, app: App, group: Group[Mail], monkeypatch: pytest.MonkeyPatch
) -> None:
    give_up(group, 3)
    result = millstream("dead", "mails", "edit", "1", "--value", '{"to": "new@example.org", "size": 5}')
    assert "it is dead letter 3 now" in result.out
    assert millstream("dead", "mails", "redrive", "3").code == 0
    assert app.topic("mails", Mail).read(10)[0].value == Mail("new@example.org", 5)
    assert "was edited already" in millstream("dead", "mails", "edit", "1", "--value", "{}").err


def test_dead_edit_refuses_what_is_no_value_of_the_topic(millstream: Command, group: Group[Mail]) -> None:
    give_up(group, 3)
    for options in (["1"], ["--value", "{}"], ["1", "2", "--value", "{}"], ["1", "--value", '{"too": 1}']):
        assert millstream("dead", "mails", "edit", *options).code == 2
    assert len(millstream("dead", "mails", "--json").objects) == 3


def test_dead_purge_needs_the_topics_name(millstream: Command, group: Group[Mail]) -> None:
    give_up(group, 10)
    assert "--confirm mails" in millstream("dead", "mails", "purge").err
    assert millstream("dead", "mails", "purge", "--confirm", "yes").code == 2
    assert len(millstream("dead", "mails", "--json").objects) == 10
    result = millstream("dead", "mails", "purge", "--confirm", "mails", "--error", "ValueError")
    assert result.out == "threw away 5 dead letters of mails; 5 are left\n"
    assert millstream("dead", "mails", "purge", "--confirm", "mails", "--json").objects == [
        {"topic": "mails", "purged": 5, "open": 0}
    ]
    assert millstream("dead", "mails").out == "no such dead letters\n"


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo terminals there")
@pytest.mark.parametrize(("typed", "left"), [(b"mails\n", 0), (b"yes\n", 3)])
def test_dead_purge_lets_a_person_type_the_topics_name(
    tmp_path: Path, app: App, group: Group[Mail], typed: bytes, left: int
) -> None:
    give_up(group, 3)
    ours, theirs = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "millstream", "dead", "mails", "purge"],
        cwd=tmp_path,
        stdin=theirs,
        stdout=subprocess.PIPE,
    )
    os.close(theirs)
    os.write(ours, typed)
    out, _ = process.communicate(timeout=PATIENCE_S)
    os.close(ours)
    assert b"Type mails to throw its dead letters away for good" in out
    assert process.returncode == (2 if left else 0)
    assert app.dead("mails").count() == left


@pytest.mark.parametrize(
    "arguments",
    [["nothing"], ["mails", "show"], ["mails", "show", "99"], ["mails", "list", "x"], ["mails", "--since", "start"]],
)
def test_dead_refuses_what_makes_no_sense_in_one_line(
    millstream: Command, group: Group[Mail], arguments: list[str]
) -> None:
    give_up(group, 1)
    result = millstream("dead", *arguments)
    assert (result.code, result.out, result.err.count("\n")) == (2, "", 1)


# --- top --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def worked_on(tmp_path: Path, group: Group[Mail]) -> None:
    """Leave a heartbeat in the log, as a process at work does."""
    clock = FakeClock(group.topic.log.clock.now_us() - 3_000_000)
    with App(str(tmp_path / "millstream.db"), clock=clock) as other:
        presence = Presence(other.topic("mails", Mail).group("send"))
        clock.advance("2s")
        busy = WorkerState("send-2", WorkerStatus.BUSY, clock.now_us() - 500_000, Position(0, 4), 2, 10, 1, 1_500_000)
        presence.tick(lambda: [WorkerState("send-1", WorkerStatus.IDLE, clock.now_us()), busy])


@pytest.mark.usefixtures("worked_on")
def test_top_once_shows_queues_and_workers(millstream: Command) -> None:
    out = millstream("top", "--once").out
    assert "mails/send" in out
    row = next(line.split() for line in out.splitlines() if line.startswith("send-2"))
    assert row[2:6] == ["mails/send", "busy", "0/4", "2"]
    assert row[-2:] == ["10", "1"]


@pytest.mark.usefixtures("worked_on")
def test_top_as_json_is_one_object_a_look(millstream: Command) -> None:
    (look,) = millstream("top", "--once", "--json").objects
    (queue,) = look["queues"]
    assert (queue["workers"], queue["busy"], queue["arrival_per_s"]) == (2, 1, 0.0)
    assert queue["processes"][0]["states"][0]["position"] == {"partition": 0, "offset": 4}


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo terminals there")
@pytest.mark.usefixtures("worked_on")
def test_top_draws_a_live_screen_on_a_terminal_until_ctrl_c(tmp_path: Path) -> None:
    ours, theirs = os.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "160", "LINES": "40"}
    process = subprocess.Popen(
        [sys.executable, "-m", "millstream", "top", "--every", "100ms"],
        cwd=tmp_path,
        env=environment,
        stdin=theirs,
        stdout=theirs,
        stderr=subprocess.PIPE,
    )
    os.close(theirs)
    shown = b""
    interrupted = False
    with suppress(OSError):  # there is nothing more to come once it has ended
        while data := os.read(ours, 65_536):  # also after Ctrl-C: it could not write its last screen otherwise
            shown += data
            if not interrupted and shown.count(b"send-2") >= 2:
                process.send_signal(signal.SIGINT)
                interrupted = True
    _, err = process.communicate(timeout=PATIENCE_S)
    os.close(ours)
    assert (process.returncode, err) == (0, b"")
    for part in (b"\x1b[?1049h", b"millstream.db", b"Ctrl-C ends", b"mails/send", b"busy", b"0/4"):
        assert part in shown


@pytest.mark.skipif(sys.platform == "win32", reason="SIGINT cannot be sent to one process there")
@pytest.mark.usefixtures("worked_on")
def test_top_writes_plain_lines_where_there_is_no_terminal(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "millstream", "top", "--every", "100ms"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    heads = 0
    for line in process.stdout:
        assert "\x1b" not in line
        heads += line.startswith("QUEUE ")
        if heads == 3:
            break
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, err) == (0, "")


@pytest.mark.parametrize("arguments", [["--every", "0s"], ["--every", "often"]])
def test_top_refuses_a_pause_that_is_none(millstream: Command, group: Group[Mail], arguments: list[str]) -> None:
    assert millstream("top", *arguments).code == 2
