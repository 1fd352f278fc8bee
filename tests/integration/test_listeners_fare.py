"""How the sources of `millstream logs` fare: what cannot be read is told, seen from outside, and no success."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from tests.integration.test_logs import failed, millstream, until

from millstream import App
from millstream.sources.audit import AuditSource
from millstream.sources.broker_lines import BrokerLines
from millstream.sources.evtx import EvtxSource
from millstream.sources.files import FileSource
from millstream.sources.journal import JournalSource
from millstream.sources.listener_info import ListenerInfo, listener_infos, problems_of
from millstream.sources.listener_signs import GROUP, this_process, told_signs
from millstream.sources.listening import ListenerState
from millstream.sources.login_databases import LoginDatabaseSource
from millstream.sources.logins import LoginSource
from millstream.sources.macos import MacosSource
from millstream.sources.nats import nats
from millstream.sources.otlp_server import OtlpServer
from millstream.sources.process import ProcessSource
from millstream.sources.source import Source
from millstream.sources.spare import SpareSource
from millstream.sources.system import SystemFollower, follow_system
from millstream.sources.windows import WindowsSource

TOPIC = "logs"


@pytest.fixture
def app(tmp_path: Path) -> Iterator[App]:
    with App(str(tmp_path / "log.db"), durability="relaxed") as app:
        yield app


def ended(app: App, *sources: Source) -> SystemFollower:
    with follow_system(app, TOPIC, sources=sources) as follower:
        follower.join(100)
    return follower


def infos(app: App) -> dict[str, ListenerInfo]:
    return {info.name: info for info in listener_infos(app.log)}


def wait_for(app: App, condition: Callable[[dict[str, ListenerInfo]], bool], what: str) -> dict[str, ListenerInfo]:
    """Return what met the condition: the next look may find something else."""
    found: dict[str, ListenerInfo] = {}

    def met() -> bool:
        nonlocal found
        found = infos(app)
        return condition(found)

    until(met, what)
    return found


def missing(folder: Path) -> list[Source]:
    nowhere = folder / "nowhere"
    return [
        FileSource([nowhere / "a.log"], follow=False),
        FileSource([str(nowhere / "*.log")], follow=False),
        ProcessSource(["no-such-program"], restart=False),
        ProcessSource(["echo"], directory=nowhere, restart=False),
        ProcessSource([sys.executable, "-c", "raise SystemExit(3)"], name="app", restart=False),
        JournalSource(command="no-such-journalctl", follow=False),
        MacosSource(command="/no/such/log", follow=False),
        AuditSource([nowhere / "audit.log"], follow=False),
        LoginSource(wtmp=[nowhere / "wtmp"], btmp=[], utmp=None, follow=False),
        LoginDatabaseSource(nowhere / "wtmp.db", follow=False),
        EvtxSource([nowhere / "a.evtx"], follow=False),
        EvtxSource([nowhere / "*.evtx"], follow=False),
    ]


@pytest.mark.parametrize("place", range(12))
def test_what_cannot_be_read_at_all_is_no_success_and_said(app: App, tmp_path: Path, place: int) -> None:
    follower = ended(app, missing(tmp_path)[place])
    assert follower.failed
    assert follower.notes
    [info] = infos(app).values()
    assert info.state is ListenerState.BROKEN
    assert info.why
    assert info.lines == 0


@pytest.mark.skipif(sys.platform == "win32", reason="it is read there")
def test_the_event_log_of_windows_elsewhere_is_no_success(app: App) -> None:
    assert ended(app, WindowsSource(follow=False)).failed


def test_what_is_read_to_its_end_is_a_success(app: App, tmp_path: Path) -> None:
    (tmp_path / "a.log").write_text(f"{failed(1)}\n")
    (tmp_path / "empty.log").write_text("")
    sources = [
        FileSource([tmp_path / "a.log", tmp_path / "empty.log"], follow=False),
        FileSource([str(tmp_path / "*.log")], follow=False),
        ProcessSource([sys.executable, "-c", "print('line')"], name="app", restart=False),
    ]
    follower = ended(app, *sources)
    assert not follower.failed
    found = infos(app)
    for name in ("files 1", "files 2", "process app"):
        assert (found[name].state, found[name].why) == (ListenerState.STOPPED, None)
    assert found["process app"].lines == 1


def test_one_file_of_several_that_is_missing_is_told(app: App, tmp_path: Path) -> None:
    (tmp_path / "a.log").write_text(f"{failed(1)}\n")
    follower = ended(app, FileSource([tmp_path / "a.log", tmp_path / "b.log"], follow=False))
    assert follower.failed
    assert follower.records == 1
    assert infos(app)["files"].why == f"{tmp_path / 'b.log'}: there is no such file"


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may read all files")
def test_a_file_that_may_not_be_read_is_told(app: App, tmp_path: Path) -> None:
    (tmp_path / "a.log").write_text("line\n")
    (tmp_path / "a.log").chmod(0)
    assert ended(app, FileSource([tmp_path / "a.log"], follow=False)).failed
    assert "may not be read by this user" in str(infos(app)["files"].why)


def test_what_not_every_machine_has_fails_only_where_nothing_can_be_read(app: App, tmp_path: Path) -> None:
    away = SpareSource(AuditSource([tmp_path / "no.log"], follow=False))
    (tmp_path / "a.log").write_text(f"{failed(1)}\n")
    some = FileSource([tmp_path / "a.log", tmp_path / "b.log"], follow=False, all_wanted=False)
    assert not ended(app, away, SpareSource(some)).failed
    none = FileSource([tmp_path / "b.log", tmp_path / "c.log"], follow=False, all_wanted=False)
    assert ended(app, away, SpareSource(none)).failed


def test_a_file_that_goes_away_is_waited_for_and_read_when_it_is_back(app: App, tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    with follow_system(app, TOPIC, sources=[FileSource([path])]) as follower:
        found = wait_for(app, lambda found: any(one.why for one in found.values()), "it tells of itself")
        assert (found["files"].state, found["files"].why) == (
            ListenerState.WAITING,
            f"{path}: there is no such file",
        )
        path.write_text(f"{failed(1)}\n")
        found = wait_for(app, lambda found: found["files"].state is ListenerState.RUNNING, "it is read")
        until(lambda: follower.records == 1, "its line is stored")
        found = wait_for(
            app, lambda found: found["files"].lines == 1 and found["files"].behind_bytes == 0, "it is told"
        )
        assert found["files"].read_us is not None
        path.unlink()
        wait_for(app, lambda found: found["files"].state is ListenerState.WAITING, "it is gone")
        assert problems_of(listener_infos(app.log), this_process(), [TOPIC], patience_s=3600) == []
        [problem] = problems_of(listener_infos(app.log), this_process(), [TOPIC], patience_s=0)
        assert "there is no such file" in problem.message
        assert "listener files of topic logs is waiting" in problem.message
    found = infos(app)
    assert found["files"].state is ListenerState.STOPPED
    assert not follower.failed


def test_a_program_that_ends_again_and_again_is_waited_for(app: App) -> None:
    source = ProcessSource([sys.executable, "-c", "raise SystemExit(4)"], name="app", restart_s=0.05)
    with follow_system(app, TOPIC, sources=[source]):
        found = wait_for(app, lambda found: any(one.why for one in found.values()), "it ended")
        [info] = found.values()
        assert info.state is ListenerState.WAITING
        assert info.why == "app ended with exit code 4 and is started again"


def test_a_broker_that_is_away_is_waited_for(app: App) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        source = BrokerLines(nats(f"nats://127.0.0.1:{taken.getsockname()[1]}", stream="orders"))
        with follow_system(app, TOPIC, sources=[source]):
            found = wait_for(app, lambda found: any(one.why for one in found.values()), "it does not answer")
            [info] = found.values()
            assert (info.state, info.name) == (ListenerState.WAITING, "nats orders")
            assert "does not answer" in str(info.why)


def test_another_process_sees_listeners_and_that_their_process_was_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.log").write_text(f"{failed(1)}\n")
    (tmp_path / "c.toml").write_text('[[source]]\nkind = "files"\npaths = ["a.log", "away.log"]\n')
    command = [sys.executable, "-m", "millstream", "logs", "--config", "c.toml", "--data", "d"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until(lambda: (tmp_path / "d" / "millstream.db").exists(), "the log is there")
        with App(str(tmp_path / "d" / "millstream.db")) as app:
            found = wait_for(app, lambda found: bool(found) and found["files"].lines == 1, "its line is told")
            assert found["files"].process == f"{socket.gethostname()}:{process.pid}"
            assert found["files"].why == "away.log: there is no such file"
            process.send_signal(signal.SIGKILL)
            process.wait(60)
            monkeypatch.setattr("millstream.sources.listener_signs.EXPIRES_US", 1_000_000)
            found = wait_for(app, lambda found: found["files"].state is ListenerState.STOPPED, "its process is gone")
            assert "was last heard of" in str(found["files"].why)
            # The next process begins with a clean slate.
            with follow_system(app, TOPIC, sources=[FileSource([tmp_path / "a.log"])]) as follower:
                wait_for(app, lambda found: found["files"].process == this_process(), "the next one tells")
            assert [sign.process for sign in told_signs(follower.topic.group(GROUP)).values()] == [this_process()]
            assert [info.process for info in listener_infos(app.log)] == [this_process()]
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize(
    ("config", "code", "said"),
    [
        ('kind = "process"\ncommand = ["no-such-program"]', 1, "there is no program 'no-such-program' on PATH"),
        ('kind = "process"\ncommand = ["sh", "-c", "exit 3"]\nname = "app"', 1, "app ended with exit code 3"),
        ('kind = "process"\ncommand = ["sh", "-c", "echo line"]', 0, "sh ended with exit code 0"),
        ('kind = "files"\npaths = ["no.log"]', 1, "no.log"),
        ('kind = "nats"\nurl = "nats://127.0.0.1:1"\nsubject = "s"', 2, "leave out --no-follow"),
    ],
)
def test_no_follow_says_by_its_exit_code_what_was_not_read(tmp_path: Path, config: str, code: int, said: str) -> None:
    (tmp_path / "c.toml").write_text(f"[[source]]\n{config}\n")
    done = millstream("logs", "--config", "c.toml", "--no-follow", folder=tmp_path)
    assert done.returncode == code
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_signs_of_the_same_process_are_asked_from_other_threads(app: App, tmp_path: Path) -> None:
    with follow_system(app, TOPIC, sources=[FileSource([tmp_path / "a.log"])]) as follower:
        threads = [threading.Thread(target=lambda: [follower.failed for _ in range(200)]) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not follower.failed


class Unaskable(FileSource):
    """A source with a defect."""

    def troubles(self) -> Sequence[str]:
        raise ValueError("no answer")


def test_a_defect_of_one_source_hides_no_other(app: App, tmp_path: Path) -> None:
    (tmp_path / "a.log").write_text(f"{failed(1)}\n")
    sources = [Unaskable([tmp_path / "a.log"]), FileSource([tmp_path / "a.log"])]
    with follow_system(app, TOPIC, sources=sources):
        found = wait_for(app, lambda found: len(found) == 2, "both are told of")
        assert "because of a defect: no answer" in str(found["files 1"].why)
        assert found["files 2"].state is ListenerState.RUNNING


def test_a_server_that_has_ended_is_told(app: App) -> None:
    source = OtlpServer("127.0.0.1", 0)
    with follow_system(app, TOPIC, sources=[source]):
        wait_for(app, lambda found: bool(found) and found["OTLP server"].why is None, "it takes in")
        assert source._server is not None
        source._server.stop()
        found = wait_for(app, lambda found: found["OTLP server"].state is ListenerState.WAITING, "it is told")
        assert "has ended" in str(found["OTLP server"].why)
